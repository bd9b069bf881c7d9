package bgp

import (
	"context"
	"net/netip"
	"time"
)

// Router speaks BGP. It advertises what it is told to, to whom it is told, and takes no route from anybody.
//
// Its methods may be called at any time from several goroutines; what they ask for is done when they return, as far as it lies
// with this side. No peer waits for another.
type Router interface {
	// SetPeers replaces the peers. Sessions whose Peer has not changed are left alone; the others change without a reset where
	// the protocol allows that. It gives the sessions that were reset, with the reason, and for each peer that cannot be had as it
	// is written an error; that peer has no session then, and no other is affected.
	SetPeers(ctx context.Context, peers []Peer) ([]Reset, map[string]error)

	// SetRoutes replaces the routes to the prefixes that it is given, and leaves all others as they are. Routes to unknown peers
	// are kept for when these come. Neither the routes nor what is in them may be changed afterwards.
	SetRoutes(ctx context.Context, routes []Route) error

	// Drop ends a session at once and without a NOTIFICATION, because its peer was found lost; the Router goes on trying to reach it.
	Drop(ctx context.Context, peer, reason string) error

	// Sessions are the states of all sessions, in the order of their peers' names. It is cheap.
	Sessions() []Session

	// Changed gets a value after a session has changed; several changes may be one value.
	Changed() <-chan struct{}

	// Advertised are the routes that the engine has sent to a peer and not withdrawn, in the order of their prefixes, as they were
	// sent. It costs as much as there are routes.
	Advertised(ctx context.Context, peer string) ([]Advertised, error)

	// Close ends all sessions, with a NOTIFICATION that has the reason: Cease, Administrative Shutdown. For a restart, after which the
	// same neighbour is back soon, it is Administrative Reset, and none to those peers that graceful restart was negotiated with, so that
	// they go on forwarding.
	Close(ctx context.Context, reason string, restart bool) error
}

// Reset is a session that a change of its peer has ended.
type Reset struct {
	Peer, Reason string
}

// Route is a prefix and to which peers it is advertised.
type Route struct {
	Prefix netip.Prefix
	// To are the peers, each once, in the order of their names; none: the prefix is withdrawn from all.
	To []Export
}

// Export is a route's way to one peer.
type Export struct {
	Peer string
	// Attributes are not nil. Equal ones should be one pointer: a Router works for each set of attributes, not for each route.
	Attributes *Attributes
}

// State of a session (RFC 4271, 8.2.2).
type State uint8

// The states.
const (
	Idle State = iota
	Connect
	Active
	OpenSent
	OpenConfirm
	Established
)

// String gives the RFC's name.
func (s State) String() string {
	return [...]string{"Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"}[s]
}

// Session is what is known of a session.
type Session struct {
	Peer  string
	State State
	// Since is when the session has come to be Established, or not to be.
	Since time.Time
	// LastError is why the session was lost last, or does not come up; empty: nothing is known. It names the peer's address.
	LastError string
	// Local and Remote are the addresses of the session, Remote also while it is sought; invalid: not known.
	Local, Remote netip.Addr
	// ASN is the peer's AS number, as it is known; 0: it is not.
	ASN uint32
	// HoldTime and KeepaliveTime as negotiated, while Established.
	HoldTime, KeepaliveTime time.Duration
	// IPv4 and IPv6 are the families that were negotiated, while Established.
	IPv4, IPv6 bool
	// Withheld says why routes are not advertised, while Established: those of a family that is configured, or those whose attributes
	// cannot be sent; empty: all are.
	Withheld string
	// Routes is the number of routes that are advertised to the peer.
	Routes int
	// Updates is the number of UPDATE messages sent since the peer was set; Established the number of times it was reached.
	Updates, Established uint64
}

// Advertised is a route as it was sent to a peer.
type Advertised struct {
	Prefix  netip.Prefix
	NextHop netip.Addr
	// ASPath as the peer sees it: ours first; empty to internal peers.
	ASPath []uint32
	// Attributes without Prepend, which is in the ASPath.
	Attributes Attributes
}
