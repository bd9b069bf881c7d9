//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/template"
	"time"

	"fairlead.io/fairlead/test/lab/plan"
	"fairlead.io/fairlead/test/router"
)

// The addresses that the nodes tell the routers of.
var (
	vip4 = netip.MustParseAddr("203.0.113.80")
	vip6 = netip.MustParseAddr("2001:db8::80")
)

// speakerConfig makes BIRD what a node's speaker is: it opens sessions to all routers over both families, and sends both routes.
var speakerConfig = template.Must(template.New("").Parse(`
log stderr all;
router id {{.ID}};
protocol device { }
protocol bfd { }
protocol static route4 { ipv4; route {{.VIP4}}/32 blackhole; }
protocol static route6 { ipv6; route {{.VIP6}}/128 blackhole; }
filter mark {
	bgp_med = 20;
	bgp_community.add((64512, 7));
	bgp_large_community.add((64512, 1, 2));
	accept;
}
template bgp routers {
	local as {{.ASN}};
	connect delay time 1;
	connect retry time 1;
	error wait time 1, 1;
	hold time 90;
	{{with .Password}}password "{{.}}";{{end}}
	{{if .BFD}}bfd { interval 100 ms; multiplier 5; };{{end}}
	ipv4 { import none; export filter mark; extended next hop; };
	ipv6 { import none; export filter mark; };
}
{{range $i, $r := .Routers}}protocol bgp router{{$i}} from routers { neighbor {{$r}} as {{$.PeerASN}}; }
{{end}}`))

// speakers are the nodes' stand-ins for Fairlead's own.
type speakers struct {
	*trial
	lab *Lab
	dir string
}

func (s speakers) in(t *testing.T) speakers { return speakers{s.trial.in(t), s.lab, s.dir} }

// start makes each node answer at the addresses and tell the routers of them.
func (s speakers) start(password string, bfd bool) {
	s.Helper()
	for _, n := range s.lab.Nodes() {
		for _, args := range [][]string{{"-4", vip4.String() + "/32"}, {"-6", vip6.String() + "/128"}} {
			if _, err := n.Exec(s.Context(), "ip", args[0], "address", "replace", args[1], "dev", "lo"); err != nil {
				s.Fatal(err)
			}
		}
		s.write(n, password, bfd)
		if _, err := n.startDaemon("bird", exec.Command("/usr/sbin/bird", "-f", "-c", s.file(n), "-s", s.file(n)+".ctl")); err != nil {
			s.Fatal(err)
		}
		s.answer(n)
	}
}

func (s speakers) file(n *Host) string { return filepath.Join(s.dir, n.Name+".conf") }

func (s speakers) write(n *Host, password string, bfd bool) {
	s.Helper()
	values := map[string]any{"ID": n.IPv4, "VIP4": vip4, "VIP6": vip6, "ASN": plan.NodeASN, "PeerASN": plan.RouterASN, "Password": password, "BFD": bfd}
	var routers []netip.Addr
	for _, r := range s.lab.Routers() {
		routers = append(routers, r.IPv4, r.IPv6)
	}
	values["Routers"] = routers
	var text strings.Builder
	err := speakerConfig.Execute(&text, values)
	if err == nil {
		err = os.WriteFile(s.file(n), []byte(text.String()), 0o600)
	}
	if err != nil {
		s.Fatal(err)
	}
}

// change gives all speakers another configuration.
func (s speakers) change(password string, bfd bool) {
	s.Helper()
	for _, n := range s.lab.Nodes() {
		s.write(n, password, bfd)
		if out, err := exec.CommandContext(s.Context(), "birdc", "-s", s.file(n)+".ctl", "configure").CombinedOutput(); err != nil || !strings.Contains(string(out), "Reconfigur") {
			s.Fatalf("configure BIRD on %s: %v: %s", n.Name, err, out)
		}
	}
}

// answer serves the node's name at both addresses.
func (s speakers) answer(n *Host) {
	s.Helper()
	for _, vip := range []netip.Addr{vip4, vip6} {
		var l net.Listener
		err := n.Do(func() (err error) {
			l, err = new(net.ListenConfig).Listen(s.Context(), "tcp", netip.AddrPortFrom(vip, 80).String())
			return err
		})
		if err != nil {
			s.Fatal(err)
		}
		s.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return // closed
				}
				_, _ = io.WriteString(conn, n.Name) // the one who asks finds out
				_ = conn.Close()
			}
		}()
	}
}

