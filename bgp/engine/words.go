package engine

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/wire"
)

// silenceError is for a peer that does not answer at all.
func silenceError(to netip.Addr, cfg *bgp.Peer) string {
	at := netip.AddrPortFrom(to, cfg.Port)
	if cfg.Password != "" {
		return fmt.Sprintf("MD5 mismatch suspected: no answer to SYN from %s for %s; check that both ends have the same password", at, seconds(silence))
	}
	return fmt.Sprintf("no answer to SYN from %s for %s: check the address, that the router is up, and that nothing on the way drops TCP port %d", at, seconds(silence), cfg.Port)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%d s", d/time.Second) }

// connectError is for a peer that cannot be connected to.
func connectError(err error, to netip.Addr, cfg *bgp.Peer) string {
	at := netip.AddrPortFrom(to, cfg.Port)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("%s refuses connections: check that BGP runs there and knows this node as a neighbour", at)
	case errors.Is(err, syscall.EADDRNOTAVAIL) && cfg.Source.IsValid():
		return fmt.Sprintf("cannot connect to %s: this node does not have the source address %s", at, cfg.Source)
	case errors.Is(err, syscall.EHOSTUNREACH):
		// Who drops a packet for its TTL of 1 says the same to a connect as who knows no way.
		several := ""
		if send, _ := ttls(cfg, cfg.Internal()); send == 1 && cfg.Interface == "" {
			several = ", or it is several hops away: set ebgpMultiHop then"
		}
		return fmt.Sprintf("%s cannot be reached: no router or host on the way knows it (no route to host)%s", at, several)
	case errors.Is(err, syscall.ENETUNREACH):
		return fmt.Sprintf("%s cannot be reached: this node has no route to it", at)
	}
	return fmt.Sprintf("cannot connect to %s: %v", at, err)
}

// silence is for a router that does not send what it must in time.
func (s *session) silence() string {
	switch {
	case s.open == nil:
		return fmt.Sprintf("%s accepts the connection and does not answer the OPEN for %s", s.remote, seconds(openWait))
	case !s.up:
		return fmt.Sprintf("%s does not confirm the OPEN for %s, the hold time; check in its log what it holds of this node's", s.remote, seconds(s.hold))
	}
	return fmt.Sprintf("nothing was heard from %s for %s, the hold time", s.remote, seconds(s.hold))
}

// failed is the error of a session whose connection has failed, or whose router has sent what is no message.
func (s *session) failed(err error) error {
	var n *wire.Notification
	when := "in a session"
	if !s.up {
		when = "before the session was open"
	}
	switch {
	case s.ctx.Err() != nil:
		return s.ctx.Err() // the cause is known elsewhere
	case errors.As(err, &n):
		return &refusal{fmt.Sprintf("%s has sent what is not BGP: %v", s.remote, err), n}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		switch {
		case s.open == nil:
			return fmt.Errorf("%s accepts the connection and closes it: check that it knows %s as a neighbour", s.remote, s.local)
		case !s.up:
			return fmt.Errorf("%s answers the OPEN and closes the connection: check in its log what it holds of this node's, and that it knows %s as a neighbour in AS %d",
				s.remote, s.local, s.cfg.LocalASN)
		}
		return fmt.Errorf("%s has closed the connection", s.remote)
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("%s has reset the connection %s", s.remote, when)
	case isTimeout(err): // of a write
		// Nothing can be said to it, and what it has not taken is not to stay here (RFC 9687, 3).
		return &ending{text: fmt.Sprintf("%s takes no messages any more", s.remote), abort: true}
	}
	return fmt.Errorf("the connection to %s has failed: %w", s.remote, err)
}

// unexpected is for a message that does not belong where it is (RFC 6608 for the subcode).
func (s *session) unexpected(m wire.Message, subcode uint8) error {
	return &refusal{fmt.Sprintf("%s has sent %s where it does not belong", s.remote, m.Type()), &wire.Notification{Code: wire.FSMError, Subcode: subcode}}
}

