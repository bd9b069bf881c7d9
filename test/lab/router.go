//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/test/lab/plan"
	"fairlead.io/fairlead/test/router"
)

// Router is a host that is a router: on the LAN and on the network behind it, where ext is.
type Router struct {
	*Host
	index int // in the lab's routers
}

// routerState is what is kept of a router.
type routerState struct {
	Kind     router.Kind     `json:"kind"`
	Settings router.Settings `json:"settings"`
}

// Router finds a router by name: tor, tor2 and so on.
func (l *Lab) Router(name string) (*Router, error) {
	for _, r := range l.Routers() {
		if r.Name == name {
			return r, nil
		}
	}
	return nil, fmt.Errorf("lab %s has no router %q: `bin/lab up --routers frr,bird,gobgp` adds routers", l.cfg.Name, name)
}

// Routers lists the routers in the order of their names.
func (l *Lab) Routers() []*Router {
	var routers []*Router
	for i, h := range l.plan.WithRole(plan.Router) {
		routers = append(routers, &Router{Host: &Host{Host: h, lab: l}, index: i})
	}
	return routers
}

// Kind is what runs on the router.
func (r *Router) Kind() router.Kind { return r.lab.routers[r.index].Kind }

// Sessions are the router's BGP sessions.
func (r *Router) Sessions(ctx context.Context) ([]router.Session, error) {
	return ask(ctx, r, router.Router.Sessions)
}

// Routes are all that the router has been told by its peers, the best path of each prefix first.
func (r *Router) Routes(ctx context.Context) (map[netip.Prefix][]router.Path, error) {
	return ask(ctx, r, router.Router.Routes)
}

// Raw gives the router's own command line tool (vtysh, birdc, gobgp) a command.
func (r *Router) Raw(ctx context.Context, command ...string) (string, error) {
	return ask(ctx, r, func(programs router.Router, ctx context.Context) (string, error) {
		return programs.Raw(ctx, command...)
	})
}

// Configure adds to what the router does until it is started again or Apply is called, in the router's own words: see
// router.Router.
func (r *Router) Configure(ctx context.Context, lines ...string) error {
	_, err := ask(ctx, r, func(programs router.Router, ctx context.Context) (struct{}, error) {
		return struct{}{}, programs.Configure(ctx, lines...)
	})
	return err
}

func ask[T any](ctx context.Context, r *Router, question func(router.Router, context.Context) (T, error)) (T, error) {
	programs, err := r.programs()
	if err != nil {
		var none T
		return none, err
	}
	answer, err := question(programs, ctx)
	if err != nil {
		err = fmt.Errorf("router %s (%s): %w", r.Name, r.Kind(), err)
	}
	return answer, err
}

// Apply gives the router other settings, which it keeps when it is started again. Sessions that need not end live on, except that gobgpd
// takes any settings, and FRR other neighbours, by being restarted.
func (r *Router) Apply(ctx context.Context, s router.Settings) error {
	if err := s.Check(r.Kind()); err != nil {
		return fmt.Errorf("router %s: %w", r.Name, err)
	}
	if err := r.keep(ctx, s); err != nil {
		return fmt.Errorf("keep the settings of router %s: %w", r.Name, err)
	}
	return r.Start(ctx)
}

// keep writes settings down where another process will find them, and leaves alone what another one has written.
func (r *Router) keep(ctx context.Context, s router.Settings) (err error) {
	unlock, err := lock(ctx, r.lab.cfg.Name, func(string, ...any) {})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	kept, err := Open(Config{Name: r.lab.cfg.Name, StateDir: r.lab.cfg.StateDir})
	if err != nil {
		return err
	}
	kept.routers[r.index].Settings = s
	r.lab.routers[r.index].Settings = s
	return kept.writeState()
}

// Start starts what of the router's programs does not run, with the settings of the last Apply, and returns when they answer.
func (r *Router) Start(ctx context.Context) error {
	if err := r.start(ctx); err != nil {
		return fmt.Errorf("start router %s (%s): %w", r.Name, r.Kind(), err)
	}
	return nil
}

// Stop ends the router's programs in good order: they tell their peers and take their routes out of the kernel, where they do that.
func (r *Router) Stop(ctx context.Context) error { return r.end(ctx, unix.SIGTERM) }

// Kill ends the router's programs without a word to anybody. The kernel goes on forwarding by their routes.
func (r *Router) Kill(ctx context.Context) error { return r.end(ctx, unix.SIGKILL) }

// Restart is Stop and Start.
func (r *Router) Restart(ctx context.Context) error {
	return errors.Join(r.Stop(ctx), r.Start(ctx))
}

