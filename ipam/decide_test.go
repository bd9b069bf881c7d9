package ipam

import (
	"net/netip"
	"strings"
	"testing"
)

// Each case assigns its requests in order, and looks at the outcome of the last.
func TestAssign(t *testing.T) {
	limited := func(p Pool, l Limits) Pool { p.Limits = &l; return p }
	with := func(p Pool, change func(*Pool)) Pool { change(&p); return p }
	web := pool(t, "web", 0, "192.0.2.10-192.0.2.11")
	for _, tc := range []struct {
		name     string
		pools    []Pool
		requests []Request
		want     string
		reason   Reason
		message  string
	}{
		{"lowest free", []Pool{web}, []Request{request("a", 0), request("b", 1)}, "192.0.2.11", ReasonAssigned, "192.0.2.11 from pool web is assigned"},
		{"in the order of the entries", []Pool{pool(t, "web", 0, "192.0.2.200", "192.0.2.100")}, []Request{request("a", 0)}, "192.0.2.200", ReasonAssigned, ""},
		{"exhausted", []Pool{web}, []Request{request("a", 0), request("b", 1), request("c", 2)}, "", ReasonPoolExhausted,
			"pool web has no free IPv4 address: 2 of 2 in use; add addresses, or delete a Service that has one: this one is waiting"},
		{"no pool at all", nil, []Request{request("a", 0)}, "", ReasonNoPool, "there is no IPAddressPool: create one"},
		{"no address of the family", []Pool{web}, []Request{request("a", 0, dual(Prefer, IPv6))}, "", ReasonNoPool, "pool web has no IPv6 addresses"},
		{"excluded", []Pool{with(web, func(p *Pool) { p.Exclude = ranges(t, "192.0.2.10") })}, []Request{request("a", 0)}, "192.0.2.11", ReasonAssigned, ""},
		{"avoiding .0 and .255", []Pool{with(pool(t, "web", 0, "192.0.2.255-192.0.3.1"), func(p *Pool) { p.AvoidBuggyIPs = true })},
			[]Request{request("a", 0)}, "192.0.3.1", ReasonAssigned, ""},
		{"only .0 and .255", []Pool{with(pool(t, "web", 0, "192.0.2.255-192.0.3.0"), func(p *Pool) { p.AvoidBuggyIPs = true })},
			[]Request{request("a", 0)}, "", ReasonNoPool, "pool web has no IPv4 addresses"},
		{"disabled", []Pool{with(web, func(p *Pool) { p.Disabled = true })}, []Request{request("a", 0)}, "", ReasonNoPool, "pool web is disabled"},
		{"being deleted", []Pool{with(web, func(p *Pool) { p.Deleting = true })}, []Request{request("a", 0, from("web"))}, "", ReasonPoolDisabled, "pool web is being deleted"},
		{"not automatic", []Pool{with(web, func(p *Pool) { p.AutoAssign = false })}, []Request{request("a", 0)}, "", ReasonNoPool, "spec.autoAssign is false"},
		{"not automatic, by pool", []Pool{with(web, func(p *Pool) { p.AutoAssign = false })}, []Request{request("a", 0, from("web"))}, "192.0.2.10", ReasonAssigned, ""},
		{"not automatic, by address", []Pool{with(web, func(p *Pool) { p.AutoAssign = false })}, []Request{request("a", 0, asking("192.0.2.11"))}, "192.0.2.11", ReasonAssigned, ""},

		{"by name among equals", []Pool{pool(t, "b", 0, "192.0.2.2"), pool(t, "a", 1, "192.0.2.1")}, []Request{request("a", 0)}, "192.0.2.1", ReasonAssigned, ""},
		{"limited pools first", []Pool{pool(t, "a", 0, "192.0.2.1"), limited(pool(t, "b", 0, "192.0.2.2"), Limits{Namespaces: []string{"shop"}})},
			[]Request{request("a", 0)}, "192.0.2.2", ReasonAssigned, ""},
		{"by priority", []Pool{limited(pool(t, "a", 0, "192.0.2.1"), Limits{}), limited(pool(t, "b", 0, "192.0.2.2"), Limits{Priority: 20}),
			limited(pool(t, "c", 0, "192.0.2.3"), Limits{Priority: 10})}, []Request{request("a", 0)}, "192.0.2.3", ReasonAssigned, ""},
		{"no priority is last", []Pool{limited(pool(t, "a", 0, "192.0.2.1"), Limits{}), limited(pool(t, "b", 0, "192.0.2.2"), Limits{Priority: 20})},
			[]Request{request("a", 0), request("b", 0)}, "192.0.2.1", ReasonAssigned, ""},
		{"falling through", []Pool{limited(pool(t, "a", 0, "192.0.2.1"), Limits{Priority: 1}), pool(t, "b", 0, "192.0.2.2")},
			[]Request{request("a", 0), request("b", 0)}, "192.0.2.2", ReasonAssigned, ""},
		{"other namespaces", []Pool{limited(web, Limits{Namespaces: []string{"pay", "hr"}})}, []Request{request("a", 0)}, "", ReasonNoPool,
			"pool web is limited to namespaces pay, hr"},
		{"other namespaces, by pool", []Pool{limited(web, Limits{Namespaces: []string{"pay"}})}, []Request{request("a", 0, from("web"))}, "", ReasonPoolNotAllowed, ""},
		{"other namespaces, by address", []Pool{limited(web, Limits{Namespaces: []string{"pay"}})}, []Request{request("a", 0, asking("192.0.2.10"))}, "",
			ReasonPoolNotAllowed, "192.0.2.10 cannot be given: pool web is limited to namespaces pay"},
		{"by namespace labels", []Pool{limited(web, Limits{Namespaces: []string{"pay"}, NamespaceSelectors: []Selector{labelSelector{"team", "x"}}})},
			[]Request{request("a", 0, func(r *Request) { r.Service = "team-x/a" })}, "192.0.2.10", ReasonAssigned, ""},
		{"namespace and Service labels", []Pool{limited(web, Limits{Namespaces: []string{"shop"}, ServiceSelectors: []Selector{labelSelector{"tier", "front"}}})},
			[]Request{request("a", 0)}, "", ReasonNoPool, "pool web is limited to Services with labels tier=front"},

		{"requested address", []Pool{web}, []Request{request("a", 0, asking("192.0.2.11"))}, "192.0.2.11", ReasonAssigned, ""},
		{"foreign address", []Pool{web}, []Request{request("a", 0, asking("192.0.2.5"))}, "", ReasonAddressNotInPool,
			"192.0.2.5 is in no pool; pools: web 192.0.2.10-192.0.2.11"},
		{"address of another pool", []Pool{web, pool(t, "lab", 1, "198.51.100.1")}, []Request{request("a", 0, from("lab"), asking("192.0.2.10"))}, "",
			ReasonAddressNotInPool, "192.0.2.10 is in pool web and not in pool lab"},
		{"excluded address", []Pool{with(web, func(p *Pool) { p.Exclude = ranges(t, "192.0.2.10") })}, []Request{request("a", 0, asking("192.0.2.10"))}, "",
			ReasonAddressExcluded, "excluded from pool web"},
		{"avoided address", []Pool{with(pool(t, "web", 0, "192.0.2.0/24"), func(p *Pool) { p.AvoidBuggyIPs = true })},
			[]Request{request("a", 0, asking("192.0.2.255"))}, "", ReasonAddressExcluded, "ends in .0 or .255"},
		{"address in use", []Pool{web}, []Request{request("a", 0), request("b", 1, asking("192.0.2.10"))}, "", ReasonAddressInUse, "192.0.2.10 belongs to Service shop/a"},
		{"address of a disabled pool", []Pool{with(web, func(p *Pool) { p.Disabled = true })}, []Request{request("a", 0, asking("192.0.2.10"))}, "",
			ReasonPoolDisabled, "pool web is disabled"},
		{"unknown pool", []Pool{web}, []Request{request("a", 0, from("wbe"))}, "", ReasonUnknownPool, "there is no pool wbe; pools: web 192.0.2.10-192.0.2.11"},
		{"address without cluster IP of its family", []Pool{web}, []Request{request("a", 0, asking("fd00::1"))}, "", ReasonInvalidRequest, "has no IPv6 cluster IP"},
		{"unreadable request", []Pool{web}, []Request{request("a", 0, func(r *Request) { r.Invalid = "no such thing" })}, "", ReasonInvalidRequest, "no such thing"},
		{"unreadable request of one that has an address", []Pool{web}, []Request{request("a", 0), request("a", 0, func(r *Request) { r.Invalid = "no such thing" })},
			"192.0.2.10", ReasonInvalidRequest, "no such thing; the Service keeps 192.0.2.10 until then"},
		{"headless", []Pool{web}, []Request{request("a", 0), request("a", 0, func(r *Request) { r.Families = nil })}, "", ReasonNoClusterIP, ""},

		{"keeps what it has", []Pool{web}, []Request{request("a", 0, asking("192.0.2.11")), request("a", 0)}, "192.0.2.11", ReasonAssigned, ""},
		{"moves to the address it asks for", []Pool{web}, []Request{request("a", 0), request("a", 0, asking("192.0.2.11"))}, "192.0.2.11", ReasonAssigned, ""},
		{"moves to the pool it asks for", []Pool{web, pool(t, "lab", 1, "198.51.100.1")}, []Request{request("a", 0, from("web")), request("a", 0, from("lab"))},
			"198.51.100.1", ReasonAssigned, ""},
		{"keeps what it has until it can move", []Pool{web, pool(t, "lab", 1, "198.51.100.1")},
			[]Request{request("b", 0, from("lab")), request("a", 0, from("web")), request("a", 0, from("lab"))},
			"192.0.2.10", ReasonPoolExhausted, "pool lab has no free IPv4 address: 1 of 1 in use; the Service keeps 192.0.2.10 until then"},

		{"both families", []Pool{pool(t, "web", 0, "192.0.2.1", "fd00::/64")}, []Request{request("a", 0, dual(Require))}, "192.0.2.1 fd00::", ReasonAssigned, ""},
		{"both families, IPv6 first", []Pool{pool(t, "web", 0, "192.0.2.1", "fd00::1")}, []Request{request("a", 0, dual(Prefer, IPv6, IPv4))}, "fd00::1 192.0.2.1", ReasonAssigned, ""},
		{"both families of two pools", []Pool{web, pool(t, "six", 1, "fd00::1")}, []Request{request("a", 0, dual(Require))}, "192.0.2.10 fd00::1", ReasonAssigned, ""},
		{"required and one missing", []Pool{web}, []Request{request("a", 0, dual(Require))}, "", ReasonNoPool, "pool web has no IPv6 addresses; the Service requires both"},
		{"required later, and one missing", []Pool{web}, []Request{request("a", 0), request("a", 0, dual(Require))}, "192.0.2.10", ReasonNoPool, "RequireDualStack"},
		{"preferred and one missing", []Pool{web}, []Request{request("a", 0, dual(Prefer))}, "192.0.2.10", ReasonAssignedPartially,
			"192.0.2.10 from pool web is assigned; pool web has no IPv6 addresses"},
		{"preferred and both missing", []Pool{web}, []Request{request("b", 0), request("c", 0), request("a", 0, dual(Prefer))}, "", ReasonPoolExhausted, ""},
		{"one of two families asked for", []Pool{pool(t, "web", 0, "192.0.2.0/24", "fd00::/64")}, []Request{request("a", 0, dual(Prefer), asking("fd00::9"))},
			"192.0.2.0 fd00::9", ReasonAssigned, ""},
		{"from two families to one", []Pool{pool(t, "web", 0, "192.0.2.0/24", "fd00::/64")}, []Request{request("a", 0, dual(Prefer)), request("a", 0)}, "192.0.2.0", ReasonAssigned, ""},

		{"shared by key", []Pool{web}, []Request{request("a", 0, sharing("k", "", 80)), request("b", 1, sharing("k", "", 443))}, "192.0.2.10", ReasonAssigned, ""},
		{"shared by address", []Pool{web}, []Request{request("a", 0, sharing("k", "", 80)), request("b", 1, sharing("k", "", 443), asking("192.0.2.10"))}, "192.0.2.10", ReasonAssigned, ""},
		{"same port", []Pool{web}, []Request{request("a", 0, sharing("k", "", 80)), request("b", 1, sharing("k", "", 80), asking("192.0.2.10"))}, "", ReasonAddressInUse, "both have port TCP 80"},
		{"same port, any address", []Pool{web}, []Request{request("a", 0, sharing("k", "", 80)), request("b", 1, sharing("k", "", 80))}, "192.0.2.11", ReasonAssigned, ""},
		{"TCP and UDP of one number", []Pool{web}, []Request{request("a", 0, sharing("k", "", 53)), request("b", 1, func(r *Request) {
			r.Sharing = &Sharing{Key: "k", Ports: []Port{{"UDP", 53}}}
		})}, "192.0.2.10", ReasonAssigned, ""},
		{"other key", []Pool{web}, []Request{request("a", 0, sharing("k", "", 80)), request("b", 1, sharing("l", "", 443), asking("192.0.2.10"))}, "", ReasonAddressInUse, "another sharing key"},
		{"key on one side only", []Pool{web}, []Request{request("a", 0), request("b", 1, sharing("k", "", 443), asking("192.0.2.10"))}, "", ReasonAddressInUse, "names no sharing key"},
		{"Cluster and Local", []Pool{web}, []Request{request("a", 0, sharing("k", "", 80)), request("b", 1, sharing("k", "shop,app=b", 443), asking("192.0.2.10"))}, "",
			ReasonAddressInUse, "differ in externalTrafficPolicy"},
		{"Local and Local of one selector", []Pool{web}, []Request{request("a", 0, sharing("k", "shop,app=a", 80)), request("b", 1, sharing("k", "shop,app=a", 443))}, "192.0.2.10", ReasonAssigned, ""},
		{"Local and Local of two selectors", []Pool{web}, []Request{request("a", 0, sharing("k", "shop,app=a", 80)), request("b", 1, sharing("k", "shop,app=b", 443), asking("192.0.2.10"))}, "",
			ReasonAddressInUse, "their selectors differ"},
		{"across namespaces", []Pool{web}, []Request{request("a", 0, sharing("k", "", 80)), request("pay/b", 1, sharing("k", "", 443), asking("192.0.2.10"))}, "",
			ReasonAddressInUse, "does not allow sharing across namespaces"},
		{"across namespaces, any address", []Pool{web}, []Request{request("a", 0, sharing("k", "", 80)), request("pay/b", 1, sharing("k", "", 443))}, "192.0.2.11", ReasonAssigned, ""},
		{"across namespaces, allowed", []Pool{with(web, func(p *Pool) { p.ShareAcrossNamespaces = true })},
			[]Request{request("a", 0, sharing("k", "", 80)), request("pay/b", 1, sharing("k", "", 443))}, "192.0.2.10", ReasonAssigned, ""},
		{"changes its port into a collision", []Pool{web}, []Request{request("a", 0, sharing("k", "", 80)), request("b", 1, sharing("k", "", 443)), request("b", 1, sharing("k", "", 80))},
			"192.0.2.11", ReasonAssigned, ""},
		{"changes its port into a collision, and nothing is free", []Pool{pool(t, "web", 0, "192.0.2.10")},
			[]Request{request("a", 0, sharing("k", "", 80)), request("b", 1, sharing("k", "", 443)), request("b", 1, sharing("k", "", 80))},
			"", ReasonPoolExhausted, "it can no longer share 192.0.2.10 with Service shop/a: both have port TCP 80"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := allocator(t, tc.pools...)
			a.SetNamespace("team-x", map[string]string{"team": "x"})
			var d Decision
			for i, r := range tc.requests {
				if i == len(tc.requests)-1 {
					d = a.Decide(r)
					d2 := a.Assign(r)
					if text(d.Addresses) != text(d2.Addresses) || d.Message() != d2.Message() {
						t.Errorf("Decide says %s (%s), Assign %s (%s)", text(d.Addresses), d.Message(), text(d2.Addresses), d2.Message())
					}
					d = d2
				} else {
					a.Assign(r)
				}
				a.Confirm(r.Service)
				check(t, a)
			}
			if got := text(d.Addresses); got != tc.want {
				t.Errorf("addresses %q, want %q (%s: %s)", got, tc.want, d.Reason, d.Message())
			}
			if d.Reason != tc.reason || !strings.Contains(d.Message(), tc.message) {
				t.Errorf("%s: %q, want %s: %q", d.Reason, d.Message(), tc.reason, tc.message)
			}
			if d.Satisfied != (d.Reason == ReasonAssigned || d.Reason == ReasonAssignedPartially) {
				t.Errorf("Satisfied is %v with reason %s", d.Satisfied, d.Reason)
			}
			last := tc.requests[len(tc.requests)-1]
			if again := a.Assign(last); text(again.Addresses) != text(d.Addresses) || again.Reason != d.Reason {
				t.Errorf("the second time: %s, %s; the first: %s, %s", text(again.Addresses), again.Reason, text(d.Addresses), d.Reason)
			}
		})
	}
}

