package udp

import (
	"encoding/binary"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

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
	case level == unix.SOL_SOCKET && kind == unix.SCM_TIMESTAMPNS && len(data) >= int(unsafe.Sizeof(unix.Timespec{})):
		stamp := (*unix.Timespec)(unsafe.Pointer(unsafe.SliceData(data))) //nolint:gosec // aligned as the kernel writes it
		// The difference by the clock that may be set, taken from Go's, which may not.
		if age := d.Arrived.UnixNano() - stamp.Nano(); age > 0 {
			d.Arrived = d.Arrived.Add(-time.Duration(age))
		}
	case level == unix.IPPROTO_IP && kind == unix.IP_TTL && len(data) >= 4,
		level == unix.IPPROTO_IPV6 && kind == unix.IPV6_HOPLIMIT && len(data) >= 4:
		d.TTL = uint8(number(0))
	case level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
		d.Interface, d.Destination = number(0), netip.AddrFrom4([4]byte(data[8:]))
	case level == unix.IPPROTO_IPV6 && kind == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
		d.Interface, d.Destination = number(16), netip.AddrFrom16([16]byte(data))
	}
}
