package netif_test

import (
	"context"
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
		deadline := time.After(10 * time.Second)
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
