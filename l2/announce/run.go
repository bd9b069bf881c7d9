package announce

import (
	"container/heap"
	"context"
	"net/netip"
	"time"

	"fairlead.io/fairlead/l2/netif"
)

func (s *schedule) add(at time.Time, addr netip.Addr) { heap.Push(s, timer{at, addr}) }

// Run opens ports, sends announcements and ends hand-overs until the context ends, then stops answering.
func (a *Announcer) Run(ctx context.Context) error {
	clock := time.NewTimer(time.Hour)
	defer clock.Stop()
	for {
		wait := min(a.syncPorts(), a.work(ctx))
		clock.Reset(wait)
		select {
		case <-ctx.Done():
			return a.closePorts()
		case <-a.kick:
		case c := <-a.claims:
			a.claimed(c)
		case <-a.failed.news:
			for name, f := range a.failed.take() {
				a.portFailed(name, f)
			}
		case <-clock.C:
		}
	}
}

// work sends what is due, as far as the rate allows, and returns when it wants to be called again.
func (a *Announcer) work(ctx context.Context) time.Duration {
	const never = time.Hour
	for ctx.Err() == nil {
		a.mu.Lock()
		now := time.Now()
		a.settle(now)
		if len(a.urgent) == 0 && (len(a.timers) == 0 || a.timers[0].at.After(now)) {
			wait := never
			if len(a.timers) > 0 {
				wait = a.timers[0].at.Sub(now)
			}
			a.mu.Unlock()
			return wait
		}
		if !a.limiter.AllowN(now, 1) {
			a.mu.Unlock()
			return time.Duration(float64(time.Second)/a.cfg.Rate) + 1
		}
		addr, e, send := a.next(now)
		due := e.due
		var to []*port
		for name, p := range a.ports {
			if p.Port != nil && covers(e.interfaces, name) {
				to = append(to, p)
			}
		}
		a.mu.Unlock()
		sent := len(to) == 0
		for _, p := range to {
			err := send(p, addr)
			sent = sent || err == nil
			if err != nil {
				a.cfg.Log.V(1).Info("announcement or probe not sent", "interface", p.ifi.Name, "address", addr, "error", err.Error())
			}
		}
		a.resend(addr, e, due, sent)
	}
	return never
}

// resend has what was sent nowhere sent again soon: nobody was told, or asked. due is when the next one is, if nothing has changed meanwhile.
func (a *Announcer) resend(addr netip.Addr, e *entry, due time.Time, sent bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	told := e.unsent
	if e.unsent = !sent; sent || a.entries[addr] != e || !e.due.Equal(due) || e.phase != probing && e.phase != answering {
		return
	}
	if !told {
		a.cfg.Log.Info("an announcement or probe could be sent on no interface; trying again", "address", addr)
	}
	e.left++
	e.due = time.Now().Add(resendAfter)
	if told { // it is no passing thing
		e.due = e.due.Add(a.cfg.Interval)
	}
	a.timers.add(e.due, addr)
}

// settle does what is due and sends nothing, and removes what is not due any more from the heads of both queues; a.mu is held.
func (a *Announcer) settle(now time.Time) {
	for {
		for len(a.urgent) > 0 {
			if e := a.entries[a.urgent[0]]; e != nil && e.urgent && e.phase == answering {
				break
			} else if e != nil {
				e.urgent = false
			}
			a.urgent = a.urgent[1:]
		}
		if len(a.timers) == 0 || a.timers[0].at.After(now) {
			return
		}
		t := a.timers[0]
		e := a.entries[t.addr]
		switch {
		case e == nil:
		case t.at.Equal(e.due):
			switch {
			case e.phase == yielding:
				a.cfg.Log.Info("the new owner was not heard announcing an address; answering for it ends", "address", t.addr)
				a.drop(t.addr, e)
			case e.phase == refused:
				a.enter(e, probing)
				e.probes, e.left, e.interval = probeCount, probeCount, probeInterval
				continue
			case e.phase == probing && !a.reached(e):
				e.due = time.Time{} // nobody could be asked; syncPorts begins anew
			case e.phase == probing && e.left == 0:
				a.free(t.addr, e)
			default:
				return
			}
		case t.at.Equal(e.defend), t.at.Equal(e.check):
			return
		}
		heap.Pop(&a.timers)
	}
}

// reached reports whether an address has an interface that is open; a.mu is held.
func (a *Announcer) reached(e *entry) bool {
	for name, p := range a.ports {
		if p.Port != nil && covers(e.interfaces, name) {
			return true
		}
	}
	return false
}

