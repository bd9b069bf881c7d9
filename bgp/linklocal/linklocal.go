// Package linklocal finds the router at the other end of an interface by its link-local address, as unnumbered BGP sessions need
// it, and lets the router find this host: both are by router advertisements (RFC 4861, 4.2), which FRR, for one, sends and needs on
// such interfaces. Those that are sent from here make this host nobody's default router.
package linklocal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/mdlayher/ndp"
	"golang.org/x/net/ipv6"
)

const (
	// advertiseEvery is how often this host makes itself known, and asks for routers (FRR's interval on such interfaces).
	advertiseEvery = 10 * time.Second
	// solicitEvery is how often routers are asked for while none is known (RFC 4861, 10).
	solicitEvery = 4 * time.Second
	// soonest is the least time between two answers to who asks for routers (RFC 4861, 10).
	soonest = 3 * time.Second
	// forgotten is how long a router must not have been heard for another one to take its place.
	forgotten = 60 * time.Second
	// retry is the wait after the interface could not be listened to.
	retry = time.Second
	// maxRouters that are kept in mind.
	maxRouters = 16
)

// Finder looks for the router on one interface.
type Finder struct {
	ifname string
	log    logr.Logger
	cancel context.CancelFunc
	done   chan struct{}
	ask    chan struct{} // for routers, at once

	mu      sync.Mutex // guards what follows
	heard   map[netip.Addr]time.Time
	current netip.Addr
	problem error         // why nothing is heard; nil: there is none
	changed chan struct{} // closed at the next change
}

// New begins to look. Close must be called.
func New(ifname string, log logr.Logger) *Finder {
	ctx, cancel := context.WithCancel(context.Background())
	f := &Finder{
		ifname: ifname, log: log.WithValues("interface", ifname), cancel: cancel, done: make(chan struct{}), ask: make(chan struct{}, 1),
		heard: map[netip.Addr]time.Time{}, changed: make(chan struct{}),
	}
	go func() {
		defer close(f.done)
		f.run(ctx)
	}()
	return f
}

// Close ends the search.
func (f *Finder) Close() {
	f.cancel()
	<-f.done
}

// Router is the link-local address of the router, with the interface as zone. The error says why there is none.
func (f *Finder) Router() (netip.Addr, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.current.IsValid():
		return f.current, nil
	case f.problem != nil:
		return netip.Addr{}, f.problem
	}
	return netip.Addr{}, errors.New("no router advertisement was heard there; check that the router sends them on its end (FRR does where the interface is a neighbour)")
}

// Changed is closed when the router changes, or what keeps it from being found.
func (f *Finder) Changed() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed
}

// Blame notes that a router did not answer: another one that is heard takes its place.
func (f *Finder) Blame(router netip.Addr) {
	f.mu.Lock()
	if _, ok := f.heard[router]; ok {
		f.heard[router] = time.Time{}
		f.choose(time.Now())
	}
	f.mu.Unlock()
	select {
	case f.ask <- struct{}{}:
	default:
	}
}

// hear notes that a router is there.
func (f *Finder) hear(router netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if _, known := f.heard[router]; !known && len(f.heard) >= maxRouters {
		oldest := router
		for r, at := range f.heard {
			if oldest == router || at.Before(f.heard[oldest]) {
				oldest = r
			}
		}
		delete(f.heard, oldest)
	}
	f.heard[router] = now
	f.choose(now)
}

// choose keeps to the router that there is while it is heard, or no other is. The caller holds the lock.
func (f *Finder) choose(now time.Time) {
	at, ok := f.heard[f.current]
	if ok && now.Sub(at) < forgotten {
		return
	}
	best := f.current
	for r, heard := range f.heard {
		if !best.IsValid() || heard.After(f.heard[best]) {
			best = r
		}
	}
	if best != f.current {
		f.log.V(1).Info("Found the router on the interface", "router", best, "before", f.current)
		f.current = best
		f.tell()
	}
}

