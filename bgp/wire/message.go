// Package wire reads and writes the messages of BGP (RFC 4271, 4) that open, keep and end a session. What is in an UPDATE it
// leaves to others. It does no I/O but reading from a Reader, and holds any input to be hostile.
package wire

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// Type of a message (RFC 4271, 4.1; RFC 2918 for the last).
type Type uint8

// The types of messages.
const (
	TypeOpen Type = iota + 1
	TypeUpdate
	TypeNotification
	TypeKeepalive
	TypeRouteRefresh
)

// String gives the RFC's name.
func (t Type) String() string {
	if t >= TypeOpen && t <= TypeRouteRefresh {
		return [...]string{"OPEN", "UPDATE", "NOTIFICATION", "KEEPALIVE", "ROUTE-REFRESH"}[t-1]
	}
	return fmt.Sprintf("message of type %d", uint8(t))
}

const (
	// HeaderLen is the length of a message's header, in bytes.
	HeaderLen = 19
	// MaxLen is the length of the longest message (RFC 8654 allows longer ones to who has agreed to them; nobody does here).
	MaxLen = 4096
)

// minLen is the shortest length of a message of each type, with the header.
var minLen = [...]int{TypeOpen: 29, TypeUpdate: 23, TypeNotification: 21, TypeKeepalive: 19, TypeRouteRefresh: 23}

var marker = bytes.Repeat([]byte{0xff}, 16)

// Buffer takes one message.
type Buffer [MaxLen]byte

// Message is a whole message, in a Buffer that the next one may overwrite.
type Message []byte

// Type of the message.
func (m Message) Type() Type { return Type(m[HeaderLen-1]) }

// Body is the message without its header.
func (m Message) Body() []byte { return m[HeaderLen:] }

// Read reads a message. An error that is a *Notification is what the sender is to be told of it (RFC 4271, 6.1); any other is the
// Reader's.
func Read(r io.Reader, b *Buffer) (Message, error) {
	header := b[:HeaderLen]
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	if !bytes.Equal(header[:16], marker) {
		return nil, &Notification{Code: HeaderError, Subcode: NotSynchronized}
	}
	length, t := int(binary.BigEndian.Uint16(header[16:])), Type(header[18])
	if t < TypeOpen || t > TypeRouteRefresh {
		return nil, &Notification{Code: HeaderError, Subcode: BadMessageType, Data: []byte{byte(t)}}
	}
	if length > MaxLen || length < minLen[t] || t == TypeKeepalive && length != HeaderLen {
		return nil, &Notification{Code: HeaderError, Subcode: BadMessageLength, Data: bytes.Clone(header[16:18])}
	}
	if _, err := io.ReadFull(r, b[HeaderLen:length]); err != nil {
		return nil, err
	}
	return b[:length], nil
}

// message is a header, and then what body appends.
func message(t Type, body func([]byte) []byte) Message {
	b := body(append(bytes.Clone(marker), 0, 0, byte(t)))
	binary.BigEndian.PutUint16(b[16:], uint16(len(b)))
	return b
}

// MinUpdate is the length of an UPDATE without prefixes and attributes, in bytes.
const MinUpdate = HeaderLen + 4

// AppendUpdate appends an UPDATE (RFC 4271, 4.3) to b. Its parts are encoded already, and together must leave it within MaxLen.
func AppendUpdate(b, withdrawn, attributes, nlri []byte) []byte {
	b = append(b, marker...)
	b = binary.BigEndian.AppendUint16(b, uint16(MinUpdate+len(withdrawn)+len(attributes)+len(nlri)))
	b = append(b, byte(TypeUpdate))
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(withdrawn))), withdrawn...)
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(attributes))), attributes...)
	return append(b, nlri...)
}

// Keepalive is a KEEPALIVE message.
func Keepalive() Message {
	return message(TypeKeepalive, func(b []byte) []byte { return b })
}

// Family is an address family with unicast forwarding (RFC 4760).
type Family uint16

// The families.
const (
	IPv4 Family = 1
	IPv6 Family = 2
)

const unicast = 1

// String gives the family's name.
func (f Family) String() string {
	switch f {
	case IPv4:
		return "IPv4"
	case IPv6:
		return "IPv6"
	}
	return fmt.Sprintf("family %d", uint16(f))
}

// ParseRouteRefresh reads the body of a ROUTE-REFRESH (RFC 2918). Other families than ours are not ok. The reserved byte has no meaning:
// only to who has announced RFC 7313, which we do not, could it be a mark.
func ParseRouteRefresh(body []byte) (f Family, ok bool) {
	if len(body) != 4 || body[3] != unicast {
		return 0, false
	}
	f = Family(binary.BigEndian.Uint16(body))
	return f, f == IPv4 || f == IPv6
}

// RouteRefresh asks for all routes of a family again.
func RouteRefresh(f Family) Message {
	return message(TypeRouteRefresh, func(b []byte) []byte {
		return append(binary.BigEndian.AppendUint16(b, uint16(f)), 0, unicast)
	})
}
