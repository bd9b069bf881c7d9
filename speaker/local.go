package speaker

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"fairlead.io/fairlead/internal/bgproutes"
	"fairlead.io/fairlead/l2/membership"
	"fairlead.io/fairlead/l2/netif"
)

// setLocal changes what the other speakers are told.
func (s *Speaker) setLocal(change func(*membership.Meta)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.local)
	if s.members != nil {
		s.peers.look() // what is decided here must not be older than what gossip knows
	}
	usable := s.usable()
	s.local.Interfaces = netif.Names(usable)
	others := s.peers.others()
	now := time.Now()
	w := wellness{
		Well: s.joined && s.health.Ready, CutOff: s.joined && 2*(others.alive+1) < others.known+1, Interfaces: usable,
		Others: others.members > 0, OthersSettled: others.settled, OthersTogether: others.together,
	}
	var next, until time.Time
	s.local.Settling, s.local.SettlingInterfaces, next = s.settling.observe(now, w)
	if s.local.CutOff, until = s.settling.cutOff(now, w); !until.IsZero() {
		next = earlier(next, until)
	}
	if !next.IsZero() {
		s.settle.Reset(time.Until(next))
	}
	if s.members != nil {
		s.members.SetLocal(s.local)
	}
	s.advertiser.setMembers(s.bgpMembers(), s.joined)
	s.status.changed()
}

// bgpMembers are the live speakers, this one among them whatever gossip knows; s.mu is held.
func (s *Speaker) bgpMembers() []bgproutes.Member {
	list := []bgproutes.Member{{Name: s.opts.NodeName, Draining: s.local.Draining, Stopping: s.local.Stopping, DataplaneReady: s.local.DataplaneReady}}
	if s.members == nil {
		return list
	}
	for _, m := range s.peers.Members() {
		if m.Name != s.opts.NodeName {
			list = append(list, bgproutes.Member{Name: m.Name, Draining: m.Meta.Draining, Stopping: m.Meta.Stopping, DataplaneReady: m.Meta.DataplaneReady})
		}
	}
	return list
}

// settled looks if this node has settled: time has passed, or another one has come, gone or settled.
func (s *Speaker) settled() { s.setLocal(func(*membership.Meta) {}) }

// longStandstill is for how long this process must not have run for the node to have to settle anew. After a shorter time the others, whom BFD
// has told of it, give its addresses back as soon as they hear it again; after this one gossip has lost it too.
const longStandstill = time.Second

// stoodStill tells that this process did not run for a while. What it owned may be another's by now: it hands that over, which ends when it hears
// the other, or after a while.
func (s *Speaker) stoodStill(gap time.Duration) {
	s.log.Info("this speaker did not run for a while; it settles anew", "for", gap.Round(10*time.Millisecond).String())
	s.setLocal(func(*membership.Meta) { s.settling.anew(time.Now()) })
}

func (s *Speaker) setInterfaces(list []netif.Interface) {
	s.mu.Lock()
	first, cutOff, m, but := s.interfaces == nil, len(s.interfaces) == 0, s.members, s.missed
	s.mu.Unlock()
	if cutOff && len(list) > 0 && m != nil {
		// Cut off, this node has taken the others for dead. It looks for them before it answers for what is theirs.
		s.join(context.Background(), m, but)
	}
	s.mu.Lock()
	if len(list) == 0 && len(s.interfaces) > 0 && m != nil {
		s.missed = m.Missing()
	}
	s.interfaces = append([]netif.Interface{}, list...)
	s.mu.Unlock()
	s.announcer.SetInterfaces(list)
	hardware := make([]netif.MAC, 0, len(list))
	for _, i := range list {
		hardware = append(hardware, i.MAC)
	}
	slices.SortFunc(hardware, func(a, b netif.MAC) int { return bytes.Compare(a[:], b[:]) })
	hardware = slices.Compact(hardware) // VLANs share that of their parent
	s.setLocal(func(m *membership.Meta) { m.Hardware = hardware })
	if first {
		close(s.firstLook)
	}
}

// usable are the interfaces that addresses can be answered for on: those that could be opened, or have not been yet; s.mu is held.
func (s *Speaker) usable() []netif.Interface {
	broken := s.announcer.Broken()
	return slices.DeleteFunc(slices.Clone(s.interfaces), func(i netif.Interface) bool { return broken[i.Name] != nil })
}

func (s *Speaker) setHealth(h health) {
	s.mu.Lock()
	s.health = h
	s.mu.Unlock()
	s.setLocal(func(m *membership.Meta) { m.DataplaneReady = h.Ready })
}

// setOwnNode tells of this speaker's Node.
func (s *Speaker) setOwnNode(n *corev1.Node) {
	s.mu.Lock()
	s.node = n
	s.mu.Unlock()
	s.setLocal(func(m *membership.Meta) { m.Draining = n != nil && n.Spec.Unschedulable })
}

// setPeers tells of the other speakers' gossip addresses.
func (s *Speaker) setPeers(peers map[string]netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = peers
	s.peers.setKnown(peers)
	if s.members != nil {
		s.members.SetPeers(peers)
	}
}
