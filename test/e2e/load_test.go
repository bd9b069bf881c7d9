package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"fairlead.io/fairlead/test/e2e/observe"
	"fairlead.io/fairlead/test/lab"
)

// loadInterval is the time between two connections of a load.
const loadInterval = 10 * time.Millisecond

// load opens connections from a client to an address, and notes how each went.
type load struct {
	cancel    context.CancelFunc
	stopped   chan struct{}
	neighbour *neighbour // of a load from the LAN
	moves     interface{ stop() []time.Time }

	mu       sync.Mutex // guards what follows
	attempts []observe.Attempt
	good     int
}

// startLoad begins, from the LAN; every connection may take at most timeout.
func startLoad(addr netip.Addr, timeout time.Duration) (*load, error) {
	n, err := watchNeighbour(addr)
	if err != nil {
		return nil, err
	}
	l := &load{neighbour: n, moves: n}
	l.start(lanClient, addr, timeout)
	return l, nil
}

// startLoadOver begins from a client behind a router.
func startLoadOver(r *lab.Router, from *lab.Host, addr netip.Addr, timeout time.Duration) (*load, error) {
	w, err := watchRoute(r, addr)
	if err != nil {
		return nil, err
	}
	l := &load{moves: w}
	l.start(from, addr, timeout)
	return l, nil
}

func (l *load) start(from *lab.Host, addr netip.Addr, timeout time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel, l.stopped = cancel, make(chan struct{})
	go func() {
		defer close(l.stopped)
		ticker := time.NewTicker(loadInterval)
		defer ticker.Stop()
		var running sync.WaitGroup
		defer running.Wait()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			running.Go(func() {
				start := time.Now()
				// Not ctx: a connection that is under way when the load ends is still counted for what it becomes.
				one, done := context.WithTimeout(context.Background(), timeout)
				defer done()
				_, err := getFrom(one, from, addr, "/")
				l.mu.Lock()
				defer l.mu.Unlock()
				l.attempts = append(l.attempts, observe.Attempt{Start: start, End: time.Now(), Err: err})
				if err == nil {
					l.good++
				}
			})
		}
	}()
}

// succeeded is the number of connections that were answered so far.
func (l *load) succeeded() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.good
}

// towards is the hardware address that the client sends to.
func (l *load) towards() string { return l.neighbour.current() }

// stop ends the load and waits for the connections under way.
func (l *load) stop() observe.Connections {
	l.cancel()
	<-l.stopped
	moves := l.moves.stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.attempts {
		l.attempts[i].Paused = heart.within(l.attempts[i].Start, l.attempts[i].End)
	}
	return observe.Count(l.attempts, noted(moves))
}

// neighbour is what the client's neighbour cache says of an address. To look at it sends nothing.
type neighbour struct {
	done, stopped chan struct{}

	mu    sync.Mutex // guards what follows
	mac   string
	moves []time.Time // when it got another hardware address
}

// watchNeighbour begins with what the cache says now.
func watchNeighbour(addr netip.Addr) (*neighbour, error) {
	ns, err := netns.GetFromPath(filepath.Join("/run/netns", lanClient.Namespace()))
	if err != nil {
		return nil, fmt.Errorf("open the client's network namespace: %w", err)
	}
	updates := make(chan netlink.NeighUpdate, 256)
	n := &neighbour{done: make(chan struct{}), stopped: make(chan struct{})}
	err = netlink.NeighSubscribeWithOptions(updates, n.done, netlink.NeighSubscribeOptions{Namespace: &ns, ListExisting: true})
	if err := errors.Join(err, ns.Close()); err != nil {
		return nil, fmt.Errorf("watch the client's neighbours: %w", err)
	}
	go func() {
		defer close(n.stopped)
		for u := range updates { // closed after done
			if ip, ok := netip.AddrFromSlice(u.IP); ok && ip.Unmap() == addr && len(u.HardwareAddr) > 0 {
				n.set(u.HardwareAddr.String())
			}
		}
	}()
	return n, nil
}

func (n *neighbour) set(mac string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mac != "" && n.mac != mac {
		n.moves = append(n.moves, time.Now())
	}
	n.mac = mac
}

func (n *neighbour) current() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.mac
}

// stop ends watching and returns the moves.
func (n *neighbour) stop() []time.Time {
	close(n.done)
	<-n.stopped
	return n.moves
}

// route is what a router's kernel does with packets for an address.
type route struct {
	done, stopped chan struct{}

	mu    sync.Mutex // guards moves
	moves []time.Time
}

// watchRoute notes when the router's route to an address changes.
func watchRoute(r *lab.Router, addr netip.Addr) (*route, error) {
	ns, err := netns.GetFromPath(filepath.Join("/run/netns", r.Namespace()))
	if err != nil {
		return nil, fmt.Errorf("open the network namespace of %s: %w", r.Name, err)
	}
	updates := make(chan netlink.RouteUpdate, 256)
	w := &route{done: make(chan struct{}), stopped: make(chan struct{})}
	err = netlink.RouteSubscribeWithOptions(updates, w.done, netlink.RouteSubscribeOptions{Namespace: &ns})
	if err := errors.Join(err, ns.Close()); err != nil {
		return nil, fmt.Errorf("watch the routes of %s: %w", r.Name, err)
	}
	go func() {
		defer close(w.stopped)
		for u := range updates { // closed after done
			if u.Dst == nil {
				continue
			}
			if ip, ok := netip.AddrFromSlice(u.Dst.IP); ok && ip.Unmap() == addr {
				w.mu.Lock()
				w.moves = append(w.moves, time.Now())
				w.mu.Unlock()
			}
		}
	}()
	return w, nil
}

// stop ends watching and returns when the route has changed.
func (w *route) stop() []time.Time {
	close(w.done)
	<-w.stopped
	return w.moves
}
