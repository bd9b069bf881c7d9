//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/test/lab/internal/hostns"
	"fairlead.io/fairlead/test/lab/plan"
	"fairlead.io/fairlead/test/router"
)

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
			return r.Restart(ctx)
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

// end sends a signal to the router's programs and waits until they are gone. In good order they go one after another, those that were
// started first last, because they are needed by the others.
func (r *Router) end(ctx context.Context, sig unix.Signal) error {
	i, err := r.init()
	if err != nil {
		return err
	}
	names, err := r.daemons()
	if err != nil {
		return err
	}
	for _, name := range slices.Backward(names) {
		if _, err := i.Signal(name, sig); err != nil {
			return err
		}
		if sig != unix.SIGKILL {
			if err := r.gone(ctx, i, name); err != nil {
				return err
			}
		}
	}
	return r.gone(ctx, i, names...)
}

// gone waits until none of these programs runs.
func (r *Router) gone(ctx context.Context, i hostns.Init, names ...string) error {
	return await(ctx, fmt.Sprintf("%s on %s to end", strings.Join(names, ", "), r.Name), func(context.Context) error {
		for _, name := range names {
			pids, err := i.Daemons(name)
			if err != nil {
				return err
			}
			if len(pids) > 0 {
				return fmt.Errorf("%s still runs as %v", name, pids)
			}
		}
		return nil
	})
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