// An address that another implementation gave to a Service is given to nobody, until that Service is without it.
func TestForeign(t *testing.T) {
	a := allocator(t, pool(t, "web", 0, "192.0.2.10-192.0.2.11"))
	theirs := []netip.Addr{netip.MustParseAddr("192.0.2.10")}
	a.Observe("shop/theirs", theirs)
	check(t, a)
	if d := a.Assign(request("a", 1, sharing("k", "", 80))); text(d.Addresses) != "192.0.2.11" {
		t.Errorf("a is given %q: %s", text(d.Addresses), d.Message())
	}
	d := a.Assign(request("b", 2, asking("192.0.2.10")))
	if want := "192.0.2.10 belongs to Service shop/theirs and cannot be shared with it: it is served by another implementation"; d.Message() != want {
		t.Errorf("%q, want %q", d.Message(), want)
	}
	// It shows more, in another order: what it had is not free for a moment.
	a.Observe("shop/theirs", append([]netip.Addr{netip.MustParseAddr("10.9.9.9")}, theirs...))
	if got := text(a.Held("shop/b")); got != "" {
		t.Errorf("b has %q", got)
	}
	a.Observe("shop/theirs", nil)
	if got := text(a.Held("shop/b")); got != "192.0.2.10" {
		t.Errorf("b has %q", got)
	}
	// It shows what b has: b keeps it, and when b is gone it is not free.
	a.Observe("shop/theirs", theirs)
	if d := a.Assign(request("b", 2, asking("192.0.2.10"))); text(d.Addresses) != "192.0.2.10" {
		t.Errorf("b has %q: %s", text(d.Addresses), d.Message())
	}
	a.Release("shop/b")
	if d := a.Assign(request("c", 3)); text(d.Addresses) != "" {
		t.Errorf("c is given %q", text(d.Addresses))
	}
	check(t, a)
}

