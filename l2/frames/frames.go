// Package frames receives and sends Ethernet frames of one protocol on one interface (AF_PACKET with a BPF filter).
//
// It never looks into what it carries; packages arp and ndp do. It needs CAP_NET_RAW.
package frames

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/internal/rawsocket"
	"fairlead.io/fairlead/l2/netif"
)

// Filter completes a protocol's BPF instructions: dropped are frames for other hosts (seen in promiscuous mode) and those
// with a VLAN tag that no VLAN interface has taken, whose answer would go out without it. The accept instructions must
// return at least the length of a frame.
func Filter(protocol ...bpf.Instruction) ([]bpf.RawInstruction, error) {
	const otherHost = 3 // PACKET_OTHERHOST
	head := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0, SkipTrue: 2},
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: otherHost, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
	}
	raw, err := bpf.Assemble(append(head, protocol...))
	if err != nil {
		return nil, fmt.Errorf("assemble the frame filter: %w", err)
	}
	return raw, nil
}

// Conn is an open socket. Write and the memberships may be used by several goroutines.
type Conn struct {
	name   string
	conn   *packet.Conn
	raw    syscall.RawConn // of conn
	closed atomic.Bool
	done   sync.WaitGroup
}

// Listen opens a socket and calls handle with each frame, from one goroutine; handle must not keep the frame. When reading
// fails for good failed is called, once, and the socket must be closed and opened anew.
func Listen(ifi netif.Interface, etherType uint16, filter []bpf.RawInstruction, size int, handle func([]byte), failed func(error)) (*Conn, error) {
	conn, err := packet.Listen(&net.Interface{Index: ifi.Index, Name: ifi.Name, HardwareAddr: ifi.MAC[:]}, packet.Raw, int(etherType),
		&packet.Config{Filter: filter})
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			return nil, fmt.Errorf("open packet socket on %s: %w; the speaker needs the capability NET_RAW", ifi.Name, err)
		}
		return nil, fmt.Errorf("open packet socket on %s: %w", ifi.Name, err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open packet socket on %s: %w", ifi.Name, err), conn.Close())
	}
	c := &Conn{name: ifi.Name, conn: conn, raw: raw}
	c.done.Go(func() {
		buf := make([]byte, size)
		for {
			n, err := c.read(buf)
			switch {
			case err == nil:
				handle(buf[:n])
			case c.closed.Load():
				return
			case errors.Is(err, unix.ENETDOWN):
				// Told once when the link goes down; the socket is good for when it returns.
			default:
				failed(fmt.Errorf("read from %s: %w", ifi.Name, err))
				return
			}
		}
	})
	return c, nil
}

func (c *Conn) read(buf []byte) (n int, err error) {
	outer := c.raw.Read(func(fd uintptr) bool {
		n, err = rawsocket.Receive(int(fd), buf, nil)
		return !errors.Is(err, unix.EAGAIN)
	})
	if outer != nil {
		err = outer
	}
	return n, err //nolint:wrapcheck // the caller does
}

// Write sends a frame. It never waits: a frame for which the interface's queue has no room is lost, as it may be on the wire, and that
// is an error. So an interface that sends nothing anymore holds up nobody who also has others.
func (c *Conn) Write(frame []byte) error {
	if len(frame) < 14 {
		return fmt.Errorf("send on %s: a frame of %d bytes has no Ethernet header", c.name, len(frame))
	}
	var sent error
	err := c.raw.Control(func(fd uintptr) { sent = rawsocket.Send(int(fd), frame, nil) })
	if err = errors.Join(err, sent); err != nil {
		return fmt.Errorf("send on %s: %w", c.name, err)
	}
	return nil
}

// JoinGroup makes the interface receive frames to a multicast address.
func (c *Conn) JoinGroup(mac net.HardwareAddr) error {
	if err := c.conn.JoinGroup(mac); err != nil {
		return fmt.Errorf("receive %s on %s: %w", mac, c.name, err)
	}
	return nil
}

// LeaveGroup undoes one JoinGroup.
func (c *Conn) LeaveGroup(mac net.HardwareAddr) error {
	if err := c.conn.LeaveGroup(mac); err != nil {
		return fmt.Errorf("stop receiving %s on %s: %w", mac, c.name, err)
	}
	return nil
}

// Close closes the socket and returns when no frame is being handled anymore; handle must not call it.
func (c *Conn) Close() error {
	c.closed.Store(true)
	err := c.conn.Close()
	c.done.Wait()
	if err != nil {
		return fmt.Errorf("close packet socket on %s: %w", c.name, err)
	}
	return nil
}
