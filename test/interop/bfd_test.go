package interop

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bfd/manager"
	"fairlead.io/fairlead/bfd/udp"
	"fairlead.io/fairlead/internal/testnet"
)

func TestMain(m *testing.M) { Main(m) }

const ms = time.Millisecond

// topology is a host, where the speaker runs, and a router, joined by a switch (eth0) and over a third host (eth1).
//
//	host eth0 192.0.2.1, 2001:db8::1, fe80::1 -- near -- 192.0.2.2, 2001:db8::2, fe80::2 eth0 router
//	host eth1 10.1.0.1, 2001:db8:1::1 -- middle -- far -- 10.2.0.2, 2001:db8:2::2 eth1 router
type topology struct {
	host, router, wires *testnet.Namespace // wires has the switches' ports to the router, near and far
}

func newTopology(t testing.TB) topology {
	t.Helper()
	host, middle, router, wires := testnet.New(t), testnet.New(t), testnet.New(t), testnet.New(t)
	for _, ns := range []*testnet.Namespace{host, middle, router} {
		ns.Sysctl("ipv6/conf/default/accept_dad", "0")
	}
	testnet.Connect(wires, "host", host, "eth0")
	testnet.Connect(wires, "near", router, "eth0")
	testnet.Connect(host, "eth1", middle, "eth0")
	testnet.Connect(wires, "middle", middle, "eth1")
	testnet.Connect(wires, "far", router, "eth1")
	wires.Bridge("switch0", "host", "near")
	wires.Bridge("switch1", "middle", "far")
	for _, a := range []struct {
		ns             *testnet.Namespace
		ifname, prefix string
	}{
		{host, "eth0", "192.0.2.1/24"}, {host, "eth0", "2001:db8::1/64"}, {host, "eth0", "fe80::1/64"},
		{router, "eth0", "192.0.2.2/24"}, {router, "eth0", "2001:db8::2/64"}, {router, "eth0", "fe80::2/64"},
		{host, "eth1", "10.1.0.1/24"}, {host, "eth1", "2001:db8:1::1/64"},
		{middle, "eth0", "10.1.0.254/24"}, {middle, "eth0", "2001:db8:1::fe/64"},
		{middle, "eth1", "10.2.0.254/24"}, {middle, "eth1", "2001:db8:2::fe/64"},
		{router, "eth1", "10.2.0.2/24"}, {router, "eth1", "2001:db8:2::2/64"},
	} {
		a.ns.AddAddress(a.ifname, a.prefix)
	}
	middle.Sysctl("ipv4/ip_forward", "1")
	middle.Sysctl("ipv6/conf/all/forwarding", "1")
	host.AddRoute("10.2.0.0/24", "10.1.0.254")
	host.AddRoute("2001:db8:2::/64", "2001:db8:1::fe")
	router.AddRoute("10.1.0.0/24", "10.2.0.254")
	router.AddRoute("2001:db8:1::/64", "2001:db8:2::fe")
	return topology{host, router, wires}
}

// timers of one end, in milliseconds.
type timers struct{ tx, rx, mult int }

// detection is how long t's end takes to miss the other.
func (t timers) detection(other timers) time.Duration {
	return time.Duration(other.mult*max(t.rx, other.tx)) * ms
}

// path is a session between host and router.
type path struct {
	name   string
	key    manager.Key
	ours   timers
	theirs timers
	minTTL int
}

func (p path) settings() manager.Settings {
	return manager.Settings{MinTTL: uint8(p.minTTL), Config: bfd.Config{
		DesiredMinTx: time.Duration(p.ours.tx) * ms, RequiredMinRx: time.Duration(p.ours.rx) * ms, DetectMult: uint8(p.ours.mult),
	}}
}

// paths have detection times of 2 to 4 s: a router or a speaker that gets no processor for a second loses no session for that.
func paths() []path {
	key := func(peer, local, ifname string, port uint16) manager.Key {
		return manager.Key{Peer: netip.MustParseAddr(peer), Local: netip.MustParseAddr(local), Interface: ifname, Port: port}
	}
	return []path{
		{"IPv4", key("192.0.2.2", "192.0.2.1", "eth0", udp.PortSingleHop), timers{100, 150, 15}, timers{120, 200, 16}, 255},
		{"IPv6", key("2001:db8::2", "2001:db8::1", "eth0", udp.PortSingleHop), timers{200, 100, 15}, timers{50, 60, 24}, 255},
		{"link-local", key("fe80::2", "fe80::1", "eth0", udp.PortSingleHop), timers{100, 100, 20}, timers{100, 100, 20}, 255},
		{"multihop IPv4", key("10.2.0.2", "10.1.0.1", "", udp.PortMultihop), timers{150, 250, 14}, timers{200, 100, 13}, 254},
		{"multihop IPv6", key("2001:db8:2::2", "2001:db8:1::1", "", udp.PortMultihop), timers{60, 120, 10}, timers{90, 300, 20}, 254},
	}
}

