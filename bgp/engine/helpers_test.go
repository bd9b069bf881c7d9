package engine

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"fairlead.io/fairlead/bgp"
)

// logs collects what is logged.
type logs struct {
	mu   sync.Mutex // guards text
	text strings.Builder
}

func (l *logs) logger(v int) logr.Logger {
	return funcr.New(func(prefix, args string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		fmt.Fprintln(&l.text, prefix, args)
	}, funcr.Options{Verbosity: v})
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newRouter(t testing.TB) (*Router, *logs) {
	t.Helper()
	return newRouterAt(t, 9)
}

// newQuietRouter logs no more than in production.
func newQuietRouter(t testing.TB) (*Router, *logs) {
	t.Helper()
	return newRouterAt(t, 0)
}

func newRouterAt(t testing.TB, verbosity int) (*Router, *logs) {
	t.Helper()
	l := &logs{}
	r, err := New(netip.MustParseAddr("192.0.2.1"), l.logger(verbosity))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background(), "the test ends", false); err != nil {
			t.Errorf("close: %v", err)
		}
		if t.Failed() && testing.Verbose() {
			t.Log(l)
		}
	})
	return r, l
}

func set(t testing.TB, r *Router, peers ...bgp.Peer) []bgp.Reset {
	t.Helper()
	resets, errs := r.SetPeers(t.Context(), peers)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return resets
}

func advertise(t testing.TB, r *Router, routes ...bgp.Route) {
	t.Helper()
	if err := r.SetRoutes(t.Context(), routes); err != nil {
		t.Fatal(err)
	}
}

func to(attrs *bgp.Attributes, peers ...string) (out []bgp.Export) {
	for _, p := range peers {
		out = append(out, bgp.Export{Peer: p, Attributes: attrs})
	}
	return out
}

func route(prefix string, to []bgp.Export) bgp.Route {
	return bgp.Route{Prefix: netip.MustParsePrefix(prefix), To: to}
}

// sessionOf is the state of a peer's session.
func sessionOf(t testing.TB, r *Router, peer string) bgp.Session {
	t.Helper()
	all := r.Sessions()
	i := slices.IndexFunc(all, func(s bgp.Session) bool { return s.Peer == peer })
	if i < 0 {
		t.Fatalf("there is no session with %s in %+v", peer, all)
	}
	return all[i]
}

// eventually waits until a session is as wanted.
func eventually(t testing.TB, r *Router, peer, what string, ok func(bgp.Session) bool) bgp.Session {
	t.Helper()
	deadline := time.After(45 * time.Second)
	for {
		s := sessionOf(t, r, peer)
		if ok(s) {
			return s
		}
		select {
		case <-r.Changed():
		case <-time.After(20 * time.Millisecond): // what is not told of: counters, transitions on the way
		case <-deadline:
			t.Fatalf("%s: not within 45 s: %+v", what, s)
		}
	}
}
