package router

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// What the routers said when two nodes each had a session over IPv4 and one over IPv6, both with routes of both families, in FRR and BIRD
// with BFD beside them.
func recorded(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// answers is a place where each tool gives a recorded answer to each command.
func answers(t *testing.T, files map[string]string) Place {
	t.Helper()
	return Place{Run: func(_ context.Context, name string, args ...string) (string, string, error) {
		command := strings.Join(append([]string{name}, args...), " ")
		file, ok := files[command]
		if !ok {
			t.Fatalf("no answer to %q", command)
		}
		return recorded(t, file), "", nil
	}}
}

func TestAnswers(t *testing.T) {
	nodes := []netip.Addr{
		netip.MustParseAddr("192.168.100.11"), netip.MustParseAddr("192.168.100.12"),
		netip.MustParseAddr("fd00:100::11"), netip.MustParseAddr("fd00:100::12"),
	}
	for _, tc := range []struct {
		kind  Kind
		files map[string]string
		names [4]string
		bfd   string
		// What the router shows where it has been sent none.
		localPref *uint32
	}{
		{FRR, map[string]string{
			"vtysh -c show bgp summary json": "frr-summary.json", "vtysh -c show bfd peers json": "frr-bfd.json",
			"vtysh -c show bgp ipv4 unicast json detail": "frr-ipv4.json", "vtysh -c show bgp ipv6 unicast json detail": "frr-ipv6.json",
		}, [4]string{"192.168.100.11", "192.168.100.12", "fd00:100::11", "fd00:100::12"}, "Up", new(uint32)},
		{BIRD, map[string]string{
			"birdc show protocols all": "bird-protocols.txt", "birdc show bfd sessions": "bird-bfd.txt", "birdc show route all": "bird-routes.txt",
		}, [4]string{"node0_1", "node0_2", "node1_2", "node1_1"}, "Up", hundred()},
		{GoBGP, map[string]string{
			"gobgp neighbor --json":           "gobgp-neighbors.json",
			"gobgp global rib -a ipv4 --json": "gobgp-ipv4.json", "gobgp global rib -a ipv6 --json": "gobgp-ipv6.json",
		}, [4]string{"192.168.100.11", "192.168.100.12", "fd00:100::11", "fd00:100::12"}, "", nil},
	} {
		t.Run(string(tc.kind), func(t *testing.T) {
			r, err := New(tc.kind, answers(t, tc.files))
			if err != nil {
				t.Fatal(err)
			}
			sessions, err := r.Sessions(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			sessions = slices.DeleteFunc(sessions, func(s Session) bool {
				// BIRD was told of a neighbour that was not there.
				away := s.Name == "away"
				if away && (s.Established() || s.State != "Connect" || s.Uptime != 0 || s.BFD != "Down" || s.Peer != netip.MustParseAddr("192.168.100.77")) {
					t.Errorf("session without a neighbour: %+v", s)
				}
				return away
			})
			for i, s := range sessions {
				want := Session{Peer: nodes[i], Name: tc.names[i], ASN: 64512, State: "Established", Uptime: s.Uptime, Received: 2, BFD: tc.bfd}
				if s != want || s.Uptime < 0 {
					t.Errorf("session %+v, want %+v", s, want)
				}
			}
			if len(sessions) != 4 {
				t.Errorf("%d sessions, want 4", len(sessions))
			}
			routes, err := r.Routes(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			prefixes := []netip.Prefix{netip.MustParsePrefix("203.0.113.80/32"), netip.MustParsePrefix("2001:db8::80/128")}
			if len(routes) != 2 {
				t.Errorf("routes to %v, want %v", slices.Collect(maps.Keys(routes)), prefixes)
			}
			for _, prefix := range prefixes {
				var peers []netip.Addr
				for i, p := range routes[prefix] {
					peers = append(peers, p.Peer)
					med := uint32(10)
					want := Path{
						Peer: p.Peer, Best: i == 0, ASPath: []uint32{64512}, MED: &med, LocalPref: tc.localPref,
						Communities: []string{"64512:7", "65535:0", "65535:65281"}, LargeCommunities: []string{"64512:1:2"},
						NextHop: p.Peer,
					}
					if prefix.Addr().Is6() && p.Peer.Is4() {
						want.NextHop = nodes[2+slices.Index(nodes, p.Peer)]
					}
					if !reflect.DeepEqual(p, want) {
						t.Errorf("path to %s: %+v, want %+v", prefix, p, want)
					}
				}
				slices.SortFunc(peers, netip.Addr.Compare)
				if !slices.Equal(peers, nodes) {
					t.Errorf("paths to %s from %v, want %v", prefix, peers, nodes)
				}
			}
		})
	}
}

func hundred() *uint32 {
	n := uint32(100)
	return &n
}

// What cannot be read is an error, and not fewer sessions or routes.
func TestAnswersThatCannotBeRead(t *testing.T) {
	protocols, routes := recorded(t, "bird-protocols.txt"), recorded(t, "bird-routes.txt")
	peers := []Session{{Name: "node0_1", Peer: netip.MustParseAddr("192.168.100.11")}}
	table := map[netip.Prefix][]Path{}
	for name, read := range map[string]func() error{
		"gobgpd's neighbours, cut short": func() error {
			_, err := gobgpSessions(recorded(t, "gobgp-neighbors.json")[:500], time.Now())
			return err
		},
		"gobgpd's routes, cut short": func() error { return gobgpRoutes(recorded(t, "gobgp-ipv4.json")[:500], table) },
		"gobgpd's next hop": func() error {
			return gobgpRoutes(`{"10.0.0.0/8":[{"neighbor-ip":"10.1.1.1","attrs":[{"type":3,"nexthop":"x"}]}]}`, table)
		},
		"FRR's next hop": func() error {
			var r frrRoutes
			if err := json.Unmarshal([]byte(`{"routes":{"10.0.0.0/8":[{"peer":{"peerId":"10.1.1.1"},"nexthops":[{"ip":"x"}]}]}}`), &r); err != nil {
				t.Fatal(err)
			}
			return r.read(table)
		},
		"BIRD's neighbour": func() error {
			_, err := birdSessions(strings.Replace(protocols, "address: 192.168.100.11", "address: x", 1), "", time.Now())
			return err
		},
		"BIRD's times, in another format": func() error {
			_, err := birdSessions(strings.ReplaceAll(protocols, "2026-11-21 04", "21.11.2026 04"), "", time.Now())
			return err
		},
		"BIRD's prefix": func() error {
			_, err := birdRoutes(strings.Replace(routes, "203.0.113.80/32", "203.0.113.80", 1), peers)
			return err
		},
		"BIRD's AS path": func() error {
			_, err := birdRoutes(strings.Replace(routes, "as_path: 64512", "as_path: {1 2}", 1), peers)
			return err
		},
		"BIRD's next hop": func() error {
			_, err := birdRoutes(strings.Replace(routes, "next_hop: 192.168.100.11", "next_hop: x", 1), peers)
			return err
		},
	} {
		if err := read(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A tool's error reaches the reader with what the tool wrote, and without the password that it repeats.
func TestErrorsHidePasswords(t *testing.T) {
	failure := errors.New("exit status 1")
	r, err := New(FRR, Place{Run: func(context.Context, string, ...string) (string, string, error) {
		return "% Unknown command: ", "neighbor node password Sesame-1\n", failure
	}})
	if err != nil {
		t.Fatal(err)
	}
	err = r.Configure(t.Context(), "neighbor node password Sesame-1")
	if !errors.Is(err, failure) || !strings.Contains(err.Error(), "Unknown command") || strings.Contains(err.Error(), "Sesame") {
		t.Errorf("error %q", err)
	}
}

// A router is told of what has changed and nothing else, and its file follows.
func TestReplace(t *testing.T) {
	for name, tc := range map[string]struct {
		kind     Kind
		from, to Settings
		said     []string
		restart  bool
	}{
		"FRR, nothing":      {kind: FRR},
		"FRR, a password":   {kind: FRR, to: Settings{Password: "a"}, said: []string{"vtysh -c configure terminal -c router bgp 64513 -c neighbor nodes password a -c end"}},
		"FRR, neighbours":   {kind: FRR, to: Settings{Static: true}, restart: true},
		"BIRD, nothing":     {kind: BIRD},
		"BIRD, a password":  {kind: BIRD, to: Settings{Password: "a"}, said: []string{"birdc configure"}},
		"GoBGP, nothing":    {kind: GoBGP},
		"GoBGP, a password": {kind: GoBGP, to: Settings{Password: "a"}, restart: true},
	} {
		from, err := Render(tc.kind, testConfig(tc.from))
		if err != nil {
			t.Fatal(err)
		}
		to, err := Render(tc.kind, testConfig(tc.to))
		if err != nil {
			t.Fatal(err)
		}
		file := from
		var said []string
		r, err := New(tc.kind, Place{
			Read:  func() ([]byte, error) { return file, nil },
			Write: func(content []byte) error { file = content; return nil },
			Run: func(_ context.Context, name string, args ...string) (string, string, error) {
				said = append(said, strings.Join(append([]string{name}, args...), " "))
				return "Reconfigured\n", "", nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		err = r.Replace(t.Context(), to)
		if errors.Is(err, ErrRestart) != tc.restart || (err != nil) != tc.restart || !slices.Equal(said, tc.said) || !bytes.Equal(file, to) {
			t.Errorf("%s: error %v, restart wanted: %v; said %q, want %q; the file is the new one: %v", name, err, tc.restart, said, tc.said, bytes.Equal(file, to))
		}
	}
}

// What was added to BIRD's file goes with what is added next, and is no difference.
func TestBIRDConfigure(t *testing.T) {
	file, configured := []byte("base\n"), 0
	r, err := New(BIRD, Place{
		Read:  func() ([]byte, error) { return file, nil },
		Write: func(content []byte) error { file = content; return nil },
		Run: func(context.Context, string, ...string) (string, string, error) {
			configured++
			return "Reconfiguration in progress\n", "", nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"first", "second"} {
		if err := r.Configure(t.Context(), line); err != nil {
			t.Fatal(err)
		}
		if want := "base\n" + added + line + "\n"; string(file) != want {
			t.Errorf("the file is %q, want %q", file, want)
		}
	}
	if err := r.Replace(t.Context(), []byte("base\n")); err != nil || configured != 2 {
		t.Errorf("replaced by what it was made of: %v, configured %d times, want 2", err, configured)
	}
	if err := r.Replace(t.Context(), []byte("other\n")); err != nil || configured != 3 || string(file) != "other\n" {
		t.Errorf("replaced: %v, configured %d times, the file is %q", err, configured, file)
	}
}

func TestKinds(t *testing.T) {
	for _, k := range Kinds() {
		if got, err := ParseKind(string(k)); err != nil || got != k {
			t.Errorf("ParseKind(%s) = %s, %v", k, got, err)
		}
	}
	if _, err := ParseKind("quagga"); err == nil || !strings.Contains(err.Error(), "frr, bird or gobgp") {
		t.Errorf("ParseKind(quagga): %v", err)
	}
	if _, err := New("quagga", Place{}); err == nil {
		t.Error("New(quagga) gave no error")
	}
}

// Over a session between link-local addresses there may be no other next hop.
func TestBIRDLinkLocalNextHop(t *testing.T) {
	for value, want := range map[string]string{":: fe80::1": "fe80::1", "2001:db8::1 fe80::1": "2001:db8::1", "192.0.2.1": "192.0.2.1", "::": "::"} {
		var p Path
		if err := birdAttribute(&p, "BGP.next_hop: "+value); err != nil || p.NextHop != netip.MustParseAddr(want) {
			t.Errorf("%s: %s, %v, want %s", value, p.NextHop, err, want)
		}
	}
}
