package announce

import (
	"context"
	"slices"
)

// Conflicts are the addresses that strangers claim, in their order.
func (a *Announcer) Conflicts() []Conflict {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []Conflict
	for _, e := range a.entries {
		if e.conflict != nil {
			c := e.conflict.Conflict
			c.Announced = e.phase == answering
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(x, y Conflict) int { return x.Addr.Compare(y.Addr) })
	return out
}

// Broken are the interfaces that are usable and cannot be answered on, and why.
func (a *Announcer) Broken() map[string]error {
	a.mu.Lock()
	defer a.mu.Unlock()
	broken := map[string]error{}
	for name, p := range a.ports {
		if p.broken != nil {
			broken[name] = p.broken
		}
	}
	return broken
}

// Owned are the addresses that this node answers for as their owner, in their order.
func (a *Announcer) Owned() []Owned {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []Owned
	for addr, e := range a.entries {
		if e.phase == answering {
			out = append(out, Owned{Addr: addr, Interfaces: e.interfaces, Since: e.since})
		}
	}
	slices.SortFunc(out, func(x, y Owned) int { return x.Addr.Compare(y.Addr) })
	return out
}

// Yielding is the number of addresses that were yielded and are still answered for.
func (a *Announcer) Yielding() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.yields
}

// WaitYielded waits until no yielded address is answered for anymore.
func (a *Announcer) WaitYielded(ctx context.Context) error {
	for a.Yielding() > 0 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-a.yielded:
		}
	}
	return nil
}