// bfdRouter is FRR or BIRD, in one way of speaking.
type bfdRouter interface {
	Start()
	Kill()
	// set gives its end of the paths other timers, and makes it passive or not.
	set(all []path, passive bool)
	// sees says what its command line shows of a path other than that it is up with the negotiated values; empty: nothing.
	sees(p path) string
	// down says what it shows of a path other than that it is down.
	down(p path) string
}

type frr struct{ *FRR }

func (p path) frr() string {
	if p.key.Port == udp.PortMultihop {
		return fmt.Sprintf("peer %s multihop local-address %s", p.key.Local, p.key.Peer)
	}
	return fmt.Sprintf("peer %s local-address %s interface eth0", p.key.Local, p.key.Peer)
}

func (p path) frrTimers(passive bool) []string {
	no := "no "
	if passive {
		no = ""
	}
	return []string{
		p.frr(), fmt.Sprintf("transmit-interval %d", p.theirs.tx), fmt.Sprintf("receive-interval %d", p.theirs.rx),
		fmt.Sprintf("detect-multiplier %d", p.theirs.mult), no + "passive-mode",
	}
}

func (r frr) set(all []path, passive bool) {
	for _, p := range all {
		r.Configure(p.frrTimers(passive)...)
	}
}

// sees: bfdd shows what was announced to it, and not what follows of it.
func (r frr) sees(p path) string {
	s := r.Peers()[p.key.Local.String()]
	if s.Status == "up" && s.RemoteTransmit == p.ours.tx && s.RemoteReceive == p.ours.rx && s.RemoteDetectMult == p.ours.mult {
		return ""
	}
	return fmt.Sprintf("bfdd shows %+v", s)
}

func (r frr) down(p path) string {
	if s := r.Peers()[p.key.Local.String()]; s.Status != "down" {
		return fmt.Sprintf("bfdd shows %+v", s)
	}
	return ""
}

type bird struct {
	*BIRD
	paths   map[string]path
	passive bool
	auth    string // of the sessions with one hop
}

// config is the protocol's content. Timers are those of an interface: sessions over one interface share them.
func (r *bird) config() string {
	timers := func(p path) string {
		return fmt.Sprintf("min tx interval %d ms; min rx interval %d ms; multiplier %d; passive %s;",
			p.theirs.tx, p.theirs.rx, p.theirs.mult, map[bool]string{true: "yes", false: "no"}[r.passive])
	}
	var direct, multihop, neighbours string
	for _, p := range r.paths {
		if p.key.Port == udp.PortMultihop {
			multihop = timers(p)
			neighbours += fmt.Sprintf("neighbor %s local %s multihop;\n", p.key.Local, p.key.Peer)
		} else {
			direct = timers(p)
			neighbours += fmt.Sprintf("neighbor %s dev \"eth0\" local %s;\n", p.key.Local, p.key.Peer)
		}
	}
	return fmt.Sprintf("interface \"eth0\" { %s %s };\nmultihop { %s };\n%s", direct, r.auth, multihop, neighbours)
}

func (r *bird) set(all []path, passive bool) {
	r.passive = passive
	for _, p := range all {
		r.paths[p.name] = p
	}
	r.Configure(r.config())
}

func (r *bird) sees(p path) string {
	s := r.Sessions()[p.key.Local.String()]
	if s.State == "Up" && s.Interval == time.Duration(max(p.theirs.tx, p.ours.rx))*ms && s.Timeout == p.theirs.detection(p.ours) {
		return ""
	}
	return fmt.Sprintf("BIRD shows %+v", s)
}

func (r *bird) down(p path) string {
	if s := r.Sessions()[p.key.Local.String()]; s.State != "Down" {
		return fmt.Sprintf("BIRD shows %+v", s)
	}
	return ""
}

func TestFRR(t *testing.T) {
	t.Parallel()
	n := newTopology(t)
	config := "bfd\n"
	for _, p := range paths() {
		config += strings.Join(p.frrTimers(false), "\n  ") + "\n !\n"
	}
	f := NewFRR(t, n.router, config)
	l := &lab{t: t, topology: n, other: frr{f}, paths: paths(), speaker: NewSpeaker(t, n.host)}
	l.common()

	// Its end is held down, and let up again; it is told when ours is.
	for _, p := range l.paths {
		f.Configure(p.frr(), "shutdown")
		if e := l.speaker.Await(p.key, bfd.Down, patience); e.RemoteState != bfd.AdminDown || e.Diagnostic != bfd.NeighborSignaledDown {
			t.Errorf("%s: event %+v", p.name, e)
		}
		f.Configure(p.frr(), "no shutdown")
		l.speaker.Await(p.key, bfd.Up, patience)
		l.speaker.Remove(p.key)
		Until(t, patience, "bfdd is told that our end leaves", func() string {
			if s := f.Peers()[p.key.Local.String()]; s.Status != "down" || s.RemoteDiagnostic != "administratively down" {
				return fmt.Sprintf("it shows %+v", s)
			}
			return ""
		})
	}
}

