package announce

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/l2/internal/nettest"
	"fairlead.io/fairlead/l2/metrics"
	"fairlead.io/fairlead/l2/netif"
)

// wired runs an Announcer on a network's host.
func wired(t *testing.T, n *nettest.Network, change func(*Config)) *Announcer {
	t.Helper()
	m, err := metrics.New(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Open: OpenPort(m, logr.Discard()), Metrics: m, Log: logr.Discard()}
	change(&cfg)
	a := New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	others := goleak.IgnoreCurrent()
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t, others)
	})
	a.SetInterfaces([]netif.Interface{n.Host})
	return a
}

// until waits for a change after which a condition holds.
func until(t *testing.T, changed <-chan struct{}, what string, ok func() bool) {
	t.Helper()
	for deadline := time.After(nettest.Patience); !ok(); {
		select {
		case <-changed:
		case <-deadline:
			t.Fatal(what)
		}
	}
}

// conflictOf an announcer: it waits for the only one.
func conflictOf(t *testing.T, a *Announcer, changed <-chan struct{}) (c Conflict) {
	t.Helper()
	until(t, changed, "the stranger is not noticed", func() bool {
		list := a.Conflicts()
		if len(list) == 1 {
			c = list[0]
		}
		return len(list) == 1
	})
	return c
}

// clientLink does something to the client's interface.
func clientLink(n *nettest.Network, f func(netlink.Link) error) {
	n.InClient(func() error {
		link, err := netlink.LinkByName(n.Client.Name)
		if err != nil {
			return err
		}
		return f(link)
	})
}

func prefixOf(a netip.Addr) string { return fmt.Sprintf("%s/%d", a, a.BitLen()-8) }

// TestRealStranger: a host whose kernel has the address. It is not announced while he has it, and is when he has given it up.
func TestRealStranger(t *testing.T) {
	for _, addr := range []netip.Addr{addr, addr6} {
		t.Run(addr.String(), func(t *testing.T) {
			n := nettest.New(t)
			n.AddClientAddress(prefixOf(addr))
			etherType := 0x0806
			if addr.Is6() {
				etherType = 0x86dd
			}
			tap := n.Tap(etherType)
			changed := make(chan struct{}, 1)
			a := wired(t, n, func(c *Config) {
				c.Changed = func() { notify(changed) }
				c.Recheck = 300 * time.Millisecond
			})
			a.Own(addr, nil, Probe)
			c := conflictOf(t, a, changed)
			if c.Addr != addr || c.MAC != n.Client.MAC || c.Interface != n.Host.Name || c.Announced || len(a.Owned()) != 0 {
				t.Errorf("conflict %+v, owned %v", c, a.Owned())
			}
			tap.Send(ask(t, n, addr)) // which this node hears, and leaves to him
			clientLink(n, func(l netlink.Link) error {
				p, err := netlink.ParseAddr(prefixOf(addr))
				if err != nil {
					return err
				}
				return netlink.AddrDel(l, p)
			})
			until(t, changed, "the address is free, and is not announced", func() bool { return len(a.Owned()) == 1 && len(a.Conflicts()) == 0 })
			// Everything up to here was probes.
			first := tap.Next(nettest.Patience, func(b []byte) bool {
				return bytes.Equal(b[6:12], n.Host.MAC[:]) && (concerns(b, addr) && !isProbe(b, addr) || bytes.Equal(b[:6], asker[:]))
			})
			if first == nil || !isAnnouncement(first, addr, n.Host.MAC) {
				t.Errorf("the first frame that is no probe is %x", first)
			}
			tap.Send(ask(t, n, addr))
			if tap.Next(nettest.Patience, func(b []byte) bool { return bytes.Equal(b[:6], asker[:]) && bytes.Equal(b[6:12], n.Host.MAC[:]) }) == nil {
				t.Error("and then it is not answered for")
			}
		})
	}
}

