package router

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Whatever BIRD writes, reading it ends, and gives sessions that have a peer.
func FuzzBIRD(f *testing.F) {
	for _, name := range []string{"bird-protocols.txt", "bird-routes.txt"} {
		raw, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(raw))
	}
	f.Fuzz(func(t *testing.T, text string) {
		sessions, err := birdSessions(text, text, time.Unix(0, 0))
		for _, s := range sessions {
			if !s.Peer.IsValid() || s.Uptime < 0 || err != nil {
				t.Errorf("session %+v, %v", s, err)
			}
		}
		routes, err := birdRoutes(text, []Session{{Name: "node0_1", Peer: netip.IPv6Loopback()}})
		for prefix, paths := range routes {
			if !prefix.IsValid() || len(paths) == 0 || err != nil {
				t.Errorf("routes to %s: %+v, %v", prefix, paths, err)
			}
		}
	})
}

// A configuration that does not change takes no command, and one that does takes some.
func FuzzFRRDelta(f *testing.F) {
	f.Add("router bgp 1\n neighbor a password b\nexit\n", "bfd\n profile a\n exit\nexit\n")
	f.Fuzz(func(t *testing.T, a, b string) {
		if commands := frrDelta([]byte(a), []byte(a)); len(commands) > 0 {
			t.Errorf("no change takes %q", commands)
		}
		if commands := frrDelta(nil, []byte(b)); (len(commands) > 0) != (len(frrLines([]byte(b))) > 0) {
			t.Errorf("%q takes %q", b, commands)
		}
		frrDelta([]byte(a), []byte(b))
	})
}
