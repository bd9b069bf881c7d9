package speaker

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/endpoints"
	"fairlead.io/fairlead/internal/view"
	"fairlead.io/fairlead/l2/announce"
	"fairlead.io/fairlead/l2/liveness"
	"fairlead.io/fairlead/l2/membership"
	"fairlead.io/fairlead/l2/metrics"
)

// told records what an engine tells its announcer.
type told []string

func (a *told) Own(addr netip.Addr, _ []string, care announce.Care) {
	*a = append(*a, map[announce.Care]string{announce.AtOnce: "own ", announce.Confirm: "confirm ", announce.Probe: "probe "}[care]+addr.String())
}
func (a *told) Repeat(addr netip.Addr)  { *a = append(*a, "repeat "+addr.String()) }
func (a *told) Yield(addr netip.Addr)   { *a = append(*a, "yield "+addr.String()) }
func (a *told) Release(addr netip.Addr) { *a = append(*a, "release "+addr.String()) }

func (a *told) take() []string {
	out := *a
	*a = nil
	return out
}

// Two speakers that did not see each other have both announced an address. When they meet the loser yields, and the winner,
// for whom nothing has changed, must announce it anew: the neighbours may have heard the loser last.
func TestOwnerAnnouncesAnewWhenSomebodyIsBack(t *testing.T) {
	m, err := metrics.New(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	const addr = "192.168.100.240"
	nodes := []string{"node1", "node2"}
	winner := expected(addr, nodes...)
	loser := nodes[1-slices.Index(nodes, winner)]
	member := func(name string) membership.Member {
		return membership.Member{Name: name, Meta: membership.Meta{DataplaneReady: true, Interfaces: []string{"eth0"}}}
	}
	adv, err := config.CompileL2Advertisement(&v1beta1.L2Advertisement{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		self            string
		alone, together []string
	}{
		{winner, []string{"confirm " + addr}, []string{"own " + addr, "repeat " + addr}},
		{loser, []string{"confirm " + addr}, []string{"yield " + addr}},
	} {
		var a told
		e := newEngine(tt.self, false, &a, m, func() {}, func(map[string]bool) {}, logr.Discard())
		for _, n := range nodes {
			e.setNode(n, &view.Node{})
		}
		e.setConfig(config.CompilePools(nil), []*config.L2Advertisement{adv})
		e.setService(types.NamespacedName{Name: "web"}, &view.Service{Addresses: []netip.Addr{netip.MustParseAddr(addr)},
			Endpoints: endpoints.FromSlices([]discoveryv1.EndpointSlice{{AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{}}}})})
		step := func(what string, want []string, names ...string) {
			t.Helper()
			members := make([]membership.Member, 0, len(names))
			for _, n := range names {
				members = append(members, member(n))
			}
			e.setMembers(members)
			e.elect()
			if got := a.take(); !slices.Equal(got, want) {
				t.Errorf("%s %s: told %q, want %q", tt.self, what, got, want)
			}
		}
		step("alone", tt.alone, tt.self)
		step("and the other", tt.together, nodes...)
		step("and the other, again", nil, nodes...)
	}
}

// fates are what became of speakers.
type fates map[string]liveness.Verdict

func (fates) Members() []membership.Member           { return nil }
func (fates) Changes() <-chan struct{}               { return nil }
func (f fates) Verdict(name string) liveness.Verdict { return f[name] }

// What care an address is taken over with, and with whom this node shares it then.
func TestCareAndPairs(t *testing.T) {
	m, err := metrics.New(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	const addr = "192.168.100.240"
	nodes := []string{"node1", "node2", "node3"}
	adv, err := config.CompileL2Advertisement(&v1beta1.L2Advertisement{})
	if err != nil {
		t.Fatal(err)
	}
	order := []string{expected(addr, nodes...)}
	for len(order) < 3 {
		order = append(order, expected(addr, slices.DeleteFunc(slices.Clone(nodes), func(n string) bool { return slices.Contains(order, n) })...))
	}
	first, second, third := order[0], order[1], order[2]
	name := types.NamespacedName{Name: "web"}
	web := &view.Service{Addresses: []netip.Addr{netip.MustParseAddr(addr)},
		Endpoints: endpoints.FromSlices([]discoveryv1.EndpointSlice{{AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{}}}})}
	dark := &view.Service{Addresses: web.Addresses}

	var a told
	var pairs []string
	fate := fates{}
	told := 0 // that what the Speaker object reports may have changed
	engineOf := func(self string) *engine {
		a, pairs = nil, nil
		e := newEngine(self, false, &a, m, func() { told++ }, func(p map[string]bool) { pairs = slices.Sorted(maps.Keys(p)) }, logr.Discard())
		e.members = fate
		for _, n := range nodes {
			e.setNode(n, &view.Node{})
		}
		e.setConfig(config.CompilePools(nil), []*config.L2Advertisement{adv})
		return e
	}
	var e *engine
	alive := func(names ...string) {
		var list []membership.Member
		for _, n := range names {
			list = append(list, membership.Member{Name: n, Meta: membership.Meta{DataplaneReady: true, Interfaces: []string{"eth0"}}})
		}
		e.setMembers(list)
	}
	expect := func(what string, want string, with ...string) {
		t.Helper()
		before := told
		e.elect()
		if got := strings.Join(a.take(), ", "); got != want || !slices.Equal(pairs, with) || (told > before) != (want != "") {
			t.Errorf("%s: told %q, and shares with %q; want %q and %q", what, got, pairs, want, with)
		}
	}

	e = engineOf(first)
	e.setService(name, web)
	alive(nodes...)
	expect("started", "confirm "+addr, second)
	alive(first, third)
	expect("the next is gone", "own "+addr, third)
	e.setService(name, dark)
	expect("no endpoint", "release "+addr)
	e.setService(name, web)
	expect("an endpoint again", "own "+addr, third)
	e.setService(name, nil)
	expect("the Service is gone", "release "+addr)
	e.setService(name, web)
	expect("another Service gets the address", "probe "+addr, third)
	e = engineOf(first)
	alive(nodes...)
	expect("started, without any Service", "")
	e.setService(name, web)
	expect("the first Service", "probe "+addr, second)
	alive(first, third)
	expect("the next is gone again", "own "+addr, third)
	for reason, node := range map[string]*view.Node{"excluded": {Labels: map[string]string{view.ExcludeLabel: ""}}, "no node any more": nil, "no network": {NetworkUnavailable: true}} {
		e.setNode(first, node)
		expect(reason, "yield "+addr)
		e.setNode(first, &view.Node{})
		expect("not "+reason, "own "+addr, third)
	}
	local := *web
	local.Local = true
	local.Endpoints = endpoints.FromSlices([]discoveryv1.EndpointSlice{{AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{NodeName: &third}}}})
	e.setService(name, &local)
	expect("no local endpoint", "release "+addr)
	e.setService(name, web)
	expect("an endpoint somewhere", "own "+addr, third)
	e.setMembers([]membership.Member{{Name: first, Meta: membership.Meta{DataplaneReady: true}}, {Name: third, Meta: membership.Meta{DataplaneReady: true, Interfaces: []string{"eth0"}}}})
	expect("no interface", "release "+addr)
	failovers := testutil.ToFloat64(m.Failovers)
	alive(first, third)
	expect("an interface again", "own "+addr, third)
	if got := testutil.ToFloat64(m.Failovers); got != failovers+1 {
		t.Errorf("taken over from another, and %v such were counted instead of %v", got, failovers+1)
	}

	for verdict, want := range map[liveness.Verdict]string{liveness.Silent: "confirm ", liveness.Lost: "own ", liveness.Left: "own ", liveness.Unknown: "own "} {
		e = engineOf(second)
		alive(nodes...)
		e.elect()
		e.setService(name, web)
		expect("next", "yield "+addr, first)
		fate[first] = verdict
		alive(second, third)
		expect(fmt.Sprintf("the owner is %d", verdict), want+addr, third)
	}
	e = engineOf(third)
	e.setService(name, web)
	alive(nodes...)
	expect("third", "yield "+addr)

	// Another host has it, so that the owner has never announced it.
	e = engineOf(second)
	alive(nodes...)
	e.elect()
	e.setService(name, web)
	expect("next", "yield "+addr, first)
	e.setDisputed(map[netip.Addr]bool{netip.MustParseAddr(addr): true})
	alive(second, third)
	expect("the owner of a disputed address is gone", "probe "+addr, third)
	e = engineOf(first)
	e.setDisputed(map[netip.Addr]bool{netip.MustParseAddr(addr): true})
	e.setService(name, web)
	alive(nodes...)
	expect("started, and the address was disputed before", "probe "+addr, second)
}
