package speaker

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
)

// A host outside the cluster has an address before it is announced. No node takes it from him, whichever is to answer for it in turn; when
// he has given it up the one that is then does.
func TestDisputedAddressIsTakenByNobody(t *testing.T) {
	k := newCluster(t)
	const text = "192.168.100.240"
	addr := netip.MustParseAddr(text)
	nodes := []string{"node1", "node2", "node3"}
	k.create(&v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Name: "all"}})
	for _, n := range nodes {
		k.node(n)
		k.speaker(n, func(o *Options) { o.Announce.Recheck = 500 * time.Millisecond }).port.setStranger(addr)
	}
	k.together(nodes...)
	k.service("web", []string{text}, nodes)
	for len(nodes) > 1 {
		owner := expected(text, nodes...)
		k.eventually(owner+" finds that another host has the address, and all speakers know", func() bool {
			if len(k.speakers[owner].announcer.Conflicts()) != 1 {
				return false
			}
			var s v1beta1.Speaker
			if err := k.Get(context.Background(), client.ObjectKey{Name: owner}, &s); err != nil || len(s.Status.Conflicts) != 1 {
				return false
			}
			for _, n := range nodes {
				e := k.speakers[n].engine
				e.mu.Lock()
				disputed := e.disputed[addr]
				e.mu.Unlock()
				if !disputed {
					return false
				}
			}
			return true
		})
		k.exclude(owner)
		nodes = slices.DeleteFunc(nodes, func(n string) bool { return n == owner })
	}
	last := k.speakers[nodes[0]]
	k.eventually("the last node finds it too", func() bool { return len(last.announcer.Conflicts()) == 1 })
	for name, s := range k.speakers {
		if n := s.port.count(addr); n > 0 {
			t.Errorf("%s has announced it %d times", name, n)
		}
		s.port.setStranger(netip.Addr{})
	}
	k.ownedBy(text, nodes[0])
	k.eventually("it is announced", func() bool { return last.port.count(addr) > 0 })
}

// exclude labels a Node so that it answers for nothing.
func (k *cluster) exclude(node string) {
	k.t.Helper()
	patch := client.RawPatch(types.MergePatchType, []byte(`{"metadata": {"labels": {"`+corev1.LabelNodeExcludeBalancers+`": ""}}}`))
	if err := k.Patch(context.Background(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, patch); err != nil {
		k.t.Fatal(err)
	}
}