// TestRealStrangerComes: a host that takes the address while this node answers for it. He is told that it is taken (by IPv6's duplicate
// address detection he then does without), and reported.
func TestRealStrangerComes(t *testing.T) {
	t.Run("IPv4", func(t *testing.T) {
		n := nettest.New(t)
		changed := make(chan struct{}, 1)
		a := wired(t, n, func(c *Config) { c.Changed = func() { notify(changed) }; c.Recheck = 300 * time.Millisecond })
		tap := n.Tap(0x0806)
		a.Own(addr, nil, AtOnce)
		if tap.Next(nettest.Patience, func(b []byte) bool { return isAnnouncement(b, addr, n.Host.MAC) }) == nil {
			t.Fatal("not announced") // before that nothing might be heard
		}
		n.AddClientAddress(prefixOf(addr)) // a kernel takes it without asking
		arping(t, n, addr)
		if c := conflictOf(t, a, changed); c.MAC != n.Client.MAC || !c.Announced || !a.Answers(n.Host.Name, addr) {
			t.Errorf("conflict %+v", c)
		}
		clientLink(n, func(l netlink.Link) error {
			p, err := netlink.ParseAddr(prefixOf(addr))
			if err != nil {
				return err
			}
			return netlink.AddrDel(l, p)
		})
		until(t, changed, "the conflict does not end", func() bool { return len(a.Conflicts()) == 0 })
		if len(a.Owned()) != 1 {
			t.Error("the address was given up")
		}
	})
	t.Run("IPv6", func(t *testing.T) {
		n := nettest.New(t)
		a := wired(t, n, func(*Config) {})
		tap := n.Tap(0x86dd)
		a.Own(addr6, nil, AtOnce)
		if tap.Next(nettest.Patience, func(b []byte) bool { return isAnnouncement(b, addr6, n.Host.MAC) }) == nil {
			t.Fatal("not announced")
		}
		events := make(chan netlink.AddrUpdate, 16)
		done := make(chan struct{})
		defer close(done)
		n.InClient(func() error { return netlink.AddrSubscribe(events, done) })
		// It asks each second, and takes the address if nobody has answered by the end: once, by default.
		n.ClientSysctl("ipv6/conf/"+n.Client.Name+"/dad_transmits", "30")
		clientLink(n, func(l netlink.Link) error { // with duplicate address detection
			p, err := netlink.ParseAddr(prefixOf(addr6))
			if err != nil {
				return err
			}
			return netlink.AddrAdd(l, p)
		})
		deadline := time.After(nettest.Patience)
		for {
			select {
			case e := <-events:
				if ip, _ := netip.AddrFromSlice(e.LinkAddress.IP); ip == addr6 && e.Flags&unix.IFA_F_DADFAILED != 0 {
					return
				}
			case <-deadline:
				t.Fatal("the client does not find that the address is taken")
			}
		}
	})
}

// TestProbesOnTheWire: how many probes and announcements go out, and what they are. How far apart they are a clock says that does not go on while
// nobody reads: see TestCare.
func TestProbesOnTheWire(t *testing.T) {
	const interval = 200 * time.Millisecond
	for _, addr := range []netip.Addr{addr, addr6} {
		t.Run(addr.String(), func(t *testing.T) {
			n := nettest.New(t)
			etherType, forms := 0x0806, 2 // a request and a reply
			if addr.Is6() {
				etherType, forms = 0x86dd, 1
			}
			tap := n.Tap(etherType)
			a := wired(t, n, func(c *Config) { c.Count, c.Interval = 3, interval })
			a.Own(addr, nil, Probe)
			next := func(what string, is func([]byte) bool) {
				t.Helper()
				b := tap.Next(nettest.Patience, func(b []byte) bool { return bytes.Equal(b[6:12], n.Host.MAC[:]) && concerns(b, addr) })
				if b == nil || !is(b) {
					t.Fatalf("instead of %s comes %x", what, b)
				}
			}
			for i := range probeCount {
				next(fmt.Sprintf("probe %d", i), func(b []byte) bool { return isProbe(b, addr) })
			}
			for i := range 3 * forms {
				next(fmt.Sprintf("announcement %d", i/forms), func(b []byte) bool { return isAnnouncement(b, addr, n.Host.MAC) })
			}
			if b := tap.Next(2*interval, func(b []byte) bool { return bytes.Equal(b[6:12], n.Host.MAC[:]) && concerns(b, addr) }); b != nil {
				t.Errorf("and then comes %x", b)
			}
		})
	}
}

