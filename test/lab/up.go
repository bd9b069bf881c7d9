//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"fairlead.io/fairlead/test/lab/internal/hostns"
	"fairlead.io/fairlead/test/lab/internal/netns"
	"fairlead.io/fairlead/test/lab/internal/preflight"
	"fairlead.io/fairlead/test/lab/plan"
)

// programs are built by make into ROOT/bin/tools.
var programs = []string{"etcd", apiServerProgram, "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"}

// upTimeout is many times what a slow machine needs: past it something is wrong, and the error says what was waited for.
const upTimeout = 5 * time.Minute

// CheckMachine says everything that keeps this machine from running a lab: rights, packages, kernel features. Programs and images
// are not looked for, so that it can be asked before they are built.
func CheckMachine(ctx context.Context) error {
	return preflight.Check(ctx, preflight.Needs{ProxyMode: DefaultProxyMode, Routers: true})
}

// Up brings the lab up, or what is missing of it, and writes its progress. Where all runs it changes nothing. A lab that
// runs with another number of nodes or another proxy mode is an error.
func Up(ctx context.Context, cfg Config, progress io.Writer) (_ *Lab, err error) {
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg, err = cfg.withRepository(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	report := newReporter(progress)
	err = preflight.Check(ctx, preflight.Needs{
		Tools: filepath.Join(cfg.Root, "bin", "tools"), Programs: programs,
		Images: []string{filepath.Join(cfg.Root, "dist", "pause.tar")}, ProxyMode: cfg.ProxyMode,
		Routers: len(cfg.Routers) > 0,
	})
	if err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, cfg.Name, report)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, unlock()) }()

	l, err := prepare(ctx, cfg, report)
	if err != nil {
		return nil, err
	}
	if err := l.startHosts(); err != nil {
		return nil, err
	}
	report("hosts are up: %s", l.hostNames())
	// Routers and cluster do not wait for each other.
	g, started := errgroup.WithContext(ctx)
	g.Go(func() error { return l.startRouters(started, report) })
	g.Go(func() error { return l.startCluster(started, report) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if cfg.Install {
		if err := l.install(ctx, report); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// reporter writes a line of progress.
type reporter func(format string, args ...any)

// newReporter writes the time since now before each line. That somebody has closed the other end stops no lab.
func newReporter(w io.Writer) reporter {
	begin := time.Now()
	return func(format string, args ...any) {
		_, _ = fmt.Fprintf(w, "[%5.1fs] %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
	}
}

// prepare opens the lab that there is or begins a new one, and writes its files.
func prepare(ctx context.Context, cfg Config, report reporter) (*Lab, error) {
	l, err := Open(cfg)
	switch {
	case errors.Is(err, ErrNotUp):
		if l, err = begin(ctx, cfg, report); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case l.cfg.Nodes != cfg.Nodes || l.cfg.ProxyMode != cfg.ProxyMode:
		return nil, fmt.Errorf("lab %s is up with %d nodes and proxy mode %s, not %d and %s: run `bin/lab down` first",
			cfg.Name, l.cfg.Nodes, l.cfg.ProxyMode, cfg.Nodes, cfg.ProxyMode)
	default:
		routers, err := addRouters(l.routers, cfg.Routers, cfg.RouterSettings)
		if err != nil {
			return nil, err
		}
		if l, err = newLab(l.cfg, l.port, routers); err != nil {
			return nil, err
		}
		if err := l.writeState(); err != nil {
			return nil, err
		}
	}
	l.cfg.Kustomization = cfg.Kustomization
	if err := l.ensureSecrets(); err != nil {
		return nil, err
	}
	return l, l.writeFiles()
}

// begin starts a new lab from nothing: what a crash has left of an older one goes first.
func begin(ctx context.Context, cfg Config, report reporter) (*Lab, error) {
	left, err := leftovers(cfg)
	if err != nil {
		return nil, err
	}
	if len(left) > 0 {
		report("removing what is left of an earlier lab: %d things", len(left))
		if err := remove(ctx, cfg); err != nil {
			return nil, err
		}
	}
	if err := ensureStateDir(cfg.StateDir); err != nil {
		return nil, err
	}
	// Any free port: it is kept for the lab's life, so that kubeconfigs stay valid.
	listener, err := listenLoopback(0)
	if err != nil {
		return nil, err
	}
	port := netip.MustParseAddrPort(listener.Addr().String()).Port()
	if err := listener.Close(); err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	routers, err := addRouters(nil, cfg.Routers, cfg.RouterSettings)
	if err != nil {
		return nil, err
	}
	l, err := newLab(cfg, int(port), routers)
	if err != nil {
		return nil, err
	}
	return l, l.writeState()
}

// startHosts makes the networks and the hosts on them, as far as they are missing.
func (l *Lab) startHosts() error {
	switches := []string{l.lanNamespace()}
	if len(l.routers) > 0 {
		switches = append(switches, l.outsideNamespace())
	}
	for _, s := range switches {
		if err := netns.EnsureBridge(s); err != nil {
			return err
		}
	}
	running, err := hostns.Inits(l.cfg.Name)
	if err != nil {
		return err
	}
	var g errgroup.Group
	for _, h := range l.Hosts() {
		g.Go(func() error {
			if err := netns.EnsureLeg(h.network(), l.leg(h)); err != nil {
				return err
			}
			if h.Role == plan.Router {
				if err := netns.EnsureLeg(l.outsideNamespace(), l.outsideLeg(h)); err != nil {
					return err
				}
			}
			if _, ok := running[h.Name]; ok {
				return nil
			}
			_, err := hostns.Spawn(l.cfg.Executable, h.Namespace(), l.hostSpec(h.Name))
			return err
		})
	}
	return g.Wait()
}

// network is the namespace of the switch that the host's first leg is on: the LAN's, but for ext.
func (h *Host) network() string {
	if h.Role == plan.Outside {
		return h.lab.outsideNamespace()
	}
	return h.lab.lanNamespace()
}

// outsideLeg says how a router is on the network behind it.
func (l *Lab) outsideLeg(h *Host) netns.Leg {
	return netns.Leg{
		Namespace: h.Namespace(), Port: h.Name, Interface: plan.OutsideInterface, MAC: h.OutsideMAC,
		Addrs: []netip.Prefix{
			netip.PrefixFrom(h.Outside4, l.plan.Outside4.Bits()),
			netip.PrefixFrom(h.Outside6, l.plan.Outside6.Bits()),
		},
		Forward: true,
	}
}

// leg says how a host is on its first network. The client has no routes: it knows the LAN and nothing behind it. A router has none but those
// that BGP gives it.
func (l *Lab) leg(h *Host) netns.Leg {
	net4, net6 := l.plan.LAN4, l.plan.LAN6
	if h.Role == plan.Outside {
		net4, net6 = l.plan.Outside4, l.plan.Outside6
	}
	leg := netns.Leg{
		Namespace: h.Namespace(), Port: h.Name, Interface: plan.Interface, MAC: h.MAC,
		Addrs:   []netip.Prefix{netip.PrefixFrom(h.IPv4, net4.Bits()), netip.PrefixFrom(h.IPv6, net6.Bits())},
		Forward: h.Role == plan.Node || h.Role == plan.Router,
	}
	switch h.Role {
	case plan.Client, plan.Router:
		return leg
	case plan.Outside:
		tor := l.plan.WithRole(plan.Router)[0]
		leg.Routes = defaultRoutes(tor.Outside4, tor.Outside6)
		return leg
	default:
	}
	// A Service's address is rewritten only after a route was found for it: the default route is what lets a host use one.
	leg.Routes = defaultRoutes(l.plan.Gateway4, l.plan.Gateway6)
	for _, n := range l.plan.WithRole(plan.Node) {
		if n.Name != h.Name {
			leg.Routes = append(leg.Routes, netns.Route{To: n.Pods4, Via: n.IPv4}, netns.Route{To: n.Pods6, Via: n.IPv6})
		}
	}
	return leg
}

func defaultRoutes(via4, via6 netip.Addr) []netns.Route {
	return []netns.Route{
		{To: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: via4},
		{To: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Via: via6},
	}
}

// startCluster starts Kubernetes on the hosts, as much at a time as depends on nothing else.
func (l *Lab) startCluster(ctx context.Context, report reporter) error {
	client, err := l.api()
	if err != nil {
		return err
	}
	if err := l.ensureForwarder(ctx); err != nil {
		return err
	}
	answering := make(chan struct{})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := l.startControlPlane(ctx, client); err != nil {
			return err
		}
		report("the API server answers")
		close(answering)
		return l.startControllers(ctx, client)
	})
	for _, h := range l.Nodes() {
		g.Go(func() error {
			if err := l.startRuntime(ctx, h); err != nil {
				return err
			}
			select {
			case <-answering:
			case <-ctx.Done():
				return ctx.Err()
			}
			if err := l.startNode(ctx, h, client); err != nil {
				return err
			}
			report("%s is Ready", h.Name)
			return nil
		})
	}
	return g.Wait()
}

// ensureForwarder starts the forwarder unless something listens on its port, which then is the forwarder.
func (l *Lab) ensureForwarder(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp4", fmt.Sprintf("127.0.0.1:%d", l.port))
	if err == nil {
		return conn.Close()
	}
	listener, err := listenLoopback(l.port)
	if err != nil {
		return err
	}
	return l.startForwarder(listener)
}

// leftovers names all that there is of a lab.
func leftovers(cfg Config) ([]string, error) {
	names, err := namespaces(cfg.Name)
	if err != nil {
		return nil, err
	}
	inits, err := hostns.Inits(cfg.Name)
	if err != nil {
		return nil, err
	}
	for _, i := range inits {
		names = append(names, fmt.Sprintf("process %d of host %s", i.PID, i.Host))
	}
	if _, err := os.Stat(cfg.StateDir); err == nil {
		names = append(names, cfg.StateDir)
	}
	return names, nil
}
