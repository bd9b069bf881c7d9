package interop

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/internal/testnet"
)

// GoBGP is a gobgpd.
type GoBGP struct {
	t      testing.TB
	ns     *testnet.Namespace
	dir    string
	config BGPConfig
	daemon *daemon
}

// NewGoBGP makes a gobgpd, which is not yet started.
func NewGoBGP(t testing.TB, ns *testnet.Namespace) BGPRouter {
	t.Helper()
	return &GoBGP{t: t, ns: ns, dir: t.TempDir()}
}

func (g *GoBGP) write() {
	g.t.Helper()
	c := g.config
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("[global.config]\n as = %d\n router-id = %q\n port = %d", c.ASN, c.RouterID, c.Port)
	line("[[neighbors]]\n[neighbors.config]\n neighbor-address = %q\n peer-as = %d", c.Host, c.HostASN)
	if c.Password != "" {
		line(" auth-password = %q", c.Password)
	}
	line("[neighbors.transport.config]\n passive-mode = true")
	line("[neighbors.timers.config]\n hold-time = %d\n keepalive-interval = %d\n idle-hold-time-after-reset = 1", c.Hold, max(1, c.Hold/3))
	line("[neighbors.graceful-restart.config]\n enabled = true\n restart-time = 20")
	if c.TTLSecurity {
		line("[neighbors.ttl-security.config]\n enabled = true\n ttl-min = 255")
	}
	if c.MultiHop {
		line("[neighbors.ebgp-multihop.config]\n enabled = true\n multihop-ttl = 5")
	}
	for name, wanted := range map[string]bool{"ipv4-unicast": c.IPv4, "ipv6-unicast": c.IPv6} {
		if wanted {
			line("[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\n afi-safi-name = %q\n[neighbors.afi-safis.mp-graceful-restart.config]\n enabled = true", name)
		}
	}
	if err := os.WriteFile(filepath.Join(g.dir, "gobgpd.conf"), []byte(b.String()), 0o600); err != nil {
		g.t.Fatal(err)
	}
}

// Start is part of BGPRouter.
func (g *GoBGP) Start(c BGPConfig) {
	g.t.Helper()
	g.Kill()
	g.config = c
	g.write()
	g.daemon = start(g.t, g.ns, "gobgpd", "-f", filepath.Join(g.dir, "gobgpd.conf"), "--api-hosts", "127.0.0.1:50051", "--pprof-disable", "-p")
	Until(g.t, 20*time.Second, "gobgpd answers", func() string {
		out, err := g.command("neighbor")
		if err == nil && !strings.Contains(out, c.Host.String()) {
			return "it has no neighbour"
		}
		return text(err)
	})
}

// Kill is part of BGPRouter.
func (g *GoBGP) Kill() {
	if g.daemon != nil {
		g.daemon.kill()
		g.daemon = nil
	}
}

func (g *GoBGP) command(args ...string) (string, error) {
	g.t.Helper()
	out, err := g.ns.Command(g.t.Context(), "gobgp", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("gobgp %q: %w: %s", args, err, out)
	}
	return string(out), nil
}

func (g *GoBGP) json(into any, args ...string) {
	g.t.Helper()
	out, err := g.command(append(args, "-j")...)
	if err == nil {
		err = json.Unmarshal([]byte(out), into)
	}
	if err != nil {
		g.t.Fatalf("gobgp %q: %v: %s", args, err, out)
	}
}

// SetPassword is part of BGPRouter: gobgpd reads its configuration again.
func (g *GoBGP) SetPassword(password string) {
	g.t.Helper()
	c := g.config
	c.Password = password
	g.Start(c) // it does not give its listening socket another password for a neighbour that it has
}

// Session is part of BGPRouter.
func (g *GoBGP) Session() BGPSession {
	g.t.Helper()
	var n struct {
		State struct {
			Session int `json:"session_state"`
			Remote  []struct {
				Type  string `json:"type_url"`
				Value []byte `json:"value"`
			} `json:"remote_cap"`
		} `json:"state"`
		Timers struct {
			State struct {
				Hold int `json:"negotiated_hold_time"`
			} `json:"state"`
		} `json:"timers"`
	}
	g.json(&n, "neighbor", g.config.Host.String())
	s := BGPSession{Up: n.State.Session == 6, Ups: -1, Hold: n.Timers.State.Hold, Restart: -1}
	for _, c := range n.State.Remote {
		if strings.HasSuffix(c.Type, ".GracefulRestartCapability") {
			s.Restart = restartTime(c.Value)
		}
	}
	return s
}

// restartTime reads field 2 of a message of varints in the protocol buffers' form, which is 0 when it is not there.
func restartTime(b []byte) int {
	for len(b) > 1 {
		value, n := binary.Uvarint(b[1:])
		if n <= 0 || b[0]&7 != 0 {
			break
		}
		if b[0]>>3 == 2 {
			return int(value)
		}
		b = b[1+n:]
	}
	return 0
}

// Route is part of BGPRouter.
func (g *GoBGP) Route(prefix string) (BGPRoute, bool) {
	g.t.Helper()
	var rib map[string][]struct {
		Stale bool `json:"stale"`
		Attrs []struct {
			Type    int             `json:"type"`
			NextHop string          `json:"nexthop"`
			Value   json.RawMessage `json:"value"`
			Metric  uint32          `json:"metric"`
			Comms   []uint32        `json:"communities"`
			Paths   []struct {
				ASNs []uint32 `json:"asns"`
			} `json:"as_paths"`
		} `json:"attrs"`
	}
	out, err := g.command("global", "rib", prefix, "-a", family(prefix), "-j")
	if err != nil || json.Unmarshal([]byte(out), &rib) != nil {
		return BGPRoute{}, false // "Network not in table"
	}
	paths := rib[prefix]
	if len(paths) == 0 {
		return BGPRoute{}, false
	}
	r := BGPRoute{Stale: paths[0].Stale}
	for _, a := range paths[0].Attrs {
		if a.NextHop != "" {
			r.NextHop = a.NextHop
		}
		for _, p := range a.Paths {
			r.Path = append(r.Path, p.ASNs...)
		}
		for _, c := range a.Comms {
			r.Communities = append(r.Communities, fmt.Sprintf("%d:%d", c>>16, c&0xffff))
		}
		var n uint32
		var large []struct{ ASN, LocalData1, LocalData2 uint32 }
		switch {
		case a.Type == 4:
			r.MED = a.Metric
		case a.Type == 5 && json.Unmarshal(a.Value, &n) == nil:
			r.LocalPref = n
		case a.Type == 32 && json.Unmarshal(a.Value, &large) == nil:
			for _, l := range large {
				r.Large = append(r.Large, fmt.Sprintf("%d:%d:%d", l.ASN, l.LocalData1, l.LocalData2))
			}
		}
	}
	return r, true
}

// Routes is part of BGPRouter.
func (g *GoBGP) Routes(v6 bool) int {
	g.t.Helper()
	name := "ipv4"
	if v6 {
		name = "ipv6"
	}
	var rib map[string]json.RawMessage
	g.json(&rib, "global", "rib", "-a", name)
	return len(rib)
}