// A Service whose edit makes it leave an address that it shares is told which and why, also when it gets another one at once.
func TestLost(t *testing.T) {
	a := allocator(t, pool(t, "web", 0, "192.0.2.10-192.0.2.11"))
	a.Assign(request("a", 0, sharing("k", "", 80)))
	a.Assign(request("b", 1, sharing("k", "", 443)))
	d := a.Assign(request("b", 1, sharing("k", "", 80)))
	if len(d.Lost) != 1 || d.Lost[0].Addr.String() != "192.0.2.10" ||
		d.Lost[0].Why != "it can no longer share 192.0.2.10 with Service shop/a: both have port TCP 80" || text(d.Addresses) != "192.0.2.11" {
		t.Errorf("%+v", d)
	}
}

func TestConsidered(t *testing.T) {
	off := pool(t, "off", 0, "203.0.113.1")
	off.Disabled = true
	a := allocator(t, off, pool(t, "full", 1, "192.0.2.1"), pool(t, "web", 2, "192.0.2.2"))
	a.Assign(request("a", 0))
	var got []string
	for _, c := range a.Decide(request("b", 1)).Considered {
		got = append(got, c.Pool+": "+c.Message())
	}
	want := "full: pool full has no free IPv4 address: 1 of 1 in use\noff: pool off is disabled\nweb: 192.0.2.2 is its lowest free IPv4 address"
	if strings.Join(got, "\n") != want {
		t.Errorf("considered:\n%s\nwant:\n%s", strings.Join(got, "\n"), want)
	}
}

