package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func testSpec(t *testing.T) Spec {
	t.Helper()
	dir := t.TempDir()
	for _, f := range []string{"one", "two"} {
		if err := os.WriteFile(filepath.Join(dir, f), []byte("content of "+f), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Spec{
		Reference: "fairlead:dev", Platforms: []string{"linux/amd64"}, User: "65532", Entrypoint: []string{"/one"},
		Labels: map[string]string{"b": "2", "a": "1"},
		Files:  []File{{Host: filepath.Join(dir, "two"), Image: "/opt/bin/two", Mode: 0o755}, {Host: filepath.Join(dir, "one"), Image: "/one", Mode: 0o755}},
	}
}

func TestWriteIsReproducible(t *testing.T) {
	spec := testSpec(t)
	var first, second bytes.Buffer
	digest1, err := Write(&first, spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range spec.Files {
		when := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
		if err := errors.Join(os.Chtimes(f.Host, when, when), os.Chmod(f.Host, 0o400)); err != nil {
			t.Fatal(err)
		}
	}
	spec.Files[0], spec.Files[1] = spec.Files[1], spec.Files[0]
	digest2, err := Write(&second, spec)
	if err != nil {
		t.Fatal(err)
	}
	if digest1 != digest2 || !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Errorf("the same files gave %s and %s, equal bytes %v", digest1, digest2, bytes.Equal(first.Bytes(), second.Bytes()))
	}
}

func TestWriteIsAnOCILayout(t *testing.T) {
	var archive bytes.Buffer
	digest, err := Write(&archive, testSpec(t))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for tr := tar.NewReader(&archive); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.ModTime.Unix() != 0 {
			t.Errorf("%s carries an owner or a time: %+v", h.Name, h)
		}
		if files[h.Name], err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := string(files["oci-layout"]), `{"imageLayoutVersion":"1.0.0"}`; got != want {
		t.Errorf("oci-layout = %s, want %s", got, want)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(files["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) != 1 || index.Manifests[0].Digest.String() != digest {
		t.Fatalf("index.json names %+v, want %s alone", index.Manifests, digest)
	}
	if got, want := index.Manifests[0].Annotations["io.containerd.image.name"], "docker.io/library/fairlead:dev"; got != want {
		t.Errorf("containerd would name the image %q, want %q", got, want)
	}
	var manifest v1.Manifest
	if err := json.Unmarshal(files["blobs/sha256/"+index.Manifests[0].Digest.Hex], &manifest); err != nil {
		t.Fatal(err)
	}
	for _, d := range append(manifest.Layers, manifest.Config) {
		if blob := files["blobs/sha256/"+d.Digest.Hex]; int64(len(blob)) != d.Size {
			t.Errorf("blob %s has %d bytes, the manifest says %d", d.Digest, len(blob), d.Size)
		}
	}
}

func TestWriteIsLoadableByDocker(t *testing.T) {
	var archive bytes.Buffer
	if _, err := Write(&archive, testSpec(t)); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("fairlead:dev")
	if err != nil {
		t.Fatal(err)
	}
	img, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil }, &tag)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Architecture != "amd64" || cfg.OS != "linux" || cfg.Config.User != "65532" || strings.Join(cfg.Config.Entrypoint, " ") != "/one" || cfg.Config.Labels["a"] != "1" {
		t.Errorf("configuration read back: %+v", cfg)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != 2 || len(cfg.RootFS.DiffIDs) != 2 {
		t.Errorf("%d layers and %d diff IDs, want 2 and 2", len(layers), len(cfg.RootFS.DiffIDs))
	}
}

// Of several platforms there is one index that names an image for each, with its own programs.
func TestWriteSeveralPlatforms(t *testing.T) {
	dir := t.TempDir()
	for _, arch := range []string{"amd64", "arm64"} {
		if err := os.WriteFile(filepath.Join(dir, arch), []byte("program for "+arch), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "image.tar")
	err := run([]string{"--output", out, "--reference", "fairlead:dev", "--platform", "linux/arm64", "--platform", "linux/amd64", "--file", dir + "/{arch}:/program"}, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	layoutDir := t.TempDir()
	if err := unpack(out, layoutDir); err != nil {
		t.Fatal(err)
	}
	index, err := layout.ImageIndexFromPath(layoutDir)
	if err != nil {
		t.Fatal(err)
	}
	top, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(top.Manifests) != 1 || top.Manifests[0].MediaType != types.OCIImageIndex || top.Manifests[0].Annotations["io.containerd.image.name"] != "docker.io/library/fairlead:dev" {
		t.Fatalf("index.json names %+v, want one index of platforms", top.Manifests)
	}
	platforms, err := index.ImageIndex(top.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	each, err := platforms.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range each.Manifests {
		img, err := platforms.Image(m.Digest)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		content, err := layers[0].Compressed() // it is not
		if err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(content)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(all, []byte("program for "+m.Platform.Architecture)) {
			t.Errorf("the image for %s has another's program", m.Platform.Architecture)
		}
		got = append(got, m.Platform.String())
	}
	if want := []string{"linux/arm64", "linux/amd64"}; !slices.Equal(got, want) {
		t.Errorf("platforms %v, want %v", got, want)
	}
}

func unpack(archive, dir string) error {
	f, err := os.Open(archive) //nolint:gosec // the test's own
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		path := filepath.Join(dir, filepath.Clean("/"+h.Name))
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o750)
		} else {
			var content []byte
			if content, err = io.ReadAll(tr); err == nil {
				err = os.WriteFile(path, content, 0o600)
			}
		}
		if err != nil {
			return err
		}
	}
}

func TestParseFile(t *testing.T) {
	for _, tc := range []struct {
		in   string
		want File
		err  string
	}{
		{in: "bin/a:/a", want: File{"bin/a", "/a", 0o755}},
		{in: "bin/a:/etc/a:0644", want: File{"bin/a", "/etc/a", 0o644}},
		{in: "bin/a", err: "want HOST:IMAGE"},
		{in: ":/a", err: "want HOST:IMAGE"},
		{in: "a:b", err: "absolute"},
		{in: "a:/b/", err: "absolute"},
		{in: "a:/../b", err: "absolute"},
		{in: "a:/b:9", err: "octal"},
		{in: "a:/b:0644:x", err: "want HOST:IMAGE"},
	} {
		got, err := parseFile(tc.in)
		if tc.err == "" && (err != nil || got != tc.want) {
			t.Errorf("parseFile(%q) = %+v, %v, want %+v", tc.in, got, err, tc.want)
		}
		if tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
			t.Errorf("parseFile(%q) gave error %v, want one with %q", tc.in, err, tc.err)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--reference", "a:b"}, "--output is required"},
		{[]string{"--output", "x", "stray"}, "stray"},
		{[]string{"--output", filepath.Join(t.TempDir(), "x"), "--reference", "a:b", "--platform", "linux/amd64", "--platform", "linux/amd64"}, "named twice"},
		{[]string{"--output", filepath.Join(t.TempDir(), "x"), "--reference", "UPPER"}, "UPPER"},
		{[]string{"--output", filepath.Join(t.TempDir(), "x"), "--reference", "a:b", "--platform", "linux"}, "OS/ARCH"},
		{[]string{"--output", "x", "--label", "nothing"}, "NAME=VALUE"},
	} {
		err := run(tc.args, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("run(%q) gave error %v, want one with %q", tc.args, err, tc.want)
		}
	}
}
