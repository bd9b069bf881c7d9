package udp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// receiveBuffer is asked of the kernel, which gives no more than net.core.rmem_max: while this process does not run,
	// packets wait here.
	receiveBuffer = 1 << 20
	// batch is the most datagrams that are read before others who wait for the socket have their turn.
	batch = 256
)

// Listener receives what is sent to one port over one address family.
type Listener struct {
	conn   *net.UDPConn
	raw    syscall.RawConn
	port   uint16
	handle func(*Datagram)
	done   sync.WaitGroup

	readOnce func(fd uintptr) // made once, so that Drain does not allocate

	reading sync.Mutex // guards msg, and lets one goroutine at a time read and handle
	msg     *message
}

// Listen opens a socket for IPv6 or IPv4 and calls handle with each datagram, one call at a time. When reading fails for good
// failed is called, once, and the listener is to be closed. A port that somebody else has is reported by a PortTakenError.
func (n *Network) Listen(port uint16, ipv6 bool, handle func(*Datagram), failed func(error)) (*Listener, error) {
	network, level, options := "udp4", unix.IPPROTO_IP, []int{unix.IP_RECVTTL, unix.IP_PKTINFO}
	if ipv6 {
		network, level, options = "udp6", unix.IPPROTO_IPV6, []int{unix.IPV6_RECVHOPLIMIT, unix.IPV6_RECVPKTINFO}
	}
	set := func(_, _ string, raw syscall.RawConn) error {
		var err error
		if e := raw.Control(func(fd uintptr) {
			for _, option := range options {
				err = errors.Join(err, unix.SetsockoptInt(int(fd), level, option, 1))
			}
			err = errors.Join(err, unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer))
		}); e != nil {
			return e
		}
		return err
	}
	config := net.ListenConfig{Control: set}
	conn, err := config.ListenPacket(context.Background(), network, fmt.Sprintf(":%d", port))
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, &PortTakenError{Port: port, Holders: holders(port, ipv6)}
	}
	if err != nil {
		return nil, fmt.Errorf("receive BFD packets on UDP port %d: %w", port, err)
	}
	l := &Listener{conn: conn.(*net.UDPConn), port: port, handle: handle, msg: newMessage()} //nolint:errcheck // of ListenPacket("udp")
	if l.raw, err = l.conn.SyscallConn(); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("receive BFD packets on UDP port %d: %w", port, err)
	}
	l.readOnce = func(fd uintptr) { _, _ = l.read(int(fd)) } // the other reader sees and reports what fails
	l.done.Go(func() {
		var broken error
		err := l.raw.Read(func(fd uintptr) bool { // called whenever something can be read
			broken = l.drain(int(fd))
			return broken != nil
		})
		if broken == nil && !errors.Is(err, net.ErrClosed) {
			broken = err
		}
		if broken != nil {
			failed(fmt.Errorf("receive BFD packets on UDP port %d: %w", port, broken))
		}
	})
	return l, nil
}

// Drain handles what has been received so far. When it returns no datagram that came before the call waits anywhere, unless
// there were more than a flood's worth.
func (l *Listener) Drain() {
	_ = l.raw.Control(l.readOnce) // fails when the socket is closed
}

// drain reads until nothing is left.
func (l *Listener) drain(fd int) error {
	for {
		if more, err := l.read(fd); !more {
			return err
		}
	}
}

// read handles a batch of datagrams and reports whether there may be more.
func (l *Listener) read(fd int) (more bool, err error) {
	l.reading.Lock()
	defer l.reading.Unlock()
	for range batch {
		d, err := l.msg.receive(fd)
		switch {
		case err == nil:
			d.Port = l.port
			l.handle(d)
		case errors.Is(err, unix.EAGAIN):
			return false, nil
		case errors.Is(err, unix.EINTR):
		default:
			return false, os.NewSyscallError("recvmsg", err)
		}
	}
	return true, nil
}

// Close closes the socket, and returns when no datagram is being handled anymore; handle must not call it.
func (l *Listener) Close() error {
	err := l.conn.Close()
	l.done.Wait()
	if err != nil {
		return fmt.Errorf("close UDP port %d: %w", l.port, err)
	}
	return nil
}
