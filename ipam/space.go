package ipam

import (
	"net/netip"
	"slices"
	"sort"

	"github.com/google/btree"
	"go4.org/netipx"
)

// space is the addresses that one pool can give out, and which of them are free.
//
// An entry of the pool's list has a tree of free intervals that never touch each other. With avoidBuggyIPs an interval neither
// begins nor ends with an address that is to be left out, and an interval of only such addresses is dropped; so the lowest free
// address is always where the first interval begins, and the left-out addresses inside intervals are never looked at.
type space struct {
	avoidBuggy bool
	entries    []entry
	// parts of the entries, disjoint and sorted by their first address.
	parts []part
	total [families]count
	// inUse counts held addresses among the usable ones.
	inUse [families]int64
	// first is the index below which no entry of the family has a free address.
	first [families]int
}

type entry struct {
	family Family
	free   *btree.BTreeG[interval]
}

type interval struct{ from, to netip.Addr }

func intervalLess(a, b interval) bool { return a.from.Less(b.from) }

type part struct {
	from, to netip.Addr
	entry    int
}

// newSpace makes a space of the usable ranges (sorted, disjoint), attributed to the entries in their order: an address that two
// entries have belongs to the first.
func newSpace(entries, usable []netipx.IPRange, avoidBuggy bool) *space {
	s := &space{avoidBuggy: avoidBuggy, entries: make([]entry, len(entries))}
	for i, e := range entries {
		s.entries[i] = entry{family: FamilyOf(e.From()), free: btree.NewG(16, intervalLess)}
		var inside []netipx.IPRange
		inside, usable = split(usable, e)
		for _, r := range inside {
			s.parts = append(s.parts, part{r.From(), r.To(), i})
			f := FamilyOf(r.From())
			s.total[f] = s.total[f].add(size(r.From(), r.To(), avoidBuggy))
			s.insert(i, interval{r.From(), r.To()})
		}
	}
	slices.SortFunc(s.parts, func(a, b part) int { return a.from.Compare(b.from) })
	return s
}

// split ranges (sorted, disjoint) into what lies inside r and what does not.
func split(ranges []netipx.IPRange, r netipx.IPRange) (inside, outside []netipx.IPRange) {
	for _, x := range ranges {
		if !x.Overlaps(r) {
			outside = append(outside, x)
			continue
		}
		from, to := x.From(), x.To()
		if from.Less(r.From()) {
			outside = append(outside, netipx.IPRangeFrom(from, r.From().Prev()))
			from = r.From()
		}
		if r.To().Less(to) {
			inside = append(inside, netipx.IPRangeFrom(from, r.To()))
			outside = append(outside, netipx.IPRangeFrom(r.To().Next(), to))
			continue
		}
		inside = append(inside, netipx.IPRangeFrom(from, to))
	}
	return inside, outside
}

// entryOf finds the entry that can give the address out.
func (s *space) entryOf(a netip.Addr) (int, bool) {
	i := sort.Search(len(s.parts), func(i int) bool { return a.Less(s.parts[i].from) }) - 1
	if i < 0 || s.parts[i].to.Less(a) || s.avoidBuggy && buggy(a) {
		return 0, false
	}
	return s.parts[i].entry, true
}

// lowest free address of a family in the order of the entries.
func (s *space) lowest(f Family) (netip.Addr, bool) {
	for ; s.first[f] < len(s.entries); s.first[f]++ {
		e := &s.entries[s.first[f]]
		if e.family != f {
			continue
		}
		if iv, ok := e.free.Min(); ok {
			return iv.from, true
		}
	}
	return netip.Addr{}, false
}

// take marks a free address as used. An address that is not usable, or not free, is left as it is.
func (s *space) take(a netip.Addr) {
	i, ok := s.entryOf(a)
	if !ok {
		return
	}
	tree := s.entries[i].free
	iv, ok := atOrBefore(tree, a)
	if !ok || iv.to.Less(a) {
		return
	}
	tree.Delete(iv)
	if iv.from.Less(a) {
		s.insert(i, interval{iv.from, a.Prev()})
	}
	if a.Less(iv.to) {
		s.insert(i, interval{a.Next(), iv.to})
	}
	s.inUse[FamilyOf(a)]++
}

// give marks a used address as free.
func (s *space) give(a netip.Addr) {
	i, ok := s.entryOf(a)
	if !ok {
		return
	}
	tree := s.entries[i].free
	iv := interval{a, a}
	if before, ok := atOrBefore(tree, a); ok {
		if !before.to.Less(a) {
			return // free already
		}
		if before.to.Next() == a {
			tree.Delete(before)
			iv.from = before.from
		}
	}
	if next := a.Next(); next.IsValid() {
		if after, ok := tree.Get(interval{from: next}); ok {
			tree.Delete(after)
			iv.to = after.to
		}
	}
	f := FamilyOf(a)
	s.insert(i, iv)
	s.inUse[f]--
	s.first[f] = min(s.first[f], i)
}

// insert an interval, trimmed of the addresses that are to be left out at its ends.
func (s *space) insert(entry int, iv interval) {
	if s.avoidBuggy {
		for buggy(iv.from) {
			if iv.from == iv.to {
				return
			}
			iv.from = iv.from.Next()
		}
		for buggy(iv.to) { // ends: iv.from is not one of them
			iv.to = iv.to.Prev()
		}
	}
	s.entries[entry].free.ReplaceOrInsert(iv)
}

func (s *space) available(f Family) int64 { return s.total[f].sub(countOf(s.inUse[f])).int64() }

// atOrBefore finds the interval that begins at a or next below it.
func atOrBefore(tree *btree.BTreeG[interval], a netip.Addr) (found interval, ok bool) {
	tree.DescendLessOrEqual(interval{from: a}, func(iv interval) bool {
		found, ok = iv, true
		return false
	})
	return found, ok
}
