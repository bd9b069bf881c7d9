package ipam

import (
	"hash/maphash"
	"iter"
)

// allocations finds what a Service holds. The map's key is a hash of the Service's, because a map of strings would read every string again
// each time it grows, all over the memory; the few whose hashes collide are linked.
type allocations struct {
	seed  maphash.Seed
	first map[uint64]*allocation
	n     int
	spare []*allocation // released ones, to be used again: addresses often come and go in turn
}

const mostSpare = 64

func newAllocations() allocations {
	return allocations{seed: maphash.MakeSeed(), first: map[uint64]*allocation{}}
}

func (l *allocations) hash(k Key) uint64 { return maphash.String(l.seed, string(k)) }

// of a Service; nil: it holds nothing.
func (l *allocations) of(k Key) *allocation {
	s := l.first[l.hash(k)]
	for s != nil && s.service != k {
		s = s.next
	}
	return s
}

// add what a Service without an allocation is to hold.
func (l *allocations) add(k Key, sharing *Sharing) *allocation {
	var s *allocation
	if n := len(l.spare); n > 0 {
		s, l.spare = l.spare[n-1], l.spare[:n-1]
	} else {
		s = &allocation{}
	}
	h := l.hash(k)
	*s = allocation{service: k, sharing: sharing, next: l.first[h]}
	s.held = s.one[:0]
	l.first[h] = s
	l.n++
	return s
}

// remove an allocation, which nobody must use any more.
func (l *allocations) remove(s *allocation) {
	h := l.hash(s.service)
	if first := l.first[h]; first != s {
		for first.next != s {
			first = first.next
		}
		first.next = s.next
	} else if s.next != nil {
		l.first[h] = s.next
	} else {
		delete(l.first, h)
	}
	l.n--
	if *s = (allocation{}); len(l.spare) < mostSpare {
		l.spare = append(l.spare, s)
	}
}

func (l *allocations) all() iter.Seq2[Key, *allocation] {
	return func(yield func(Key, *allocation) bool) {
		for _, s := range l.first {
			for ; s != nil; s = s.next {
				if !yield(s.service, s) {
					return
				}
			}
		}
	}
}
