package speaker

import (
	"slices"
	"testing"
	"time"

	"fairlead.io/fairlead/l2/netif"
)

func TestSettling(t *testing.T) {
	const delay = 10 * time.Second
	eth0, eth1 := netif.Interface{Name: "eth0", MAC: netif.MAC{2, 0, 0, 0, 0, 1}}, netif.Interface{Name: "eth1", MAC: netif.MAC{2, 0, 0, 0, 0, 2}}
	other := netif.Interface{Name: "eth0", MAC: netif.MAC{2, 0, 0, 0, 0, 3}}
	list := func(l ...netif.Interface) []netif.Interface { return l }
	type step struct {
		after      time.Duration
		w          wellness
		node       bool
		interfaces []string
		next       time.Duration // from the start; 0: none
	}
	for name, steps := range map[string][]step{
		"a node comes": {
			{0, wellness{Well: false, Interfaces: list(eth0), OthersSettled: true}, true, nil, 0},
			{time.Second, wellness{Well: true, Interfaces: list(eth0), OthersSettled: true}, true, nil, time.Second + delay},
			{delay - 1, wellness{Well: true, Interfaces: list(eth0), OthersSettled: true}, true, nil, time.Second + delay},
			{1, wellness{Well: true, Interfaces: list(eth0), OthersSettled: true}, false, nil, 0}},
		"a cluster starts": {
			{0, wellness{Well: false, Interfaces: list(eth0), OthersSettled: false}, true, nil, 0},
			{0, wellness{Well: true, Interfaces: list(eth0), OthersSettled: false}, false, nil, 0},
			{0, wellness{Well: true, Interfaces: list(eth0), OthersSettled: true}, false, nil, 0}},
		"a node whose proxy fails": {
			{0, wellness{Well: true, Interfaces: list(eth0)}, false, nil, 0},
			{0, wellness{Well: false, Interfaces: list(eth0), OthersSettled: true}, true, nil, 0},
			{time.Hour, wellness{Well: true, Interfaces: list(eth0), OthersSettled: true}, true, nil, time.Hour + delay},
			{time.Second, wellness{Well: false, Interfaces: list(eth0), OthersSettled: true}, true, nil, 0},
			{time.Second, wellness{Well: true, Interfaces: list(eth0), OthersSettled: true}, true, nil, time.Hour + 2*time.Second + delay}},
		"a node that was cut off": {
			{0, wellness{Well: true, Interfaces: list(eth0)}, false, nil, 0},
			{0, wellness{Well: true, CutOff: true, Interfaces: list(eth0)}, false, nil, 0},
			{time.Hour, wellness{Well: true, Interfaces: list(eth0)}, false, nil, 0}, // one is heard on the network, and the gossip has nobody yet
			{0, wellness{Well: true, Interfaces: list(eth0), Others: true, OthersSettled: true, OthersTogether: true}, true, nil, time.Hour + delay},
			{delay, wellness{Well: true, Interfaces: list(eth0), OthersSettled: true, OthersTogether: true}, false, nil, 0}},
		"a node that was cut off as all others were": {
			{0, wellness{Well: true, Interfaces: list(eth0)}, false, nil, 0},
			{0, wellness{Well: true, CutOff: true, Interfaces: list(eth0)}, false, nil, 0},
			{time.Hour, wellness{Well: true, Interfaces: list(eth0), Others: true, OthersSettled: true}, false, nil, 0},
			{time.Second, wellness{Well: true, Interfaces: list(eth0), Others: true, OthersSettled: true, OthersTogether: true}, false, nil, 0}},
		"an interface comes back, and has another address, and another one": {
			{0, wellness{Well: true, Interfaces: list(eth0), OthersSettled: false}, false, nil, 0},
			{0, wellness{Well: true, Interfaces: nil, OthersSettled: true}, false, nil, 0},
			{0, wellness{Well: true, Interfaces: list(eth0), OthersSettled: true}, false, []string{"eth0"}, delay},
			{time.Second, wellness{Well: true, Interfaces: list(eth0, eth1), OthersSettled: true}, false, []string{"eth0", "eth1"}, delay},
			{delay - time.Second, wellness{Well: true, Interfaces: list(eth0, eth1), OthersSettled: true}, false, []string{"eth1"}, delay + time.Second},
			{0, wellness{Well: true, Interfaces: list(other, eth1), OthersSettled: true}, false, []string{"eth0", "eth1"}, delay + time.Second}},
		"an interface comes back, and nobody else is settled": {
			{0, wellness{Well: true, Interfaces: nil, OthersSettled: false}, false, nil, 0},
			{0, wellness{Well: true, Interfaces: list(eth0), OthersSettled: false}, false, nil, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			s := settling{delay: delay}
			start := time.Unix(1e9, 0)
			now := start
			for i, st := range steps {
				now = now.Add(st.after)
				node, interfaces, next := s.observe(now, st.w)
				wait := time.Duration(0)
				if !next.IsZero() {
					wait = next.Sub(start)
				}
				if node != st.node || !slices.Equal(interfaces, st.interfaces) || wait != st.next {
					t.Fatalf("step %d: node %t, interfaces %v, next after %s; want %+v", i, node, interfaces, wait, st)
				}
			}
		})
	}
	now := time.Unix(1e9, 0)
	s := settling{delay: delay}
	w := wellness{Well: true, OthersSettled: true}
	s.observe(now, wellness{Well: true})
	s.anew(now)
	if node, _, next := s.observe(now, w); !node || !next.Equal(now.Add(delay)) || !s.since().Equal(now) {
		t.Errorf("a node that stood still: settling %t until %s, well since %s", node, next, s.since())
	}
	if node, _, _ := s.observe(now, wellness{Well: true}); node {
		t.Error("a node that stood still as all others did waits for nobody")
	}
	s = settling{delay: delay}
	for i, st := range []struct {
		after time.Duration
		w     wellness
		told  bool
	}{
		{0, wellness{Well: true}, false}, {0, wellness{Well: true, CutOff: true}, true}, {time.Minute, wellness{Well: true, CutOff: true}, true},
		{time.Hour, wellness{Well: true}, true}, {cutOffTold - 1, wellness{Well: true}, true}, {1, wellness{Well: true}, false},
	} {
		now = now.Add(st.after)
		s.observe(now, st.w)
		if told, until := s.cutOff(now, st.w); told != st.told || told && !st.w.CutOff && !until.After(now) {
			t.Errorf("step %d: cut off %t, until %s", i, told, until)
		}
	}
	none := settling{}
	if node, interfaces, _ := none.observe(time.Now(), wellness{Well: false, Interfaces: list(eth0), OthersSettled: true}); node || interfaces != nil {
		t.Error("without a delay there is something to wait for")
	}
}
