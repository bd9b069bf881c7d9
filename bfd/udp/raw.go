package udp

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/internal/rawsocket"
)

// message receives datagrams, without allocating.
type message struct {
	from     rawsocket.Address
	header   unix.Msghdr
	vector   unix.Iovec
	control  [128]byte
	payload  [256]byte // the Length field of a packet goes up to 255
	datagram Datagram
}

func newMessage() *message {
	m := &message{}
	m.vector.Base = &m.payload[0]
	m.vector.SetLen(len(m.payload))
	m.header.Name = (*byte)(unsafe.Pointer(&m.from.Raw)) //nolint:gosec // the kernel writes Namelen bytes at most
	m.header.Iov = &m.vector
	m.header.SetIovlen(1)
	m.header.Control = &m.control[0]
	return m
}

// receive reads one datagram, or fails with EAGAIN when there is none. As in package rawsocket, the Go scheduler is not told.
func (m *message) receive(fd int) (*Datagram, error) {
	m.header.Namelen = unix.SizeofSockaddrInet6
	m.header.SetControllen(len(m.control))
	n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.header)), unix.MSG_DONTWAIT) //nolint:gosec // as recvmsg(2) asks for
	if errno != 0 {
		return nil, errno
	}
	m.datagram = Datagram{Source: m.from.AddrPort().Addr(), Payload: m.payload[:n], Arrived: time.Now()}
	m.datagram.notes(m.control[:m.header.Controllen])
	return &m.datagram, nil
}