// tell wakes up who waits for a change. The caller holds the lock.
func (f *Finder) tell() {
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *Finder) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if (err == nil) != (f.problem == nil) || err != nil && err.Error() != f.problem.Error() {
		f.problem = err
		f.tell()
	}
}

// run listens on the interface, again when it has gone and come back.
func (f *Finder) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := f.listen(ctx); err != nil && ctx.Err() == nil {
			f.fail(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
	}
}

var (
	allNodes   = netip.MustParseAddr("ff02::1")
	allRouters = netip.MustParseAddr("ff02::2")
)

func (f *Finder) listen(ctx context.Context) error {
	ifi, err := net.InterfaceByName(f.ifname)
	if err != nil {
		return fmt.Errorf("this node has no interface %s", f.ifname)
	}
	conn, own, err := ndp.Listen(ifi, ndp.LinkLocal)
	if err != nil {
		return fmt.Errorf("listen for routers on %s, which needs a link-local address: %w", f.ifname, err)
	}
	defer conn.Close()
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeRouterAdvertisement)
	filter.Accept(ipv6.ICMPTypeRouterSolicitation)
	err = errors.Join(conn.SetICMPFilter(&filter), conn.SetControlMessage(ipv6.FlagHopLimit, true), conn.JoinGroup(allNodes), conn.JoinGroup(allRouters))
	if err != nil {
		return fmt.Errorf("listen for routers on %s: %w", f.ifname, err)
	}
	f.fail(nil)

	asked := make(chan struct{}, 1)
	failed := make(chan error, 1)
	go func() { failed <- f.read(conn, own, asked) }()
	err = f.advertise(ctx, conn, ifi, asked, failed)
	return errors.Join(err, conn.Close())
}

// read takes in what is heard until the socket is closed.
func (f *Finder) read(conn *ndp.Conn, own netip.Addr, asked chan<- struct{}) error {
	for {
		m, control, from, err := conn.ReadFrom()
		if err != nil {
			return err
		}
		// What was not sent on this link by a neighbour is forged (RFC 4861, 6.1).
		if control == nil || control.HopLimit != ndp.HopLimit {
			continue
		}
		switch m.(type) {
		case *ndp.RouterAdvertisement:
			if from.IsLinkLocalUnicast() && from.WithZone("") != own.WithZone("") {
				f.hear(from.WithZone(f.ifname))
			}
		case *ndp.RouterSolicitation:
			select {
			case asked <- struct{}{}:
			default:
			}
		}
	}
}

// advertise sends what makes this host known and routers answer, until the context ends or a socket fails.
func (f *Finder) advertise(ctx context.Context, conn *ndp.Conn, ifi *net.Interface, asked <-chan struct{}, failed <-chan error) error {
	var options []ndp.Option
	if len(ifi.HardwareAddr) > 0 {
		options = []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: ifi.HardwareAddr}}
	}
	here := &ndp.RouterAdvertisement{Options: options} // a lifetime of 0: no default router
	who := &ndp.RouterSolicitation{Options: options}
	// An error, as on a link that is down, passes with the link; what a socket cannot get over, its reader finds.
	send := func(m ndp.Message, to netip.Addr) {
		if err := conn.WriteTo(m, nil, to); err != nil {
			f.log.V(1).Info("Could not send on the interface", "to", to, "error", err.Error())
		}
	}
	var advertised time.Time
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return fmt.Errorf("listen for routers on %s: %w", f.ifname, err)
		case <-asked:
			if time.Since(advertised) >= soonest {
				advertised = time.Now()
				send(here, allNodes)
			}
			continue
		case <-f.ask:
			send(who, allRouters)
			continue
		case <-tick.C:
		}
		advertised = time.Now()
		send(here, allNodes)
		if _, err := f.Router(); err != nil {
			send(who, allRouters)
			tick.Reset(solicitEvery)
			continue
		}
		f.mu.Lock()
		f.choose(time.Now())
		f.mu.Unlock()
		tick.Reset(advertiseEvery)
	}
}