// Carry makes this router the one that traffic between ext and the nodes goes through, both ways, until another one is or `up`
// gives that back to tor: it is the default route of ext, of the control plane's host and of the nodes.
func (r *Router) Carry(ctx context.Context) error {
	for _, h := range r.lab.Hosts() {
		v4, v6 := r.IPv4, r.IPv6
		switch h.Role {
		case plan.Outside:
			v4, v6 = r.Outside4, r.Outside6
		case plan.Client, plan.Router:
			continue
		default:
		}
		for _, to := range []netip.Addr{v4, v6} {
			if _, err := h.Exec(ctx, "ip", family(to), "route", "replace", "default", "via", to.String()); err != nil {
				return fmt.Errorf("send what %s sends through %s: %w", h.Name, r.Name, err)
			}
		}
	}
	return nil
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "-4"
	}
	return "-6"
}

// NextHop is where the kernel sends packets to.
type NextHop struct {
	Addr netip.Addr
	// Host is the host of the lab that has the address, link-local ones too.
	Host string
}

// Forwarding is what the kernel does for the routes of the router's programs: prefixes and their next hops, in ascending order. There are
// none of gobgpd's.
func (r *Router) Forwarding() (map[netip.Prefix][]NextHop, error) {
	table := map[netip.Prefix][]NextHop{}
	var routes []netlink.Route
	err := r.Do(func() (err error) {
		routes, err = netlink.RouteList(nil, netlink.FAMILY_ALL)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list the routes of %s: %w", r.Name, err)
	}
	owners := r.lab.owners()
	for _, route := range routes {
		if route.Dst == nil || !slices.Contains([]netlink.RouteProtocol{unix.RTPROT_ZEBRA, unix.RTPROT_BIRD, unix.RTPROT_BGP}, route.Protocol) {
			continue
		}
		addr, ok := netip.AddrFromSlice(route.Dst.IP)
		if !ok {
			return nil, fmt.Errorf("list the routes of %s: one goes to %s", r.Name, route.Dst)
		}
		bits, _ := route.Dst.Mask.Size()
		prefix := netip.PrefixFrom(addr, bits)
		for _, hop := range append(route.MultiPath, &netlink.NexthopInfo{Gw: route.Gw, Via: route.Via}) {
			// An IPv6 next hop of an IPv4 route.
			if via, ok := hop.Via.(*netlink.Via); ok {
				hop.Gw = via.Addr
			}
			if gw, ok := netip.AddrFromSlice(hop.Gw); ok {
				table[prefix] = append(table[prefix], NextHop{gw.Unmap(), owners[gw.Unmap()]})
			}
		}
		slices.SortFunc(table[prefix], func(a, b NextHop) int { return a.Addr.Compare(b.Addr) })
	}
	return table, nil
}

// owners says which host has an address on the LAN.
func (l *Lab) owners() map[netip.Addr]string {
	owners := map[netip.Addr]string{}
	for _, h := range l.plan.Hosts {
		owners[h.IPv4], owners[h.IPv6], owners[linkLocal(h.MAC)] = h.Name, h.Name, h.Name
	}
	return owners
}

// linkLocal is the address that the kernel makes of a hardware address (RFC 4291, appendix A).
func linkLocal(mac net.HardwareAddr) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: mac[0] ^ 2, 9: mac[1], 10: mac[2], 11: 0xff, 12: 0xfe, 13: mac[3], 14: mac[4], 15: mac[5]})
}

// etcFRR is where FRR has its configuration; a host's own folder is mounted there.
const etcFRR = "/etc/frr"

// configPath is the configuration file as this process sees it, and as the host does.
func (r *Router) configPath() (here, onHost string) {
	name := r.Kind().FileName()
	if r.Kind() == router.FRR {
		return r.dir("etc", "frr", name), filepath.Join(etcFRR, name)
	}
	return r.dir(name), r.dir(name)
}

// programs are the router's, asked on the host: their sockets are where the tools look for them by default.
func (r *Router) programs() (router.Router, error) {
	here, onHost := r.configPath()
	return router.New(r.Kind(), router.Place{
		Config: onHost,
		Read:   func() ([]byte, error) { return os.ReadFile(here) },
		Write:  func(content []byte) error { return replaceFile(here, content) },
		Run: func(ctx context.Context, name string, args ...string) (string, string, error) {
			result, err := r.exec(ctx, nil, slices.Concat([]string{name}, args))
			if err != nil {
				err = fmt.Errorf("run %s on %s: %w", name, r.Name, err)
			}
			return result.Stdout, result.Stderr, err
		},
	})
}

// config renders the configuration file.
func (r *Router) config() ([]byte, error) {
	return router.Render(r.Kind(), routerConfig(r.lab.plan, r.Host.Host, r.lab.routers[r.index].Settings))
}

