package netif_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"

	"fairlead.io/fairlead/l2/internal/nettest"
	"fairlead.io/fairlead/l2/netif"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// TestWatch: carrier, addresses, names, late and removed interfaces, bonds' and bridges' parts.
func TestWatch(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	re, err := netif.ParseExclude(netif.DefaultExclude)
	if err != nil {
		t.Fatal(err)
	}
	looks := make(chan []netif.Interface, 64)
	w := netif.NewWatcher(re, func(list []netif.Interface) { looks <- list }, logr.Discard())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	usable := func(what string, ok func([]netif.Interface) bool) {
		t.Helper()
		var last []netif.Interface
		deadline := time.After(nettest.Patience)
		for {
			select {
			case last = <-looks:
				if ok(last) {
					return
				}
			case <-deadline:
				t.Fatalf("%s is not reported; last: %+v", what, last)
			}
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	names := func(want ...string) func([]netif.Interface) bool {
		return func(l []netif.Interface) bool { return slices.Equal(netif.Names(l), want) }
	}
	usable("that there is nothing", names())
	n := nettest.New(t) // a late interface
	usable("a late interface", names(n.Host.Name))
	n.AddHostAddress("192.168.100.11/24")
	usable("its address", func(l []netif.Interface) bool {
		return len(l) == 1 && len(l[0].Addresses) == 1 && l[0].Addresses[0].String() == "192.168.100.11/24"
	})
	client := func(f func(netlink.Link) error) {
		n.InClient(func() error {
			l, err := netlink.LinkByName(n.Client.Name)
			if err != nil {
				return err
			}
			return f(l)
		})
	}
	client(netlink.LinkSetDown)
	usable("the loss of carrier", names())
	client(netlink.LinkSetUp)
	usable("the return of carrier", names(n.Host.Name))

	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br0"
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	must(netlink.LinkAdd(bridge))
	must(netlink.LinkSetUp(bridge))
	link, err := netlink.LinkByName(n.Host.Name)
	must(err)
	must(netlink.LinkSetMaster(link, bridge))
	usable("the bridge in place of its part", names("br0"))
	must(netlink.LinkSetNoMaster(link))
	must(netlink.LinkDel(bridge))
	usable("the former part", names(n.Host.Name))
	must(netlink.LinkDel(link))
	usable("the removal", names())
}

// watch runs a watcher, whose reports arrive one by one: it waits until each was taken.
func watch(t *testing.T) <-chan []netif.Interface {
	t.Helper()
	re, err := netif.ParseExclude(netif.DefaultExclude)
	if err != nil {
		t.Fatal(err)
	}
	reports := make(chan []netif.Interface)
	ctx, cancel := context.WithCancel(t.Context())
	w := netif.NewWatcher(re, func(list []netif.Interface) {
		select {
		case reports <- list:
		case <-ctx.Done():
		}
	}, logr.Discard())
	done := make(chan error)
	others := goleak.IgnoreCurrent()
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t, others)
	})
	return reports
}

// next is the next report.
func next(t *testing.T, reports <-chan []netif.Interface) []netif.Interface {
	t.Helper()
	select {
	case list := <-reports:
		return list
	case <-time.After(nettest.Patience):
		t.Fatal("nothing is reported")
		return nil
	}
}

// until waits for a report that names these interfaces.
func until(t *testing.T, reports <-chan []netif.Interface, names ...string) {
	t.Helper()
	for !slices.Equal(netif.Names(next(t, reports)), names) {
	}
}

// withAddress waits until the only interface is reported with an address, and fails when it is reported to be gone meanwhile.
func withAddress(t *testing.T, reports <-chan []netif.Interface, prefix string) {
	t.Helper()
	if gone := goneUntil(t, reports, prefix); gone {
		t.Fatal("it is reported to be gone")
	}
}

// goneUntil waits until the only interface is reported with an address, and says if it was reported to be gone meanwhile.
func goneUntil(t *testing.T, reports <-chan []netif.Interface, prefix string) (gone bool) {
	t.Helper()
	for {
		list := next(t, reports)
		if len(list) == 1 && slices.ContainsFunc(list[0].Addresses, func(p netip.Prefix) bool { return p.String() == prefix }) {
			return gone
		}
		gone = gone || len(list) == 0
	}
}

