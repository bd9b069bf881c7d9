//go:build linux

package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"k8s.io/client-go/rest"

	"fairlead.io/fairlead/test/lab/internal/hostns"
	"fairlead.io/fairlead/test/lab/internal/netns"
	"fairlead.io/fairlead/test/lab/plan"
	"fairlead.io/fairlead/test/router"
)

// Defaults of a Config.
const (
	DefaultName      = "fairlead"
	DefaultNodes     = 3
	DefaultProxyMode = "nftables"
)

// Images of the lab, as a pod names them.
const (
	PauseImage = "docker.io/fairlead-lab/pause:dev"
	WebImage   = "docker.io/fairlead-lab/web:dev"
)

// Config says which lab is meant and how it is made.
type Config struct {
	// Name tells labs apart: it is in the names of namespaces and control groups. Two labs with different names run
	// side by side. Default: fairlead.
	Name string
	// StateDir holds everything that the lab writes. Default: /var/lib/NAME-lab.
	StateDir string
	// Root is the repository: bin/tools, dist and config/default are looked up there.
	Root string
	// Executable is the lab's own program, which also serves as the hosts' init. Default: ROOT/bin/lab.
	Executable string
	// Nodes, 1 to plan.MaxNodes. Default: 3.
	Nodes int
	// ProxyMode of kube-proxy: nftables or iptables. Default: nftables.
	ProxyMode string
	// Routers that the lab is to have, each kind once: the first is tor, the default route of nodes and ext, the next tor2, and so on. Those that a
	// lab has already keep their places, and stay when they are not named. Default: none.
	Routers []router.Kind
	// RouterSettings of all routers, except that GoBGP goes without BFD; nil: those that they have.
	RouterSettings *router.Settings
	// Install says whether Up installs Fairlead, from Kustomization (default: ROOT/config/default).
	Install       bool
	Kustomization string
}

var validName = regexp.MustCompile(`^[a-z][a-z0-9]{0,19}$`)

// withDefaults fills in what is not set and refuses what cannot be.
func (c Config) withDefaults() (Config, error) {
	setDefault(&c.Name, DefaultName)
	if !validName.MatchString(c.Name) {
		return c, fmt.Errorf("lab name %q: want at most 20 lower-case letters and digits, a letter first", c.Name)
	}
	setDefault(&c.StateDir, "/var/lib/"+c.Name+"-lab")
	setDefault(&c.ProxyMode, DefaultProxyMode)
	if c.Nodes == 0 {
		c.Nodes = DefaultNodes
	}
	if c.ProxyMode != "nftables" && c.ProxyMode != "iptables" {
		return c, fmt.Errorf("proxy mode %q: want nftables or iptables", c.ProxyMode)
	}
	// Each host has a /run and a /var/log of its own, where the machine's is out of sight.
	for _, hidden := range []string{"/run", "/var/run", "/var/log", "/proc", "/sys"} {
		if rel, err := filepath.Rel(hidden, c.StateDir); err == nil && filepath.IsLocal(rel) {
			return c, fmt.Errorf("state folder %s: a lab cannot live below %s, choose another", c.StateDir, hidden)
		}
	}
	if !filepath.IsAbs(c.StateDir) || filepath.Clean(c.StateDir) == "/" {
		return c, fmt.Errorf("state folder %s: want an absolute path of a folder for the lab alone", c.StateDir)
	}
	return c, nil
}

// withRepository fills in what bringing a lab up takes from the repository.
func (c Config) withRepository() (Config, error) {
	if c.Root == "" {
		return c, errors.New("the repository's folder is not given, and a lab comes out of it")
	}
	root, err := filepath.Abs(c.Root)
	if err != nil {
		return c, fmt.Errorf("find the repository %s: %w", c.Root, err)
	}
	c.Root = root
	setDefault(&c.Executable, filepath.Join(root, "bin", "lab"))
	setDefault(&c.Kustomization, filepath.Join(root, "config", "default"))
	return c, nil
}

func setDefault(s *string, value string) {
	if *s == "" {
		*s = value
	}
}

// Lab is a lab that was brought up.
type Lab struct {
	cfg     Config
	plan    plan.Plan
	port    int
	routers []routerState
}

// state is what later commands need to know; it is in StateDir.
type state struct {
	Nodes     int           `json:"nodes"`
	ProxyMode string        `json:"proxyMode"`
	Port      int           `json:"port"`
	Root      string        `json:"root"`
	Routers   []routerState `json:"routers,omitempty"`
}

const (
	stateFile  = "lab.json"
	markerFile = ".fairlead-lab" // first file in StateDir: the folder is a lab's and may be removed
)

// ErrNotUp says that there is no lab of that name.
var ErrNotUp = errors.New("the lab is not up")

// Open finds the lab that Up made. Only Name, StateDir and Root of the Config count; without Root it is the one that Up had.
func Open(cfg Config) (*Lab, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(filepath.Join(cfg.StateDir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: nothing in %s: run `bin/lab up`", ErrNotUp, cfg.StateDir)
	}
	if err != nil {
		return nil, fmt.Errorf("open lab %s: %w", cfg.Name, err)
	}
	var s state
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("open lab %s: read %s: %w: run `bin/lab down`", cfg.Name, stateFile, err)
	}
	cfg.Nodes, cfg.ProxyMode = s.Nodes, s.ProxyMode
	setDefault(&cfg.Root, s.Root)
	return newLab(cfg, s.Port, s.Routers)
}

