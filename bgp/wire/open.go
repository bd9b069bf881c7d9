package wire

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"
)

const (
	version = 4
	// transASN stands for an AS number of more than two bytes (RFC 6793).
	transASN = 23456

	paramCapabilities = 2
	// paramExtended announces parameters of more than 255 bytes (RFC 9072).
	paramExtended = 255
)

// The codes of capabilities (IANA, Capability Codes).
const (
	capMultiprotocol   = 1
	capRouteRefresh    = 2
	capExtendedNextHop = 5
	capGracefulRestart = 64
	capFourOctetASN    = 65
)

// maxRestartTime is the longest restart time (RFC 4724, 3): 12 bits.
const maxRestartTime = 4095

// Restart is the graceful restart capability (RFC 4724).
type Restart struct {
	// Restarting is the R bit: the speaker has restarted, and nobody shall wait for routes from it.
	Restarting bool
	// Time that the restart may take, whole seconds up to 4095 s.
	Time time.Duration
	// Preserved are the families that forwarding goes on for meanwhile (the F bits).
	Preserved []Family
}

// Open is an OPEN message (RFC 4271, 4.2).
type Open struct {
	ASN uint32
	// HoldTime, whole seconds; 0: the session is never found lost.
	HoldTime time.Duration
	// ID is the BGP identifier, an IPv4 address.
	ID netip.Addr
	// IPv4 and IPv6 unicast (RFC 4760). A speaker without the capability has IPv4.
	IPv4, IPv6 bool
	// FourOctetASN: AS numbers in AS_PATH have four bytes (RFC 6793).
	FourOctetASN bool
	RouteRefresh bool
	// ExtendedNextHop: IPv4 routes may have IPv6 next hops (RFC 8950).
	ExtendedNextHop bool
	// GracefulRestart, nil: not supported.
	GracefulRestart *Restart
}

// Message is the whole message.
func (o *Open) Message() Message {
	return message(TypeOpen, func(b []byte) []byte {
		asn := o.ASN
		if asn > 0xffff {
			asn = transASN
		}
		b = append(b, version)
		b = binary.BigEndian.AppendUint16(b, uint16(asn))
		b = binary.BigEndian.AppendUint16(b, uint16(o.HoldTime/time.Second))
		id := o.ID.As4()
		b = append(b, id[:]...)
		caps := o.capabilities()
		return append(append(b, byte(len(caps)+2), paramCapabilities, byte(len(caps))), caps...)
	})
}

func (o *Open) capabilities() []byte {
	var b []byte
	if o.IPv4 {
		b = append(b, capMultiprotocol, 4, 0, byte(IPv4), 0, unicast)
	}
	if o.IPv6 {
		b = append(b, capMultiprotocol, 4, 0, byte(IPv6), 0, unicast)
	}
	if o.RouteRefresh {
		b = append(b, capRouteRefresh, 0)
	}
	if o.ExtendedNextHop {
		b = append(b, capExtendedNextHop, 6, 0, byte(IPv4), 0, unicast, 0, byte(IPv6))
	}
	if r := o.GracefulRestart; r != nil {
		flags := uint16(min(r.Time/time.Second, maxRestartTime))
		if r.Restarting {
			flags |= 0x8000
		}
		b = append(b, capGracefulRestart, byte(2+4*len(r.Preserved)))
		b = binary.BigEndian.AppendUint16(b, flags)
		for _, f := range r.Preserved {
			b = append(b, 0, byte(f), unicast, 0x80)
		}
	}
	if o.FourOctetASN {
		b = binary.BigEndian.AppendUint32(append(b, capFourOctetASN, 4), o.ASN)
	}
	return b
}

// ParseOpen reads the body of an OPEN; Read has seen to it that it is long enough. The error, if there is one, is a *Notification
// for the sender. What the values mean for the session is for the caller to judge.
func ParseOpen(body []byte) (*Open, error) {
	if body[0] != version {
		return nil, &Notification{Code: OpenError, Subcode: UnsupportedVersion, Data: []byte{0, version}}
	}
	o := &Open{
		ASN:      uint32(binary.BigEndian.Uint16(body[1:])),
		HoldTime: time.Duration(binary.BigEndian.Uint16(body[3:])) * time.Second,
		ID:       netip.AddrFrom4([4]byte(body[5:9])),
	}
	malformed := &Notification{Code: OpenError}
	params, wide := body[10:], 1
	// Once the type says that lengths have two bytes, the one before it counts no more, whatever it is (RFC 9072, 2).
	if body[9] != 0 && len(params) >= 3 && params[0] == paramExtended {
		if int(binary.BigEndian.Uint16(params[1:])) != len(params)-3 {
			return nil, malformed
		}
		params, wide = params[3:], 2
	} else if int(body[9]) != len(params) {
		return nil, malformed
	}
	families := false
	for len(params) > 0 {
		kind, value, rest, ok := tlv(params, wide)
		if !ok {
			return nil, malformed
		}
		if kind != paramCapabilities {
			return nil, &Notification{Code: OpenError, Subcode: UnsupportedParameter}
		}
		params = rest
		for len(value) > 0 {
			code, capability, after, ok := tlv(value, 1)
			if !ok {
				return nil, malformed
			}
			value = after
			families = families || code == capMultiprotocol
			if !o.add(code, capability) {
				return nil, malformed
			}
		}
	}
	if !families {
		o.IPv4 = true // RFC 4760, 8: as before there were others
	}
	return o, nil
}

// tlv takes a type, a length of one or two bytes, and a value of that length.
func tlv(b []byte, wide int) (kind byte, value, rest []byte, ok bool) {
	if len(b) < 1+wide {
		return 0, nil, nil, false
	}
	length := int(b[1])
	if wide == 2 {
		length = int(binary.BigEndian.Uint16(b[1:]))
	}
	kind, b = b[0], b[1+wide:]
	if len(b) < length {
		return 0, nil, nil, false
	}
	return kind, b[:length], b[length:], true
}

// add takes a capability over. Unknown ones, and families that are not ours, are passed over (RFC 5492, 3).
func (o *Open) add(code byte, value []byte) (ok bool) {
	switch code {
	case capMultiprotocol:
		if len(value) != 4 {
			return false
		}
		switch f := Family(binary.BigEndian.Uint16(value)); {
		case value[3] != unicast:
		case f == IPv4:
			o.IPv4 = true
		case f == IPv6:
			o.IPv6 = true
		}
	case capRouteRefresh:
		o.RouteRefresh = true
	case capExtendedNextHop:
		for ; len(value) >= 6; value = value[6:] {
			if [6]byte(value) == [6]byte{0, byte(IPv4), 0, unicast, 0, byte(IPv6)} {
				o.ExtendedNextHop = true
			}
		}
		return len(value) == 0
	case capGracefulRestart:
		if len(value) < 2 {
			return false
		}
		flags := binary.BigEndian.Uint16(value)
		r := &Restart{Restarting: flags&0x8000 != 0, Time: time.Duration(flags&maxRestartTime) * time.Second}
		for value = value[2:]; len(value) >= 4; value = value[4:] {
			f := Family(binary.BigEndian.Uint16(value))
			if value[2] == unicast && value[3]&0x80 != 0 && (f == IPv4 || f == IPv6) && !slices.Contains(r.Preserved, f) {
				r.Preserved = append(r.Preserved, f)
			}
		}
		o.GracefulRestart = r
		return len(value) == 0
	case capFourOctetASN:
		if len(value) != 4 {
			return false
		}
		o.FourOctetASN, o.ASN = true, binary.BigEndian.Uint32(value)
	}
	return true
}
