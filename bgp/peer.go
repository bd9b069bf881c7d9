package bgp

import (
	"net/netip"
	"time"
)

// Peer is a router and how to keep a session with it. It is a comparable value: a change is a difference.
type Peer struct {
	// Name is unique among the peers of a Router. Routes refer to it.
	Name string

	// Address of the peer, with a zone if it is link-local; invalid with Interface. No two peers of a Router may have one address.
	Address netip.Addr
	// Interface on whose other end the peer is (unnumbered): its link-local address is found there, and followed when it changes.
	Interface string
	// Port is the peer's TCP port.
	Port uint16
	// Source is the local address of the session; invalid: as the kernel routes.
	Source netip.Addr

	// LocalASN is our AS number, 1 to 2³²−1.
	LocalASN uint32
	// ASN is the peer's AS number; 0: it is taken from the peer's OPEN, and must then be as Type says.
	ASN uint32
	// Type says if the session is internal. With an ASN it follows from that.
	Type PeerType

	// HoldTime that is proposed, 3 s to 65535 s; KeepaliveTime at most that, of which no more counts than a third of the hold time that is
	// negotiated; ConnectTime between attempts to connect. Whole seconds.
	HoldTime, KeepaliveTime, ConnectTime time.Duration

	// Password of TCP MD5 (RFC 2385), 1 to 80 bytes; empty: none.
	Password Password
	// MultiHop lets an external peer be several hops away.
	MultiHop bool
	// TTLSecurity accepts packets that came from the link itself only (RFC 5082).
	TTLSecurity bool

	// IPv4 and IPv6 are the families (AFI 1 and 2, SAFI 1) that are negotiated.
	IPv4, IPv6 bool

	// GracefulRestart (RFC 4724) is announced with RestartTime, whole seconds up to 4095 s; 0: it is not.
	RestartTime time.Duration

	// NextHop4 and NextHop6 are the next hops of routes of a family other than the session's transport; an invalid NextHop4 over
	// IPv6 is the session's IPv6 address (RFC 8950), with an invalid NextHop6 no IPv6 routes are advertised over IPv4.
	NextHop4, NextHop6 netip.Addr

	// GracefulShutdown marks all routes to this peer for being drained (RFC 8326): community 65535:0, and local preference 0
	// where the session is internal.
	GracefulShutdown bool
}

// PeerType says if a session is internal to an AS.
type PeerType uint8

// The types of a session.
const (
	External PeerType = iota
	Internal
)

// Internal reports whether the session is within one AS (iBGP).
func (p *Peer) Internal() bool {
	if p.ASN == 0 {
		return p.Type == Internal
	}
	return p.ASN == p.LocalASN
}

// String gives the RFC's word.
func (t PeerType) String() string {
	if t == Internal {
		return "internal"
	}
	return "external"
}

// Password does not show itself in logs, errors or dumps of what it is in.
type Password string

// String does not give the password away.
func (p Password) String() string {
	if p == "" {
		return "none"
	}
	return "set"
}

// GoString does not either.
func (p Password) GoString() string { return p.String() }

// MarshalText neither.
func (p Password) MarshalText() ([]byte, error) { return []byte(p.String()), nil }