func newLab(cfg Config, port int, routers []routerState) (*Lab, error) {
	p, err := plan.New(cfg.Nodes, len(routers))
	if err != nil {
		return nil, err
	}
	return &Lab{cfg: cfg, plan: p, port: port, routers: routers}, nil
}

// Name is the lab's name.
func (l *Lab) Name() string { return l.cfg.Name }

// Plan holds the lab's addresses.
func (l *Lab) Plan() plan.Plan { return l.plan }

// ProxyMode is kube-proxy's mode on all nodes.
func (l *Lab) ProxyMode() string { return l.cfg.ProxyMode }

// Kubeconfig is the path of the administrator's kubeconfig. It works in every shell of the machine.
func (l *Lab) Kubeconfig() string { return filepath.Join(l.cfg.StateDir, "kubeconfig") }

// LANKubeconfig is the same for programs that run on one of the hosts.
func (l *Lab) LANKubeconfig() string { return filepath.Join(l.cfg.StateDir, "kubeconfig-lan") }

// RESTConfig is the administrator's access for a client in this process.
func (l *Lab) RESTConfig() (*rest.Config, error) {
	tokens, err := l.readTokens()
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(l.secret("ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("read the certificate authority of lab %s: %w", l.cfg.Name, err)
	}
	return &rest.Config{
		Host:            fmt.Sprintf("https://127.0.0.1:%d", l.port),
		BearerToken:     tokens[adminUser],
		TLSClientConfig: rest.TLSClientConfig{CAData: ca},
	}, nil
}

// Host finds a host by name: cp, client, node1 and so on, and with routers tor, tor2 and so on and ext.
func (l *Lab) Host(name string) (*Host, error) {
	h, ok := l.plan.Host(name)
	if !ok {
		return nil, fmt.Errorf("lab %s has no host %q: it has %s", l.cfg.Name, name, l.hostNames())
	}
	return &Host{Host: h, lab: l}, nil
}

// Hosts lists all hosts.
func (l *Lab) Hosts() []*Host {
	hosts := make([]*Host, len(l.plan.Hosts))
	for i, h := range l.plan.Hosts {
		hosts[i] = &Host{Host: h, lab: l}
	}
	return hosts
}

// Nodes lists the cluster's nodes.
func (l *Lab) Nodes() []*Host {
	return slices.DeleteFunc(l.Hosts(), func(h *Host) bool { return h.Role != plan.Node })
}

func (l *Lab) hostNames() string {
	text := ""
	for i, h := range l.plan.Hosts {
		if i > 0 {
			text += ", "
		}
		text += h.Name
	}
	return text
}

// controlPlane is the host of the API server.
func (l *Lab) controlPlane() *Host {
	return &Host{Host: l.plan.WithRole(plan.ControlPlane)[0], lab: l}
}

func (l *Lab) tool(name string) string   { return filepath.Join(l.cfg.Root, "bin", "tools", name) }
func (l *Lab) secret(name string) string { return filepath.Join(l.cfg.StateDir, "secrets", name) }
func (l *Lab) dist(name string) string   { return filepath.Join(l.cfg.Root, "dist", name) }

// namespacePrefix starts the names of the lab's network namespaces. The dash, which no lab's name has, keeps lab "a" from
// lab "ab".
func namespacePrefix(name string) string { return name + "-" }

// places are all that a lab of any size calls its namespaces after the prefix. Others may use the same prefix.
var places = regexp.MustCompile(`^(lan|outside|cp|client|node[0-9]+|tor[0-9]*|ext)$`)

// namespaces lists the lab's network namespaces that there are.
func namespaces(name string) ([]string, error) {
	prefix := namespacePrefix(name)
	names, err := netns.List(prefix)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(names, func(s string) bool { return !places.MatchString(strings.TrimPrefix(s, prefix)) }), nil
}

func (l *Lab) lanNamespace() string     { return namespacePrefix(l.cfg.Name) + "lan" }
func (l *Lab) outsideNamespace() string { return namespacePrefix(l.cfg.Name) + "outside" }

// cgroupOf is the lab's control group, in every hierarchy.
func cgroupOf(name string) string { return name + "-lab" }

func (l *Lab) hostSpec(name string) hostns.Spec {
	return hostns.Spec{
		Lab: l.cfg.Name, Host: name,
		Dir:    filepath.Join(l.cfg.StateDir, "hosts", name),
		Cgroup: cgroupOf(l.cfg.Name) + "/" + name,
	}
}

// Kubectl is the path of the lab's kubectl and what to add to its environment: where the cluster is, and a folder of the
// lab for what it caches.
func (l *Lab) Kubectl() (path string, env []string) {
	return l.tool("kubectl"), []string{"KUBECONFIG=" + l.Kubeconfig(), "KUBECACHEDIR=" + filepath.Join(l.cfg.StateDir, "kubectl-cache"), "KUBERC=off"}
}
