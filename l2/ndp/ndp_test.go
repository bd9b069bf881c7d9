package ndp

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/mdlayher/ndp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"fairlead.io/fairlead/l2/internal/nettest"
	"fairlead.io/fairlead/l2/metrics"
	"fairlead.io/fairlead/l2/netif"
)

func TestMain(m *testing.M) { nettest.Main(m) }

const (
	vip       = "fd00:100::240"
	peer      = "fd00:100::100"
	linkLocal = "fe80::100"
)

var (
	host   = netif.MAC{2, 0, 0, 0, 0, 1}
	client = netif.MAC{2, 0, 0, 0, 0, 2}
)

func ours(a netip.Addr) bool { return a == netip.MustParseAddr(vip) }

// solicit makes a neighbour solicitation; dest empty: the target's solicited-node group, by multicast.
func solicit(from netif.MAC, to *netif.MAC, source, dest, target string, options ...ndp.Option) []byte {
	return frame(from, to, source, dest, target, &ndp.NeighborSolicitation{TargetAddress: netip.MustParseAddr(target), Options: options})
}

func frame(from netif.MAC, to *netif.MAC, source, dest, target string, m ndp.Message) []byte {
	group, mac, err := solicitedNode(netip.MustParseAddr(target))
	if err != nil {
		panic(err)
	}
	d := group
	if dest != "" {
		d = netip.MustParseAddr(dest)
	}
	if to != nil {
		mac = to[:]
	}
	s := netip.MustParseAddr(source)
	icmp, err := ndp.MarshalMessageChecksum(m, s, d)
	if err != nil {
		panic(err)
	}
	b := append(append(append([]byte(nil), mac...), from[:]...), 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(icmp)), protoICMPv6, 255)
	s16, d16 := s.As16(), d.As16()
	return append(append(append(b, s16[:]...), d16[:]...), icmp...)
}

func from(mac netif.MAC) ndp.Option {
	return &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac[:]}
}

// answer is what an advertisement must be.
type answer struct {
	to        net.HardwareAddr
	dest      string
	solicited bool
}

func check(t *testing.T, b []byte, self netif.MAC, want answer) {
	t.Helper()
	if !bytes.Equal(b[:6], want.to) || !bytes.Equal(b[6:12], self[:]) || b[offHopLimit] != 255 {
		t.Errorf("to %x from %x with hop limit %d, want to %s", b[:6], b[6:12], b[offHopLimit], want.to)
	}
	source, dest := netip.AddrFrom16([16]byte(b[offSource:])), netip.AddrFrom16([16]byte(b[offDest:]))
	if source != netip.MustParseAddr(vip) || dest != netip.MustParseAddr(want.dest) {
		t.Errorf("from %s to %s, want from %s to %s", source, dest, vip, want.dest)
	}
	if checksum(source, dest, b[offICMP:]) != 0 {
		t.Error("wrong checksum")
	}
	m, err := ndp.ParseMessage(b[offICMP:])
	if err != nil {
		t.Fatal(err)
	}
	na, ok := m.(*ndp.NeighborAdvertisement)
	if !ok || na.Router || na.Solicited != want.solicited || !na.Override || na.TargetAddress != netip.MustParseAddr(vip) {
		t.Errorf("advertisement %+v, want S=%t O=1 R=0", m, want.solicited)
	}
	if lla, ok := linkLayer(na.Options, ndp.Target); !ok || lla != self {
		t.Errorf("target link-layer address %s %t", lla, ok)
	}
}