// established waits until a router has sessions with all nodes over both families, each with both routes.
func (s speakers) established(r *Router, bfd string) {
	s.Helper()
	s.eventually("the sessions of "+r.Name, func() error {
		sessions, err := r.Sessions(s.Context())
		if err != nil {
			return err
		}
		up := 0
		for _, session := range sessions {
			if session.Established() && session.Received == 2 && session.BFD == bfd && session.ASN == plan.NodeASN {
				up++
			}
		}
		if want := 2 * len(s.lab.Nodes()); up != want || len(sessions) != want {
			return fmt.Errorf("%d of %d sessions are as they should be: %+v", up, want, sessions)
		}
		return nil
	})
}

// carriers waits until a router's kernel sends what is for each of the addresses to these nodes and no other.
func (s speakers) carriers(r *Router, nodes ...string) {
	s.Helper()
	s.eventually("the forwarding of "+r.Name, func() error {
		table, err := r.Forwarding()
		if err != nil {
			return err
		}
		for _, vip := range []netip.Addr{vip4, vip6} {
			var hosts []string
			for _, hop := range table[netip.PrefixFrom(vip, vip.BitLen())] {
				hosts = append(hosts, hop.Host)
			}
			slices.Sort(hosts)
			if hosts = slices.Compact(hosts); !slices.Equal(hosts, nodes) {
				return fmt.Errorf("%s goes to %q, want %q", vip, hosts, nodes)
			}
		}
		return nil
	})
}

// connect connects from ext to an address and says which node has answered.
func connect(ctx context.Context, ext *Host, vip netip.Addr) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	conn, err := ext.Dial(ctx, "tcp", netip.AddrPortFrom(vip, 80).String())
	if err != nil {
		return "", err
	}
	deadline, _ := ctx.Deadline()
	err = conn.SetDeadline(deadline)
	name, readErr := io.ReadAll(conn)
	return string(name), errors.Join(err, readErr, conn.Close())
}

// answeredBy waits until connections from ext to both addresses are answered by these nodes and no other.
func (s speakers) answeredBy(ext *Host, nodes ...string) {
	s.Helper()
	for _, vip := range []netip.Addr{vip4, vip6} {
		s.eventually(fmt.Sprintf("%s to be answered by %v", vip, nodes), func() error {
			seen := map[string]int{}
			for range 40 { // all of them to one of two nodes: less likely than 1 in 10^11
				name, err := connect(s.Context(), ext, vip)
				if err != nil {
					return err
				}
				seen[name]++
			}
			for _, n := range nodes {
				if seen[n] == 0 {
					return fmt.Errorf("answers of %v", seen)
				}
			}
			if len(seen) != len(nodes) {
				return fmt.Errorf("answers of %v", seen)
			}
			return nil
		})
	}
}

