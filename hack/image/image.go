package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// anyArch stands for the architecture in a file's path on this machine, where it differs.
const anyArch = "{arch}"

// File is one file of the image.
type File struct {
	Host  string // path on this machine; anyArch in it is replaced by the architecture
	Image string // absolute path in the image
	Mode  int64  // permission bits
}

// Spec says all that goes into an image.
type Spec struct {
	Reference  string
	Platforms  []string // OS/ARCH of each; the first is the one that docker load takes
	User       string
	Workdir    string
	Entrypoint []string
	Env        []string
	Labels     map[string]string
	Files      []File
}

func parseFile(s string) (File, error) {
	parts := strings.Split(s, ":")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" {
		return File{}, fmt.Errorf("--file %q: want HOST:IMAGE or HOST:IMAGE:MODE", s)
	}
	f := File{Host: parts[0], Image: parts[1], Mode: 0o755}
	if !path.IsAbs(f.Image) || path.Clean(f.Image) != f.Image || f.Image == "/" {
		return File{}, fmt.Errorf("--file %q: the path in the image must be absolute and name a file", s)
	}
	if len(parts) == 3 {
		mode, err := strconv.ParseInt(parts[2], 8, 32)
		if err != nil || mode < 0 || mode > 0o7777 {
			return File{}, fmt.Errorf("--file %q: mode %q is not octal permission bits", s, parts[2])
		}
		f.Mode = mode
	}
	return f, nil
}

func parseLabels(pairs []string) (map[string]string, error) {
	labels := map[string]string{}
	for _, pair := range pairs {
		k, v, ok := strings.Cut(pair, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("--label %q: want NAME=VALUE", pair)
		}
		labels[k] = v
	}
	return labels, nil
}

// Write writes the archive of the image and returns its digest: that of the manifest, or, of several platforms, of the index.
func Write(w io.Writer, spec Spec) (string, error) {
	tag, err := name.NewTag(spec.Reference, name.WithDefaultRegistry("docker.io"))
	if err != nil {
		return "", fmt.Errorf("image reference %q: %w", spec.Reference, err)
	}
	images := make([]v1.Image, 0, len(spec.Platforms))
	for i, p := range spec.Platforms {
		if slices.Contains(spec.Platforms[:i], p) {
			return "", fmt.Errorf("platform %q is named twice", p)
		}
		img, err := build(spec, p)
		if err != nil {
			return "", err
		}
		images = append(images, img)
	}
	return pack(w, images, tag)
}

// build makes one layer per file, so that images which differ in one binary share the others.
func build(spec Spec, platform string) (v1.Image, error) {
	os, arch, ok := strings.Cut(platform, "/")
	if !ok || os == "" || arch == "" || strings.Contains(arch, "/") {
		return nil, fmt.Errorf("platform %q: want OS/ARCH, such as linux/amd64", platform)
	}
	files := slices.Clone(spec.Files)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Image, b.Image) })
	var layers []mutate.Addendum
	for i, f := range files {
		if i > 0 && files[i-1].Image == f.Image {
			return nil, fmt.Errorf("%s and %s both go to %s in the image", files[i-1].Host, f.Host, f.Image)
		}
		f.Host = strings.ReplaceAll(f.Host, anyArch, arch)
		content, err := layer(f)
		if err != nil {
			return nil, err
		}
		layers = append(layers, mutate.Addendum{
			Layer:   static.NewLayer(content, types.OCIUncompressedLayer),
			History: v1.History{CreatedBy: "mkimage --file " + f.Image},
		})
	}
	img, err := mutate.Append(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layers...)
	if err != nil {
		return nil, fmt.Errorf("add the layers: %w", err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("read the image's configuration: %w", err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = os, arch
	cfg.Config = v1.Config{User: spec.User, WorkingDir: spec.Workdir, Entrypoint: spec.Entrypoint, Env: spec.Env, Labels: spec.Labels}
	return mutate.ConfigFile(img, cfg)
}

// layer is a tar of one file and its parent folders, all owned by root and dated 1970.
func layer(f File) ([]byte, error) {
	content, err := os.ReadFile(f.Host)
	if err != nil {
		return nil, fmt.Errorf("read the file for %s: %w", f.Image, err)
	}
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	steps := strings.Split(strings.TrimPrefix(f.Image, "/"), "/")
	for i := 1; i < len(steps); i++ {
		dir := strings.Join(steps[:i], "/") + "/"
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, Format: tar.FormatPAX}); err != nil {
			return nil, fmt.Errorf("add %s: %w", dir, err)
		}
	}
	if err := addFile(tw, strings.Join(steps, "/"), f.Mode, content); err != nil {
		return nil, err
	}
	if err := tw.Close(); err != nil {
		return nil, fmt.Errorf("close the layer of %s: %w", f.Image, err)
	}
	return buf.Bytes(), nil
}