func TestBIRD(t *testing.T) {
	t.Parallel()
	n := newTopology(t)
	all := paths()
	r := &bird{paths: map[string]path{}}
	for i := range all {
		all[i].theirs = all[0].theirs // those of one hop share an interface
		if all[i].key.Port == udp.PortMultihop {
			all[i].theirs = all[3].theirs
			all[i].minTTL = 63 // BIRD sends over several hops with the system's default TTL, 64
		}
		r.paths[all[i].name] = all[i]
	}
	r.BIRD = NewBIRD(t, n.router, r.config())
	l := &lab{t: t, topology: n, other: r, paths: all, speaker: NewSpeaker(t, n.host)}
	l.common()

	// Authentication of both kinds, and another key without a loss.
	first, second := bfd.AuthKey{ID: 1, Secret: []byte("the first")}, bfd.AuthKey{ID: 2, Secret: []byte("the second")}
	for name, kind := range map[string]bfd.AuthType{"keyed sha1": bfd.KeyedSHA1, "meticulous keyed sha1": bfd.MeticulousKeyedSHA1} {
		change := func(auth bfd.Auth) {
			for _, p := range all {
				if p.key.Port == udp.PortSingleHop {
					s := p.settings()
					s.Auth = &auth
					l.speaker.Change(p.key, s)
				}
			}
		}
		r.auth = fmt.Sprintf("authentication %s; password \"the first\" { id 1; }; password \"the second\" { id 2; };", name)
		r.Configure(r.config())
		change(bfd.Auth{Type: kind, Send: first})
		l.up(name)
		l.receive(name, 20) // what BIRD had sent before it was configured is not under way any more
		before, discarded := l.speaker.Snapshot(), l.speaker.Discarded()
		change(bfd.Auth{Type: kind, Send: second, Accept: []bfd.AuthKey{first}})
		l.receive(name+", the other key", 20)
		for k, s := range l.speaker.Snapshot() {
			if s.Counters.Lost != before[k].Counters.Lost || s.Counters.Discarded != before[k].Counters.Discarded {
				t.Errorf("%s: %s was lost or has discarded packets when the key changed: %+v, before %+v; all discarded %v, before %v",
					name, k, s.Counters, before[k].Counters, l.speaker.Discarded(), discarded)
			}
		}
	}
}

// lab is a topology with its router and the speaker.
type lab struct {
	topology
	t       *testing.T
	other   bfdRouter
	speaker *Speaker
	paths   []path
}

// start gives the speaker all paths.
func (l *lab) start(passive bool) {
	l.t.Helper()
	for _, p := range l.paths {
		s := p.settings()
		s.Passive = passive
		l.speaker.Add(p.key, s)
	}
}

// up waits until both ends of all paths are up and show what they have negotiated.
func (l *lab) up(when string) {
	l.t.Helper()
	Until(l.t, patience, when, func() string {
		got := l.speaker.Snapshot()
		for _, p := range l.paths {
			s := got[p.key]
			if s.State != bfd.Up || s.DetectionTime != p.ours.detection(p.theirs) || s.RemoteDetectionTime != p.theirs.detection(p.ours) {
				return fmt.Sprintf("%s: we show %+v, have discarded %v, and %s", p.name, s, l.speaker.Discarded(), l.other.sees(p))
			}
			if wrong := l.other.sees(p); wrong != "" {
				return p.name + ": " + wrong
			}
		}
		return ""
	})
	l.speaker.Forget()
}

// receive waits until every session has received n more packets.
func (l *lab) receive(when string, n uint64) {
	l.t.Helper()
	before := l.speaker.Snapshot()
	Until(l.t, patience, when, func() string {
		for k, s := range l.speaker.Snapshot() {
			if got := s.Counters.Received - before[k].Counters.Received; got < n {
				return fmt.Sprintf("%d of %d packets of %s", got, n, k)
			}
		}
		return ""
	})
}

// down waits until the router finds all paths down.
func (l *lab) down(when string) {
	l.t.Helper()
	Until(l.t, patience, when, func() string {
		for _, p := range l.paths {
			if wrong := l.other.down(p); wrong != "" {
				return p.name + ": " + wrong
			}
		}
		return ""
	})
}

// unharmed checks that no session was lost.
func (l *lab) unharmed(when string) {
	l.t.Helper()
	for k, s := range l.speaker.Snapshot() {
		if s.Counters.Lost != 0 || s.Problem != "" {
			l.t.Errorf("%s: %s was lost %d times, problem %q", when, k, s.Counters.Lost, s.Problem)
		}
	}
}

