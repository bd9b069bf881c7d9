package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/wire"
)

// maxPassword is the kernel's limit (TCP_MD5SIG_MAXKEYLEN).
const maxPassword = 80

// check says why a peer cannot be had as it is written.
func (r *Router) check(p *bgp.Peer) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	whole := func(name string, d, from, to time.Duration) {
		if d < from || d > to || d%time.Second != 0 {
			bad("%s %s must be whole seconds from %s to %s", name, d, from, to)
		}
	}
	switch a := p.Address; {
	case p.Interface != "" && a.IsValid():
		bad("it has both an address and an interface")
	case p.Interface != "":
	case !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a.Is4In6():
		bad("the address %s is none that a router can have", a)
	case a.IsLinkLocalUnicast() && a.Is6() && a.Zone() == "":
		bad("the link-local address %s needs the interface it is on, as %s%%eth0", a, a)
	}
	if p.Source.IsValid() && p.Address.IsValid() && p.Source.Is4() != p.Address.Is4() {
		bad("the source address %s is of another family than %s", p.Source, p.Address)
	}
	if p.Port == 0 {
		bad("the port is 0")
	}
	if p.LocalASN == 0 {
		bad("this node's AS number is 0")
	}
	whole("the hold time", p.HoldTime, 3*time.Second, 65535*time.Second)
	whole("the keepalive time", p.KeepaliveTime, time.Second, max(time.Second, p.HoldTime))
	whole("the connect time", p.ConnectTime, time.Second, 65535*time.Second)
	whole("the restart time", p.RestartTime, 0, 4095*time.Second)
	if len(p.Password) > maxPassword {
		bad("the password is longer than %d bytes", maxPassword)
	}
	if p.Password != "" && !r.md5 {
		bad("it has a password, but this node's kernel has no TCP MD5 signatures (RFC 2385)")
	}
	if p.MultiHop && p.TTLSecurity {
		bad("it cannot be several hops away and have TTL security")
	}
	if !p.IPv4 && !p.IPv6 {
		bad("it has no address family")
	}
	if p.NextHop4.IsValid() && !p.NextHop4.Is4() {
		bad("the IPv4 next hop %s is no IPv4 address", p.NextHop4)
	}
	if p.NextHop6.IsValid() && (!p.NextHop6.Is6() || p.NextHop6.Is4In6()) {
		bad("the IPv6 next hop %s is no IPv6 address", p.NextHop6)
	}
	return errors.Join(errs...)
}

// valid are the peers that can be had; the others are errors, by name.
func (r *Router) valid(peers []bgp.Peer) (map[string]bgp.Peer, map[string]error) {
	type place struct {
		address netip.Addr
		ifname  string
	}
	good, errs, places, named := map[string]bgp.Peer{}, map[string]error{}, map[place]string{}, map[string]int{}
	for i := range peers {
		named[peers[i].Name]++
	}
	for i := range peers {
		p := &peers[i]
		at := place{p.Address, p.Interface}
		err := r.check(p)
		switch other := places[at]; {
		case p.Name == "":
			err = errors.New("a peer has no name")
		case named[p.Name] > 1:
			err = fmt.Errorf("there is more than one peer %q", p.Name)
		case err == nil && other != "":
			err = fmt.Errorf("peer %s has the same address", other)
		}
		if err != nil {
			errs[p.Name] = err
			continue
		}
		good[p.Name], places[at] = *p, p.Name
	}
	return good, errs
}

// difference says what of a change needs a new session; empty: nothing. Timers that are part of an OPEN count from the next
// session on: the old ones are no harm, a reset would be.
func difference(old, now *bgp.Peer, status *bgp.Session) string {
	var what []string
	for name, differs := range map[string]bool{
		"address":          old.Address != now.Address || old.Interface != now.Interface || old.Port != now.Port,
		"source address":   old.Source != now.Source,
		"local AS number":  old.LocalASN != now.LocalASN,
		"AS number":        (old.ASN != now.ASN || old.Type != now.Type) && !satisfies(now, old.LocalASN, status),
		"password":         old.Password != now.Password,
		"families":         old.IPv4 != now.IPv4 || old.IPv6 != now.IPv6,
		"graceful restart": (old.RestartTime > 0) != (now.RestartTime > 0),
	} {
		if differs {
			what = append(what, name)
		}
	}
	slices.Sort(what)
	return strings.Join(what, ", ")
}

// settled reports whether a change of what an attempt to have a session goes by needs no other attempt: there is a session, and the
// next one will go by it.
func settled(old, now *bgp.Peer, status *bgp.Session) bool {
	return status.State == bgp.Established || old.HoldTime == now.HoldTime && old.RestartTime == now.RestartTime && old.ConnectTime == now.ConnectTime &&
		old.MultiHop == now.MultiHop && old.TTLSecurity == now.TTLSecurity
}