func addFile(tw *tar.Writer, name string, mode int64, content []byte) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(content)), Format: tar.FormatPAX}
	if err := tw.WriteHeader(h); err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	if _, err := tw.Write(content); err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	return nil
}

// dockerManifest is the entry of manifest.json that "docker load" reads.
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// archive is an OCI layout with manifest.json beside it, as "docker save" writes since version 25.
type archive struct {
	files map[string][]byte
}

func blob(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }

// pack writes the archive of an image, or of the same for several platforms.
func pack(w io.Writer, images []v1.Image, tag name.Tag) (string, error) {
	a := archive{files: map[string][]byte{}}
	var manifests []v1.Descriptor
	var docker []dockerManifest
	for _, img := range images {
		d, m, err := a.add(img)
		if err != nil {
			return "", err
		}
		manifests = append(manifests, d)
		m.RepoTags = []string{familiar(tag)}
		docker = append(docker, m)
	}
	top := manifests[0]
	if len(manifests) > 1 { // an index of its own, whose digest stands for all
		content, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: manifests})
		if err != nil {
			return "", fmt.Errorf("encode the index of platforms: %w", err)
		}
		digest, size, err := v1.SHA256(bytes.NewReader(content))
		if err != nil {
			return "", fmt.Errorf("digest the index of platforms: %w", err)
		}
		a.files[blob(digest)] = content
		top = v1.Descriptor{MediaType: types.OCIImageIndex, Size: size, Digest: digest}
	}
	top.Annotations = map[string]string{
		// containerd names the image by the first and needs it whole; the second is OCI's own.
		"io.containerd.image.name":          canonical(tag),
		"org.opencontainers.image.ref.name": tag.TagStr(),
	}
	for name, v := range map[string]any{
		"oci-layout":    map[string]string{"imageLayoutVersion": "1.0.0"},
		"index.json":    v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{top}},
		"manifest.json": docker[:1],
	} {
		content, err := json.Marshal(v)
		if err != nil {
			return "", fmt.Errorf("encode %s: %w", name, err)
		}
		a.files[name] = content
	}
	return top.Digest.String(), packTar(w, a.files)
}

// add an image's manifest, configuration and layers.
func (a *archive) add(img v1.Image) (v1.Descriptor, dockerManifest, error) {
	var none v1.Descriptor
	var docker dockerManifest
	manifest, err := img.RawManifest()
	if err != nil {
		return none, docker, fmt.Errorf("make the manifest: %w", err)
	}
	digest, err := img.Digest()
	if err != nil {
		return none, docker, fmt.Errorf("digest the manifest: %w", err)
	}
	a.files[blob(digest)] = manifest
	config, err := img.RawConfigFile()
	if err != nil {
		return none, docker, fmt.Errorf("make the configuration: %w", err)
	}
	configName, err := img.ConfigName()
	if err != nil {
		return none, docker, fmt.Errorf("digest the configuration: %w", err)
	}
	a.files[blob(configName)] = config
	cfg, err := img.ConfigFile()
	if err != nil {
		return none, docker, fmt.Errorf("read the configuration: %w", err)
	}
	layers, err := img.Layers()
	if err != nil {
		return none, docker, fmt.Errorf("list the layers: %w", err)
	}
	docker = dockerManifest{Config: blob(configName), Layers: []string{}}
	for _, l := range layers {
		h, err := l.Digest()
		if err != nil {
			return none, docker, fmt.Errorf("digest a layer: %w", err)
		}
		r, err := l.Compressed()
		if err != nil {
			return none, docker, fmt.Errorf("read layer %s: %w", h, err)
		}
		content, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			return none, docker, fmt.Errorf("read layer %s: %w", h, err)
		}
		a.files[blob(h)] = content
		docker.Layers = append(docker.Layers, blob(h))
	}
	return v1.Descriptor{
		MediaType: types.OCIManifestSchema1, Size: int64(len(manifest)), Digest: digest,
		Platform: &v1.Platform{OS: cfg.OS, Architecture: cfg.Architecture},
	}, docker, nil
}

func packTar(w io.Writer, files map[string][]byte) error {
	tw := tar.NewWriter(w)
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, Format: tar.FormatPAX}); err != nil {
			return fmt.Errorf("add %s: %w", dir, err)
		}
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := addFile(tw, name, 0o644, files[name]); err != nil {
			return err
		}
	}
	return tw.Close()
}

// canonical is the full name that kubelet and containerd look an image up by.
func canonical(tag name.Tag) string {
	return strings.Replace(tag.Name(), "index.docker.io/", "docker.io/", 1)
}

// familiar is the short name that Docker shows: without docker.io/library.
func familiar(tag name.Tag) string {
	s := canonical(tag)
	return strings.TrimPrefix(strings.TrimPrefix(s, "docker.io/"), "library/")
}