func TestDecide(t *testing.T) {
	edit := func(f []byte, at int, b ...byte) []byte { copy(f[at:], b); return f }
	// sealed is the same with the checksum made right again: it is for something else that it is not answered.
	sealed := func(f []byte) []byte {
		f[offICMP+2], f[offICMP+3] = 0, 0
		size := int(binary.BigEndian.Uint16(f[offPayloadLen:]))
		binary.BigEndian.PutUint16(f[offICMP+2:], checksum(netip.AddrFrom16([16]byte(f[offSource:])), netip.AddrFrom16([16]byte(f[offDest:])), f[offICMP:offICMP+size]))
		return f
	}
	ask := func() []byte { return solicit(client, nil, peer, "", vip, from(client)) }
	other := netif.MAC{2, 0, 0, 0, 0, 9}
	advert := func(mac netif.MAC, solicited bool, dest string) []byte {
		return frame(mac, nil, peer, dest, vip, &ndp.NeighborAdvertisement{Solicited: solicited, TargetAddress: netip.MustParseAddr(vip),
			Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: mac[:]}}})
	}
	tests := []struct {
		name  string
		frame []byte
		reply *answer
		claim *netif.MAC
	}{
		{name: "multicast", frame: ask(), reply: &answer{client[:], peer, true}},
		{name: "from a link-local address", frame: solicit(client, nil, linkLocal, "", vip, from(client)), reply: &answer{client[:], linkLocal, true}},
		{name: "unicast (NUD)", frame: solicit(client, &host, peer, vip, vip), reply: &answer{client[:], peer, true}},
		{name: "the option names other hardware", frame: solicit(client, nil, peer, "", vip, from(other)), reply: &answer{other[:], peer, true}},
		{name: "duplicate address detection", frame: solicit(client, nil, "::", "", vip), reply: &answer{allNodesMAC, "ff02::1", false}},
		{name: "a nonce is no obstacle", frame: solicit(client, nil, "::", "", vip, ndp.NewNonce()), reply: &answer{allNodesMAC, "ff02::1", false}},
		{name: "detection with a link-layer address", frame: solicit(client, nil, "::", "", vip, from(client))},
		{name: "detection by unicast", frame: solicit(client, &host, "::", vip, vip)},
		{name: "to all nodes", frame: solicit(client, nil, peer, "ff02::1", vip, from(client))},
		{name: "not ours", frame: solicit(client, nil, peer, "", "fd00:100::241", from(client))},
		{name: "ourselves", frame: solicit(host, nil, peer, "", vip, from(host))},
		{name: "hop limit 254", frame: edit(ask(), offHopLimit, 254)},
		{name: "wrong checksum", frame: edit(ask(), offICMP+2, 1, 2)},
		{name: "code 1", frame: sealed(edit(ask(), offICMP+1, 1))},
		{name: "other next header", frame: edit(ask(), offNextHeader, 17)},
		{name: "option of length 0", frame: sealed(edit(ask(), offICMP+25, 0))},
		{name: "payload longer than the frame", frame: edit(ask(), offPayloadLen, 1, 0)},
		{name: "payload too short", frame: sealed(edit(ask(), offPayloadLen, 0, 23))},
		{name: "not IPv6", frame: edit(ask(), 14, 0x40)},
		{name: "short", frame: ask()[:minLen-1]},
		{name: "empty"},
		{name: "padded", frame: append(solicit(client, &host, peer, vip, vip), 0, 0, 0), reply: &answer{client[:], peer, true}},
		{name: "another claims it", frame: advert(client, false, "ff02::1"), claim: &client},
		{name: "another answers for it", frame: advert(client, true, peer), claim: &client},
		{name: "solicited, but to all", frame: advert(client, true, "ff02::1")},
		{name: "our own comes back", frame: advert(host, false, "ff02::1")},
		{name: "our own comes back from another", frame: frame(client, nil, peer, "ff02::1", vip, &ndp.NeighborAdvertisement{TargetAddress: netip.MustParseAddr(vip),
			Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: host[:]}}})},
		{name: "another claims it without an option", frame: frame(client, nil, peer, "ff02::1", vip, &ndp.NeighborAdvertisement{TargetAddress: netip.MustParseAddr(vip)}), claim: &client},
		{name: "another claims it for a third", frame: frame(client, nil, peer, "ff02::1", vip, &ndp.NeighborAdvertisement{TargetAddress: netip.MustParseAddr(vip),
			Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: other[:]}}}), claim: &other},
		{name: "no hardware claims it", frame: frame(client, nil, peer, "ff02::1", vip, &ndp.NeighborAdvertisement{TargetAddress: netip.MustParseAddr(vip),
			Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: make(net.HardwareAddr, 6)}}}), claim: &client},
		{name: "claims with a wrong checksum", frame: edit(advert(client, false, "ff02::1"), offICMP+2, 1, 2)},
		{name: "claims with hop limit 254", frame: edit(advert(client, false, "ff02::1"), offHopLimit, 254)},
		{name: "another uses it", frame: solicit(client, nil, vip, "", peer, from(client)), claim: &client},
		{name: "another uses it to ask us for it", frame: solicit(client, &host, vip, vip, vip, from(client)), reply: &answer{client[:], vip, true}, claim: &client},
		{name: "another uses it to ask for a group", frame: edit(solicit(client, nil, vip, "ff02::1", "ff02::1", from(client)), 0, 0x33)},
		{name: "another uses it to advertise something else", frame: frame(client, nil, vip, "ff02::1", peer, &ndp.NeighborAdvertisement{TargetAddress: netip.MustParseAddr(peer)})},
		{name: "from a group's address", frame: sealed(edit(ask(), offSource, 0xff, 2))},
		{name: "from a group's hardware", frame: edit(ask(), 6, 1)},
		{name: "from no hardware", frame: edit(ask(), 6, 0, 0, 0, 0, 0, 0)},
		{name: "we use it", frame: solicit(host, nil, vip, "", peer, from(host))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := decide(tt.frame, host, ours, ours)
			if v.claimed.IsValid() != (tt.claim != nil) || (tt.claim != nil && v.mac != *tt.claim) {
				t.Errorf("claimed %s by %s", v.claimed, v.mac)
			}
			if (v.reply != nil) != (tt.reply != nil) {
				t.Fatalf("reply %x, want one: %t", v.reply, tt.reply != nil)
			}
			if tt.reply != nil {
				check(t, v.reply, host, *tt.reply)
			}
		})
	}
}