// free: probing is done, and nobody has the address; a.mu is held.
func (a *Announcer) free(addr netip.Addr, e *entry) {
	if e.conflict != nil {
		a.cfg.Log.Info("address conflict is over; the address is announced", "address", addr)
		e.conflict = nil
	}
	a.answer(addr, e)
	a.cfg.Changed()
}

// next takes the next thing to be sent off its queue and schedules the one after it; a.mu is held, and settle was called.
func (a *Announcer) next(now time.Time) (netip.Addr, *entry, func(*port, netip.Addr) error) {
	announce := func(p *port, addr netip.Addr) error { return p.Announce(addr) }
	probe := func(p *port, addr netip.Addr) error { return p.Probe(addr) }
	if len(a.urgent) > 0 {
		addr := a.urgent[0]
		a.urgent = a.urgent[1:]
		e := a.entries[addr]
		e.urgent = false
		a.scheduleAnnouncement(now, addr, e)
		return addr, e, announce
	}
	t, _ := heap.Pop(&a.timers).(timer)
	e := a.entries[t.addr]
	switch {
	case t.at.Equal(e.defend):
		e.defend, e.defended, e.claimed = time.Time{}, now, time.Time{} // whoever claims it has it only if he does so again
		return t.addr, e, announce
	case t.at.Equal(e.check):
		e.check = time.Time{}
		if now.Sub(e.conflict.last) >= conflictProbes*a.cfg.Recheck {
			a.cfg.Log.Info("address conflict is over", "address", t.addr)
			e.conflict = nil
			a.cfg.Changed()
		} else {
			a.scheduleCheck(now, t.addr, e)
		}
		return t.addr, e, probe
	case e.phase == probing:
		e.left--
		e.due = now.Add(e.interval)
		a.timers.add(e.due, t.addr)
		return t.addr, e, probe
	}
	a.scheduleAnnouncement(now, t.addr, e)
	return t.addr, e, announce
}

// scheduleAnnouncement schedules the one after one that is sent now; a.mu is held.
func (a *Announcer) scheduleAnnouncement(now time.Time, addr netip.Addr, e *entry) {
	if e.left > 0 {
		e.left--
	}
	switch {
	case e.left > 0:
		e.due = now.Add(a.cfg.Interval)
	case a.cfg.Refresh > 0:
		e.due = a.together(now.Add(a.cfg.Refresh))
	default:
		e.due = time.Time{}
		return
	}
	a.timers.add(e.due, addr)
}

// together puts refreshes off, by at most a sixtieth of their interval, to when others are due too: each time costs every node of the
// network a wake-up, and ourselves.
func (a *Announcer) together(due time.Time) time.Time {
	grain := a.cfg.Refresh / 60
	if late := due.Sub(a.started) % max(grain, 1); late > 0 {
		return due.Add(grain - late)
	}
	return due
}

func (a *Announcer) scheduleCheck(now time.Time, addr netip.Addr, e *entry) {
	e.check = now.Add(a.cfg.Recheck)
	a.timers.add(e.check, addr)
}

// claimed tells what a claim of other hardware means: a hand-over is done, another speaker lives, or a stranger has the address.
func (a *Announcer) claimed(c claim) {
	speaker := a.cfg.Speaker(c.mac)
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.ports {
		if p.ifi.MAC == c.mac {
			return // ourselves, on another interface of the same network
		}
	}
	e := a.entries[c.addr]
	if e == nil {
		return
	}
	now := time.Now()
	if speaker == "" {
		a.conflicting(now, c, e)
		return
	}
	e.claimed = now
	if e.phase == yielding {
		a.cfg.Log.V(1).Info("address is handed over", "address", c.addr, "node", speaker)
		a.drop(c.addr, e)
		return
	}
	a.cfg.Log.V(1).Info("another speaker claims an address", "address", c.addr, "interface", c.ifname, "node", speaker)
	a.cfg.Heard(speaker) // whoever comes first of both has it: that is decided elsewhere, and takes a moment
	switch {
	case e.phase == probing && e.left == 0:
		e.due = now.Add(probeInterval)
		a.timers.add(e.due, c.addr)
	case e.phase == answering && e.defend.IsZero() && now.Sub(e.defended) >= defendSpeakerInterval:
		e.defend = now.Add(defendSpeakerAfter)
		a.timers.add(e.defend, c.addr)
	}
}

