// Package nettest gives tests a network of their own: a host under test and a client, each in a network namespace, joined by
// a veth pair. The namespaces have no names, so nothing remains of them when the process ends, however it does.
package nettest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"

	"fairlead.io/fairlead/internal/testnet"
	"fairlead.io/fairlead/l2/netif"
)

// Main runs a package's tests in a network namespace of their own.
func Main(m *testing.M) { testnet.Main(m) }

// Patience is how long what must happen may take: other packages' tests may keep all processors busy. It is no measure of anything.
const Patience = 30 * time.Second

// Network is a host, in the process's namespace, and a client.
type Network struct {
	t            testing.TB
	host, client *testnet.Namespace

	// Host is the host's interface, Client the client's.
	Host, Client netif.Interface
}

// counter makes interface names unique within the process's namespace.
var counter struct {
	sync.Mutex
	n int
}

// New makes a network. The host's interface has no address at all, not even a link-local one, unless the test adds it.
func New(t testing.TB) *Network {
	t.Helper()
	counter.Lock()
	counter.n++
	name := fmt.Sprintf("eth%d", counter.n)
	counter.Unlock()

	n := &Network{t: t, host: testnet.Own(t), client: testnet.New(t)}
	n.host.Sysctl("ipv6/conf/default/addr_gen_mode", "1") // no link-local address
	testnet.Connect(n.host, name, n.client, "c"+name)
	n.host.Do(func() (err error) {
		n.Host, err = describe(name)
		return err
	})
	n.client.Do(func() (err error) {
		n.Client, err = describe("c" + name)
		return err
	})
	return n
}

func describe(name string) (netif.Interface, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return netif.Interface{}, err
	}
	a := l.Attrs()
	return netif.Interface{Name: a.Name, Index: a.Index, MAC: netif.MAC(a.HardwareAddr)}, nil
}

// InClient runs f in the client's namespace; sockets that it opens stay there.
func (n *Network) InClient(f func() error) {
	n.t.Helper()
	n.client.Do(f)
}

// ClientCommand is a program that will run in the client's namespace.
func (n *Network) ClientCommand(ctx context.Context, name string, args ...string) *exec.Cmd {
	n.t.Helper()
	return n.client.Command(ctx, name, args...)
}

// AddClientAddress gives the client an address, usable at once.
func (n *Network) AddClientAddress(prefix string) {
	n.t.Helper()
	n.client.AddAddress(n.Client.Name, prefix)
}

// ClientSysctl sets a value under /proc/sys/net of the client.
func (n *Network) ClientSysctl(name, value string) {
	n.t.Helper()
	n.client.Sysctl(name, value)
}

// AddHostAddress gives the host an address, usable at once.
func (n *Network) AddHostAddress(prefix string) {
	n.t.Helper()
	n.host.AddAddress(n.Host.Name, prefix)
}

// Tap sends and captures frames of one protocol on the client's interface.
type Tap struct {
	t    testing.TB
	conn *packet.Conn
	self netif.MAC
}

// Tap opens a tap; the client's own frames are not captured.
func (n *Network) Tap(etherType int) *Tap {
	n.t.Helper()
	tap := &Tap{t: n.t, self: n.Client.MAC}
	n.InClient(func() error {
		var err error
		tap.conn, err = packet.Listen(&net.Interface{Index: n.Client.Index, Name: n.Client.Name, HardwareAddr: n.Client.MAC[:]}, packet.Raw, etherType, nil)
		if err != nil {
			return err
		}
		return tap.conn.SetPromiscuous(true)
	})
	n.t.Cleanup(func() {
		if err := tap.conn.Close(); err != nil {
			n.t.Error(err)
		}
	})
	return tap
}

// Send sends a frame.
func (p *Tap) Send(frame []byte) {
	p.t.Helper()
	if _, err := p.conn.WriteTo(frame, &packet.Addr{HardwareAddr: net.HardwareAddr(frame[:6])}); err != nil {
		p.t.Fatal(err)
	}
}

// Next gives the next frame that want is true for, or nil when none has come in time.
func (p *Tap) Next(within time.Duration, want func(frame []byte) bool) []byte {
	p.t.Helper()
	if err := p.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		p.t.Fatal(err)
	}
	buf := make([]byte, 2048)
	for {
		k, _, err := p.conn.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			p.t.Fatal(err)
		}
		if want(buf[:k]) {
			return append([]byte(nil), buf[:k]...)
		}
	}
}

// Handler is a responder's Handler that answers for some addresses.
type Handler struct {
	Claims chan netip.Addr
	addrs  map[netip.Addr]bool
}

// NewHandler answers for addresses on every interface.
func NewHandler(addrs ...string) *Handler {
	h := &Handler{Claims: make(chan netip.Addr, 64), addrs: map[netip.Addr]bool{}}
	for _, a := range addrs {
		h.addrs[netip.MustParseAddr(a)] = true
	}
	return h
}

// Answers is part of Handler.
func (h *Handler) Answers(_ string, a netip.Addr) bool { return h.addrs[a] }

// Watches is part of Handler.
func (h *Handler) Watches(_ string, a netip.Addr) bool { return h.addrs[a] }

// Claimed is part of Handler.
func (h *Handler) Claimed(_ string, a netip.Addr, _ netif.MAC) { h.Claims <- a }

// Failed is part of Handler.
func (h *Handler) Failed(ifname string, err error) { panic(ifname + ": " + err.Error()) }

// Joined reports whether the kernel has joined an IPv6 group on one of the host's interfaces.
func Joined(t testing.TB, ifname string, group netip.Addr) bool {
	t.Helper()
	raw := group.As16()
	return Groups(t, ifname)[hex.EncodeToString(raw[:])]
}

// Groups are the IPv6 groups, in hexadecimal digits, that the kernel has joined on one of the host's interfaces.
func Groups(t testing.TB, ifname string) map[string]bool {
	t.Helper()
	raw, err := os.ReadFile("/proc/thread-self/net/igmp6") // /proc/self is the first thread, which may be the client's
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 2 && f[1] == ifname {
			out[f[2]] = true
		}
	}
	return out
}
