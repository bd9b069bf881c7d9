package speaker

import (
	"slices"
	"time"
)

// A new key is understood at once, used after adoptAfter, when every speaker has heard of it, and the old one is understood for keepAfter more.
const (
	adoptAfter = 10 * time.Second
	keepAfter  = time.Minute
)

// rotation is which of the gossip's keys is used when. It is plain state: the caller says what time it is.
type rotation struct {
	current string // encrypts; empty: there is none yet
	next    string // is to; empty: nothing is to change
	adopt   time.Time
	listed  []string // others that the Secret lists
	old     map[string]time.Time
}

// offer says what the Secret has: a key, and others that are to be understood. It reports whether the key is another one than before.
func (r *rotation) offer(now time.Time, key string, others []string) bool {
	r.listed = others
	switch key {
	case r.next:
		return false
	case r.current:
		r.retire(now, r.next)
		r.next = ""
		return false
	}
	if r.current == "" {
		r.current = key
		return false
	}
	r.retire(now, r.next)
	r.next, r.adopt = key, now.Add(adoptAfter)
	return true
}

func (r *rotation) retire(now time.Time, key string) {
	if key == "" {
		return
	}
	if r.old == nil {
		r.old = map[string]time.Time{}
	}
	r.old[key] = now.Add(keepAfter)
}

// at gives the keys that are used now, the one that encrypts first, and how long until that changes; 0: it does not.
func (r *rotation) at(now time.Time) (keys [][]byte, wait time.Duration) {
	if r.next != "" && !now.Before(r.adopt) {
		r.retire(now, r.current)
		r.current, r.next = r.next, ""
	}
	var ends time.Time
	earliest := func(t time.Time) {
		if ends.IsZero() || t.Before(ends) {
			ends = t
		}
	}
	add := func(key string) {
		if key != "" && !slices.ContainsFunc(keys, func(k []byte) bool { return string(k) == key }) {
			keys = append(keys, []byte(key))
		}
	}
	add(r.current)
	if r.next != "" {
		add(r.next)
		earliest(r.adopt)
	}
	for _, key := range r.listed {
		add(key)
	}
	for key, until := range r.old {
		if !now.Before(until) {
			delete(r.old, key)
			continue
		}
		add(key)
		earliest(until)
	}
	if ends.IsZero() {
		return keys, 0
	}
	return keys, ends.Sub(now)
}
