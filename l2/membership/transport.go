package membership

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"github.com/hashicorp/memberlist"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/internal/rawsocket"
)

const (
	// receiveBuffer is what is asked of the kernel, which gives no more than net.core.rmem_max.
	receiveBuffer = 1 << 20
	// maxPacket is the longest packet that is taken; memberlist sends 1,400 bytes at most (UDPBufferSize).
	maxPacket    = 1 << 14
	portAttempts = 10
	// acceptPause is the time between attempts to accept connections while that fails.
	acceptPause = 100 * time.Millisecond
)

// transport carries gossip as memberlist's own NetTransport does, over UDP and TCP on one port. Gossip is mostly being woken for a packet and
// sending one, some 30 times a second. NetTransport makes a buffer of 64 KiB for each packet, and makes system calls in a way that wakes a
// thread of the Go runtime, which watches over calls that last; without both a speaker with nothing to do costs half as much.
type transport struct {
	log     logr.Logger
	udp     *net.UDPConn
	raw     syscall.RawConn
	tcp     *net.TCPListener
	packets chan *memberlist.Packet
	streams chan net.Conn
	ctx     context.Context //nolint:containedctx // its end is the transport's
	stop    context.CancelFunc
	done    sync.WaitGroup
}

var _ memberlist.Transport = (*transport)(nil)

// listen on an address, TCP and UDP; port 0: the kernel chooses one for TCP, which somebody may have for UDP, so that it is asked again.
func listen(at netip.AddrPort, log logr.Logger) (_ *transport, err error) {
	t := &transport{log: log, packets: make(chan *memberlist.Packet), streams: make(chan net.Conn)}
	for attempts := 1; ; attempts++ {
		if t.tcp, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at)); err != nil {
			return nil, fmt.Errorf("listen for other speakers: %w", err)
		}
		if t.udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at.Addr(), t.port()))); err == nil {
			break
		}
		err = errors.Join(fmt.Errorf("listen for other speakers: %w", err), t.tcp.Close())
		if at.Port() != 0 || !errors.Is(err, unix.EADDRINUSE) || attempts == portAttempts {
			return nil, err
		}
	}
	if t.raw, err = t.udp.SyscallConn(); err == nil {
		err = t.udp.SetReadBuffer(receiveBuffer)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for other speakers on UDP port %d: %w", t.port(), err), t.tcp.Close(), t.udp.Close())
	}
	t.ctx, t.stop = context.WithCancel(context.Background())
	t.done.Go(t.receive)
	t.done.Go(t.accept)
	return t, nil
}

func (t *transport) port() uint16 {
	return t.tcp.Addr().(*net.TCPAddr).AddrPort().Port() //nolint:errcheck // a TCP listener has no other
}

// FinalAdvertiseAddr is part of memberlist.Transport.
func (t *transport) FinalAdvertiseAddr(ip string, _ int) (net.IP, int, error) {
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return nil, 0, fmt.Errorf("address to gossip on: %w", err)
	}
	return addr.Unmap().AsSlice(), int(t.port()), nil
}

// WriteTo is part of memberlist.Transport. A packet that the kernel has no room for is lost, as it may be on the way.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, fmt.Errorf("send to another speaker: %w", err)
	}
	destination := rawsocket.NewAddress(to)
	if outer := t.raw.Control(func(fd uintptr) { err = rawsocket.Send(int(fd), b, destination) }); outer != nil {
		err = outer
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("send to the speaker at %s: %w", to, err)
	}
	return time.Now(), nil
}

// PacketCh is part of memberlist.Transport.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// DialTimeout is part of memberlist.Transport.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return (&net.Dialer{Timeout: timeout}).DialContext(t.ctx, "tcp", addr)
}

// StreamCh is part of memberlist.Transport.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown is part of memberlist.Transport.
func (t *transport) Shutdown() error {
	t.stop()
	err := errors.Join(t.tcp.Close(), t.udp.Close())
	t.done.Wait()
	return err
}

// receive hands packets over until the end.
func (t *transport) receive() {
	buffer := make([]byte, maxPacket)
	var from rawsocket.Address
	for {
		var n int
		var err error
		outer := t.raw.Read(func(fd uintptr) bool {
			n, err = rawsocket.Receive(int(fd), buffer, &from)
			return !errors.Is(err, unix.EAGAIN)
		})
		now := time.Now()
		switch {
		case outer != nil:
			return // closed
		case err != nil:
			t.log.V(1).Info("gossip was not received", "error", err.Error()) // what an earlier packet has met, like an unreachable port
			continue
		case n == 0:
			continue
		}
		p := &memberlist.Packet{Buf: append([]byte(nil), buffer[:n]...), From: net.UDPAddrFromAddrPort(from.AddrPort()), Timestamp: now}
		select {
		case t.packets <- p:
		case <-t.ctx.Done():
			return
		}
	}
}

// accept hands connections over until the end.
func (t *transport) accept() {
	for {
		conn, err := t.tcp.Accept()
		if err != nil {
			if t.ctx.Err() != nil {
				return
			}
			t.log.Info("connections of other speakers cannot be accepted; trying again", "error", err.Error())
			select {
			case <-time.After(acceptPause):
			case <-t.ctx.Done():
			}
			continue
		}
		select {
		case t.streams <- conn:
		case <-t.ctx.Done():
			_ = conn.Close() // nobody takes it
			return
		}
	}
}
