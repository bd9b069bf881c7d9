package wire

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The codes of errors (RFC 4271, 4.5).
const (
	HeaderError uint8 = iota + 1
	OpenError
	UpdateError
	HoldTimerExpired
	FSMError
	Cease
)

// Subcodes of HeaderError (RFC 4271, 6.1).
const (
	NotSynchronized uint8 = iota + 1
	BadMessageLength
	BadMessageType
)

// Subcodes of OpenError (RFC 4271, 6.2; RFC 5492 for the last).
const (
	UnsupportedVersion    uint8 = 1
	BadPeerAS             uint8 = 2
	BadIdentifier         uint8 = 3
	UnsupportedParameter  uint8 = 4
	UnacceptableHoldTime  uint8 = 6
	UnsupportedCapability uint8 = 7
)

// Subcodes of Cease (RFC 4486, RFC 8538, RFC 9384).
const (
	MaximumPrefixes       uint8 = 1
	AdministrativeStop    uint8 = 2
	PeerDeconfigured      uint8 = 3
	AdministrativeReset   uint8 = 4
	ConnectionRejected    uint8 = 5
	ConfigurationChange   uint8 = 6
	CollisionResolution   uint8 = 7
	OutOfResources        uint8 = 8
	HardReset             uint8 = 9
	BFDDown               uint8 = 10
	maxCommunication            = 255
	maxNotificationDetail       = 64
)

// names of the codes and subcodes, as IANA registers them (BGP Error Codes, BGP Error Subcodes).
var (
	codes = map[uint8]string{
		HeaderError: "Message Header Error", OpenError: "OPEN Message Error", UpdateError: "UPDATE Message Error",
		HoldTimerExpired: "Hold Timer Expired", FSMError: "Finite State Machine Error", Cease: "Cease", 7: "ROUTE-REFRESH Message Error",
		8: "Send Hold Timer Expired",
	}
	subcodes = map[uint8]map[uint8]string{
		HeaderError: {NotSynchronized: "Connection Not Synchronized", BadMessageLength: "Bad Message Length", BadMessageType: "Bad Message Type"},
		OpenError: {
			UnsupportedVersion: "Unsupported Version Number", BadPeerAS: "Bad Peer AS", BadIdentifier: "Bad BGP Identifier",
			UnsupportedParameter: "Unsupported Optional Parameter", 5: "Authentication Failure", UnacceptableHoldTime: "Unacceptable Hold Time",
			UnsupportedCapability: "Unsupported Capability", 11: "Role Mismatch",
		},
		UpdateError: {
			1: "Malformed Attribute List", 2: "Unrecognized Well-known Attribute", 3: "Missing Well-known Attribute", 4: "Attribute Flags Error",
			5: "Attribute Length Error", 6: "Invalid ORIGIN Attribute", 8: "Invalid NEXT_HOP Attribute", 9: "Optional Attribute Error",
			10: "Invalid Network Field", 11: "Malformed AS_PATH",
		},
		FSMError: {1: "Unexpected Message in OpenSent State", 2: "Unexpected Message in OpenConfirm State", 3: "Unexpected Message in Established State"},
		Cease: {
			MaximumPrefixes: "Maximum Number of Prefixes Reached", AdministrativeStop: "Administrative Shutdown", PeerDeconfigured: "Peer De-configured",
			AdministrativeReset: "Administrative Reset", ConnectionRejected: "Connection Rejected", ConfigurationChange: "Other Configuration Change",
			CollisionResolution: "Connection Collision Resolution", OutOfResources: "Out of Resources", HardReset: "Hard Reset", BFDDown: "BFD Down",
		},
	}
)

// Notification ends a session (RFC 4271, 4.5).
type Notification struct { //nolint:errname // the RFC's word
	Code, Subcode uint8
	Data          []byte
}

// ParseNotification reads the body of a NOTIFICATION; Read has seen to it that it is long enough.
func ParseNotification(body []byte) *Notification {
	return &Notification{Code: body[0], Subcode: body[1], Data: append([]byte(nil), body[2:]...)}
}

// Message is the whole message.
func (n *Notification) Message() Message {
	return message(TypeNotification, func(b []byte) []byte { return append(append(b, n.Code, n.Subcode), n.Data...) })
}

// Error gives IANA's names of what has happened, and what the sender says beside it (RFC 9003).
func (n *Notification) Error() string {
	text, ok := codes[n.Code]
	if !ok {
		text = fmt.Sprintf("error %d", n.Code)
	}
	if name, ok := subcodes[n.Code][n.Subcode]; ok {
		text += ": " + name
	} else if n.Subcode != 0 {
		text += fmt.Sprintf(", subcode %d", n.Subcode)
	}
	if said := n.communication(); said != "" {
		text += fmt.Sprintf(" (%q)", said)
	}
	return text
}

// communication is what an administrator has written (RFC 9003), without what is not to be shown, and not all of a long text.
func (n *Notification) communication() string {
	if n.Code != Cease || n.Subcode != AdministrativeStop && n.Subcode != AdministrativeReset || len(n.Data) < 2 || int(n.Data[0]) != len(n.Data)-1 {
		return ""
	}
	said := string(n.Data[1:])
	if !utf8.ValidString(said) {
		return ""
	}
	runes := []rune(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, said))
	if len(runes) > maxNotificationDetail {
		runes = append(runes[:maxNotificationDetail], '…')
	}
	return string(runes)
}

// Shutdown is a Cease with the reason for a person (RFC 9003), which must be shorter than 256 bytes.
func Shutdown(subcode uint8, reason string) *Notification {
	reason = reason[:min(len(reason), maxCommunication)]
	return &Notification{Code: Cease, Subcode: subcode, Data: append([]byte{byte(len(reason))}, reason...)}
}
