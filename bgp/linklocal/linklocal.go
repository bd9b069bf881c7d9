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
	"slices"
	"strconv"
	"sync"
	"syscall"
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
	// forgotten is how long a router must not have been heard for another one to take its place. Before that it is asked if it is there:
	// who advertises itself every 600 s answers in half a second (RFC 4861, 6.2.6).
	forgotten = 60 * time.Second
	doubted   = forgotten / 2
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
	return netip.Addr{}, ErrNotHeard
}

// ErrNotHeard is for an interface that can be listened to, and on which no router has made itself known.
var ErrNotHeard = errors.New("no router advertisement was heard there; check that the router sends them on its end (FRR does where the interface is a neighbour)")

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

// hear notes that a router is there. Whoever is on the link can be many routers: the current one is not forgotten for them.
func (f *Finder) hear(router netip.Addr) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	if _, known := f.heard[router]; !known && len(f.heard) >= maxRouters {
		var oldest netip.Addr
		for r, at := range f.heard {
			if r != f.current && (!oldest.IsValid() || at.Before(f.heard[oldest])) {
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

// fail notes why nothing can be heard; nil: it can. With the interface, who was heard on it is gone.
func (f *Finder) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	news := (err == nil) != (f.problem == nil) || err != nil && err.Error() != f.problem.Error()
	if f.problem = err; err != nil && f.current.IsValid() {
		f.current, news = netip.Addr{}, true
		clear(f.heard)
	}
	if news {
		f.tell()
	}
}

// doubtful reports whether the router is to be asked if it is there.
func (f *Finder) doubtful() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !f.current.IsValid() || time.Since(f.heard[f.current]) >= doubted
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

// find gives the interface as it is now. It has its number for a name, by which Go finds one at once that was made anew.
func (f *Finder) find() (*net.Interface, error) {
	ifi, err := net.InterfaceByName(f.ifname)
	if err != nil {
		return nil, fmt.Errorf("this node has no interface %s", f.ifname)
	}
	ifi.Name = strconv.Itoa(ifi.Index)
	return ifi, nil
}

// bound reports whether a socket on the interface as it was, with that address, still hears what comes on it.
func (f *Finder) bound(was *net.Interface, own netip.Addr) error {
	ifi, err := f.find()
	if err != nil {
		return err
	}
	addrs, err := ifi.Addrs()
	if err != nil {
		return fmt.Errorf("read the addresses of interface %s: %w", f.ifname, err)
	}
	has := slices.ContainsFunc(addrs, func(a net.Addr) bool {
		p, err := netip.ParsePrefix(a.String())
		return err == nil && p.Addr() == own.WithZone("")
	})
	if ifi.Index != was.Index || !has {
		return fmt.Errorf("interface %s was made anew, or has another link-local address", f.ifname)
	}
	return nil
}

func (f *Finder) listen(ctx context.Context) error {
	ifi, err := f.find()
	if err != nil {
		return err
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
	go func() {
		defer close(failed)
		failed <- f.read(conn, own, asked)
	}()
	err = errors.Join(f.advertise(ctx, conn, ifi, own, asked, failed), conn.Close())
	for range failed { // until nothing is heard any more of what is forgotten now
	}
	return err
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

// advertise sends what makes this host known and routers answer, until the context ends or the socket is of no use any more.
func (f *Finder) advertise(ctx context.Context, conn *ndp.Conn, ifi *net.Interface, own netip.Addr, asked <-chan struct{}, failed <-chan error) error {
	var options []ndp.Option
	if len(ifi.HardwareAddr) > 0 {
		options = []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: ifi.HardwareAddr}}
	}
	here := &ndp.RouterAdvertisement{Options: options} // a lifetime of 0: no default router
	who := &ndp.RouterSolicitation{Options: options}
	// Most errors, as on a link that is down, pass with the link. Those that say that the interface or the address is not there any more do not.
	var lost error
	send := func(m ndp.Message, to netip.Addr) {
		err := conn.WriteTo(m, nil, to)
		if err == nil {
			return
		}
		f.log.V(1).Info("Could not send on the interface", "to", to, "error", err.Error())
		if errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EINVAL) {
			lost = fmt.Errorf("send on interface %s: %w", f.ifname, err)
		}
	}
	var advertised time.Time
	tick := time.NewTimer(0)
	defer tick.Stop()
	for lost == nil {
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
		if err := f.bound(ifi, own); err != nil {
			return err
		}
		advertised = time.Now()
		send(here, allNodes)
		if f.doubtful() {
			send(who, allRouters)
		}
		if _, err := f.Router(); err != nil {
			tick.Reset(solicitEvery)
			continue
		}
		f.mu.Lock()
		f.choose(time.Now())
		f.mu.Unlock()
		tick.Reset(advertiseEvery)
	}
	return lost
}
