//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// What config/default installs.
const (
	Namespace            = "fairlead-system"
	ControllerDeployment = "fairlead-controller"
	SpeakerDaemonSet     = "fairlead-speaker"
)

// install puts Fairlead into the cluster from its image and manifests, and returns when it has been rolled out. A
// rebuilt image has the same name, so what runs the old one is restarted.
func (l *Lab) install(ctx context.Context, report reporter) error {
	image := l.dist("fairlead.tar")
	if _, err := os.Stat(image); err != nil {
		return fmt.Errorf("install Fairlead: image %s is missing: run `make image`, or `bin/lab up --no-install`", image)
	}
	if _, err := os.Stat(filepath.Join(l.cfg.Kustomization, "kustomization.yaml")); err != nil {
		return fmt.Errorf("install Fairlead: no kustomization in %s: name its folder by --kustomization", l.cfg.Kustomization)
	}
	objects := []string{"deployment/" + ControllerDeployment, "daemonset/" + SpeakerDaemonSet}
	stale, digest, err := l.imageChanged(image)
	if err != nil {
		return fmt.Errorf("install Fairlead: %w", err)
	}
	if err := l.LoadImage(ctx, image); err != nil {
		return fmt.Errorf("install Fairlead: %w", err)
	}
	if _, err := l.kubectl(ctx, "apply", "--server-side", "--force-conflicts", "--kustomize", l.cfg.Kustomization); err != nil {
		return fmt.Errorf("install Fairlead: %w", err)
	}
	if stale {
		if _, err := l.kubectl(ctx, append([]string{"rollout", "restart", "--namespace=" + Namespace}, objects...)...); err != nil {
			return fmt.Errorf("install Fairlead: %w", err)
		}
	}
	if err := replaceFile(l.installedImage(), []byte(digest)); err != nil {
		return fmt.Errorf("install Fairlead: %w", err)
	}
	report("Fairlead is applied from %s", l.cfg.Kustomization)
	for _, object := range objects {
		if _, err := l.kubectl(ctx, "rollout", "status", "--namespace="+Namespace, "--timeout=120s", object); err != nil {
			return fmt.Errorf("install Fairlead: %w: look at `bin/lab kubectl -n %s get pods` and `describe`", err, Namespace)
		}
	}
	report("Fairlead is rolled out")
	return nil
}

// installedImage holds the digest of the image that was installed last.
func (l *Lab) installedImage() string { return filepath.Join(l.cfg.StateDir, "installed-image") }

// imageChanged compares an archive with the one that was installed last, if any was.
func (l *Lab) imageChanged(archive string) (changed bool, digest string, err error) {
	f, err := os.Open(archive)
	if err != nil {
		return false, "", err
	}
	_, digest, err = archivedImage(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return false, "", fmt.Errorf("read image %s: %w", archive, err)
	}
	last, err := os.ReadFile(l.installedImage())
	if errors.Is(err, fs.ErrNotExist) {
		return false, digest, nil
	}
	return string(last) != digest, digest, err
}

// kubectl runs on the control plane's host, so that it ends with the lab.
func (l *Lab) kubectl(ctx context.Context, args ...string) (Result, error) {
	return l.controlPlane().Exec(ctx, slices.Concat([]string{
		l.tool("kubectl"), "--kubeconfig=" + l.LANKubeconfig(), "--cache-dir=" + filepath.Join(l.cfg.StateDir, "kubectl-cache"),
	}, args)...)
}
