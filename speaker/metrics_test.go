package speaker

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bfd/manager"
	"fairlead.io/fairlead/l2/announce"
	"fairlead.io/fairlead/l2/membership"
)

// A speaker is missing while it has an object and is not heard; before a speaker takes part it misses nobody.
func TestMissingSpeakersAreTold(t *testing.T) {
	gossip := &rumour{}
	p, _ := newTestPeers(t, gossip)
	registry := prometheus.NewRegistry()
	conflicts := []announce.Conflict{{}, {}}
	registry.MustRegister(newL2Metrics(func() []announce.Conflict { return conflicts }, p.missing))
	want := func(what string, missing ...string) {
		t.Helper()
		var text strings.Builder
		if len(missing) > 0 {
			text.WriteString("# HELP fairlead_l2_speaker_missing 1 for each speaker that has a Speaker object, and that this one does not hear.\n# TYPE fairlead_l2_speaker_missing gauge\n")
		}
		for _, name := range missing {
			text.WriteString("fairlead_l2_speaker_missing{speaker=\"" + name + "\"} 1\n")
		}
		if err := testutil.GatherAndCompare(registry, strings.NewReader(text.String()), "fairlead_l2_speaker_missing"); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	p.setKnown(map[string]netip.AddrPort{"node1": {}, "node2": {}, "node3": {}})
	p.gossip = nil
	want("not in the gossip yet")
	p.gossip = gossip
	gossip.members = []membership.Member{{Name: "node1"}, {Name: "node2"}}
	p.look()
	want("node3 never came", "node3")
	gossip.members = []membership.Member{{Name: "node1"}}
	p.look()
	want("node2 is lost", "node2", "node3")
	p.setKnown(map[string]netip.AddrPort{"node1": {}, "node2": {}})
	want("node3 is no longer to be", "node2")
	if err := testutil.GatherAndCompare(registry, strings.NewReader("# HELP fairlead_l2_conflicting_addresses Addresses of this node that a host claims now that runs no speaker.\n"+
		"# TYPE fairlead_l2_conflicting_addresses gauge\nfairlead_l2_conflicting_addresses 2\n"), "fairlead_l2_conflicting_addresses"); err != nil {
		t.Error(err)
	}
}

// Each time that a session was up and went down is counted, also when it is up again at once.
func TestBFDLossesAreCounted(t *testing.T) {
	w := newWatcher(func(string, string) {}, func() {}, logr.Discard())
	key := manager.Key{Peer: netip.MustParseAddr("192.0.2.1")}
	w.sessions["tor"] = &watchedSession{watched: watched{peer: "tor", key: key}}
	for i, c := range []struct {
		old, new bfd.State
		losses   uint64
	}{
		{bfd.Down, bfd.Init, 0}, {bfd.Init, bfd.Up, 0}, {bfd.Up, bfd.Up, 0}, {bfd.Up, bfd.Down, 1}, {bfd.Down, bfd.Up, 1}, {bfd.Up, bfd.Down, 2}, {bfd.Down, bfd.Down, 2},
	} {
		w.event(manager.Event{Key: key, Time: time.Now(), Old: c.old, New: c.new})
		if got := w.states()["tor"].losses; got != c.losses {
			t.Errorf("event %d, %s to %s: %d losses, want %d", i, c.old, c.new, got, c.losses)
		}
	}
}
