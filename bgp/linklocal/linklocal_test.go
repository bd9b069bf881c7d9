package linklocal

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/mdlayher/ndp"
	"go.uber.org/goleak"

	"fairlead.io/fairlead/internal/testnet"
)

func TestMain(m *testing.M) { testnet.Main(m) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// The router is kept while it is heard, or no other one is; who did not answer makes place at once.
func TestChoose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &Finder{log: testr.New(t), heard: map[netip.Addr]time.Time{}, changed: make(chan struct{}), ask: make(chan struct{}, 1)}
		one, two := addr("fe80::1%eth0"), addr("fe80::2%eth0")
		expect := func(when string, want netip.Addr, change bool, changed <-chan struct{}) {
			t.Helper()
			if got, err := f.Router(); got != want || err != nil {
				t.Errorf("%s: %s, %v, want %s", when, got, err, want)
			}
			select {
			case <-changed:
				if !change {
					t.Errorf("%s: a change is told of", when)
				}
			default:
				if change {
					t.Errorf("%s: no change is told of", when)
				}
			}
		}
		if _, err := f.Router(); err == nil || !strings.Contains(err.Error(), "no router advertisement was heard") {
			t.Errorf("nobody was heard: %v", err)
		}
		changed := f.Changed()
		f.hear(one)
		expect("the first", one, true, changed)
		changed = f.Changed()
		f.hear(two)
		expect("another", one, false, changed)
		time.Sleep(forgotten - time.Second)
		f.hear(two)
		expect("not yet forgotten", one, false, changed)
		time.Sleep(2 * time.Second)
		f.hear(two)
		expect("forgotten", two, true, changed)
		changed = f.Changed()
		time.Sleep(2 * forgotten)
		f.choose(time.Now())
		expect("nobody else", two, false, changed)
		f.hear(one)
		expect("somebody else", one, true, changed)
		changed = f.Changed()
		f.hear(two)
		f.Blame(one)
		expect("blamed", two, true, changed)
		// It is asked if it is still there before it is forgotten, and not forgotten for others that are many.
		if f.doubtful() {
			t.Error("who was just heard is in doubt")
		}
		time.Sleep(doubted)
		if !f.doubtful() {
			t.Error("who was not heard for long is in no doubt")
		}
		changed = f.Changed()
		for i := range 3 * maxRouters {
			time.Sleep(time.Millisecond)
			f.hear(netip.AddrFrom16([16]byte{0xfe, 0x80, 14: 1, 15: byte(i)}).WithZone("eth0"))
		}
		if len(f.heard) > maxRouters {
			t.Errorf("%d routers are kept", len(f.heard))
		}
		expect("many others", two, false, changed)
		f.Blame(two)
		if got, err := f.Router(); err != nil || got == two {
			t.Errorf("blamed: %s, %v", got, err)
		}
	})
}

// On a link the two ends find each other, also when the interface comes later and goes meanwhile.
func TestFind(t *testing.T) {
	defer goleak.VerifyNone(t)
	own, other := testnet.Own(t), testnet.New(t)
	f := New("eth7", testr.New(t))
	defer f.Close()
	wait := func(what string, ok func(netip.Addr, error) bool) {
		t.Helper()
		deadline := time.After(30 * time.Second)
		for {
			changed := f.Changed()
			router, err := f.Router()
			if ok(router, err) {
				return
			}
			select {
			case <-changed:
			case <-deadline:
				t.Fatalf("%s: not within 30 s: %s, %v", what, router, err)
			}
		}
	}
	wait("no interface", func(_ netip.Addr, err error) bool {
		return err != nil && err.Error() == "this node has no interface eth7"
	})
	for _, ns := range []*testnet.Namespace{own, other} {
		ns.Sysctl("ipv6/conf/default/accept_dad", "0")
		ns.Sysctl("ipv6/conf/default/addr_gen_mode", "1")
	}
	testnet.Connect(own, "eth7", other, "eth0")
	own.AddAddress("eth7", "fe80::1/64")
	wait("nobody there", func(_ netip.Addr, err error) bool {
		return err != nil && strings.Contains(err.Error(), "no router advertisement was heard there")
	})

	// The other end is a router: it hears us, and says so.
	other.AddAddress("eth0", "fe80::2/64")
	answer(t, other)
	wait("found", func(router netip.Addr, _ error) bool { return router == addr("fe80::2%eth7") })

	// The interface is another one of the same name, and so is the router.
	own.DeleteLink("eth7")
	testnet.Connect(own, "eth7", other, "eth0")
	own.AddAddress("eth7", "fe80::1/64")
	other.AddAddress("eth0", "fe80::3/64")
	answer(t, other)
	wait("found again", func(router netip.Addr, _ error) bool { return router == addr("fe80::3%eth7") })

	// Without its link-local address nothing is heard.
	own.DeleteAddress("eth7", "fe80::1/64")
	wait("no address", func(_ netip.Addr, err error) bool {
		return err != nil && strings.Contains(err.Error(), "which needs a link-local address")
	})
}

// answer is what a router does on eth0: it hears who asks for it and makes itself known, and says so too.
func answer(t *testing.T, other *testnet.Namespace) {
	t.Helper()
	conns := make(chan *ndp.Conn, 1)
	other.Do(func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		ifi.Name = strconv.Itoa(ifi.Index)
		conn, _, err := ndp.Listen(ifi, ndp.LinkLocal)
		if err == nil {
			err = conn.JoinGroup(allRouters)
		}
		if err == nil {
			err = conn.JoinGroup(allNodes)
		}
		conns <- conn
		return err
	})
	conn := <-conns
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for solicited, advertised := false, false; !solicited || !advertised; {
		m, _, from, err := conn.ReadFrom()
		if err != nil {
			t.Fatalf("solicited %t, advertised %t: %v", solicited, advertised, err)
		}
		if from.WithZone("") != addr("fe80::1") {
			continue
		}
		switch m := m.(type) {
		case *ndp.RouterSolicitation:
			solicited = true
		case *ndp.RouterAdvertisement:
			advertised = true
			if m.RouterLifetime != 0 || m.ManagedConfiguration || m.OtherConfiguration {
				t.Errorf("this host would be a default router: %+v", m)
			}
		}
	}
	if err := conn.WriteTo(&ndp.RouterAdvertisement{RouterLifetime: time.Minute}, nil, allNodes); err != nil {
		t.Fatal(err)
	}
}

// What is heard on a link is anybody's: whatever it is, it is read, or not, and does no harm.
func FuzzMessage(f *testing.F) {
	for _, m := range []ndp.Message{
		&ndp.RouterAdvertisement{Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: net.HardwareAddr{2, 0, 0, 0, 0, 1}}, &ndp.MTU{MTU: 1500}}},
		&ndp.RouterSolicitation{},
	} {
		b, err := ndp.MarshalMessage(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		m, err := ndp.ParseMessage(in)
		if (err == nil) != (m != nil) {
			t.Errorf("%v, %v", m, err)
		}
	})
}