// TestRouters adds all routers to a lab and reaches addresses of its nodes through them.
func TestRouters(t *testing.T) {
	tr := newTrial(t)
	up := func(args ...string) {
		t.Helper()
		tr.run(append([]string{"up", "--nodes=2", "--no-install"}, args...)...)
		tr.remember()
	}
	if out, err := tr.command("up", "--routers=quagga").CombinedOutput(); err == nil || !strings.Contains(string(out), "frr, bird or gobgp") {
		t.Errorf("up with an unknown router: %v: %s", err, out)
	}
	up()
	up("--routers=frr")
	begin := time.Now()
	up("--routers=frr,bird,gobgp") // beside the one that is there
	t.Logf("adding two routers took %s", time.Since(begin).Round(10*time.Millisecond))
	defer func() { t.Logf("with routers: %s", time.Since(begin).Round(10*time.Millisecond)) }()
	l, err := Open(Config{Name: tr.cfg.Name, StateDir: tr.cfg.StateDir})
	if err != nil {
		t.Fatal(err)
	}
	routers := map[string]*Router{}
	for name, kind := range map[string]router.Kind{"tor": router.FRR, "tor2": router.BIRD, "tor3": router.GoBGP} {
		r, err := l.Router(name)
		if err != nil || r.Kind() != kind {
			t.Fatalf("router %s: %+v, %v", name, r, err)
		}
		routers[name] = r
	}
	tor, tor2, tor3 := routers["tor"], routers["tor2"], routers["tor3"]
	ext, err := l.Host("ext")
	if err != nil {
		t.Fatal(err)
	}
	s := speakers{tr, l, t.TempDir()}
	s.unreachable(ext) // before anybody has told a router of the addresses
	s.start("", false)

	t.Run("sessions and routes", func(t *testing.T) {
		s := s.in(t)
		for _, r := range l.Routers() {
			s.established(r, "")
			s.routes(r)
		}
		s.carriers(tor, "node1", "node2")
		s.carriers(tor2, "node1", "node2")
		s.carriers(tor3) // it has routes, and forwards nothing
	})
	t.Run("through FRR and BIRD", func(t *testing.T) {
		s := s.in(t)
		s.answeredBy(ext, "node1", "node2")
		tr.run("fault", "tor", "link-down")
		s.unreachable(ext) // there is no other way
		s.carry(tor2)
		s.answeredBy(ext, "node1", "node2")
		s.carry(tor3)
		s.unreachable(ext)
		tr.run("fault", "tor", "link-up")
		s.carry(tor)
		s.answeredBy(ext, "node1", "node2")
		tr.run("fault", "ext", "link-down")
		s.unreachable(ext)
		tr.run("fault", "ext", "link-up")
	})
	t.Run("password and BFD", func(t *testing.T) {
		s := s.in(t)
		const password = "Sesame-1"
		bfd := &router.BFD{Interval: 100 * time.Millisecond, Multiplier: 5}
		if err := tor3.Apply(t.Context(), router.Settings{Password: password, BFD: bfd}); err == nil || !strings.Contains(err.Error(), "no BFD") {
			t.Errorf("gobgpd with BFD: %v", err)
		}
		for _, r := range l.Routers() {
			settings := router.Settings{Password: password, BFD: bfd}
			if r.Kind() == router.GoBGP {
				settings.BFD = nil
			}
			if err := r.Apply(t.Context(), settings); err != nil {
				t.Fatal(err)
			}
			s.eventually(r.Name+" to refuse who has no password", func() error { return s.alone(r) })
		}
		s.change(password, true)
		s.established(tor, "Up")
		s.established(tor2, "Up")
		s.established(tor3, "")
		// BFD finds out long before the hold time of 90 s would, however slow this machine is.
		tr.run("fault", "node1", "link-down")
		cut := time.Now()
		s.carriers(tor, "node2")
		s.carriers(tor2, "node2")
		if took := time.Since(cut); took > 30*time.Second {
			t.Errorf("the routers sent to a node that was cut off for %s", took)
		}
		s.answeredBy(ext, "node2")
		tr.run("fault", "node1", "link-up")
		for _, r := range []*Router{tor, tor2} {
			s.established(r, "Up")
			s.carriers(r, "node1", "node2")
		}
	})
	t.Run("configure", func(t *testing.T) { s.in(t).configure(tor, tor2, tor3) })
	t.Run("other neighbours, killed and restarted", func(t *testing.T) {
		s := s.in(t)
		for _, r := range l.Routers() {
			settings := l.routers[r.index].Settings
			settings.Static, settings.HoldTime = true, 9*time.Second
			if err := r.Apply(t.Context(), settings); err != nil {
				t.Fatal(err)
			}
		}
		if err := tor.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if out, err := tr.command("status").CombinedOutput(); err == nil || !strings.Contains(string(out), "missing: zebra bgpd bfdd") {
			t.Errorf("status without FRR: %v: %s", err, out)
		}
		if err := tor2.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		before, err := tor3.Processes("gobgpd")
		if err != nil {
			t.Fatal(err)
		}
		up()
		if after, err := tor3.Processes("gobgpd"); err != nil || !slices.Equal(after, before) {
			t.Errorf("up has changed the processes of gobgpd from %v to %v, %v", before, after, err)
		}
		// With the password and all that was applied.
		s.established(tor, "Up")
		s.established(tor2, "Up")
		s.established(tor3, "")
		s.answeredBy(ext, "node1", "node2")
	})
	t.Run("command line", func(t *testing.T) {
		tr := tr.in(t)
		for _, tc := range [][]string{
			{"tor", "vtysh", "-c", "show bgp summary", "192.168.100.11"},
			{"tor2", "birdc", "show", "protocols", "Established"},
			{"tor3", "gobgp", "neighbor", "192.168.100.11"},
		} {
			last := len(tc) - 1
			if out := tr.run(append([]string{"exec", tc[0], "--"}, tc[1:last]...)...); !strings.Contains(out, tc[last]) {
				t.Errorf("%v: no %q in %s", tc[:last], tc[last], out)
			}
		}
		if out := tr.run("status"); !strings.Contains(out, "up, 4 of 4 BGP sessions established") {
			t.Errorf("status: %s", out)
		}
		// What a person saves in vtysh is the lab's, and not the machine's.
		machine, err := os.ReadFile("/etc/frr/frr.conf")
		if err != nil {
			t.Fatal(err)
		}
		tr.run("exec", "tor", "--", "vtysh", "-c", "write")
		if after, err := os.ReadFile("/etc/frr/frr.conf"); err != nil || string(after) != string(machine) {
			t.Errorf("the machine's frr.conf was written: %v: %s", err, after)
		}
	})
	tr.downLeavesNothing()
}

