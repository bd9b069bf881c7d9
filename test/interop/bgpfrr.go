package interop

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/internal/testnet"
)

// FRRBGP is FRR's zebra and bgpd.
type FRRBGP struct {
	t       testing.TB
	ns      *testnet.Namespace
	dir     string
	config  BGPConfig
	daemons []*daemon
}

// NewFRRBGP makes an FRR, which is not yet started.
func NewFRRBGP(t testing.TB, ns *testnet.Namespace) BGPRouter {
	t.Helper()
	dir, err := os.MkdirTemp("", "fairlead-frr-") // not the test's, which FRR's user may not enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return &FRRBGP{t: t, ns: ns, dir: dir}
}

func (f *FRRBGP) neighbour() string {
	if f.config.Interface != "" {
		return f.config.Interface
	}
	return f.config.Host.String()
}

func (f *FRRBGP) lines() string {
	c, n := f.config, f.neighbour()
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("hostname router\nrouter bgp %d", c.ASN)
	line(" bgp router-id %s\n no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n no bgp network import-check", c.RouterID)
	line(" bgp graceful-restart stalepath-time 60")
	if c.Interface != "" {
		line(" neighbor %s interface remote-as %d", n, c.HostASN)
	} else {
		line(" neighbor %s remote-as %d", n, c.HostASN)
	}
	if c.Password != "" {
		line(" neighbor %s password %s", n, c.Password)
	}
	if c.TTLSecurity {
		line(" neighbor %s ttl-security hops 1", n)
	}
	if c.MultiHop {
		line(" neighbor %s ebgp-multihop 5", n)
	}
	line(" neighbor %s timers %d %d\n neighbor %s timers connect 1", n, max(1, c.Hold/3), c.Hold, n)
	if c.ExtendedHop {
		line(" neighbor %s capability extended-nexthop", n)
	}
	for family, wanted := range map[string]bool{"ipv4": c.IPv4, "ipv6": c.IPv6} {
		if wanted {
			line(" address-family %s unicast\n  neighbor %s activate\n exit-address-family", family, n)
		}
	}
	return b.String()
}

// Start is part of BGPRouter.
func (f *FRRBGP) Start(c BGPConfig) {
	f.t.Helper()
	f.Kill()
	f.config = c
	for name, content := range map[string]string{"zebra.conf": "hostname router\n", "bgpd.conf": f.lines()} {
		if err := os.WriteFile(filepath.Join(f.dir, name), []byte(content), 0o644); err != nil { //nolint:gosec // FRR's user reads it
			f.t.Fatal(err)
		}
	}
	own(f.t, f.dir, "frr")
	for _, name := range []string{"zebra", "bgpd"} {
		args := []string{
			"-f", filepath.Join(f.dir, name+".conf"), "-i", filepath.Join(f.dir, name+".pid"),
			"-z", filepath.Join(f.dir, "zserv.sock"), "--vty_socket", f.dir, "-P", "0",
		}
		if name == "bgpd" {
			args = append(args, "-p", fmt.Sprint(c.Port))
		}
		f.daemons = append(f.daemons, start(f.t, f.ns, "/usr/lib/frr/"+name, args...))
		Until(f.t, 20*time.Second, name+" answers", func() string {
			return text(exec.CommandContext(f.t.Context(), "vtysh", "--vty_socket", f.dir, "-d", name, "-c", "show version").Run())
		})
	}
}

// Kill is part of BGPRouter.
func (f *FRRBGP) Kill() {
	for _, d := range slices.Backward(f.daemons) {
		d.kill()
	}
	f.daemons = nil
}

func (f *FRRBGP) vtysh(commands ...string) []byte {
	f.t.Helper()
	args := []string{"--vty_socket", f.dir, "-d", "bgpd"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	out, err := exec.CommandContext(f.t.Context(), "vtysh", args...).CombinedOutput()
	if err != nil {
		f.t.Fatalf("vtysh %q: %v: %s", commands, err, out)
	}
	return out
}

func (f *FRRBGP) json(into any, command string) {
	f.t.Helper()
	if out := f.vtysh(command); json.Unmarshal(out, into) != nil {
		f.t.Fatalf("%s says %s", command, out)
	}
}

// SetPassword is part of BGPRouter.
func (f *FRRBGP) SetPassword(password string) {
	f.t.Helper()
	f.vtysh("configure terminal", fmt.Sprintf("router bgp %d", f.config.ASN), fmt.Sprintf("neighbor %s password %s", f.neighbour(), password))
}

// Session is part of BGPRouter.
func (f *FRRBGP) Session() BGPSession {
	f.t.Helper()
	var all map[string]struct {
		State       string `json:"bgpState"`
		Established int    `json:"connectionsEstablished"`
		Hold        int    `json:"bgpTimerHoldTimeMsecs"`
		Restart     struct {
			Mode   string `json:"remoteGrMode"`
			Timers struct {
				Received int `json:"receivedRestartTimer"`
			} `json:"timers"`
		} `json:"gracefulRestartInfo"`
	}
	f.json(&all, "show bgp neighbors "+f.neighbour()+" json")
	n := all[f.neighbour()]
	s := BGPSession{Up: n.State == "Established", Ups: n.Established, Hold: n.Hold / 1000, Restart: -1}
	if n.Restart.Mode == "Restart" || n.Restart.Mode == "Helper" {
		s.Restart = n.Restart.Timers.Received
	}
	return s
}

func family(prefix string) string {
	if strings.Contains(prefix, ":") {
		return "ipv6"
	}
	return "ipv4"
}

// Route is part of BGPRouter.
func (f *FRRBGP) Route(prefix string) (BGPRoute, bool) {
	f.t.Helper()
	var route struct {
		Paths []struct {
			ASPath struct {
				Segments []struct {
					List []uint32 `json:"list"`
				} `json:"segments"`
			} `json:"aspath"`
			MED       uint32 `json:"metric"`
			LocalPref uint32 `json:"locPrf"`
			Stale     bool   `json:"stale"`
			Community struct {
				List []string `json:"list"`
			} `json:"community"`
			Large struct {
				List []string `json:"list"`
			} `json:"largeCommunity"`
			NextHops []struct {
				IP   string `json:"ip"`
				Used bool   `json:"used"`
			} `json:"nexthops"`
		} `json:"paths"`
	}
	f.json(&route, fmt.Sprintf("show bgp %s unicast %s json", family(prefix), prefix))
	if len(route.Paths) == 0 {
		return BGPRoute{}, false
	}
	p := route.Paths[0]
	r := BGPRoute{MED: p.MED, LocalPref: p.LocalPref, Communities: p.Community.List, Large: p.Large.List, Stale: p.Stale}
	for _, s := range p.ASPath.Segments {
		r.Path = append(r.Path, s.List...)
	}
	for _, n := range p.NextHops {
		if n.Used {
			r.NextHop = n.IP
		}
	}
	return r, true
}

// Routes is part of BGPRouter.
func (f *FRRBGP) Routes(v6 bool) int {
	f.t.Helper()
	name := "ipv4"
	if v6 {
		name = "ipv6"
	}
	var summary struct {
		Peers map[string]struct {
			Received int `json:"pfxRcd"`
		} `json:"peers"`
	}
	f.json(&summary, fmt.Sprintf("show bgp %s unicast summary json", name))
	return summary.Peers[f.neighbour()].Received
}
