package udp

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// message receives datagrams without allocating, which neither package net (it gives no way to read a socket until it is
// empty) nor package unix does.
type message struct {
	name     unix.RawSockaddrInet6 // has room for an IPv4 one
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
	m.header.Name = (*byte)(unsafe.Pointer(&m.name)) //nolint:gosec // the kernel writes an address there, of Namelen bytes at most
	m.header.Iov = &m.vector
	m.header.SetIovlen(1)
	m.header.Control = &m.control[0]
	return m
}

// receive reads one datagram, or fails with EAGAIN when there is none.
func (m *message) receive(fd int) (*Datagram, error) {
	m.header.Namelen = unix.SizeofSockaddrInet6
	m.header.SetControllen(len(m.control))
	n, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.header)), unix.MSG_DONTWAIT) //nolint:gosec // as package unix does it
	if errno != 0 {
		return nil, errno
	}
	m.datagram = Datagram{Payload: m.payload[:n]}
	switch m.name.Family {
	case unix.AF_INET:
		name := (*unix.RawSockaddrInet4)(unsafe.Pointer(&m.name)) //nolint:gosec // the family says that it is one
		m.datagram.Source = netip.AddrFrom4(name.Addr)
	case unix.AF_INET6:
		m.datagram.Source = netip.AddrFrom16(m.name.Addr)
	}
	m.datagram.notes(m.control[:m.header.Controllen])
	return &m.datagram, nil
}

// notes reads what the kernel says beside a datagram. What is missing stays 0, and no TTL of 0 is good enough.
func (d *Datagram) notes(control []byte) {
	for len(control) >= unix.SizeofCmsghdr {
		header, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return
		}
		d.note(header.Level, header.Type, data)
		control = rest
	}
}

func (d *Datagram) note(level, kind int32, data []byte) {
	number := func(at int) int { return int(int32(binary.NativeEndian.Uint32(data[at:]))) }
	switch {
	case level == unix.IPPROTO_IP && kind == unix.IP_TTL && len(data) >= 4,
		level == unix.IPPROTO_IPV6 && kind == unix.IPV6_HOPLIMIT && len(data) >= 4:
		d.TTL = uint8(number(0))
	case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		d.Interface, d.Destination = number(0), netip.AddrFrom4([4]byte(data[8:]))
	case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		d.Interface, d.Destination = number(16), netip.AddrFrom16([16]byte(data))
	}
}
