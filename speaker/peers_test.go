package speaker

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/go-logr/logr"

	"fairlead.io/fairlead/l2/liveness"
	"fairlead.io/fairlead/l2/membership"
	"fairlead.io/fairlead/l2/netif"
)

// rumour is a gossip of which the test says who is a member.
type rumour struct{ members []membership.Member }

func (r *rumour) Members() []membership.Member { return r.members }
func (r *rumour) Changes() <-chan struct{}     { return nil }
func (r *rumour) Left(string) bool             { return false }
func (r *rumour) Addr() netip.AddrPort         { return netip.AddrPort{} }

// Who is alive for a node that gossip has cut off, and what it makes of that.
func TestPeersCutOff(t *testing.T) {
	member := func(name string, settling, cutOff bool) membership.Member {
		return membership.Member{Name: name, Meta: membership.Meta{Settling: settling, CutOff: cutOff, Hardware: []netif.MAC{{2, 0, 0, 0, 0, name[4]}}}}
	}
	gossip := &rumour{}
	p := newPeers("node1", Sessions{}, membership.Fast, func() {}, logr.Discard())
	p.gossip = gossip
	p.setKnown(map[string]netip.AddrPort{"node2": {}, "node3": {}})
	expect := func(what string, want others, names ...string) {
		t.Helper()
		var live []string
		for _, m := range p.Members() {
			live = append(live, m.Name)
		}
		if got := p.others(); !slices.Equal(live, names) || got != want {
			t.Errorf("%s: %q are alive, want %q; the others are %+v, want %+v", what, live, names, got, want)
		}
	}
	gossip.members = []membership.Member{member("node1", false, false), member("node2", false, false), member("node3", true, true)}
	expect("together", others{2, 2, 2, true, true}, "node1", "node2", "node3")
	gossip.members = []membership.Member{member("node1", false, true)}
	expect("cut off", others{2, 0, 0, false, false}, "node1")
	if p.Verdict("node2") != liveness.Silent {
		t.Errorf("the verdict of node2 is %d", p.Verdict("node2"))
	}
	if got := p.node(netif.MAC{2, 0, 0, 0, 0, '2'}); got != "node2" {
		t.Errorf("node2's hardware is %q's", got)
	}
	p.heard("node2")
	expect("cut off, and node2 is heard", others{2, 1, 0, false, false}, "node1", "node2")
	gossip.members = append(gossip.members, member("node3", true, true))
	expect("with one again, who was cut off", others{2, 2, 1, false, false}, "node1", "node2", "node3")
	p.setKnown(map[string]netip.AddrPort{"node3": {}})
	p.Members()
	if got := p.node(netif.MAC{2, 0, 0, 0, 0, '2'}); got != "" {
		t.Errorf("node2 has no object any more, and its hardware is %q's", got)
	}
}
