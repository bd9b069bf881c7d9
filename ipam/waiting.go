package ipam

import (
	"maps"
	"slices"

	"github.com/google/btree"
)

// waiting is the Services that did not get all they ask for, by what could help them. Something that happens then finds them in
// the order in which they are served, without a look at any other Service.
type waiting struct {
	services map[Key]*waiter
	// by what they wait for; under the zero key: all of them.
	by map[waitKey]*btree.BTreeG[*waiter]
	// unsatisfied counts those whose request is not satisfied; the others have one of two families that they prefer.
	unsatisfied int
	// events that nobody has looked at yet.
	events []waitKey
}

type waiter struct {
	req      Request
	keys     []waitKey
	decision Decision
}

func newWaiting() waiting {
	return waiting{services: map[Key]*waiter{}, by: map[waitKey]*btree.BTreeG[*waiter]{}}
}

func waiterLess(a, b *waiter) bool { return requestOrder(&a.req, &b.req) < 0 }

func (w *waiting) put(req *Request, d Decision) {
	w.remove(req.Service)
	d.Considered = nil // not needed to wait, and large
	x := &waiter{req: *req, decision: d, keys: append(slices.Clone(d.waits), waitKey{}, namespaceKey(req.Service.Namespace()))}
	w.services[req.Service] = x
	if !d.Satisfied {
		w.unsatisfied++
	}
	for _, k := range x.keys {
		t := w.by[k]
		if t == nil {
			t = btree.NewG(8, waiterLess)
			w.by[k] = t
		}
		t.ReplaceOrInsert(x)
	}
}

func (w *waiting) remove(service Key) {
	x := w.services[service]
	if x == nil {
		return
	}
	delete(w.services, service)
	if !x.decision.Satisfied {
		w.unsatisfied--
	}
	for _, k := range x.keys {
		if t := w.by[k]; t != nil {
			t.Delete(x)
			if t.Len() == 0 {
				delete(w.by, k)
			}
		}
	}
}

// happened notes that something has changed, if anybody waits for it.
func (w *waiting) happened(k waitKey) {
	if w.by[k] != nil && !slices.Contains(w.events, k) {
		w.events = append(w.events, k)
	}
}

// next waiter for any of the keys after the last one.
func (w *waiting) next(keys []waitKey, last *waiter) *waiter {
	var first *waiter
	for _, k := range keys {
		t := w.by[k]
		if t == nil {
			continue
		}
		visit := func(x *waiter) bool {
			if last != nil && !waiterLess(last, x) {
				return true
			}
			if first == nil || waiterLess(x, first) {
				first = x
			}
			return false
		}
		if last == nil {
			t.Ascend(visit)
		} else {
			t.AscendGreaterOrEqual(last, visit)
		}
	}
	return first
}

// settle serves those whom what has happened can help, in order, until nothing more has.
func (a *Allocator) settle() {
	for len(a.waiting.events) > 0 {
		keys := a.waiting.events
		a.waiting.events = nil
		var last *waiter
		for {
			keys = slices.DeleteFunc(keys, a.spent)
			x := a.waiting.next(keys, last)
			if x == nil {
				break
			}
			last = x
			before := x.decision
			after := a.assign(&x.req)
			if !before.equal(&after) {
				a.woken[x.req.Service] = struct{}{}
			}
		}
	}
}

// spent reports whether the key cannot help anybody any more: the pool is full again.
func (a *Allocator) spent(k waitKey) bool {
	if k.pool == "" {
		return false
	}
	p := a.pools[k.pool]
	if p == nil {
		return true
	}
	_, free := p.lowest(k.family)
	return !free
}

// Waiting is the number of Services whose request is not satisfied and that something in the cluster could help.
func (a *Allocator) Waiting() int { return a.waiting.unsatisfied }

// SetNamespace tells what labels a namespace has now; none: it has none, or is gone. Services that wait in it may be helped by that;
// those that have addresses keep them.
func (a *Allocator) SetNamespace(name string, labels map[string]string) {
	if maps.Equal(a.namespaces[name], labels) {
		return
	}
	if len(labels) == 0 {
		delete(a.namespaces, name)
	} else {
		a.namespaces[name] = labels
	}
	a.waiting.happened(namespaceKey(name))
	a.settle()
}

// StopWaiting forgets that a Service waits; what it has it keeps.
func (a *Allocator) StopWaiting(service Key) { a.waiting.remove(service) }