func FuzzDecide(f *testing.F) {
	advert := func(mac netif.MAC, solicited bool, dest string, options ...ndp.Option) []byte {
		return frame(mac, nil, peer, dest, vip, &ndp.NeighborAdvertisement{Solicited: solicited, TargetAddress: netip.MustParseAddr(vip), Options: options})
	}
	target := &ndp.LinkLayerAddress{Direction: ndp.Target, Addr: client[:]}
	asks := solicit(client, nil, peer, "", vip, from(client))
	probes, err := probe(client, netip.MustParseAddr(vip))
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range [][]byte{asks, solicit(client, &host, peer, vip, vip), solicit(client, nil, "::", "", vip), solicit(client, nil, "::", "", vip, ndp.NewNonce()),
		solicit(client, nil, vip, "", peer, from(client)), probes, advert(client, false, "ff02::1"), advert(client, false, "ff02::1", target), advert(client, true, peer, target),
		advert(client, true, "ff02::1", target), advert(host, false, "ff02::1", target), asks[:minLen], asks[:minLen-1],
		slices.Concat(asks[:12], []byte{0x81, 0, 0, 5}, asks[12:]), slices.Concat(asks, make([]byte, 3)), {}} {
		f.Add(b)
	}
	address := netip.MustParseAddr(vip).As16()
	check := func(t *testing.T, b []byte) {
		t.Helper()
		v := decide(bytes.Clone(b), host, ours, ours)
		if v.reply == nil && !v.claimed.IsValid() {
			return
		}
		// What RFC 4861, 7.1.1 and 7.1.2 ask of a message.
		if len(b) < minLen || b[14]>>4 != 6 || b[offNextHeader] != protoICMPv6 || b[offHopLimit] != 255 || b[offICMP+1] != 0 || b[offTarget] == 0xff {
			t.Fatalf("a verdict on %x", b)
		}
		size := int(binary.BigEndian.Uint16(b[offPayloadLen:]))
		source, dest := netip.AddrFrom16([16]byte(b[offSource:])), netip.AddrFrom16([16]byte(b[offDest:]))
		if size < 24 || len(b) < offICMP+size || checksum(source, dest, b[offICMP:offICMP+size]) != 0 {
			t.Fatalf("a verdict on %x", b)
		}
		sender := netif.MAC(b[6:])
		asked, asks := [16]byte(b[offTarget:]) == address, b[offICMP] == typeSolicitation
		if v.claimed.IsValid() {
			says := b[offICMP] == typeAdvertisement && asked && (b[offICMP+4]&0x40 == 0 || !dest.IsMulticast())
			uses := asks && source.As16() == address && v.mac == sender
			if v.claimed.As16() != address || v.mac == host || sender == host || !station(v.mac) || !says && !uses {
				t.Errorf("%s is claimed by %s in %x", v.claimed, v.mac, b)
			}
		}
		if v.reply != nil {
			if !asks || !asked || sender == host {
				t.Errorf("answered %x", b)
			}
			if v.reply[0]&1 != 0 && !source.IsUnspecified() {
				t.Errorf("a multicast answer to %x", b)
			}
			if m, err := ndp.ParseMessage(v.reply[offICMP:]); err != nil || m.(*ndp.NeighborAdvertisement).Solicited == source.IsUnspecified() { //nolint:errcheck // the type is
				t.Errorf("reply %x to %x: %v", v.reply, b, err)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		check(t, b)
		// The same with a right checksum, which chance does not find.
		if len(b) < minLen {
			return
		}
		size := int(binary.BigEndian.Uint16(b[offPayloadLen:]))
		if size < 4 || len(b) < offICMP+size {
			return
		}
		b = bytes.Clone(b)
		b[offICMP+2], b[offICMP+3] = 0, 0
		s, d := netip.AddrFrom16([16]byte(b[offSource:])), netip.AddrFrom16([16]byte(b[offDest:]))
		binary.BigEndian.PutUint16(b[offICMP+2:], checksum(s, d, b[offICMP:offICMP+size]))
		check(t, b)
	})
}

func responder(t *testing.T, n *nettest.Network, h *nettest.Handler) (*Responder, *metrics.Set) {
	t.Helper()
	m, err := metrics.New(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	others := goleak.IgnoreCurrent()
	r, err := Listen(n.Host, h, m, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t, others)
	})
	return r, m
}