// lost checks that the paths to a port are found lost when nothing was received for the detection time, and not much later than the speaker was
// late otherwise.
func (l *lab) lost(when string, ports ...uint16) {
	l.t.Helper()
	for _, p := range l.paths {
		if !slices.Contains(ports, p.key.Port) {
			continue
		}
		limit := p.ours.detection(p.theirs)
		e := l.speaker.Await(p.key, bfd.Down, patience)
		var late time.Duration
		for _, s := range l.speaker.Snapshot() {
			late = max(late, s.MaxLate)
		}
		after := e.Time.Sub(e.LastReceived)
		l.t.Logf("%s, %s: found lost after %s, detection time %s; packets were up to %s late", when, p.name, after.Round(ms), limit, late.Round(ms))
		if e.Old != bfd.Up || e.Diagnostic != bfd.DetectionTimeExpired {
			l.t.Errorf("%s, %s: event %+v", when, p.name, e)
		}
		if after < limit || after > limit+limit/10+late {
			l.t.Errorf("%s, %s: found lost after %s, want %s to 110 %% of that, and %s of delay", when, p.name, after, limit, late)
		}
	}
}

// common is what is the same with every router.
func (l *lab) common() {
	l.t.Helper()
	l.start(false)
	l.up("up")

	for i := range l.paths {
		p := &l.paths[i]
		p.ours = timers{p.ours.tx + 40, p.ours.rx - 20, p.ours.mult + 1}
		l.speaker.Change(p.key, p.settings())
	}
	l.up("our timers changed")
	for i := range l.paths {
		p := &l.paths[i]
		p.theirs = timers{p.theirs.tx + 60, p.theirs.rx + 20, p.theirs.mult + 1}
	}
	l.other.set(l.paths, false)
	l.up("the router's timers changed")
	l.unharmed("timers changed")

	for port, wire := range map[uint16]string{udp.PortSingleHop: "near", udp.PortMultihop: "far"} {
		l.wires.SetLink(wire, false)
		l.lost("cable "+wire+" cut", port)
		l.wires.SetLink(wire, true)
		l.up("cable " + wire + " mended")
	}

	l.other.Kill()
	l.lost("router killed", udp.PortSingleHop, udp.PortMultihop)
	l.other.Start()
	l.other.set(l.paths, false)
	l.up("router started again")

	l.speaker.Kill()
	l.down("speaker killed")
	l.speaker = NewSpeaker(l.t, l.host)
	l.start(true)
	l.up("speaker started again, passive")

	for _, p := range l.paths {
		held := p.settings()
		held.AdminDown = true
		l.speaker.Change(p.key, held)
	}
	l.down("held down by us")
	l.other.set(l.paths, true) // passive; and we are active again
	for _, p := range l.paths {
		l.speaker.Change(p.key, p.settings())
	}
	l.up("let up by us, the router passive")
	l.speaker.Close()
	l.down("speaker closed")
	l.speaker = NewSpeaker(l.t, l.host)
	l.start(false)
	l.up("speaker started again, the router passive")
}

// Another BFD daemon on the node has the port: the session says so (who it is, a speaker may not see), others work, and when the
// daemon has gone it works too.
func TestPortTakenByAnotherDaemon(t *testing.T) {
	t.Parallel()
	n := newTopology(t)
	theirs, ours := NewFRR(t, n.host, "bfd\n"), NewSpeaker(t, n.host)
	router := NewSpeaker(t, n.router)
	key := func(peer, local string, port uint16) manager.Key {
		return manager.Key{Peer: netip.MustParseAddr(peer), Local: netip.MustParseAddr(local), Interface: "eth0", Port: port}
	}
	settings := paths()[0].settings()
	for _, port := range []uint16{udp.PortSingleHop, 9793} {
		settings.MinTTL = 255
		router.Add(key("192.0.2.1", "192.0.2.2", port), settings)
		ours.Add(key("192.0.2.2", "192.0.2.1", port), settings)
	}
	ours.Await(key("192.0.2.2", "192.0.2.1", 9793), bfd.Up, patience)
	taken := key("192.0.2.2", "192.0.2.1", udp.PortSingleHop)
	if got := ours.Snapshot()[taken]; got.State != bfd.Down || !strings.Contains(got.Problem, "UDP port 3784 is taken, likely by another BFD daemon on this node, such as FRR's bfdd") {
		t.Errorf("the session is %s, its problem %q", got.State, got.Problem)
	}
	theirs.Kill()
	ours.Await(taken, bfd.Up, patience)
	if got := ours.Snapshot()[taken]; got.Problem != "" {
		t.Errorf("the problem is still %q", got.Problem)
	}
}
