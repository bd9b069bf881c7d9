package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/internal/testnet"
)

// BIRDBGP is BIRD 2 with a BGP protocol.
type BIRDBGP struct {
	t      testing.TB
	ns     *testnet.Namespace
	dir    string
	config BGPConfig
	daemon *daemon
}

// NewBIRDBGP makes a BIRD, which is not yet started.
func NewBIRDBGP(t testing.TB, ns *testnet.Namespace) BGPRouter {
	t.Helper()
	return &BIRDBGP{t: t, ns: ns, dir: t.TempDir()}
}

func (b *BIRDBGP) write() {
	b.t.Helper()
	c := b.config
	var out strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&out, format+"\n", args...) }
	line("router id %s;\nprotocol device { scan time 1; }", c.RouterID)
	name := "host"
	if c.Interface != "" {
		// It advertises itself as a router, and takes the host whatever its link-local address is.
		line("protocol radv { interface %q { max ra interval 4; default lifetime 0; }; }", c.Interface)
	}
	line("protocol bgp %s {\n local as %d;\n strict bind off;", name, c.ASN)
	if c.Port != 179 {
		line(" local port %d;", c.Port)
	}
	if c.Interface != "" {
		line(" interface %q;\n neighbor range fe80::/10 as %d;\n dynamic name \"host\";", c.Interface, c.HostASN)
	} else {
		line(" neighbor %s as %d;", c.Host, c.HostASN)
	}
	if c.Local.IsValid() {
		line(" source address %s;", c.Local)
	}
	if c.Password != "" {
		line(" password %q;", c.Password)
	}
	if c.TTLSecurity {
		line(" ttl security on;")
	}
	if c.MultiHop {
		line(" multihop 5;")
	} else if c.Interface == "" {
		line(" direct;")
	}
	line(" hold time %d;\n passive on;\n graceful restart on;\n connect retry time 1;\n error wait time 1, 2;", c.Hold)
	if c.IPv4 {
		line(" ipv4 { import all; export none; %s};", map[bool]string{true: "extended next hop on; "}[c.ExtendedHop])
	}
	if c.IPv6 {
		line(" ipv6 { import all; export none; };")
	}
	line("}")
	if err := os.WriteFile(filepath.Join(b.dir, "bird.conf"), []byte(out.String()), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// Start is part of BGPRouter.
func (b *BIRDBGP) Start(c BGPConfig) {
	b.t.Helper()
	b.Kill()
	b.config = c
	b.write()
	b.daemon = start(b.t, b.ns, "bird", "-f", "-c", filepath.Join(b.dir, "bird.conf"), "-s", filepath.Join(b.dir, "bird.ctl"))
	Until(b.t, 20*time.Second, "BIRD answers", func() string {
		return text(exec.CommandContext(b.t.Context(), "birdc", "-s", filepath.Join(b.dir, "bird.ctl"), "show", "status").Run())
	})
}

// Kill is part of BGPRouter.
func (b *BIRDBGP) Kill() {
	if b.daemon != nil {
		b.daemon.kill()
		b.daemon = nil
	}
}

func (b *BIRDBGP) birdc(command ...string) string {
	b.t.Helper()
	out, err := exec.CommandContext(b.t.Context(), "birdc", append([]string{"-s", filepath.Join(b.dir, "bird.ctl")}, command...)...).CombinedOutput()
	if err != nil {
		b.t.Fatalf("birdc %q: %v: %s", command, err, out)
	}
	return string(out)
}

// SetPassword is part of BGPRouter.
func (b *BIRDBGP) SetPassword(password string) {
	b.t.Helper()
	b.config.Password = password
	b.write()
	if out := b.birdc("configure"); !strings.Contains(out, "Reconfigur") {
		b.t.Fatalf("BIRD says %s", out)
	}
}

// protocol is the name of the session's protocol: of an unnumbered one it is made with the session.
func (b *BIRDBGP) protocol() string {
	if b.config.Interface != "" {
		return "host1"
	}
	return "host"
}

var (
	birdHold    = regexp.MustCompile(`Hold timer:\s+[0-9.]+/([0-9]+)`)
	birdRestart = regexp.MustCompile(`(?s)Neighbor capabilities.*?Restart time: ([0-9]+)`)
)

// Session is part of BGPRouter.
func (b *BIRDBGP) Session() BGPSession {
	b.t.Helper()
	s := BGPSession{Ups: -1, Restart: -1}
	out, err := exec.CommandContext(b.t.Context(), "birdc", "-s", filepath.Join(b.dir, "bird.ctl"), "show", "protocols", "all", b.protocol()).CombinedOutput()
	if err != nil {
		return s // the protocol of an unnumbered session may not be there
	}
	s.Up = strings.Contains(string(out), "BGP state:          Established")
	if m := birdHold.FindSubmatch(out); m != nil {
		s.Hold, _ = strconv.Atoi(string(m[1])) // digits
	}
	if m := birdRestart.FindSubmatch(out); m != nil {
		s.Restart, _ = strconv.Atoi(string(m[1])) // digits
	}
	return s
}

// Route is part of BGPRouter.
func (b *BIRDBGP) Route(prefix string) (BGPRoute, bool) {
	b.t.Helper()
	table := "master4"
	if family(prefix) == "ipv6" {
		table = "master6"
	}
	reply, err := exec.CommandContext(b.t.Context(), "birdc", "-s", filepath.Join(b.dir, "bird.ctl"), "show", "route", prefix, "table", table, "all").CombinedOutput()
	out := string(reply)
	if err != nil && !strings.Contains(out, "Network not found") {
		b.t.Fatalf("show route %s: %v: %s", prefix, err, out)
	}
	var r BGPRoute
	found := false
	for l := range strings.Lines(out) {
		key, value, ok := strings.Cut(strings.TrimSpace(l), ": ")
		if !ok {
			continue
		}
		switch strings.TrimSpace(key) {
		case "BGP.next_hop":
			found = true
			hops := strings.Fields(value) // a link-local address stands last
			r.NextHop = hops[len(hops)-1]
		case "BGP.as_path":
			for _, n := range strings.Fields(value) {
				asn, err := strconv.ParseUint(n, 10, 32)
				if err != nil {
					b.t.Fatalf("BIRD shows the path %q", value)
				}
				r.Path = append(r.Path, uint32(asn))
			}
		case "BGP.local_pref":
			r.LocalPref = number(b.t, value)
		case "BGP.med":
			r.MED = number(b.t, value)
		case "BGP.community":
			r.Communities = tuples(value)
		case "BGP.large_community":
			r.Large = tuples(value)
		}
	}
	r.Stale = strings.Contains(out, "s]") || strings.Contains(out, "stale")
	return r, found
}

func number(t testing.TB, s string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 32)
	if err != nil {
		t.Fatalf("%q is no number", s)
	}
	return uint32(n)
}

// tuples turns (1,2) (3, 4, 5) into 1:2 3:4:5.
func tuples(s string) []string {
	return strings.Fields(strings.NewReplacer(", ", ":", ",", ":", "(", "", ")", "").Replace(s))
}

var birdCount = regexp.MustCompile(`([0-9]+) of [0-9]+ routes`)

// Routes is part of BGPRouter.
func (b *BIRDBGP) Routes(v6 bool) int {
	b.t.Helper()
	table := "master4"
	if v6 {
		table = "master6"
	}
	m := birdCount.FindStringSubmatch(b.birdc("show", "route", "table", table, "count"))
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1]) // digits
	return n
}
