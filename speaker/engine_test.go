package speaker

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/endpoints"
	"fairlead.io/fairlead/internal/layer2"
	"fairlead.io/fairlead/l2/announce"
	"fairlead.io/fairlead/l2/membership"
	"fairlead.io/fairlead/l2/metrics"
)

// told records what an engine tells its announcer.
type told []string

func (a *told) Own(addr netip.Addr, _ []string, _ announce.Care) {
	*a = append(*a, "own "+addr.String())
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
		{winner, []string{"own " + addr}, []string{"own " + addr, "repeat " + addr}},
		{loser, []string{"own " + addr}, []string{"yield " + addr}},
	} {
		var a told
		e := newEngine(tt.self, false, &a, m, func() {}, func(map[string]bool) {}, logr.Discard())
		for _, n := range nodes {
			e.setNode(n, &layer2.Node{})
		}
		e.setConfig(config.CompilePools(nil), []*config.L2Advertisement{adv})
		e.setService(types.NamespacedName{Name: "web"}, &layer2.Service{Addresses: []netip.Addr{netip.MustParseAddr(addr)},
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
