package controllers

import (
	"context"
	"net/netip"
	"slices"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/internal/bgproutes"
	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/view"
	"fairlead.io/fairlead/ipam"
)

// bgpOutcome is what comes of an address by BGP.
type bgpOutcome struct {
	// peers that it is to be advertised to by some node; none: it is not advertised.
	peers []string
	// up: there is a session to do it over.
	up bool
}

// ensure that the objects have been read once.
func (p *bgpPlan) ensure(ctx context.Context) error {
	p.mu.Lock()
	loaded := p.loaded
	p.mu.Unlock()
	if loaded {
		return nil
	}
	_, err := p.refresh(ctx)
	return err
}

// used reports whether anything at all is to be advertised.
func (p *bgpPlan) used() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.usedLocked()
}

func (p *bgpPlan) usedLocked() bool {
	return p.cluster.BGP != nil && len(p.cluster.BGP.Advertisements) > 0 && len(p.cluster.BGP.Peers) > 0
}

// selections of the BGPAdvertisements that are in use.
func (p *bgpPlan) selections() []*config.Selection {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*config.Selection
	for _, adv := range p.cluster.BGP.Advertisements {
		out = append(out, &adv.Selection)
	}
	return out
}

// set plans a Service, and returns what comes of its addresses.
func (p *bgpPlan) set(k ipam.Key, s *view.Service) map[netip.Addr]bgpOutcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := make(map[netip.Addr]*bgproutes.Paths, len(s.Addresses))
	for _, addr := range s.Addresses {
		paths, _ := p.cluster.Paths(s, addr)
		if len(paths.List) == 0 {
			paths = nil
		}
		now[addr] = paths
	}
	p.replace(k, now)
	p.contest(k, p.cluster.Rivals(s))
	outcome := make(map[netip.Addr]bgpOutcome, len(s.Addresses))
	for _, addr := range s.Addresses {
		outcome[addr] = p.outcome(addr)
	}
	return outcome
}

// contest notes over which routes of a Service advertisements may differ. The advertisements' status says if they do.
func (p *bgpPlan) contest(k ipam.Key, wants []bgp.Want) {
	if len(wants) == 0 && !p.rivals[k] {
		return
	}
	p.conflicts.Set(k, wants)
	if p.rivals[k] = len(wants) > 0; !p.rivals[k] {
		delete(p.rivals, k)
	}
	if p.tell != nil {
		p.tell()
	}
}

// outcome for an address, for whichever Service that has it.
func (p *bgpPlan) outcome(addr netip.Addr) bgpOutcome {
	var out bgpOutcome
	for k := range p.byAddr[addr] {
		if paths := p.services[k][addr]; paths != nil {
			out.up = out.up || p.groups[paths].up > 0
			out.peers = append(out.peers, paths.Peers...)
		}
	}
	slices.Sort(out.peers)
	out.peers = slices.Compact(out.peers)
	return out
}

// remove a Service that has no addresses any more.
func (p *bgpPlan) remove(k ipam.Key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replace(k, nil)
	p.contest(k, nil)
}

// replace the paths of a Service, and wake those that share an address for which they have changed.
func (p *bgpPlan) replace(k ipam.Key, now map[netip.Addr]*bgproutes.Paths) {
	before := p.services[k]
	for addr, paths := range now {
		p.join(k, paths)
		if p.byAddr[addr] == nil {
			p.byAddr[addr] = map[ipam.Key]struct{}{}
		}
		p.byAddr[addr][k] = struct{}{}
		if before[addr] != paths {
			p.wakeOthers(k, addr)
		}
	}
	for addr, paths := range before {
		p.leave(k, paths)
		if _, stays := now[addr]; stays {
			continue
		}
		p.wakeOthers(k, addr)
		if delete(p.byAddr[addr], k); len(p.byAddr[addr]) == 0 {
			delete(p.byAddr, addr)
		}
	}
	if p.services[k] = now; len(now) == 0 {
		delete(p.services, k)
	}
}

func (p *bgpPlan) wakeOthers(k ipam.Key, addr netip.Addr) {
	for other := range p.byAddr[addr] {
		if other != k {
			p.wake(other)
		}
	}
}

func (p *bgpPlan) join(k ipam.Key, paths *bgproutes.Paths) {
	if paths == nil {
		return
	}
	g := p.groups[paths]
	if g == nil {
		g = &bgpGroup{members: map[ipam.Key]int{}}
		p.groups[paths] = g
		for _, path := range paths.List {
			if p.byPath[path] == nil {
				p.byPath[path] = map[*bgproutes.Paths]struct{}{}
			}
			p.byPath[path][paths] = struct{}{}
			if _, up := p.up[path]; up {
				g.up++
			}
		}
	}
	g.members[k]++
}

func (p *bgpPlan) leave(k ipam.Key, paths *bgproutes.Paths) {
	if paths == nil {
		return
	}
	g := p.groups[paths]
	if g.members[k]--; g.members[k] > 0 {
		return
	}
	if delete(g.members, k); len(g.members) > 0 {
		return
	}
	delete(p.groups, paths)
	for _, path := range paths.List {
		if delete(p.byPath[path], paths); len(p.byPath[path]) == 0 {
			delete(p.byPath, path)
		}
	}
}

// setUp takes over which sessions are established; the mutex is held.
func (p *bgpPlan) setUp(now map[bgproutes.Path]struct{}) {
	before := map[*bgproutes.Paths]int{}
	count := func(path bgproutes.Path, by int) {
		for paths := range p.byPath[path] {
			if _, noted := before[paths]; !noted {
				before[paths] = p.groups[paths].up
			}
			p.groups[paths].up += by
		}
	}
	for path := range p.up {
		if _, stays := now[path]; !stays {
			count(path, -1)
		}
	}
	for path := range now {
		if _, was := p.up[path]; !was {
			count(path, 1)
		}
	}
	p.up = now
	for paths, n := range before {
		if g := p.groups[paths]; (n > 0) != (g.up > 0) {
			for k := range g.members {
				p.wake(k)
				for addr := range p.services[k] {
					p.wakeOthers(k, addr)
				}
			}
		}
	}
}

// wake a Service; the mutex is held.
func (p *bgpPlan) wake(k ipam.Key) {
	if p.queue != nil {
		p.queue.Add(requestOf(k))
	}
}

// setTell gives the function that is called when advertisements may have begun, or ceased, to differ.
func (p *bgpPlan) setTell(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tell = f
}

// connect the queue of Services.
func (p *bgpPlan) connect(_ context.Context, q queue) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue = q
	return nil
}
