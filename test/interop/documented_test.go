package interop

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bfd/manager"
	"fairlead.io/fairlead/bfd/udp"
	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/test/router"
)

// documented configuration of a router: the block of that language in docs/bgp-routers.md, with the test's addresses.
func documented(t *testing.T, language string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/bgp-routers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "\n```"+language+"\n")
	text, _, closed := strings.Cut(rest, "\n```\n")
	if !found || !closed {
		t.Fatalf("the page has no block ```%s", language)
	}
	return strings.NewReplacer("192.168.100.0/24", "192.0.2.0/24", "192.168.100.11", "192.0.2.1", "192.168.100.1", "192.0.2.2").Replace(text) + "\n"
}

// TestDocumented: routers do with the configurations of docs/bgp-routers.md what the page says.
func TestDocumented(t *testing.T) {
	const inside, outside = "10.20.0.1/32", "10.99.0.1/32"
	for kind, language := range map[router.Kind]string{router.FRR: "frr", router.BIRD: "bird", router.GoBGP: "toml"} {
		begin := func(t *testing.T) (l *bgpLab, start func()) {
			t.Helper()
			l = &bgpLab{topology: newTopology(t), t: t, kind: kind}
			l.config = BGPConfig{ASN: 64513, HostASN: 64512, Host: addr("192.0.2.1"), Port: 179}
			// A password that only this end had would keep the session down: the kernel drops what is signed and should not be.
			l.peer = bgp.Peer{
				Name: "tor", Address: addr("192.0.2.2"), Port: 179, LocalASN: 64512, ASN: 64513, Password: "SECRET", HoldTime: 90 * time.Second,
				KeepaliveTime: 30 * time.Second, ConnectTime: time.Second, IPv4: true,
			}
			l.other = NewBGPRouter(t, l.router, kind)
			file := documented(t, language)
			if kind == router.BIRD {
				file = "timeformat protocol iso long;\n" + file // package router reads it so
			}
			l.other.StartFile(l.config, file)
			start = func() {
				l.speaker = NewBGPSpeaker(t, l.host, "192.0.2.1")
				l.speaker.Routes(export(outside, plain), export(inside, plain))
				l.speaker.Peers(l.peer)
			}
			start()
			l.up(1)
			return l, start
		}
		if kind != router.GoBGP {
			t.Run(string(kind)+" BFD", func(t *testing.T) {
				t.Parallel()
				l, _ := begin(t)
				l.documentedBFD()
			})
		}
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			l, start := begin(t)
			l.route(inside, wanted{})
			l.noRoute(outside)

			l.peer.RestartTime = 50 * time.Second
			l.speaker.Peers(l.peer)
			l.up(2)
			l.route(inside, wanted{})
			l.speaker.Close(true)
			Until(t, patience, "the router sees the session end", l.other.Down)
			if _, ok := l.other.Route(inside); !ok {
				t.Error("graceful restart: the route went with the session")
			}
			start()
			l.up(1)

			l.peer.GracefulShutdown = true
			l.speaker.Peers(l.peer)
			l.route(inside, wanted{communities: []string{"65535:0"}})
			if r, _ := l.other.Route(inside); kind != router.GoBGP && (r.LocalPref == nil || *r.LocalPref != 0) {
				t.Errorf("graceful shutdown does not lower the preference: %+v", r)
			}

			// Some more, because FRR may not count what it has kept over a restart.
			l.speaker.Many(1010, addr("10.20.0.0"), []bgp.Attributes{*plain}, "tor")
			Until(t, patience, "the router ends the session with more than 1000 routes", func() string {
				if s := l.speaker.Session("tor"); !strings.Contains(s.LastError, "it accepts fewer routes than it is sent") {
					return fmt.Sprintf("%+v", s)
				}
				return ""
			})
		})
	}
}

// documentedBFD has a BFD session beside the BGP session, up on both ends at 100 ms. Who gets no processor for 300 ms loses both, and BIRD then
// waits a minute: what else is tested has no BFD beside it, and this has longer.
func (l *bgpLab) documentedBFD() {
	l.t.Helper()
	key := manager.Key{Peer: netip.MustParseAddr("192.0.2.2"), Local: netip.MustParseAddr("192.0.2.1"), Interface: "eth0", Port: udp.PortSingleHop}
	speaker := NewSpeaker(l.t, l.host)
	speaker.Add(key, manager.Settings{MinTTL: 255, Config: bfd.Config{DesiredMinTx: 100 * ms, RequiredMinRx: 100 * ms, DetectMult: 3}})
	Until(l.t, 5*patience, "BFD is up", func() string {
		s := speaker.Snapshot()[key]
		if r, _ := l.other.session(); s.State != bfd.Up || s.DetectionTime != 300*ms || r.BFD != "Up" {
			return fmt.Sprintf("we show %+v, the router %+v", s, r)
		}
		return ""
	})
}
