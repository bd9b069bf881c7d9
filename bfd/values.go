package bfd

import (
	"strconv"
	"time"
)

// State of a session (RFC 5880, 4.1 and 6.2). The values are those of the packet.
type State uint8

// The states.
const (
	AdminDown State = iota
	Down
	Init
	Up
)

// String gives the RFC's name.
func (s State) String() string {
	if names := [...]string{"AdminDown", "Down", "Init", "Up"}; int(s) < len(names) {
		return names[s]
	}
	return "State(" + strconv.Itoa(int(s)) + ")"
}

// Diagnostic says why a session left the state Up last (RFC 5880, 4.1). The values are those of the packet, 0 to 31.
type Diagnostic uint8

// The diagnostics.
const (
	NoDiagnostic Diagnostic = iota
	DetectionTimeExpired
	EchoFailed
	NeighborSignaledDown
	ForwardingPlaneReset
	PathDown
	ConcatenatedPathDown
	AdministrativelyDown
	ReverseConcatenatedPathDown
)

// String gives the RFC's words.
func (d Diagnostic) String() string {
	names := [...]string{
		"no diagnostic", "control detection time expired", "echo function failed", "neighbor signaled session down",
		"forwarding plane reset", "path down", "concatenated path down", "administratively down", "reverse concatenated path down",
	}
	if int(d) < len(names) {
		return names[d]
	}
	return "diagnostic " + strconv.Itoa(int(d))
}

// Interval is a time in microseconds, as packets carry it.
type Interval uint32

// Duration is the interval as Go counts time.
func (i Interval) Duration() time.Duration { return time.Duration(i) * time.Microsecond }

// Discard says why a received packet was discarded.
type Discard uint8

// Reasons to discard a packet, in the order in which RFC 5880, 6.8.6 asks.
const (
	// NotDiscarded: the packet was used.
	NotDiscarded Discard = iota
	// BadVersion: the version is not 1.
	BadVersion
	// BadLength: the Length field is too small, or larger than the payload.
	BadLength
	// ZeroDetectMult: the Detect Mult field is 0.
	ZeroDetectMult
	// MultipointSet: the Multipoint bit is set.
	MultipointSet
	// ZeroMyDiscriminator: the My Discriminator field is 0.
	ZeroMyDiscriminator
	// ZeroYourDiscriminator: the Your Discriminator field is 0 in a state that knows it.
	ZeroYourDiscriminator
	// NoSession: no session has the discriminator, or is with the sender.
	NoSession
	// BadTTL: the packet has passed more routers than the session allows (RFC 5881, 5; RFC 5883, 5).
	BadTTL
	// AuthUnexpected: the packet is authenticated, the session is not.
	AuthUnexpected
	// AuthMissing: the session is authenticated, the packet is not.
	AuthMissing
	// AuthBadSection: the authentication section is malformed, or of another type than the session's (6.7).
	AuthBadSection
	// AuthUnknownKey: the session has no key of that ID.
	AuthUnknownKey
	// AuthBadSequence: the sequence number is old, or too far ahead.
	AuthBadSequence
	// AuthBadHash: the packet was not made with the key.
	AuthBadHash
	// HeldDown: the session is in the state AdminDown.
	HeldDown

	// Discards is the number of values, for tables of counters.
	Discards
)

// String says what was wrong.
func (d Discard) String() string {
	names := [...]string{
		"not discarded", "version is not 1", "bad length", "Detect Mult is 0", "Multipoint bit is set",
		"My Discriminator is 0", "Your Discriminator is 0 though the state is Init or Up", "no such session",
		"TTL too small", "unexpected authentication", "authentication missing", "bad authentication section",
		"unknown authentication key", "authentication sequence number outside the window", "authentication hash differs",
		"session is administratively down",
	}
	if int(d) < len(names) {
		return names[d]
	}
	return "Discard(" + strconv.Itoa(int(d)) + ")"
}
