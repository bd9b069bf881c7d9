//go:build linux

package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// What config/default installs.
const (
	Namespace            = "fairlead-system"
	ControllerDeployment = "fairlead-controller"
	SpeakerDaemonSet     = "fairlead-speaker"
)

// install puts Fairlead into the cluster from its image and manifests, and returns when it has been rolled out. A
// rebuilt image has the same name, so what runs the old one is restarted.
func (l *Lab) install(ctx context.Context, report func(string, ...any)) error {
	image := l.dist("fairlead.tar")
	if _, err := os.Stat(image); err != nil {
		return fmt.Errorf("install Fairlead: image %s is missing: run `make image`, or `bin/lab up --no-install`", image)
	}
	if _, err := os.Stat(filepath.Join(l.cfg.Kustomization, "kustomization.yaml")); err != nil {
		return fmt.Errorf("install Fairlead: no kustomization in %s: name its folder by --kustomization", l.cfg.Kustomization)
	}
	objects := []string{"deployment/" + ControllerDeployment, "daemonset/" + SpeakerDaemonSet}
	// Before the image is loaded: only what was there then can run the old one.
	_, missing := l.kubectl(ctx, append([]string{"get", "--namespace=" + Namespace, "--output=name"}, objects...)...)
	changed, err := l.LoadImage(ctx, image)
	if err != nil {
		return fmt.Errorf("install Fairlead: %w", err)
	}
	if _, err := l.kubectl(ctx, "apply", "--server-side", "--force-conflicts", "--kustomize", l.cfg.Kustomization); err != nil {
		return fmt.Errorf("install Fairlead: %w", err)
	}
	if changed && missing == nil {
		if _, err := l.kubectl(ctx, append([]string{"rollout", "restart", "--namespace=" + Namespace}, objects...)...); err != nil {
			return fmt.Errorf("install Fairlead: %w", err)
		}
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

// kubectl runs on the control plane's host, so that it ends with the lab.
func (l *Lab) kubectl(ctx context.Context, args ...string) (Result, error) {
	command := []string{l.tool("kubectl"), "--kubeconfig=" + l.LANKubeconfig(), "--cache-dir=" + filepath.Join(l.cfg.StateDir, "kubectl-cache")}
	return l.controlPlane().Exec(ctx, append(command, args...)...)
}