func advertisementFrom(mac netif.MAC) func([]byte) bool {
	return func(b []byte) bool {
		return len(b) >= minLen && bytes.Equal(b[6:12], mac[:]) && b[offNextHeader] == protoICMPv6 && b[offICMP] == typeAdvertisement
	}
}

// TestOnTheWire: an interface without any address answers what it should, and nothing else.
func TestOnTheWire(t *testing.T) {
	n := nettest.New(t)
	h := nettest.NewHandler(vip)
	r, m := responder(t, n, h)
	if err := r.Join(netip.MustParseAddr(vip)); err != nil {
		t.Fatal(err)
	}
	tap := n.Tap(etherType)
	ask := func(f []byte, want answer) {
		t.Helper()
		tap.Send(f)
		b := tap.Next(nettest.Patience, advertisementFrom(n.Host.MAC))
		if b == nil {
			t.Fatal("no answer")
		}
		check(t, b, n.Host.MAC, want)
	}
	c := n.Client.MAC
	// What must not be answered is sent before: its answer would come first.
	far := solicit(c, nil, linkLocal, "", vip, from(c))
	far[offHopLimit] = 254
	tap.Send(far)
	tap.Send(solicit(c, nil, linkLocal, "", "fd00:100::241", from(c)))
	ask(solicit(c, nil, peer, "", vip, from(c)), answer{c[:], peer, true})
	ask(solicit(c, &n.Host.MAC, peer, vip, vip), answer{c[:], peer, true})
	ask(solicit(c, nil, "::", "", vip), answer{allNodesMAC, "ff02::1", false})
	if err := r.Announce(netip.MustParseAddr(vip)); err != nil {
		t.Fatal(err)
	}
	b := tap.Next(nettest.Patience, advertisementFrom(n.Host.MAC))
	if b == nil {
		t.Fatal("no announcement")
	}
	check(t, b, n.Host.MAC, answer{allNodesMAC, "ff02::1", false})
	if b := tap.Next(100*time.Millisecond, advertisementFrom(n.Host.MAC)); b != nil {
		t.Errorf("an unexpected frame: %x", b)
	}
	tap.Send(frame(c, nil, peer, "ff02::1", vip, &ndp.NeighborAdvertisement{Override: true, TargetAddress: netip.MustParseAddr(vip)}))
	select {
	case <-h.Claims:
	case <-time.After(nettest.Patience):
		t.Error("a foreign claim was not noticed")
	}
	// Counted after an answer is out, but before the claim was looked at.
	if got := testutil.ToFloat64(m.Responses.WithLabelValues(metrics.NDP)); got != 3 {
		t.Errorf("%v answers counted, want 3", got)
	}
}

