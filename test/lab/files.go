//go:build linux

package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"fairlead.io/fairlead/test/lab/internal/render"
	"fairlead.io/fairlead/test/lab/plan"
	"fairlead.io/fairlead/test/router"
)

// cniFolders are where distributions put the CNI plugins.
var cniFolders = []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"}

// ensureStateDir makes the lab's folder, marked as one that may be removed.
func ensureStateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make the lab's folder: %w", err)
	}
	ours, err := isStateDir(dir)
	if err != nil {
		return err
	}
	if !ours {
		return fmt.Errorf("%s is not empty and not a lab's: choose another folder by --state-dir", dir)
	}
	if err := os.WriteFile(filepath.Join(dir, markerFile), nil, 0o600); err != nil {
		return fmt.Errorf("mark the lab's folder: %w", err)
	}
	return nil
}

// isStateDir is true for a folder that has the mark, is empty, or is not there.
func isStateDir(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look into the lab's folder: %w", err)
	}
	for _, e := range entries {
		if e.Name() == markerFile {
			return true, nil
		}
	}
	return len(entries) == 0, nil
}

// writeState is what makes the lab known to later commands.
func (l *Lab) writeState() error {
	raw, err := json.Marshal(state{Nodes: l.cfg.Nodes, ProxyMode: l.cfg.ProxyMode, Port: l.port, Root: l.cfg.Root, Routers: l.routers})
	if err != nil {
		return fmt.Errorf("write the lab's state: %w", err)
	}
	return replaceFile(filepath.Join(l.cfg.StateDir, stateFile), raw)
}

// replaceFile shows readers the old content or the new, never a part.
func replaceFile(path string, content []byte) error {
	if err := os.WriteFile(path+".partial", content, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(path+".partial", path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// writeFiles renders every configuration file; the same lab gets the same files each time.
func (l *Lab) writeFiles() error {
	tokens, err := l.readTokens()
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(l.secret("ca.crt"))
	if err != nil {
		return fmt.Errorf("read the lab's certificate authority: %w", err)
	}
	kubeconfig := func(path, server, user string) error {
		content, err := render.WriteKubeconfig(render.Kubeconfig{Cluster: l.cfg.Name, Server: server, CACert: ca, User: user, Token: tokens[user]})
		if err != nil {
			return err
		}
		return replaceFile(path, content)
	}
	lan := "https://" + l.apiAddr()
	cp := l.controlPlane()
	errs := []error{
		makeFolders(l.Hosts()),
		l.makeRouterFolders(),
		kubeconfig(l.Kubeconfig(), fmt.Sprintf("https://127.0.0.1:%d", l.port), adminUser),
		kubeconfig(l.LANKubeconfig(), lan, adminUser),
		kubeconfig(cp.dir("manager.kubeconfig"), lan, managerUser),
		kubeconfig(cp.dir("scheduler.kubeconfig"), lan, schedulerUser),
	}
	for _, h := range l.Nodes() {
		errs = append(errs,
			kubeconfig(h.dir("kubelet.kubeconfig"), lan, nodeUserPrefix+h.Name),
			kubeconfig(h.dir("kube-proxy.kubeconfig"), lan, proxyUser),
			l.writeNodeFiles(h))
	}
	return errors.Join(errs...)
}

func makeFolders(hosts []*Host) error {
	for _, h := range hosts {
		for _, name := range []string{"log", "cni", "volume-plugins"} {
			if h.Role != plan.Node && name != "log" {
				continue
			}
			if err := os.MkdirAll(h.dir(name), 0o750); err != nil {
				return fmt.Errorf("make the folder of host %s: %w", h.Name, err)
			}
		}
	}
	return nil
}

// makeRouterFolders makes what FRR finds at /etc/frr: a file for vtysh, and its configuration when it starts. What vtysh writes is the
// lab's too.
func (l *Lab) makeRouterFolders() error {
	for _, r := range l.Routers() {
		if r.Kind() != router.FRR {
			continue
		}
		dir := r.dir("etc", "frr")
		// Its daemons run as another user.
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make the folder of host %s: %w", r.Name, err)
		}
		if err := replaceFile(filepath.Join(dir, "vtysh.conf"), []byte("service integrated-vtysh-config\n")); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) writeNodeFiles(h *Host) error {
	cniBin, err := cniFolder()
	if err != nil {
		return err
	}
	n := render.Node{
		Name: h.Name, Dir: h.dir(), CNIBin: cniBin, Snapshotter: snapshotter, SandboxImage: PauseImage,
		ProxyMode: l.cfg.ProxyMode,
		Pods4:     h.Pods4, Pods6: h.Pods6,
		ClusterPods: []netip.Prefix{l.plan.Pods4, l.plan.Pods6}, DNS: []netip.Addr{l.plan.DNS4, l.plan.DNS6},
	}
	for name, render := range map[string]func(render.Node) ([]byte, error){
		"containerd.toml":     render.Containerd,
		"kubelet.yaml":        render.Kubelet,
		"kube-proxy.yaml":     render.KubeProxy,
		"cni/10-lab.conflist": render.CNI,
		"resolv.conf":         func(render.Node) ([]byte, error) { return nil, nil },
	} {
		content, err := render(n)
		if err != nil {
			return err
		}
		if err := replaceFile(h.dir(name), content); err != nil {
			return err
		}
	}
	return nil
}

func cniFolder() (string, error) {
	for _, dir := range cniFolders {
		if _, err := os.Stat(filepath.Join(dir, "ptp")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("the CNI plugin ptp is in none of %q: install containernetworking-plugins", cniFolders)
}
