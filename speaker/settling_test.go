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
			{0, wellness{false, list(eth0), true}, true, nil, 0},
			{time.Second, wellness{true, list(eth0), true}, true, nil, time.Second + delay},
			{delay - 1, wellness{true, list(eth0), true}, true, nil, time.Second + delay},
			{1, wellness{true, list(eth0), true}, false, nil, 0}},
		"a cluster starts": {
			{0, wellness{false, list(eth0), false}, true, nil, 0},
			{0, wellness{true, list(eth0), false}, false, nil, 0},
			{0, wellness{true, list(eth0), true}, false, nil, 0}},
		"a node that was alone": {
			{0, wellness{true, list(eth0), false}, false, nil, 0},
			{0, wellness{false, list(eth0), false}, true, nil, 0},
			{time.Hour, wellness{false, list(eth0), false}, true, nil, 0},
			{0, wellness{true, list(eth0), true}, true, nil, time.Hour + delay},
			{time.Second, wellness{false, list(eth0), true}, true, nil, 0},
			{time.Second, wellness{true, list(eth0), true}, true, nil, time.Hour + 2*time.Second + delay}},
		"an interface comes back, and has another address, and another one": {
			{0, wellness{true, list(eth0), false}, false, nil, 0},
			{0, wellness{true, nil, true}, false, nil, 0},
			{0, wellness{true, list(eth0), true}, false, []string{"eth0"}, delay},
			{time.Second, wellness{true, list(eth0, eth1), true}, false, []string{"eth0", "eth1"}, delay},
			{delay - time.Second, wellness{true, list(eth0, eth1), true}, false, []string{"eth1"}, delay + time.Second},
			{0, wellness{true, list(other, eth1), true}, false, []string{"eth0", "eth1"}, delay + time.Second}},
		"an interface comes back, and nobody else is settled": {
			{0, wellness{true, nil, false}, false, nil, 0},
			{0, wellness{true, list(eth0), false}, false, nil, 0}},
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
	none := settling{}
	if node, interfaces, _ := none.observe(time.Now(), wellness{false, list(eth0), true}); node || interfaces != nil {
		t.Error("without a delay there is something to wait for")
	}
}