// Services that share an address that no pool has may have had it from different pools: it counts for one of them, and in the end for none.
func TestCountsOfSharedAddressOutsidePools(t *testing.T) {
	a := allocator(t, pool(t, "db", 0, "192.0.2.10"), pool(t, "web", 1, "192.0.2.20"))
	outside := netip.MustParseAddr("198.51.100.1")
	older, younger := request("older", 0, sharing("k", "", 80)), request("younger", 1, sharing("k", "", 81))
	if conflicts := a.Import([]Imported{
		{Request: older, Addresses: []netip.Addr{outside}, Pools: []string{"web"}},
		{Request: younger, Addresses: []netip.Addr{outside}, Pools: []string{"db"}},
	}); len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	want := func(when string, web, db int64) {
		t.Helper()
		for name, n := range map[string]int64{"web": web, "db": db} {
			if s, _ := a.Status(name); s.IPv4.Assigned != n || a.InUse(name) != (n > 0) {
				t.Errorf("%s: pool %s has %d assigned, want %d; in use: %t", when, name, s.IPv4.Assigned, n, a.InUse(name))
			}
		}
	}
	want("both share it", 1, 0)
	a.Release(older.Service)
	want("the older is gone", 0, 1)
	a.Release(younger.Service)
	want("both are gone", 0, 0)
}

