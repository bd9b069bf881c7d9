//go:build linux

package lab

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sync/errgroup"
)

// snapshotter works on every file system, also where the machine itself runs on an overlay.
const snapshotter = "native"

// systemImages lists the archives that every node gets, as far as they are built. The pause image must be there.
func (l *Lab) systemImages() []string {
	images := []string{l.dist("pause.tar")}
	for _, name := range []string{"web.tar", "fairlead.tar"} {
		if _, err := os.Stat(l.dist(name)); err == nil {
			images = append(images, l.dist(name))
		}
	}
	return images
}

// LoadImage gives an image archive to every node.
func (l *Lab) LoadImage(ctx context.Context, archive string) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, h := range l.Nodes() {
		g.Go(func() error { return h.loadImage(ctx, archive) })
	}
	return g.Wait()
}

// loadImage does nothing when the node has the very same image already.
func (h *Host) loadImage(ctx context.Context, archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return fmt.Errorf("load an image on %s: %w", h.Name, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	name, digest, err := archivedImage(f)
	if err != nil {
		return fmt.Errorf("load image %s on %s: %w", archive, h.Name, err)
	}
	if name != "" {
		listed, err := h.ctr(ctx, nil, "images", "ls", "name=="+name)
		if err != nil {
			return fmt.Errorf("load image %s on %s: %w", archive, h.Name, err)
		}
		if strings.Contains(listed, digest) {
			return nil
		}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("load image %s on %s: %w", archive, h.Name, err)
	}
	// Through standard input: the archive may be in a folder that the host does not see.
	if _, err := h.ctr(ctx, f, "images", "import", "--snapshotter", snapshotter, "-"); err != nil {
		return fmt.Errorf("load image %s on %s: %w", archive, h.Name, err)
	}
	return nil
}

func (h *Host) ctr(ctx context.Context, stdin *os.File, args ...string) (string, error) {
	result, err := h.execInput(ctx, stdin, append([]string{"ctr", "--address", containerdSocket, "--namespace", "k8s.io"}, args...)...)
	return result.Stdout, err
}

// archivedImage reads the name and digest of the image in an archive that has one, as mkimage writes them; of another
// archive it tells nothing.
func archivedImage(r io.Reader) (name, digest string, err error) {
	var index struct {
		Manifests []struct {
			Digest      string            `json:"digest"`
			Annotations map[string]string `json:"annotations"`
		} `json:"manifests"`
	}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return "", "", nil
		}
		if err != nil {
			return "", "", fmt.Errorf("read the archive: %w", err)
		}
		if h.Name == "index.json" {
			if err := json.NewDecoder(tr).Decode(&index); err != nil {
				return "", "", fmt.Errorf("read index.json of the archive: %w", err)
			}
			break
		}
	}
	if len(index.Manifests) != 1 {
		return "", "", nil
	}
	m := index.Manifests[0]
	return m.Annotations["io.containerd.image.name"], m.Digest, nil
}
