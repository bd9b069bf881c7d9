package udp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls here do not block. So they are made without telling the Go scheduler, which for a process that mostly sleeps
// costs several times as much as the call: it wakes a thread that watches over calls that last.

// address is an IPv4 or IPv6 address as the kernel reads and writes it.
type address struct {
	raw    unix.RawSockaddrInet6 // which has room for an IPv4 one
	length uint32
}

// newAddress makes a destination. It names no zone: a socket that sends to link-local addresses is bound to their interface.
func newAddress(a netip.Addr, port uint16) *address {
	to := &address{}
	if a.Is4() {
		v4 := to.v4()
		v4.Family, v4.Addr = unix.AF_INET, a.As4()
		to.length = unix.SizeofSockaddrInet4
	} else {
		to.raw.Family, to.raw.Addr = unix.AF_INET6, a.As16()
		to.length = unix.SizeofSockaddrInet6
	}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&to.raw.Port))[:], port) //nolint:gosec // two bytes, at one place in both forms
	return to
}

func (a *address) v4() *unix.RawSockaddrInet4 {
	return (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.raw)) //nolint:gosec // the smaller form in the room of the larger
}

func (a *address) addr() netip.Addr {
	switch a.raw.Family {
	case unix.AF_INET:
		return netip.AddrFrom4(a.v4().Addr)
	case unix.AF_INET6:
		return netip.AddrFrom16(a.raw.Addr)
	default:
		return netip.Addr{}
	}
}

// send sends a datagram, or fails with EAGAIN when the socket's buffer is full.
func send(fd int, payload []byte, to *address) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(payload))), uintptr(len(payload)), //nolint:gosec // as sendto(2) asks for
		unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&to.raw)), uintptr(to.length)) //nolint:gosec // as above
	if errno != 0 {
		return errno
	}
	return nil
}

// message receives datagrams, without allocating.
type message struct {
	from     address
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
	m.header.Name = (*byte)(unsafe.Pointer(&m.from.raw)) //nolint:gosec // the kernel writes Namelen bytes at most
	m.header.Iov = &m.vector
	m.header.SetIovlen(1)
	m.header.Control = &m.control[0]
	return m
}

// receive reads one datagram, or fails with EAGAIN when there is none.
func (m *message) receive(fd int) (*Datagram, error) {
	m.header.Namelen = unix.SizeofSockaddrInet6
	m.header.SetControllen(len(m.control))
	n, _, errno := unix.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.header)), unix.MSG_DONTWAIT) //nolint:gosec // as recvmsg(2) asks for
	if errno != 0 {
		return nil, errno
	}
	m.datagram = Datagram{Source: m.from.addr(), Payload: m.payload[:n]}
	m.datagram.notes(m.control[:m.header.Controllen])
	return &m.datagram, nil
}