// TestGoneForAMoment: an interface that was down, or in another namespace, and is back as it was before anybody has looked: sockets on
// it may be dead, so that it is not enough to report what is.
func TestGoneForAMoment(t *testing.T) {
	n := nettest.New(t)
	link, err := netlink.LinkByName(n.Host.Name)
	if err != nil {
		t.Fatal(err)
	}
	reports := watch(t)
	until(t, reports, n.Host.Name)
	client := func(f func(netlink.Link) error) {
		n.InClient(func() error {
			l, err := netlink.LinkByName(n.Client.Name)
			if err != nil {
				return err
			}
			return f(l)
		})
	}
	for what, gone := range map[string]func() error{
		"down": func() error { return errors.Join(netlink.LinkSetDown(link), netlink.LinkSetUp(link)) },
		"without a carrier": func() error {
			client(netlink.LinkSetDown)
			for deadline := time.Now().Add(nettest.Patience); time.Now().Before(deadline); { // the kernel tells of it somewhat later
				l, err := netlink.LinkByName(n.Host.Name)
				if err != nil {
					return err
				}
				if l.Attrs().OperState != netlink.OperUp {
					client(netlink.LinkSetUp)
					return nil
				}
			}
			return errors.New("the carrier is still there")
		},
	} {
		t.Run(what, func(t *testing.T) {
			n.AddHostAddress(fmt.Sprintf("192.168.%d.11/24", len(what))) // the watcher has this to report, and looks at nothing more until it was taken
			if err := gone(); err != nil {
				t.Fatal(err)
			}
			until(t, reports)
			until(t, reports, n.Host.Name)
			// What is over is told of once, or again when news of it that was on its way comes; but not with each change that follows.
			again := true
			for i := 0; again && i < 10; i++ {
				prefix := fmt.Sprintf("192.168.%d.%d/24", len(what), 12+i)
				n.AddHostAddress(prefix)
				again = goneUntil(t, reports, prefix)
			}
			if again {
				t.Error("it is reported to be gone with each change")
			}
		})
	}
}

// TestRenamed: an interface under another name is another one, also where the new name is one that is never used.
func TestRenamed(t *testing.T) {
	n := nettest.New(t)
	link, err := netlink.LinkByName(n.Host.Name)
	if err != nil {
		t.Fatal(err)
	}
	reports := watch(t)
	until(t, reports, n.Host.Name)
	rename := func(name string) {
		t.Helper()
		if err := netlink.LinkSetName(link, name); err != nil {
			t.Fatal(err)
		}
	}
	rename("lan0")
	until(t, reports, "lan0")
	rename("veth0")
	until(t, reports)
	rename(n.Host.Name)
	until(t, reports, n.Host.Name)
	n.AddHostAddress("192.168.100.11/24") // which is not ignored as that of the name before was
	withAddress(t, reports, "192.168.100.11/24")
}

// TestOverrun: more notifications than the kernel keeps for one who is busy. None matters that a reading does not show.
func TestOverrun(t *testing.T) {
	n := nettest.New(t)
	link, err := netlink.LinkByName(n.Host.Name)
	if err != nil {
		t.Fatal(err)
	}
	reports := watch(t)
	until(t, reports, n.Host.Name)
	n.AddHostAddress("192.168.100.11/24") // nobody takes the report of it yet
	prefix, err := netlink.ParseAddr("192.168.101.11/24")
	if err != nil {
		t.Fatal(err)
	}
	for range 5000 {
		if err := errors.Join(netlink.AddrAdd(link, prefix), netlink.AddrDel(link, prefix)); err != nil {
			t.Fatal(err)
		}
	}
	n.AddHostAddress("192.168.102.11/24")
	withAddress(t, reports, "192.168.102.11/24")
	if err := netlink.LinkSetDown(link); err != nil {
		t.Fatal(err)
	}
	until(t, reports)
}
