package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// receiveBuffer is asked of the kernel, which gives no more than net.core.rmem_max. Packets wait here until they are read.
	receiveBuffer = 1 << 20
	// leastCharge is the least that the kernel charges a datagram in the buffer with.
	leastCharge = 512
)

// Listener receives what is sent to one port over one address family. Its methods are safe for concurrent use.
//
// It does not wait for datagrams but is asked for those that have come. Waking a process costs more than the work on a
// packet; who is awake for another reason many times a second has no need to be woken for each packet too.
type Listener struct {
	port uint16

	mu     sync.Mutex // guards what follows
	fd     int
	closed bool
	batch  int // more datagrams than fit in the buffer
	msg    *message
}

// Listen opens a socket for IPv6 or IPv4. A port that somebody else has is reported by a PortTakenError.
func (n *Network) Listen(port uint16, ipv6 bool) (*Listener, error) {
	domain, level, options, all := unix.AF_INET, unix.IPPROTO_IP, []int{unix.IP_RECVTTL, unix.IP_PKTINFO}, netip.IPv4Unspecified()
	if ipv6 {
		domain, level, all = unix.AF_INET6, unix.IPPROTO_IPV6, netip.IPv6Unspecified()
		options = []int{unix.IPV6_V6ONLY, unix.IPV6_RECVHOPLIMIT, unix.IPV6_RECVPKTINFO}
	}
	fd, err := unix.Socket(domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket to receive BFD packets: %w", err)
	}
	for _, option := range options {
		err = errors.Join(err, unix.SetsockoptInt(fd, level, option, 1))
	}
	err = errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1))
	if err == nil {
		err = unix.Bind(fd, sockaddr(all, port, 0))
	}
	var buffer int
	if err == nil {
		buffer, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	}
	if err == nil {
		return &Listener{port: port, fd: fd, batch: buffer/leastCharge + 1, msg: newMessage()}, nil
	}
	_ = unix.Close(fd)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, &PortTakenError{Port: port, Holders: holders(port, ipv6)}
	}
	return nil, fmt.Errorf("receive BFD packets on UDP port %d: %w", port, err)
}

// Read hands the datagrams that have come before the call to handle, one after the other, and some of those that come meanwhile;
// it reports whether more have come. It never waits. After an error, and after Close, nothing will be received any more.
func (l *Listener) Read(handle func(*Datagram)) (more bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range l.batch {
		if l.closed {
			return false, nil
		}
		d, err := l.msg.receive(l.fd)
		switch {
		case err == nil:
			d.Port = l.port
			handle(d)
		case errors.Is(err, unix.EAGAIN):
			return false, nil
		case errors.Is(err, unix.EINTR):
		default:
			return false, fmt.Errorf("receive BFD packets on UDP port %d: %w", l.port, os.NewSyscallError("recvmsg", err))
		}
	}
	return true, nil
}

// Close closes the socket; handlers must not call it.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return os.NewSyscallError("close", unix.Close(l.fd))
}
