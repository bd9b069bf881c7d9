// Package rawsocket sends and receives packets by system calls that do not block, and does not tell the Go scheduler of them. For a
// process that mostly sleeps that telling costs several times as much as the call: it wakes a thread that watches over calls that last,
// and then looks again and again, every 20 µs.
package rawsocket

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Address is an IPv4 or IPv6 address and a port, as the kernel reads and writes them.
type Address struct {
	Raw    unix.RawSockaddrInet6 // which has room for an IPv4 one
	length uint32
}

// NewAddress makes a destination. It names no zone: a socket that sends to link-local addresses is bound to their interface.
func NewAddress(a netip.AddrPort) *Address {
	to := &Address{}
	if a.Addr().Is4() {
		v4 := to.v4()
		v4.Family, v4.Addr = unix.AF_INET, a.Addr().As4()
		to.length = unix.SizeofSockaddrInet4
	} else {
		to.Raw.Family, to.Raw.Addr = unix.AF_INET6, a.Addr().As16()
		to.length = unix.SizeofSockaddrInet6
	}
	binary.BigEndian.PutUint16(to.port(), a.Port())
	return to
}

func (a *Address) v4() *unix.RawSockaddrInet4 {
	return (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.Raw)) //nolint:gosec // the smaller form in the room of the larger
}

// port is at one place in both forms.
func (a *Address) port() []byte {
	return (*[2]byte)(unsafe.Pointer(&a.Raw.Port))[:] //nolint:gosec // two bytes
}

// AddrPort is the address for others; invalid: the kernel has written none.
func (a *Address) AddrPort() netip.AddrPort {
	port := binary.BigEndian.Uint16(a.port())
	switch a.Raw.Family {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4(a.v4().Addr), port)
	case unix.AF_INET6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Raw.Addr).Unmap(), port)
	default:
		return netip.AddrPort{}
	}
}

// Send sends a packet, or fails with EAGAIN when the socket's buffer is full. Without a destination it goes to where the socket is bound
// to (an interface) or connected. The error is a unix.Errno.
func Send(fd int, payload []byte, to *Address) error {
	var name unsafe.Pointer
	var length uint32
	if to != nil {
		name, length = unsafe.Pointer(&to.Raw), to.length //nolint:gosec // as sendto(2) asks for
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(payload))), uintptr(len(payload)), //nolint:gosec // as above
		unix.MSG_DONTWAIT, uintptr(name), uintptr(length))
	if errno != 0 {
		return errno
	}
	return nil
}

// Receive reads a packet and, unless from is nil, who has sent it, or fails with EAGAIN when there is none. What the buffer has no room
// for is lost. The error is a unix.Errno.
func Receive(fd int, buffer []byte, from *Address) (int, error) {
	var name, size unsafe.Pointer
	length := uint32(unix.SizeofSockaddrInet6)
	if from != nil {
		name, size = unsafe.Pointer(&from.Raw), unsafe.Pointer(&length) //nolint:gosec // as recvfrom(2) asks for
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(buffer))), uintptr(len(buffer)), //nolint:gosec // as above
		unix.MSG_DONTWAIT, uintptr(name), uintptr(size))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