// TestKernelAsClient: a real neighbour resolves the address, keeps it by unicast solicitations, and follows a move.
func TestKernelAsClient(t *testing.T) {
	n := nettest.New(t)
	n.AddClientAddress(peer + "/64")
	r, m := responder(t, n, nettest.NewHandler(vip))
	if err := r.Join(netip.MustParseAddr(vip)); err != nil {
		t.Fatal(err)
	}
	// neighbour waits for a state of the client's, which does something for it each time it is looked at.
	neighbour := func(want string, do func() error, ok func(netlink.Neigh) bool) {
		t.Helper()
		look := time.NewTicker(20 * time.Millisecond)
		defer look.Stop()
		for deadline := time.After(nettest.Patience); ; {
			found := false
			n.InClient(func() error {
				if err := do(); err != nil {
					return err
				}
				list, err := netlink.NeighList(n.Client.Index, netlink.FAMILY_V6)
				for _, e := range list {
					found = found || (e.IP.String() == vip && ok(e))
				}
				return err
			})
			if found {
				return
			}
			select {
			case <-look.C:
			case <-deadline:
				t.Fatalf("the client's neighbour does not become %s", want)
			}
		}
	}
	// The client gives up after 3 s without an answer, and asks again when it has something to send.
	send := func() error {
		c, err := net.Dial("udp6", "["+vip+"]:9")
		if err != nil {
			return err
		}
		if _, err = c.Write([]byte("x")); err != nil {
			return err
		}
		return c.Close()
	}
	neighbour("reachable at the host", send, func(e netlink.Neigh) bool {
		return bytes.Equal(e.HardwareAddr, n.Host.MAC[:]) && e.State&netlink.NUD_REACHABLE != 0
	})
	before := testutil.ToFloat64(m.Responses.WithLabelValues(metrics.NDP))
	// Probe: the kernel solicits by unicast, now.
	n.InClient(func() error {
		return netlink.NeighSet(&netlink.Neigh{LinkIndex: n.Client.Index, Family: netlink.FAMILY_V6, IP: net.ParseIP(vip), State: netlink.NUD_PROBE,
			HardwareAddr: n.Host.MAC[:]})
	})
	neighbour("reachable again by a unicast solicitation", send, func(e netlink.Neigh) bool {
		return e.State&netlink.NUD_REACHABLE != 0 && testutil.ToFloat64(m.Responses.WithLabelValues(metrics.NDP)) > before
	})
	// Another node had it; the announcement overrides.
	n.InClient(func() error {
		return netlink.NeighSet(&netlink.Neigh{LinkIndex: n.Client.Index, Family: netlink.FAMILY_V6, IP: net.ParseIP(vip), State: netlink.NUD_STALE,
			HardwareAddr: net.HardwareAddr{2, 9, 9, 9, 9, 9}})
	})
	if err := r.Announce(netip.MustParseAddr(vip)); err != nil {
		t.Fatal(err)
	}
	neighbour("at the host again", func() error { return nil }, func(e netlink.Neigh) bool { return bytes.Equal(e.HardwareAddr, n.Host.MAC[:]) })
}