// notified is for what the router says why it ends a session.
func (s *session) notified(m wire.Message, verb string) error {
	n := wire.ParseNotification(m.Body())
	text := fmt.Sprintf("%s %s: %v", s.remote, verb, n)
	advice := ""
	switch {
	case n.Code == wire.OpenError && n.Subcode == wire.BadPeerAS:
		advice = fmt.Sprintf("it expects another AS number than %d of %s", s.cfg.LocalASN, s.local)
	case n.Code == wire.OpenError && n.Subcode == wire.BadIdentifier:
		advice = fmt.Sprintf("it does not accept the router ID %s", s.p.r.routerID)
	case n.Code == wire.OpenError && n.Subcode == wire.UnacceptableHoldTime:
		advice = fmt.Sprintf("it does not accept a hold time of %s", seconds(s.cfg.HoldTime))
	case n.Code == wire.OpenError && n.Subcode == wire.UnsupportedCapability:
		advice = "it lacks an address family or another capability that is asked for"
	case n.Code == wire.Cease && n.Subcode == wire.AdministrativeStop:
		advice = "it was shut down there"
	case n.Code == wire.Cease && (n.Subcode == wire.ConnectionRejected || n.Subcode == wire.PeerDeconfigured):
		advice = fmt.Sprintf("check that it has %s as a neighbour, and not shut down", s.local)
	case n.Code == wire.Cease && n.Subcode == wire.MaximumPrefixes:
		advice = "it accepts fewer routes than it is sent; raise its limit, or aggregate"
	case n.Code == wire.HoldTimerExpired:
		advice = "it has not heard from this node in time"
	}
	if advice != "" {
		text += "; " + advice
	}
	return errors.New(text)
}

// judge says why a session cannot be had with the router's OPEN (RFC 4271, 6.2); nil: it can.
func (s *session) judge() error {
	o, cfg := s.open, s.cfg
	refuse := func(subcode uint8, format string, args ...any) error {
		return &refusal{s.remote.String() + " " + fmt.Sprintf(format, args...), &wire.Notification{Code: wire.OpenError, Subcode: subcode}}
	}
	switch {
	case o.ASN == 0:
		return refuse(wire.BadPeerAS, "says that it is in AS 0")
	case cfg.ASN != 0 && o.ASN != cfg.ASN:
		return refuse(wire.BadPeerAS, "says that it is in AS %d, and not in AS %d as is configured here", o.ASN, cfg.ASN)
	case cfg.ASN == 0 && cfg.Type == bgp.Internal && o.ASN != cfg.LocalASN:
		return refuse(wire.BadPeerAS, "says that it is in AS %d, but the peer must be internal, in AS %d like this node", o.ASN, cfg.LocalASN)
	case cfg.ASN == 0 && cfg.Type == bgp.External && o.ASN == cfg.LocalASN:
		return refuse(wire.BadPeerAS, "says that it is in AS %d like this node, but the peer must be external", o.ASN)
	case o.ID == netip.IPv4Unspecified():
		return refuse(wire.BadIdentifier, "has no router ID")
	case o.ASN == cfg.LocalASN && o.ID == s.p.r.routerID:
		return refuse(wire.BadIdentifier, "has the same router ID as this node, %s; each router of an AS needs one of its own", o.ID)
	case o.HoldTime < 3*time.Second:
		return refuse(wire.UnacceptableHoldTime, "wants a hold time of %s, with which a loss is not found; it must be 3 s or more", seconds(o.HoldTime))
	case (!cfg.IPv4 || !o.IPv4) && (!cfg.IPv6 || !o.IPv6):
		return refuse(wire.UnsupportedCapability, "and this node have no address family in common: it has %s, and %s is wanted", familyNames(o.IPv4, o.IPv6), familyNames(cfg.IPv4, cfg.IPv6))
	}
	return nil
}

func familyNames(ipv4, ipv6 bool) string {
	var names []string
	if ipv4 {
		names = append(names, "IPv4")
	}
	if ipv6 {
		names = append(names, "IPv6")
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, " and ")
}
