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
			for name, err := range a.failed.take() {
				a.portFailed(name, err)
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
		addr, e := a.next(now)
		var to []*port
		for name, p := range a.ports {
			if p.Port != nil && covers(e.interfaces, name) {
				to = append(to, p)
			}
		}
		a.mu.Unlock()
		for _, p := range to {
			if err := p.Announce(addr); err != nil {
				a.cfg.Log.V(1).Info("announcement not sent", "interface", p.ifi.Name, "address", addr, "error", err.Error())
			}
		}
	}
	return never
}

// settle removes from the heads of both queues what is not to be announced anymore, and ends hand-overs that took too long;
// a.mu is held.
func (a *Announcer) settle(now time.Time) {
	for len(a.urgent) > 0 {
		if e := a.entries[a.urgent[0]]; e != nil && e.urgent && e.yieldEnd.IsZero() {
			break
		} else if e != nil {
			e.urgent = false
		}
		a.urgent = a.urgent[1:]
	}
	for len(a.timers) > 0 && !a.timers[0].at.After(now) {
		t := a.timers[0]
		e := a.entries[t.addr]
		if e != nil && e.yieldEnd.IsZero() && e.due.Equal(t.at) {
			return
		}
		heap.Pop(&a.timers)
		if e != nil && e.yieldEnd.Equal(t.at) {
			a.cfg.Log.Info("the new owner was not heard announcing an address; answering for it ends", "address", t.addr)
			a.drop(t.addr, e)
		}
	}
}

// next takes the next due announcement off its queue and schedules the one after it; a.mu is held, and settle was called.
func (a *Announcer) next(now time.Time) (netip.Addr, *entry) {
	var addr netip.Addr
	if len(a.urgent) > 0 {
		addr, a.urgent = a.urgent[0], a.urgent[1:]
	} else {
		addr = a.timers[0].addr
		heap.Pop(&a.timers)
	}
	e := a.entries[addr]
	e.urgent = false
	if e.left > 0 {
		e.left--
	}
	switch {
	case e.left > 0:
		e.due = now.Add(a.cfg.Interval)
	case a.cfg.Refresh > 0:
		e.due = now.Add(a.cfg.Refresh)
	default:
		e.due = time.Time{}
		return addr, e
	}
	a.timers.add(e.due, addr)
	return addr, e
}

// claimed ends a hand-over: the new owner was heard.
func (a *Announcer) claimed(c claim) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.ports {
		if p.ifi.MAC == c.mac {
			return // ourselves, on another interface of the same network
		}
	}
	e := a.entries[c.addr]
	switch {
	case e == nil:
	case !e.yieldEnd.IsZero():
		a.cfg.Log.V(1).Info("address is handed over", "address", c.addr, "mac", c.mac)
		a.drop(c.addr, e)
	default:
		e.foreign = time.Now()
		a.cfg.Log.V(1).Info("other hardware claims an address of ours", "address", c.addr, "interface", c.ifname, "mac", c.mac)
	}
}

func (a *Announcer) portFailed(ifname string, cause error) {
	a.mu.Lock()
	p := a.ports[ifname]
	if p == nil || p.Port == nil {
		a.mu.Unlock()
		return
	}
	broken := p.Port
	p.Port, p.retry = nil, time.Now().Add(reopenAfter)
	a.mu.Unlock()
	a.cfg.Log.Info("answering on an interface has failed; trying anew", "interface", ifname, "error", cause.Error())
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
		if i, ok := wanted[name]; !ok || i.Index != p.ifi.Index || i.MAC != p.ifi.MAC {
			if p.Port != nil {
				stale = append(stale, p.Port)
			}
			delete(a.ports, name)
		}
	}
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
	for _, i := range open {
		p := &port{ifi: i}
		var err error
		if p.Port, err = a.cfg.Open(i, a); err != nil {
			a.cfg.Log.Info("cannot answer on an interface; trying again", "interface", i.Name, "error", err.Error())
			p.Port, p.retry = nil, time.Now().Add(reopenAfter)
			wait = min(wait, reopenAfter)
		}
		a.mu.Lock()
		a.ports[i.Name] = p
		if p.Port != nil {
			for addr, e := range a.entries {
				if covers(e.interfaces, i.Name) {
					a.join(p, addr)
					if e.yieldEnd.IsZero() {
						a.startAnnouncing(addr, e)
					}
				}
			}
		}
		a.mu.Unlock()
	}
	return wait
}
