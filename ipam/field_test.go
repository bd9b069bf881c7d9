package ipam

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// What other load balancers get wrong, each as a test: see their issue trackers under "address changed", "pending", "negative".

func TestEqualPoolsByName(t *testing.T) {
	for range 20 { // a choice by the order of a map differs within that many
		a := allocator(t, pool(t, "c", 0, "192.0.2.3"), pool(t, "a", 2, "192.0.2.1"), pool(t, "b", 1, "192.0.2.2"))
		for i, want := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
			if d := a.Assign(request(fmt.Sprint(i), i)); text(d.Addresses) != want {
				t.Fatalf("Service %d gets %q, want %s", i, text(d.Addresses), want)
			}
		}
	}
}

// Services come back from a restart in any order, and rivals wait: nobody's address changes, not even for a moment.
func TestNoSwapAtRestart(t *testing.T) {
	p := pool(t, "web", 0, "192.0.2.1-192.0.2.4")
	var items []Imported
	before := allocator(t, p)
	for i := range 8 {
		r := request(fmt.Sprint(i), 8-i)
		it := Imported{Request: r}
		for _, x := range before.Assign(r).Addresses {
			it.Addresses = append(it.Addresses, x.Addr)
		}
		items = append(items, it)
	}
	for shift := range items {
		after := allocator(t, p)
		rotated := slices.Concat(items[shift:], items[:shift])
		if c := after.Import(rotated); len(c) > 0 {
			t.Fatalf("%v", c)
		}
		for _, it := range rotated {
			after.Assign(it.Request)
			check(t, after)
		}
		for _, it := range items {
			if was, is := text(before.Held(it.Service)), text(after.Held(it.Service)); was != is {
				t.Fatalf("%s had %q and has %q", it.Service, was, is)
			}
		}
	}
}

// PreferDualStack with one cluster IP and a pool of both families, and every other policy, stays as it is however often it is looked at.
func TestStableWhenRepeated(t *testing.T) {
	a := allocator(t, pool(t, "web", 0, "192.0.2.1-192.0.2.9", "fd00::1-fd00::9"))
	for i, r := range []Request{
		request("prefer-one", 0, dual(Prefer, IPv4)), request("prefer-six", 1, dual(Prefer, IPv6)), request("prefer-both", 2, dual(Prefer)),
		request("six-first", 3, dual(Prefer, IPv6, IPv4)), request("require", 4, dual(Require)), request("require-six", 5, dual(Require, IPv6, IPv4)),
	} {
		first := a.Assign(r)
		if len(first.Addresses) != len(r.Families) {
			t.Errorf("%s gets %q for %v", r.Service, text(first.Addresses), r.Families)
		}
		for j, x := range first.Addresses {
			if FamilyOf(x.Addr) != r.Families[j] {
				t.Errorf("%s gets %q for %v", r.Service, text(first.Addresses), r.Families)
			}
		}
		for range 3 {
			a.Confirm(r.Service)
			if again := a.Assign(r); text(again.Addresses) != text(first.Addresses) {
				t.Fatalf("%d: %q becomes %q", i, text(first.Addresses), text(again.Addresses))
			}
		}
	}
}

// However large the entries are and in whatever order, a pool's numbers are right or the greatest there is, and never negative.
func TestCountsOfLargeEntries(t *testing.T) {
	for _, tc := range []struct {
		entries []string
		v4, v6  int64
	}{
		{[]string{"fd00::/64", "192.0.2.0/28"}, 16, math.MaxInt64},
		{[]string{"192.0.2.0/28", "fd00::/64"}, 16, math.MaxInt64},
		{[]string{"fd00::/65", "fd01::/66"}, 0, math.MaxInt64},
		{[]string{"fd00::/66", "fd01::/66"}, 0, math.MaxInt64}, // 2^63, one more than can be said
		{[]string{"fd00::/120", "192.0.2.1"}, 1, 256},
		{[]string{"fc00::/7", "10.0.0.0/8", "fd00::1"}, 1 << 24, math.MaxInt64},
	} {
		a := allocator(t, pool(t, "web", 0, tc.entries...))
		s, _ := a.Status("web")
		if s.IPv4.Available != tc.v4 || s.IPv6.Available != tc.v6 {
			t.Errorf("%v: %d and %d available, want %d and %d", tc.entries, s.IPv4.Available, s.IPv6.Available, tc.v4, tc.v6)
		}
		a.Assign(request("a", 0, dual(Prefer, IPv6)))
		if s, _ = a.Status("web"); s.IPv6.Assigned != 1 || s.IPv6.Available < 0 || s.IPv6.Available > tc.v6 {
			t.Errorf("%v, one in use: %+v", tc.entries, s.IPv6)
		}
	}
}

// Whatever is done to a pool, who has an address keeps it, is told nothing bad, and the pool says how many it carries outside.
func TestEditsEvictNobody(t *testing.T) {
	edits := map[string]func(*Pool){
		"shrunk":       func(p *Pool) { p.Addresses = ranges(t, "192.0.2.200") },
		"avoidBuggy":   func(p *Pool) { p.AvoidBuggyIPs = true },
		"excluded":     func(p *Pool) { p.Exclude = ranges(t, "192.0.2.0/24") },
		"disabled":     func(p *Pool) { p.Disabled = true },
		"deleting":     func(p *Pool) { p.Deleting = true },
		"not auto":     func(p *Pool) { p.AutoAssign = false },
		"limited":      func(p *Pool) { p.Limits = &Limits{Namespaces: []string{"elsewhere"}} },
		"unreadable":   func(p *Pool) { p.Invalid, p.Addresses = "unreadable", nil },
		"other labels": func(p *Pool) { p.Limits = &Limits{NamespaceSelectors: []Selector{labelSelector{"team", "other"}}} },
	}
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			p := pool(t, "web", 0, "192.0.2.0/24")
			a := allocator(t, p)
			r := request("a", 0)
			a.Assign(r)
			edit(&p)
			set(t, a, p)
			if d := a.Assign(r); text(d.Addresses) != "192.0.2.0" || d.Reason != ReasonAssigned {
				t.Errorf("it has %q: %s %s", text(d.Addresses), d.Reason, d.Message())
			}
			check(t, a)
			s, _ := a.Status("web")
			outside := int64(0)
			if _, usable := a.pools["web"].entryOf(a.Held(r.Service)[0].Addr); !usable {
				outside = 1
			}
			if s.IPv4.Assigned != 1 || s.IPv4.Outside != outside {
				t.Errorf("the pool says %+v, want %d outside", s.IPv4, outside)
			}
		})
	}
	t.Run("pool removed", func(t *testing.T) {
		a := allocator(t, pool(t, "web", 0, "192.0.2.0/24"))
		a.Assign(request("a", 0))
		if err := a.RemovePool("web"); err != nil {
			t.Fatal(err)
		}
		if d := a.Assign(request("a", 0)); text(d.Addresses) != "192.0.2.0" || d.Reason != ReasonAssigned {
			t.Errorf("it has %q: %s", text(d.Addresses), d.Message())
		}
	})
}