// asker is a third host's hardware address.
var asker = netif.MAC{2, 0, 0, 0, 0, 0x99}

// ask makes a third host's question for an address.
func ask(t *testing.T, n *nettest.Network, addr netip.Addr) []byte {
	t.Helper()
	if addr.Is4() {
		to := addr.As4()
		f := slices.Concat([]byte{255, 255, 255, 255, 255, 255}, asker[:], []byte{8, 6, 0, 1, 8, 0, 6, 4, 0, 1}, asker[:], []byte{192, 168, 100, 99}, make([]byte, 6), to[:])
		return f
	}
	source := netip.MustParseAddr("fd00:100::99")
	icmp, err := ndp.MarshalMessageChecksum(&ndp.NeighborSolicitation{TargetAddress: addr, Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: asker[:]}}}, source, addr)
	if err != nil {
		t.Fatal(err)
	}
	from, to := source.As16(), addr.As16()
	return slices.Concat(n.Host.MAC[:], asker[:], []byte{0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(icmp)), 58, 255}, from[:], to[:], icmp)
}

// concerns reports whether a frame is ARP or a neighbour discovery message about an address.
func concerns(b []byte, addr netip.Addr) bool {
	if addr.Is4() {
		return len(b) >= 42 && netip.AddrFrom4([4]byte(b[38:42])) == addr
	}
	return len(b) >= 78 && (b[54] == 135 || b[54] == 136) && netip.AddrFrom16([16]byte(b[62:78])) == addr
}

// isProbe: RFC 5227, 2.1.1 and RFC 4862, 5.4.2.
func isProbe(b []byte, addr netip.Addr) bool {
	if !concerns(b, addr) {
		return false
	}
	if addr.Is4() {
		return bytes.Equal(b[:6], []byte{255, 255, 255, 255, 255, 255}) && binary.BigEndian.Uint16(b[20:]) == 1 &&
			bytes.Equal(b[22:28], b[6:12]) && bytes.Equal(b[28:38], make([]byte, 10))
	}
	a := addr.As16()
	group := append([]byte{0x33, 0x33, 0xff}, a[13:]...)
	return bytes.Equal(b[:6], group) && b[21] == 255 && b[54] == 135 && bytes.Equal(b[22:38], make([]byte, 16)) && len(b) == 78 // no options
}

// isAnnouncement: RFC 5227, 2.3 and RFC 4861, 7.2.6.
func isAnnouncement(b []byte, addr netip.Addr, mac netif.MAC) bool {
	if !concerns(b, addr) {
		return false
	}
	if addr.Is4() {
		return bytes.Equal(b[:6], []byte{255, 255, 255, 255, 255, 255}) && bytes.Equal(b[22:28], mac[:]) && bytes.Equal(b[28:32], b[38:42])
	}
	return bytes.Equal(b[:6], []byte{0x33, 0x33, 0, 0, 0, 1}) && b[21] == 255 && b[54] == 136 && b[58] == 0x20 && // override, and not solicited
		bytes.Equal(b[len(b)-6:], mac[:])
}

// arping makes the client announce an address, as a host does that comes up.
func arping(t *testing.T, n *nettest.Network, addr netip.Addr) {
	t.Helper()
	n.InClient(func() error {
		conn, err := packet.Listen(&net.Interface{Index: n.Client.Index, Name: n.Client.Name, HardwareAddr: n.Client.MAC[:]}, packet.Raw, 0x0806, nil)
		if err != nil {
			return err
		}
		ip := addr.As4()
		f := append([]byte{255, 255, 255, 255, 255, 255}, n.Client.MAC[:]...)
		f = append(f, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1)
		f = append(append(f, n.Client.MAC[:]...), ip[:]...)
		f = append(append(f, 0, 0, 0, 0, 0, 0), ip[:]...)
		_, err = conn.WriteTo(f, &packet.Addr{HardwareAddr: f[:6]})
		return errors.Join(err, conn.Close())
	})
}
