// Package testnet gives tests network namespaces, joined by virtual cables. The namespaces have no names, so nothing remains
// of them when the process and what it started end, however they do.
package testnet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const inside = "FAIRLEAD_TEST_NAMESPACE"

// Main runs a package's tests in a new network namespace: it leaves the present one and executes the test program again, so
// that every thread is in the new one.
func Main(m *testing.M) {
	if os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	runtime.LockOSThread()
	err := unix.Unshare(unix.CLONE_NEWNET)
	if err == nil {
		err = os.Setenv(inside, "1")
	}
	if err == nil {
		err = syscall.Exec("/proc/self/exe", os.Args, os.Environ()) //nolint:gosec // this very program
	}
	fmt.Fprintln(os.Stderr, "tests of the network need root, to make network namespaces:", err)
	os.Exit(1)
}

// Namespace is a network namespace, which ends with the test.
type Namespace struct {
	t      testing.TB
	handle netns.NsHandle
}

// New makes a namespace with nothing in it but the loopback interface, which is up.
func New(t testing.TB) *Namespace {
	t.Helper()
	n := &Namespace{t: t}
	onThread(t, "make a network namespace", func() (err error) {
		n.handle, err = netns.New()
		return err
	})
	n.closeWithTest()
	n.SetLink("lo", true)
	return n
}

// Own is the namespace of this process.
func Own(t testing.TB) *Namespace {
	t.Helper()
	n := &Namespace{t: t}
	onThread(t, "find the network namespace", func() (err error) {
		n.handle, err = netns.Get()
		return err
	})
	n.closeWithTest()
	return n
}

func (n *Namespace) closeWithTest() {
	n.t.Cleanup(func() {
		if err := n.handle.Close(); err != nil {
			n.t.Error(err)
		}
	})
}

// onThread runs f on a thread of its own, which ends with it, and fails the test when f fails.
func onThread(t testing.TB, what string, f func() error) {
	t.Helper()
	c := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		c <- f()
	}()
	if err := <-c; err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// Do runs f in the namespace; sockets that it opens stay there, goroutines that it starts do not. The test fails when f does.
func (n *Namespace) Do(f func() error) {
	n.t.Helper()
	onThread(n.t, "in the other network namespace", func() error {
		if err := netns.Set(n.handle); err != nil {
			return err
		}
		return f()
	})
}

// Command is a program that will run in the namespace.
func (n *Namespace) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	n.t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		n.t.Fatal(err)
	}
	// The process itself may be in another namespace on another thread, so that the child has to be told by a file.
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=/proc/self/fd/3", path}, args...)...)
	fd, err := unix.FcntlInt(uintptr(n.handle), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		n.t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "network namespace")
	n.t.Cleanup(func() { _ = file.Close() })
	cmd.ExtraFiles = []*os.File{file}
	return cmd
}

// Daemon is a program that will run in the namespace until this process ends or kills it, with all that it starts. (A signal on
// the parent's death would come too early: the kernel sends it when the thread ends that has started the program.)
func (n *Namespace) Daemon(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	n.t.Helper()
	// The first process of a PID namespace takes all others with it, and this one goes when its input ends.
	cmd := n.Command(ctx, "/bin/sh", append([]string{"-c", `"$0" "$@" </dev/null & read _`, name}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	if _, err := cmd.StdinPipe(); err != nil { // held open by cmd
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return cmd, nil
}

// Connect joins two namespaces by a cable: an interface in each, both up and able to send. It ends with the test.
func Connect(a *Namespace, nameA string, b *Namespace, nameB string) {
	a.t.Helper()
	a.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = nameA
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: nameB, PeerNamespace: netlink.NsFd(int(b.handle))})
	})
	a.t.Cleanup(func() {
		a.Do(func() error {
			link, err := netlink.LinkByName(nameA)
			if err == nil {
				err = netlink.LinkDel(link)
			}
			if errors.As(err, &netlink.LinkNotFoundError{}) || errors.Is(err, unix.ENODEV) {
				return nil // the test has removed it
			}
			return err
		})
	})
	a.SetLink(nameA, true)
	b.SetLink(nameB, true)
	a.awaitCarrier(nameA)
	b.awaitCarrier(nameB)
}