// A Service that leaves a shared address under another key than those who stay makes room for one that waits for theirs.
func TestRoomUnderAnotherKey(t *testing.T) {
	a := allocator(t, pool(t, "web", 0, "192.0.2.10"))
	a.Assign(request("stays", 0, sharing("k", "", 80)))
	a.Assign(request("leaves", 1, sharing("k", "", 81)))
	leaving := a.Assign(request("leaves", 1, sharing("m", "", 81)))
	waiting := a.Assign(request("waits", 2, sharing("k", "", 82)))
	if len(leaving.Addresses)+len(waiting.Addresses) > 0 {
		t.Fatalf("the address is given before it is free: %+v, %+v", leaving, waiting)
	}
	a.Confirm("shop/leaves")
	if got := text(a.Held("shop/waits")); got != "192.0.2.10" {
		t.Errorf("the Service that waits has %q, want the address that it can share now", got)
	}
}

// A Service that asks for its old pool again before its move is confirmed stays there: what it is leaving is its own.
func TestBackBeforeConfirm(t *testing.T) {
	a := allocator(t, pool(t, "old", 0, "192.0.2.10"), pool(t, "new", 1, "192.0.2.20"))
	for _, step := range []struct{ pool, want string }{{"old", "192.0.2.10"}, {"new", "192.0.2.20"}, {"old", "192.0.2.10"}} {
		if d := a.Assign(request("a", 0, from(step.pool))); text(d.Addresses) != step.want || !d.Satisfied {
			t.Fatalf("asking for pool %s it has %q, want %s: %s", step.pool, text(d.Addresses), step.want, d.Message())
		}
	}
	a.Confirm("shop/a")
	if a.Reserved("shop/a", netip.MustParseAddr("192.0.2.20")) {
		t.Error("the address of the move that did not happen is still reserved")
	}
}