// sameNeighbour reports whether the router will take the next session for one with the neighbour that it had, whose routes it keeps
// meanwhile (RFC 4724). With any other it would keep both ours and those.
func sameNeighbour(old, now *bgp.Peer) bool {
	return old.Address == now.Address && old.Interface == now.Interface && old.Port == now.Port && old.Source == now.Source &&
		old.LocalASN == now.LocalASN && old.ASN == now.ASN && old.Type == now.Type
}

// satisfies reports whether an established session is with a router of the AS that is wanted now.
func satisfies(now *bgp.Peer, localASN uint32, status *bgp.Session) bool {
	if status.State != bgp.Established {
		return false
	}
	if now.ASN != 0 {
		return now.ASN == status.ASN
	}
	return (now.Type == bgp.Internal) == (status.ASN == localASN)
}

// SetPeers is part of bgp.Router.
func (r *Router) SetPeers(_ context.Context, peers []bgp.Peer) ([]bgp.Reset, map[string]error) {
	r.setting.Lock()
	defer r.setting.Unlock()
	wanted, errs := r.valid(peers)
	var resets []bgp.Reset
	var leaving, restarting []*peer
	for _, p := range r.all() {
		now, ok := wanted[p.name]
		if !ok {
			p.end(&ending{notification: &wire.Notification{Code: wire.Cease, Subcode: wire.PeerDeconfigured}})
			leaving = append(leaving, p)
			continue
		}
		p.mu.Lock()
		old, status := p.cfg, p.status
		p.cfg = now
		p.mu.Unlock()
		if why := difference(&old, &now, &status); why != "" || !settled(&old, &now, &status) {
			p.end(&ending{notification: &wire.Notification{Code: wire.Cease, Subcode: wire.ConfigurationChange}, keep: sameNeighbour(&old, &now)})
			restarting = append(restarting, p)
			if status.State == bgp.Established {
				resets = append(resets, bgp.Reset{Peer: p.name, Reason: "changed: " + why})
			}
			continue
		}
		if err := r.adjust(p, &old, &now); err != nil {
			errs[p.name] = err
		}
	}
	for _, p := range leaving {
		<-p.done
		r.peersMu.Lock()
		delete(r.peers, p.name)
		r.peersMu.Unlock()
	}
	for _, p := range restarting {
		<-p.done
		p.start()
	}
	for name, cfg := range wanted {
		if r.peer(name) == nil {
			if err := r.add(cfg); err != nil {
				errs[name] = err
			}
		}
	}
	if len(leaving) > 0 {
		r.changed()
	}
	return resets, errs
}

func (r *Router) add(cfg bgp.Peer) error {
	r.mu.Lock()
	closed := r.closed
	r.mu.Unlock()
	if closed {
		return errClosed
	}
	p := newPeer(r, cfg)
	r.peersMu.Lock()
	r.peers[cfg.Name] = p
	r.peersMu.Unlock()
	p.start()
	return nil
}

// adjust makes a change count that needs no new session.
func (r *Router) adjust(p *peer, old, now *bgp.Peer) error {
	p.mu.Lock()
	s := p.session
	p.mu.Unlock()
	var err error
	if s != nil {
		err = s.setTTL(now)
	}
	if s != nil && old.KeepaliveTime != now.KeepaliveTime {
		select {
		case s.retime <- struct{}{}:
		default:
		}
		p.update(func(st *bgp.Session) {
			if st.State == bgp.Established {
				st.KeepaliveTime = s.keepaliveOf(now)
			}
		})
	}
	if old.NextHop4 != now.NextHop4 || old.NextHop6 != now.NextHop6 || old.GracefulShutdown != now.GracefulShutdown {
		r.adapt(p)
	}
	return err
}

// reach is how far away the router of a session may be.
type reach struct{ multiHop, ttlSecurity bool }

func reachOf(cfg *bgp.Peer) reach { return reach{cfg.MultiHop, cfg.TTLSecurity} }

// setTTL makes the session's socket have what the peer has now, also if that has failed before. Who sets the peers calls it.
func (s *session) setTTL(cfg *bgp.Peer) error {
	if s.reach == reachOf(cfg) {
		return nil
	}
	if err := s.p.r.setTTL(s.conn, s.remote, cfg); err != nil {
		return fmt.Errorf("change the TTL of the session with %s: %w", s.remote, err)
	}
	s.reach = reachOf(cfg)
	return nil
}