// conflicting notes a stranger's claim; a.mu is held. To an address that is being handed over it means nothing: who takes it over will see.
func (a *Announcer) conflicting(now time.Time, c claim, e *entry) {
	if e.phase == yielding {
		return
	}
	if e.conflict == nil {
		e.conflict = &conflict{Conflict: Conflict{Addr: c.addr, Since: now}}
		a.cfg.Metrics.Conflicts.Inc()
		a.cfg.Log.Info("address conflict: another host claims an address", "address", c.addr, "interface", c.ifname, "mac", c.mac,
			"announced", e.phase == answering)
	}
	x := e.conflict
	x.last = now
	changed := false
	switch {
	case x.MAC == c.mac && x.Interface == c.ifname:
		x.seen = now
	case x.seen.IsZero() || now.Sub(x.seen) >= claimantStays:
		x.MAC, x.Interface, x.seen = c.mac, c.ifname, now
		changed = true
	}
	switch e.phase {
	case probing:
		a.enter(e, refused)
		e.due = now.Add(a.cfg.Recheck)
		a.timers.add(e.due, c.addr)
	case answering:
		if now.Sub(e.defended) >= defendInterval { // once, and only so often: two that both defend would never stop (RFC 5227, 2.4)
			e.defend = now
			a.timers.add(e.defend, c.addr)
		}
		if e.check.IsZero() {
			a.scheduleCheck(now, c.addr, e)
		}
	case gone, refused, yielding:
	}
	if changed {
		a.cfg.Changed()
	}
}

func (a *Announcer) portFailed(ifname string, f failure) {
	a.mu.Lock()
	p := a.ports[ifname]
	if p == nil || p.Port == nil || f.at.Before(p.opened) { // it was the one before
		a.mu.Unlock()
		return
	}
	broken := p.Port
	p.Port, p.retry = nil, time.Now().Add(reopenAfter)
	a.mu.Unlock()
	a.cfg.Log.Info("answering on an interface has failed; trying anew", "interface", ifname, "error", f.err.Error())
	if err := broken.Close(); err != nil {
		a.cfg.Log.V(1).Info("could not close a port", "interface", ifname, "error", err.Error())
	}
}

// syncPorts opens and closes ports until they are those that are wanted, and returns when it wants to be called again. Only
// Run's goroutine calls it, so a.ports may change only here while the lock is not held.
func (a *Announcer) syncPorts() time.Duration {
	a.mu.Lock()
	wanted := make(map[string]netif.Interface, len(a.wanted))
	for _, i := range a.wanted {
		wanted[i.Name] = i
	}
	var stale []Port
	for name, p := range a.ports {
		if i, ok := wanted[name]; !ok || i.Index != p.ifi.Index || i.MAC != p.ifi.MAC || a.vanished[name] {
			if p.Port != nil {
				stale = append(stale, p.Port)
			}
			delete(a.ports, name)
		}
	}
	clear(a.vanished)
	now, wait := time.Now(), time.Hour
	var open []netif.Interface
	for name, i := range wanted {
		p := a.ports[name]
		switch {
		case p == nil, p.Port == nil && !p.retry.After(now):
			open = append(open, i)
		case p.Port == nil:
			wait = min(wait, p.retry.Sub(now))
		}
	}
	a.mu.Unlock()

	for _, p := range stale {
		if err := p.Close(); err != nil {
			a.cfg.Log.V(1).Info("could not close a port", "error", err.Error())
		}
	}
	changed := false
	for _, i := range open {
		p := &port{ifi: i, opened: time.Now()}
		var err error
		if p.Port, err = a.cfg.Open(i, a); err != nil {
			a.cfg.Log.Info("cannot answer on an interface; trying again", "interface", i.Name, "error", err.Error())
			p.Port, p.retry, p.broken = nil, time.Now().Add(reopenAfter), err
			wait = min(wait, reopenAfter)
		}
		a.mu.Lock()
		before := a.ports[i.Name]
		changed = changed || (p.broken != nil) != (before != nil && before.broken != nil)
		a.ports[i.Name] = p
		if p.Port != nil {
			for addr, e := range a.entries {
				if covers(e.interfaces, i.Name) {
					a.join(p, addr)
					switch e.phase {
					case answering:
						a.startAnnouncing(addr, e)
					case probing:
						a.probe(addr, e, e.probes, e.interval)
					case gone, refused, yielding:
					}
				}
			}
		}
		a.mu.Unlock()
	}
	if changed {
		a.cfg.Broken()
	}
	return wait
}