func TestGroups(t *testing.T) {
	n := nettest.New(t)
	r, _ := responder(t, n, nettest.NewHandler(vip))
	a, b := netip.MustParseAddr("fd00:100::240"), netip.MustParseAddr("fd00:200::240") // of one group
	name, mac, err := solicitedNode(a)
	if err != nil {
		t.Fatal(err)
	}
	filtered := func() bool { // by the interface
		raw, err := os.ReadFile("/proc/thread-self/net/dev_mcast")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			if f := strings.Fields(line); len(f) == 5 && f[1] == n.Host.Name && f[4] == hex.EncodeToString(mac) {
				return true
			}
		}
		return false
	}
	for _, x := range []netip.Addr{a, b} {
		if err := r.Join(x); err != nil {
			t.Fatal(err)
		}
	}
	if !nettest.Joined(t, n.Host.Name, name) {
		t.Errorf("group %s is not joined: %v", name, nettest.Groups(t, n.Host.Name))
	}
	if !filtered() {
		t.Error("the interface does not let the group's frames through")
	}
	if err := r.Leave(a); err != nil {
		t.Fatal(err)
	}
	if !nettest.Joined(t, n.Host.Name, name) {
		t.Error("the group was left while another address needs it")
	}
	if err := r.Leave(b); err != nil {
		t.Fatal(err)
	}
	if nettest.Joined(t, n.Host.Name, name) {
		t.Error("the group was not left")
	}
	if filtered() {
		t.Error("the interface still lets the group's frames through")
	}
}

// TestManyGroups: more groups than a socket takes, and no more sockets than they need, however they come and go.
func TestManyGroups(t *testing.T) {
	n := nettest.New(t)
	m, err := metrics.New(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	r, err := Listen(n.Host, nettest.NewHandler(vip), m, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	const many = 3000
	nth := func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("fd00:100::%x:%x", i>>16, i&0xffff)) }
	for i := range many {
		if err := r.Join(nth(i)); err != nil {
			t.Fatalf("address %d: %v", i, err)
		}
	}
	if got := len(nettest.Groups(t, n.Host.Name)); got < many {
		t.Errorf("%d groups joined, want %d at least", got, many)
	}
	sockets, files := len(r.groups.sockets), openFiles(t)
	if sockets < 2 {
		t.Log("one socket was enough; net.core.optmem_max is large here")
	}
	for i := range 3 * many { // one goes, and another comes
		if err := errors.Join(r.Leave(nth(i)), r.Join(nth(i+many))); err != nil {
			t.Fatalf("address %d: %v", i, err)
		}
	}
	if got := len(r.groups.sockets); got > sockets {
		t.Errorf("%d sockets for as many groups as %d held before", got, sockets)
	}
	for i := range many {
		if err := r.Leave(nth(i + 3*many)); err != nil {
			t.Fatalf("address %d: %v", i, err)
		}
	}
	if got := len(r.groups.sockets); got != 0 || len(r.groups.members) != 0 || openFiles(t) != files-sockets {
		t.Errorf("%d sockets and %d groups remain, and %d open files of %d", got, len(r.groups.members), openFiles(t), files)
	}
	if err := r.Join(nth(0)); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil || openFiles(t) != files-sockets-1 {
		t.Errorf("closed, it has %d open files, %v", openFiles(t), err)
	}
}

// openFiles of this process.
func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