// awaitCarrier waits until an interface can send. The kernel sees to that some time after it has found the carrier, and loses what is sent before.
func (n *Namespace) awaitCarrier(name string) {
	n.t.Helper()
	n.onLink(name, func(link netlink.Link) (err error) {
		for deadline := time.Now().Add(30 * time.Second); link.Attrs().OperState != netlink.OperUp; {
			if time.Now().After(deadline) {
				return fmt.Errorf("it is %s after 30 s, and not up", link.Attrs().OperState)
			}
			time.Sleep(time.Millisecond)
			if link, err = netlink.LinkByName(name); err != nil {
				return err
			}
		}
		return nil
	})
}

// Bridge joins interfaces by a bridge, in which one of them can be set down without the hosts behind them losing an address.
func (n *Namespace) Bridge(name string, ports ...string) {
	n.t.Helper()
	n.Do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		snooping := false // without a querier it may hold back what neighbour discovery needs
		bridge := &netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping}
		if err := netlink.LinkAdd(bridge); err != nil {
			return fmt.Errorf("make bridge %s: %w", name, err)
		}
		for _, port := range ports {
			link, err := netlink.LinkByName(port)
			if err == nil {
				err = netlink.LinkSetMaster(link, bridge)
			}
			if err != nil {
				return fmt.Errorf("join %s to bridge %s: %w", port, name, err)
			}
		}
		return netlink.LinkSetUp(bridge)
	})
}

// Join joins an interface to a bridge that there is.
func (n *Namespace) Join(bridge, port string) {
	n.t.Helper()
	n.onLink(bridge, func(b netlink.Link) error {
		link, err := netlink.LinkByName(port)
		if err != nil {
			return fmt.Errorf("find %s: %w", port, err)
		}
		return netlink.LinkSetMaster(link, b)
	})
}

// SetLink sets an interface up or down. With one end of a cable down, the other loses its carrier.
func (n *Namespace) SetLink(name string, up bool) {
	n.t.Helper()
	n.onLink(name, func(link netlink.Link) error {
		if up {
			return netlink.LinkSetUp(link)
		}
		return netlink.LinkSetDown(link)
	})
}

// DeleteLink removes an interface; of a cable, both ends.
func (n *Namespace) DeleteLink(name string) {
	n.t.Helper()
	n.onLink(name, netlink.LinkDel)
}

// AddAddress adds an address like 192.0.2.1/24 to an interface, usable at once.
func (n *Namespace) AddAddress(name, prefix string) {
	n.t.Helper()
	n.onLink(name, func(link netlink.Link) error {
		a, err := netlink.ParseAddr(prefix)
		if err != nil {
			return err
		}
		a.Flags = unix.IFA_F_NODAD
		return netlink.AddrAdd(link, a)
	})
}

// DeleteAddress takes an address away that AddAddress has added.
func (n *Namespace) DeleteAddress(name, prefix string) {
	n.t.Helper()
	n.onLink(name, func(link netlink.Link) error {
		a, err := netlink.ParseAddr(prefix)
		if err != nil {
			return err
		}
		return netlink.AddrDel(link, a)
	})
}

// AddRoute sends what goes to a prefix over a gateway.
func (n *Namespace) AddRoute(prefix, gateway string) {
	n.t.Helper()
	n.Do(func() error {
		to, err := netlink.ParseIPNet(prefix)
		if err != nil {
			return err
		}
		via, err := netlink.ParseAddr(gateway + "/0")
		if err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: to, Gw: via.IP})
	})
}

// Sysctl sets a value under /proc/sys/net.
func (n *Namespace) Sysctl(name, value string) {
	n.t.Helper()
	n.Do(func() error { return os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0o600) })
}

func (n *Namespace) onLink(name string, f func(netlink.Link) error) {
	n.t.Helper()
	n.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s: %w", name, err)
		}
		if err := f(link); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}
