package frames_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/l2/frames"
	"fairlead.io/fairlead/l2/internal/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// etherType is one that is nobody's, for local experiments (IEEE 802).
const etherType = 0x88b5

// listen opens a socket on the network's host that takes everything, and gives what arrives.
func listen(t *testing.T, n *nettest.Network) (*frames.Conn, <-chan []byte) {
	t.Helper()
	filter, err := frames.Filter(bpf.RetConstant{Val: 2048})
	if err != nil {
		t.Fatal(err)
	}
	received := make(chan []byte, 16)
	others := goleak.IgnoreCurrent()
	c, err := frames.Listen(n.Host, etherType, filter, 2048, func(b []byte) { received <- slices.Clone(b) },
		func(err error) { t.Errorf("receiving has failed: %v", err) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t, others)
	})
	return c, received
}

// frame to a host, with a VLAN tag if there is one, and a payload of one byte.
func frame(n *nettest.Network, to net.HardwareAddr, payload byte, tag ...byte) []byte {
	b := append(slices.Clone(to), n.Client.MAC[:]...)
	b = append(b, tag...)
	b = binary.BigEndian.AppendUint16(b, etherType)
	return append(b, append([]byte{payload}, make([]byte, 50)...)...)
}

// TestFilter: frames for other hosts and of VLANs that are none of this interface's do not arrive; what has a mere priority does.
func TestFilter(t *testing.T) {
	n := nettest.New(t)
	_, received := listen(t, n)
	tap := n.Tap(etherType)
	self := net.HardwareAddr(n.Host.MAC[:])
	tap.Send(frame(n, net.HardwareAddr{2, 9, 9, 9, 9, 9}, 1))
	tap.Send(frame(n, self, 2, 0x81, 0, 0, 5))
	tap.Send(frame(n, net.HardwareAddr{255, 255, 255, 255, 255, 255}, 3, 0x81, 0, 0, 5))
	tap.Send(frame(n, self, 4, 0x88, 0xa8, 0, 5))
	tap.Send(frame(n, self, 5, 0x81, 0, 0, 0)) // priority-tagged: VLAN 0 is none (IEEE 802.1Q)
	tap.Send(frame(n, self, 6))
	for _, want := range []byte{5, 6} {
		select {
		case b := <-received:
			if b[14] != want {
				t.Errorf("frame %d has arrived, want %d", b[14], want)
			}
		case <-time.After(nettest.Patience):
			t.Fatalf("frame %d has not arrived", want)
		}
	}
}

// TestWriteNeverWaits: on an interface that sends nothing anymore frames are lost, and nobody waits for it.
func TestWriteNeverWaits(t *testing.T) {
	n := nettest.New(t)
	c, _ := listen(t, n)
	const rate, burst = 100, 1600 // bytes a second, and at once
	stuck := &netlink.Tbf{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: n.Host.Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate: rate, Limit: 1 << 30, Buffer: netlink.Xmittime(rate, burst)}
	if err := netlink.QdiscAdd(stuck); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		f := frame(n, n.Client.MAC[:], 1)
		for range 100_000 {
			if err := c.Write(f); err != nil {
				done <- err
				return
			}
		}
		done <- errors.New("the interface has taken everything: nothing is tested")
	}()
	select {
	case err := <-done:
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.ENOBUFS) {
			t.Error(err)
		}
	case <-time.After(nettest.Patience):
		t.Error("sending waits")
	}
}

// TestLinkFlap: a socket is as good as before when the link is back, and does not fail.
func TestLinkFlap(t *testing.T) {
	n := nettest.New(t)
	c, received := listen(t, n)
	link, err := netlink.LinkByName(n.Host.Name)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetDown(link); err != nil {
		t.Fatal(err)
	}
	if err := c.Write(frame(n, n.Client.MAC[:], 1)); !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("sent on an interface that is down: %v", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	tap := n.Tap(etherType)
	for deadline := time.After(nettest.Patience); ; { // what is sent before the carrier is back is lost
		tap.Send(frame(n, n.Host.MAC[:], 1))
		select {
		case <-received:
			return
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatal("nothing arrives any more")
		}
	}
}

// TestWrite: a frame goes out as it is.
func TestWrite(t *testing.T) {
	n := nettest.New(t)
	c, _ := listen(t, n)
	tap := n.Tap(etherType)
	f := frame(n, n.Client.MAC[:], 7)
	if err := c.Write(f); err != nil {
		t.Fatal(err)
	}
	if got := tap.Next(nettest.Patience, func([]byte) bool { return true }); !bytes.Equal(got, f) {
		t.Errorf("sent %x, and %x goes out", f, got)
	}
	if err := c.Write(f[:13]); err == nil {
		t.Error("half a header is sent")
	}
}
