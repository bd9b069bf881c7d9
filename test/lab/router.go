//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

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

// Kill ends the router's programs at once. They tell nobody, but the kernel closes their connections; a router that vanishes without that is
// one whose link is cut. The kernel goes on forwarding by their routes.
func (r *Router) Kill(ctx context.Context) error { return r.end(ctx, unix.SIGKILL) }

// Restart is Stop and Start.
func (r *Router) Restart(ctx context.Context) error {
	if err := r.Stop(ctx); err != nil {
		return err
	}
	return r.Start(ctx)
}