// routes checks that a router has been sent what the speakers send.
func (s speakers) routes(r *Router) {
	s.Helper()
	routes, err := r.Routes(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	for _, vip := range []netip.Addr{vip4, vip6} {
		paths := routes[netip.PrefixFrom(vip, vip.BitLen())]
		if len(paths) != 4 { // two nodes, two sessions each
			s.Errorf("%s has %d paths to %s, want 4", r.Name, len(paths), vip)
		}
		for _, p := range paths {
			if p.MED == nil || *p.MED != 20 || !slices.Equal(p.ASPath, []uint32{plan.NodeASN}) ||
				!slices.Equal(p.Communities, []string{"64512:7"}) || !slices.Equal(p.LargeCommunities, []string{"64512:1:2"}) {
				s.Errorf("%s has a path to %s of %+v", r.Name, vip, p)
			}
		}
	}
}

// alone says which sessions a router has left.
func (s speakers) alone(r *Router) error {
	sessions, err := r.Sessions(s.Context())
	for _, session := range sessions {
		if session.Established() {
			return fmt.Errorf("the session with %s is established", session.Peer)
		}
	}
	return err
}

func (s speakers) carry(r *Router) {
	s.Helper()
	if err := r.Carry(s.Context()); err != nil {
		s.Fatal(err)
	}
}

func (s speakers) unreachable(ext *Host) {
	s.Helper()
	for _, vip := range []netip.Addr{vip4, vip6} {
		if name, err := connect(s.Context(), ext, vip); err == nil {
			s.Errorf("%s answers at %s", name, vip)
		}
	}
}

// configure gives each router a route in its own words, twice, which costs no session.
func (s speakers) configure(tor, tor2, tor3 *Router) {
	s.Helper()
	s.established(tor, "Up")
	s.established(tor2, "Up")
	s.established(tor3, "")
	for _, tc := range []struct {
		r       *Router
		lines   func(route string) []string
		show    []string
		refused string
	}{
		{tor, func(route string) []string { return []string{"ip prefix-list mark permit " + route} }, []string{"show ip prefix-list"}, "nonsense 1"},
		{tor2, func(route string) []string {
			return []string{"protocol static added {", "\tipv4;", "\troute " + route + " blackhole;", "}"}
		}, []string{"show route"}, "nonsense 1;"},
		{tor3, func(route string) []string { return []string{"global rib add " + route} }, []string{"global", "rib"}, "nonsense 1"},
	} {
		before, err := tc.r.Sessions(s.Context())
		if err != nil {
			s.Fatal(err)
		}
		for _, route := range []string{"198.51.100.0/25", "198.51.100.128/25"} {
			if err := tc.r.Configure(s.Context(), tc.lines(route)...); err != nil {
				s.Fatal(err)
			}
			if out, err := tc.r.Raw(s.Context(), tc.show...); err != nil || !strings.Contains(out, route) {
				s.Errorf("%s does not show %s: %v: %s", tc.r.Name, route, err, out)
			}
		}
		if err := tc.r.Configure(s.Context(), tc.refused); err == nil {
			s.Errorf("%s has taken %q", tc.r.Name, tc.refused)
		}
		after, err := tc.r.Sessions(s.Context())
		if err != nil {
			s.Fatal(err)
		}
		for i, session := range after {
			if i >= len(before) || session.State != before[i].State || session.Uptime < before[i].Uptime {
				s.Errorf("%s has lost a session: %+v, before %+v", tc.r.Name, session, before)
			}
		}
	}
}
