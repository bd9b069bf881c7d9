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

// A node that gossip has cut off elects as those do that it cannot reach: with what they last heard of it, and with who is heard on the network.
func TestPeersCutOff(t *testing.T) {
	member := func(name string, settling bool) membership.Member {
		return membership.Member{Name: name, Meta: membership.Meta{Settling: settling, Hardware: []netif.MAC{{2, 0, 0, 0, 0, name[4]}}}}
	}
	gossip := &rumour{}
	p := newPeers("node1", Sessions{}, membership.Fast, func() {}, logr.Discard())
	p.gossip = gossip
	p.setKnown(map[string]netip.AddrPort{"node2": {}, "node3": {}})
	expect := func(what string, settling bool, names ...string) {
		t.Helper()
		var live []string
		for _, m := range p.Members() {
			live = append(live, m.Name)
			if m.Name == "node1" && m.Meta.Settling != settling {
				t.Errorf("%s: settling is %t", what, m.Meta.Settling)
			}
		}
		if !slices.Equal(live, names) {
			t.Errorf("%s: %q are alive, want %q", what, live, names)
		}
	}
	gossip.members = []membership.Member{member("node1", false), member("node2", false), member("node3", true)}
	expect("together", false, "node1", "node2", "node3")
	if known, members, settled := p.others(); known != 2 || members != 2 || !settled || !mostOf(known, members) {
		t.Errorf("together there are %d others, %d of them members, settled %t", known, members, settled)
	}
	gossip.members = []membership.Member{member("node1", true)}
	expect("cut off", false, "node1")
	if p.Verdict("node2") != liveness.Silent {
		t.Errorf("the verdict of node2 is %d", p.Verdict("node2"))
	}
	if known, members, settled := p.others(); mostOf(known, members) || settled {
		t.Errorf("cut off there are %d others, %d of them members, settled %t", known, members, settled)
	}
	if got := p.node(netif.MAC{2, 0, 0, 0, 0, '2'}); got != "node2" {
		t.Errorf("node2's hardware is %q's", got)
	}
	p.heard("node2")
	expect("cut off, and node2 is heard", false, "node1", "node2")
	gossip.members = append(gossip.members, member("node2", false))
	expect("with one of two again", true, "node1", "node2")
	p.setKnown(map[string]netip.AddrPort{"node2": {}})
	p.Members()
	if got := p.node(netif.MAC{2, 0, 0, 0, 0, '3'}); got != "" {
		t.Errorf("node3 has no object any more, and its hardware is %q's", got)
	}
}
