package speaker

import (
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/bfd/manager"
	"fairlead.io/fairlead/bfd/udp"
	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/internal/config"
)

// watchPeers has BFD sessions with those of the peers that have a profile; again: the way to one of them is not known.
func (a *advertiser) watchPeers(p plan) (again bool) {
	a.mu.Lock()
	sessions := a.sessions
	a.mu.Unlock()
	var list []watched
	for i := range p.peers {
		peer := &p.peers[i]
		profile := p.profiles[peer.Name]
		if profile == nil {
			continue
		}
		var session bgp.Session
		if i := slices.IndexFunc(sessions, func(s bgp.Session) bool { return s.Peer == peer.Name }); i >= 0 {
			session = sessions[i]
		}
		w, err := watchedOf(peer, profile, session)
		if err != nil {
			// A link that is down is what BFD is to find: the session that there is stays.
			again = true
			have, ok := a.watch.of(peer.Name)
			if !ok {
				continue
			}
			w = have
		}
		list = append(list, w)
	}
	a.watch.set(list)
	return again
}

// watchedOf says how a peer is watched. A session is multihop (RFC 5883) where routers take it for that: with an external peer that may be several
// hops away, and with an internal one that is not on the link.
func watchedOf(peer *bgp.Peer, profile *config.BFDProfile, s bgp.Session) (watched, error) {
	remote, source := peer.Address, peer.Source
	if s.Remote.IsValid() {
		remote = s.Remote
	}
	if !source.IsValid() {
		source = s.Local.WithZone("")
	}
	if !remote.IsValid() {
		return watched{}, errNoNeighbour
	}
	h, err := routeTo(remote, source)
	if err != nil {
		return watched{}, err
	}
	w := watched{peer: peer.Name, key: manager.Key{Peer: remote.WithZone("").Unmap(), Local: h.local, Interface: h.ifname, Port: udp.PortSingleHop},
		settings: manager.Settings{Config: profile.Config}}
	if peer.MultiHop || peer.Internal() && !h.direct {
		w.key.Port, w.key.Interface, w.settings.MinTTL = udp.PortMultihop, "", profile.MinimumTTL
	}
	return w, nil
}

// report is what the Speaker object says of the sessions, in the order of the peers' names.
func (a *advertiser) report() []v1beta1.BGPSessionStatus {
	bfd, sessions := a.watch.states(), a.current()
	a.mu.Lock()
	defer a.mu.Unlock()
	var list []v1beta1.BGPSessionStatus
	for _, s := range sessions {
		text := s.LastError
		if s.State == bgp.Established {
			text = s.Withheld
		}
		for _, problem := range []string{a.failed[s.Peer], bfd[s.Peer].problem} {
			if problem != "" {
				text = strings.TrimPrefix(text+"; "+problem, "; ")
			}
		}
		list = append(list, v1beta1.BGPSessionStatus{
			Peer: s.Peer, State: s.State.String(), Since: metav1.NewTime(s.Since), LastError: cut(text), RoutesAdvertised: int32(min(s.Routes, 1<<31-1)), BFDState: bfd[s.Peer].state,
		})
	}
	for name, why := range a.without() {
		if !slices.ContainsFunc(list, func(s v1beta1.BGPSessionStatus) bool { return s.Peer == name }) {
			list = append(list, v1beta1.BGPSessionStatus{Peer: name, State: bgp.Idle.String(), LastError: cut(why)})
		}
	}
	slices.SortFunc(list, func(x, y v1beta1.BGPSessionStatus) int { return strings.Compare(x.Peer, y.Peer) })
	return list
}

// without are the peers that there can be no session with, and why. The caller holds the lock.
func (a *advertiser) without() map[string]string {
	out := maps.Clone(a.failed)
	if out == nil {
		out = map[string]string{}
	}
	maps.Copy(out, a.refused)
	return out
}

// cut keeps what a router may have a say in within bounds.
func cut(text string) string {
	const most = 512
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + " ..."
}
