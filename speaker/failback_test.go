package speaker

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/l2/announce"
	"fairlead.io/fairlead/l2/netif"
)

func delayed(d time.Duration) func(*Options) { return func(o *Options) { o.FailbackDelay = d } }

// away makes a cluster of speakers that settle for a while, and ends most of them. It returns who went, and who remains, when
// those know that they are cut off or are not.
func away(t *testing.T, nodes int, delay time.Duration, end func(*running)) (k *cluster, gone, remain []string, addrs []string) {
	t.Helper()
	k = newCluster(t)
	k.create(&v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Name: "all"}})
	var all []string
	for i := range nodes {
		name := fmt.Sprintf("node%d", i+1)
		k.node(name)
		k.speaker(name, delayed(delay))
		all = append(all, name)
	}
	k.together(all...)
	for i := range 10 {
		addrs = append(addrs, fmt.Sprintf("192.168.100.24%d", i))
		k.service(fmt.Sprintf("web%d", i), addrs[i:], all)
	}
	for _, a := range addrs {
		k.ownedBy(a, expected(a, all...))
	}
	few := max(1, nodes-3)
	gone, remain = all[:nodes-few], all[nodes-few:]
	for _, n := range gone {
		end(k.speakers[n])
	}
	for _, n := range gone {
		delete(k.speakers, n)
	}
	for _, a := range addrs {
		k.ownedBy(a, expected(a, remain...))
	}
	// Until then who finds out first that most are gone takes the other for one that was not cut off, when somebody comes back.
	var seen string
	defer func() {
		if t.Failed() {
			t.Log("those who remain see ", seen)
		}
	}()
	k.eventually("those who remain know it of each other", func() bool {
		seen = ""
		ok := true
		for _, n := range remain {
			list := k.speakers[n].members.Members()
			ok = ok && len(list) == len(remain)
			for _, m := range list {
				r := k.speakers[m.Name]
				if r == nil {
					ok = false
					continue
				}
				r.mu.Lock()
				cutOff := r.local.CutOff
				r.mu.Unlock()
				ok = ok && m.Meta.CutOff == cutOff
			}
			seen += fmt.Sprintf("%s: %+v of %v; ", n, k.speakers[n].peers.others(), list)
		}
		return ok
	})
	return k, gone, remain, addrs
}

// A speaker that comes back settles first, however few others there are, and those that went on without the others do not settle anew.
func TestComesBackToFew(t *testing.T) {
	const delay = 3 * time.Second
	for _, tc := range []struct {
		name  string
		nodes int
		end   func(*running)
	}{
		{"one of two, killed", 2, func(r *running) { r.kill() }},
		{"one of two, stopped", 2, func(r *running) { r.stop() }},
		{"most of five, killed", 5, func(r *running) { r.kill() }},
		{"most of five, stopped", 5, func(r *running) { r.stop() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for again := true; again; { // once without a standstill
				if !t.Run("", func(t *testing.T) { again = comesBack(t, tc.nodes, delay, tc.end) }) {
					return
				}
			}
		})
	}
}

// comesBack is one trial. Where this process does not run for a while its speakers lose each other, and are rightly cut off or settle: what is
// wrong after that says nothing, and it is to be tried again.
func comesBack(t *testing.T, nodes int, delay time.Duration, end func(*running)) (again bool) {
	t.Helper()
	k, gone, remain, addrs := away(t, nodes, delay, end)
	back := gone[0]
	k.speaker(back, delayed(delay))
	// What gossip says of it is looked at all the time: one who says once that he has settled, or was cut off, has done the harm.
	var joined time.Time
	look := time.NewTicker(2 * time.Millisecond)
	defer look.Stop()
	stoodStill := false // for longer than a probe of the gossip may take
	began := time.Now()
	for last := began; joined.IsZero() || time.Since(joined) < delay/2; <-look.C {
		now := time.Now()
		stoodStill = stoodStill || now.Sub(last) > 500*time.Millisecond
		last = now
		var wrong []string
		for name, r := range k.speakers {
			r.mu.Lock()
			ready, local := r.joined, r.local
			r.mu.Unlock()
			if name == back && ready && joined.IsZero() {
				joined = time.Now()
			}
			if name == back && (local.CutOff || !local.Settling) || slices.Contains(remain, name) && local.Settling {
				wrong = append(wrong, fmt.Sprintf("%s: settling %t, cut off %t, others %+v", name, local.Settling, local.CutOff, r.peers.others()))
			}
		}
		for _, a := range addrs {
			if got, want := k.owners(a), expected(a, remain...); got != want {
				wrong = append(wrong, fmt.Sprintf("%s is owned by %q, want %q", a, got, want))
			}
		}
		if time.Since(began) > patience {
			wrong = append(wrong, "it does not join the others")
		}
		if len(wrong) > 0 {
			if stoodStill {
				t.Logf("after a standstill: %q", wrong)
				return true
			}
			t.Fatalf("after %s: %q", time.Since(began), wrong)
		}
	}
	for _, a := range addrs {
		k.ownedBy(a, expected(a, append(slices.Clone(remain), back)...))
	}
	return false
}

// VLANs have the hardware address of what they are on. The list that gossip carries is short, and is not filled with it.
func TestHardwareIsToldOnce(t *testing.T) {
	k := newCluster(t)
	k.node("node1")
	bond, nic := netif.MAC{2, 0, 0, 0, 1, 1}, netif.MAC{2, 0, 0, 0, 0, 5}
	k.speaker("node1", func(o *Options) {
		o.Interfaces = nil
		for i := range 16 {
			o.Interfaces = append(o.Interfaces, netif.Interface{Name: fmt.Sprintf("bond0.%d", i), Index: i + 1, MAC: bond})
		}
		o.Interfaces = append(o.Interfaces, netif.Interface{Name: "eth5", Index: 17, MAC: nic})
	})
	k.together("node1")
	m := k.speakers["node1"].members.Members()
	if len(m) != 1 || !slices.Equal(m[0].Meta.Hardware, []netif.MAC{nic, bond}) {
		t.Errorf("members %v", m)
	}
}

// Where an interface cannot be opened its node is no candidate, and says why.
func TestInterfaceThatFails(t *testing.T) {
	k := newCluster(t)
	k.create(&v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Name: "all"}})
	const addr = "192.168.100.240"
	home := expected(addr, "node1", "node2")
	for _, n := range []string{"node1", "node2"} {
		k.node(n)
		k.speaker(n, func(o *Options) {
			if n == home {
				o.Announce.Open = func(netif.Interface, announce.Handler) (announce.Port, error) { return nil, os.ErrPermission }
			}
		})
	}
	k.together("node1", "node2")
	k.service("web", []string{addr}, []string{"node1"})
	k.eventually("the other node owns the address", func() bool { o := k.owners(addr); return o != "" && o != home })
	k.eventually("the address is announced", func() bool { return k.speakers[k.owners(addr)].port.count(netip.MustParseAddr(addr)) > 0 })
	k.eventually("the node says why", func() bool {
		var s v1beta1.Speaker
		if err := k.Get(t.Context(), client.ObjectKey{Name: home}, &s); err != nil {
			return false
		}
		c := meta.FindStatusCondition(s.Status.Conditions, v1beta1.SpeakerInterfacesReady)
		return c != nil && c.Status == metav1.ConditionFalse && strings.Contains(c.Message, "eth0: "+os.ErrPermission.Error())
	})
}
