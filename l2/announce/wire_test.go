package announce

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"github.com/mdlayher/ndp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/l2/internal/nettest"
	"fairlead.io/fairlead/l2/metrics"
	"fairlead.io/fairlead/l2/netif"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// TestNetRawIsEnough: all that a speaker does with the network, on a thread that has the capability NET_RAW and no other.
func TestNetRawIsEnough(t *testing.T) {
	n := nettest.New(t)
	m, err := metrics.New(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- func() error {
			only := [2]unix.CapUserData{{Effective: 1 << unix.CAP_NET_RAW, Permitted: 1 << unix.CAP_NET_RAW}}
			if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &only[0]); err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(t.Context())
			var seen []netif.Interface
			// Run ends with the first report, which comes after both subscriptions.
			if err := netif.NewWatcher(nil, func(list []netif.Interface) { seen = list; cancel() }, logr.Discard()).Run(ctx); err != nil {
				return err
			}
			if !slices.Equal(netif.Names(seen), []string{n.Host.Name}) {
				return fmt.Errorf("usable are %v", seen)
			}
			p, err := OpenPort(m, logr.Discard())(seen[0], nettest.NewHandler())
			if err != nil {
				return err
			}
			return errors.Join(p.Join(addr6), p.Announce(addr), p.Announce(addr6), p.Leave(addr6), p.Close())
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// TestLinkFlap: everything real, from netlink to the wire. Addresses are answered for and announced after the link returns,
// after the interface's MAC has changed, and the groups are joined again.
func TestLinkFlap(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	n := nettest.New(t)
	m, err := metrics.New(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	a := New(Config{Open: OpenPort(m, logr.Discard()), Count: 1, Metrics: m, Log: logr.Discard()})
	looks := make(chan []netif.Interface, 64)
	w := netif.NewWatcher(nil, func(list []netif.Interface) { a.SetInterfaces(list); looks <- list }, logr.Discard())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- a.Run(ctx) }()
	go func() { done <- w.Run(ctx) }()
	defer func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}()
	usable := func(want *netif.Interface) {
		t.Helper()
		deadline := time.After(nettest.Patience)
		for {
			select {
			case list := <-looks:
				switch {
				case want == nil && len(list) == 0:
					return
				case want != nil && len(list) == 1 && list[0].Name == want.Name && list[0].MAC == want.MAC:
					return
				}
			case <-deadline:
				t.Fatalf("the usable interfaces do not become %v", want)
			}
		}
	}
	link, err := netlink.LinkByName(n.Host.Name)
	if err != nil {
		t.Fatal(err)
	}
	arpTap, ndpTap := n.Tap(0x0806), n.Tap(0x86dd)
	usable(&n.Host)
	a.Own(addr, nil, AtOnce)
	a.Own(addr6, nil, AtOnce)
	announced := func(mac netif.MAC) {
		t.Helper()
		if arpTap.Next(nettest.Patience, func(b []byte) bool { return bytes.Equal(b[:6], ethernet.Broadcast) && bytes.Equal(b[6:12], mac[:]) }) == nil {
			t.Fatalf("no gratuitous ARP from %s", mac)
		}
		if ndpTap.Next(nettest.Patience, func(b []byte) bool { return len(b) > 54 && b[54] == 136 && bytes.Equal(b[6:12], mac[:]) }) == nil {
			t.Fatalf("no unsolicited advertisement from %s", mac)
		}
	}
	answers := func(mac netif.MAC) {
		t.Helper()
		p, err := arp.NewPacket(arp.OperationRequest, n.Client.MAC[:], netip.MustParseAddr("192.168.100.100"), ethernet.Broadcast, addr)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := p.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		f, err := (&ethernet.Frame{Destination: ethernet.Broadcast, Source: n.Client.MAC[:], EtherType: ethernet.EtherTypeARP, Payload: payload}).MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		arpTap.Send(f)
		if arpTap.Next(nettest.Patience, func(b []byte) bool { return bytes.Equal(b[:6], n.Client.MAC[:]) && bytes.Equal(b[6:12], mac[:]) }) == nil {
			t.Fatalf("no ARP answer from %s", mac)
		}
	}
	joined := func() {
		t.Helper()
		group, err := ndp.SolicitedNodeMulticast(addr6)
		if err != nil {
			t.Fatal(err)
		}
		if !nettest.Joined(t, n.Host.Name, group) {
			t.Fatalf("%s is not joined", group)
		}
	}
	announced(n.Host.MAC)
	answers(n.Host.MAC)
	joined()

	if err := netlink.LinkSetDown(link); err != nil {
		t.Fatal(err)
	}
	usable(nil)
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	usable(&n.Host)
	announced(n.Host.MAC)
	answers(n.Host.MAC)
	joined()

	changed := n.Host
	changed.MAC = netif.MAC{2, 0, 0, 0, 0x77, 1}
	if err := netlink.LinkSetHardwareAddr(link, changed.MAC[:]); err != nil {
		t.Fatal(err)
	}
	usable(&changed)
	announced(changed.MAC)
	answers(changed.MAC)
	joined()
	if m := a.Owned(); len(m) != 2 {
		t.Errorf("owned %v", m)
	}
}
