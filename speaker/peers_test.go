package speaker

import (
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"

	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bfd/manager"
	"fairlead.io/fairlead/l2/liveness"
	"fairlead.io/fairlead/l2/membership"
	"fairlead.io/fairlead/l2/metrics"
	"fairlead.io/fairlead/l2/netif"
)

// rumour is a gossip of which the test says who is a member.
type rumour struct {
	members []membership.Member
	seen    map[string]time.Time
}

func (r *rumour) Members() []membership.Member { return r.members }
func (r *rumour) Changes() <-chan struct{}     { return nil }
func (r *rumour) Left(string) bool             { return false }
func (r *rumour) Seen(name string) time.Time   { return r.seen[name] }
func (r *rumour) Addr() netip.AddrPort         { return netip.AddrPort{} }

func newTestPeers(t *testing.T, g gossip) (*peers, *prometheus.Registry) {
	t.Helper()
	registry := prometheus.NewRegistry()
	m, err := metrics.New(registry)
	if err != nil {
		t.Fatal(err)
	}
	p := newPeers("node1", Sessions{}, membership.Fast, func() {}, m, logr.Discard())
	p.gossip = g
	return p, registry
}

// Who is alive for a node that gossip has cut off, and what it makes of that.
func TestPeersCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // what was heard counts for a while
		member := func(name string, settling, cutOff bool) membership.Member {
			return membership.Member{Name: name, Meta: membership.Meta{Settling: settling, CutOff: cutOff, Hardware: []netif.MAC{{2, 0, 0, 0, 0, name[4]}}}}
		}
		gossip := &rumour{}
		p, _ := newTestPeers(t, gossip)
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
		select {
		case <-p.kick:
		default:
			t.Error("that node2 was heard wakes nobody")
		}
		p.heard("node2")
		if len(p.kick) > 0 {
			t.Error("what is known already wakes somebody")
		}
		expect("cut off, and node2 is heard", others{2, 1, 0, false, false}, "node1", "node2")
		gossip.members = append(gossip.members, member("node3", true, true))
		expect("with one again, who was cut off", others{2, 2, 1, false, false}, "node1", "node2", "node3")
		p.setKnown(map[string]netip.AddrPort{"node3": {}})
		p.Members()
		if got := p.node(netif.MAC{2, 0, 0, 0, 0, '2'}); got != "" {
			t.Errorf("node2 has no object any more, and its hardware is %q's", got)
		}
	})
}

// How long it took to find a speaker lost counts from its last sign of life, whoever saw that, once for each loss.
func TestDetectionIsMeasured(t *testing.T) {
	now := time.Now()
	everybody := []membership.Member{{Name: "node1"}, {Name: "node2"}, {Name: "node3"}}
	gossip := &rumour{members: everybody, seen: map[string]time.Time{"node2": now.Add(-700 * time.Millisecond), "node3": now.Add(-time.Hour)}}
	p, registry := newTestPeers(t, gossip)
	p.setKnown(map[string]netip.AddrPort{"node2": {}, "node3": {}})
	node3 := manager.Key{Interface: "node3"}
	p.sessions["node3"] = session{key: node3}
	turn := func() { p.look(); p.measure(now) }
	expect := func(what string, count uint64, sum float64) {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() != "fairlead_l2_failover_detection_seconds" {
				continue
			}
			h := f.GetMetric()[0].GetHistogram()
			if h.GetSampleCount() != count || h.GetSampleSum() < sum-0.001 || h.GetSampleSum() > sum+0.001 {
				t.Errorf("%s: %d observed, %.3f s in all; want %d, %.3f s", what, h.GetSampleCount(), h.GetSampleSum(), count, sum)
			}
			return
		}
		t.Errorf("%s: no such metric", what)
	}
	turn()
	expect("all live", 0, 0)
	gossip.members = everybody[:1:1]
	p.event(manager.Event{Key: node3, Time: now, Old: bfd.Up, New: bfd.Down, Diagnostic: bfd.DetectionTimeExpired, LastReceived: now.Add(-240 * time.Millisecond)})
	turn()
	turn()
	expect("gossip has lost node2, a session node3", 2, 0.94)
	gossip.members = everybody
	turn()
	expect("both are back", 2, 0.94)
}