func routerConfig(p plan.Plan, h plan.Host, s router.Settings) router.Config {
	c := router.Config{
		Hostname: h.Name, ASN: plan.RouterASN, NodeASN: plan.NodeASN, RouterID: h.IPv4,
		Networks: []netip.Prefix{p.LAN4, p.LAN6}, Settings: s,
	}
	for _, n := range p.WithRole(plan.Node) {
		c.Nodes = append(c.Nodes, n.IPv4, n.IPv6)
	}
	return c
}

func (r *Router) start(ctx context.Context) error {
	programs, err := r.programs()
	if err != nil {
		return err
	}
	config, err := r.config()
	if err != nil {
		return err
	}
	i, err := r.init()
	if err != nil {
		return err
	}
	_, missing, err := r.running(i)
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		err := programs.Replace(ctx, config)
		if errors.Is(err, router.ErrRestart) {
			if err := r.Stop(ctx); err != nil {
				return err
			}
			return r.start(ctx)
		}
		return err
	}
	if err := r.prepare(config); err != nil {
		return err
	}
	for _, p := range programs.Programs() {
		path, err := exec.LookPath(p.Path)
		if err != nil {
			return err
		}
		d, err := r.ensureDaemon(path, p.Args...)
		if err != nil {
			return err
		}
		if err := await(ctx, p.Name+" on "+r.Name, p.Ready, d); err != nil {
			return err
		}
	}
	return programs.Start(ctx)
}

// daemons are the names of the router's programs.
func (r *Router) daemons() ([]string, error) {
	programs, err := r.programs()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range programs.Programs() {
		names = append(names, p.Name)
	}
	return names, nil
}

// prepare writes the configuration and makes the folders that a distribution's start script would make.
func (r *Router) prepare(config []byte) error {
	here, _ := r.configPath()
	if err := replaceFile(here, config); err != nil {
		return err
	}
	i, err := r.init()
	if err != nil {
		return err
	}
	switch r.Kind() {
	case router.FRR:
		frr, err := user.Lookup("frr")
		if err != nil {
			return err
		}
		uid, err := strconv.Atoi(frr.Uid)
		if err != nil {
			return err
		}
		gid, err := strconv.Atoi(frr.Gid)
		if err != nil {
			return err
		}
		dir := i.Path("/run/frr")
		return errors.Join(os.MkdirAll(dir, 0o755), os.Chown(dir, uid, gid))
	case router.BIRD:
		return os.MkdirAll(i.Path("/run/bird"), 0o755)
	default:
		return nil
	}
}

// end sends a signal to the router's programs, those that were started last first, and waits until they are gone.
func (r *Router) end(ctx context.Context, sig unix.Signal) error {
	programs, err := r.programs()
	if err != nil {
		return err
	}
	i, err := r.init()
	if err != nil {
		return err
	}
	for _, p := range slices.Backward(programs.Programs()) {
		if _, err := i.Signal(p.Name, sig); err != nil {
			return err
		}
		err := await(ctx, p.Name+" on "+r.Name+" to end", func(context.Context) error {
			pids, err := i.Daemons(p.Name)
			if err == nil && len(pids) > 0 {
				err = fmt.Errorf("it still runs as %v", pids)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// startRouters starts all routers.
func (l *Lab) startRouters(ctx context.Context, report reporter) error {
	var g errgroup.Group
	for _, r := range l.Routers() {
		g.Go(func() error {
			if err := r.Start(ctx); err != nil {
				return err
			}
			report("router %s runs %s", r.Name, r.Kind())
			return nil
		})
	}
	return g.Wait()
}

// addRouters makes the lab's routers those that there are and those that are asked for, and changes their settings if other ones are
// given.
func addRouters(routers []routerState, kinds []router.Kind, settings *router.Settings) ([]routerState, error) {
	routers = slices.Clone(routers)
	for _, k := range kinds {
		if _, err := router.ParseKind(string(k)); err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(routers, func(r routerState) bool { return r.Kind == k }) {
			routers = append(routers, routerState{Kind: k})
		}
	}
	if settings == nil {
		return routers, nil
	}
	if len(routers) == 0 {
		return nil, errors.New("settings for routers, and no router: name some by --routers")
	}
	for i := range routers {
		s := *settings
		if routers[i].Kind == router.GoBGP {
			s.BFD = nil // it has none, and the others are not to go without for that
		}
		if err := s.Check(routers[i].Kind); err != nil {
			return nil, err
		}
		routers[i].Settings = s
	}
	return routers, nil
}

// state is what status shows of a router that runs. How many sessions there are is for the cluster to say, and is no fault of the lab.
func (r *Router) state(ctx context.Context) (string, error) {
	sessions, err := r.Sessions(ctx)
	if err != nil {
		return "", err
	}
	established := 0
	for _, s := range sessions {
		if s.Established() {
			established++
		}
	}
	return fmt.Sprintf("up, %d of %d BGP sessions established", established, len(sessions)), nil
}
