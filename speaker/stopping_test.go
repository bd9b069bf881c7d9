package speaker

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/fake"
)

// drained is a Router that tells when its speaker has drained the peers.
type drained struct {
	*fake.Router
	tell func()
}

func (d *drained) Close(ctx context.Context, why string, restart bool) error {
	d.tell()
	return d.Router.Close(ctx, why, restart)
}

// All speakers stop together, as when their DaemonSet goes, and none finds one that stays. As long as they drain BGP peers one of them answers for an
// address, and not each of them.
func TestAllStopTogether(t *testing.T) {
	k := newCluster(t)
	k.create(&v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Name: "all"}})
	k.create(&v1beta1.BGPAdvertisement{ObjectMeta: metav1.ObjectMeta{Name: "all"}})
	peer := peerAt("tor", "192.168.100.1")
	k.create(&peer)
	const addr = "192.168.100.240"
	names := []string{"node1", "node2", "node3"}
	routers := map[string]*fake.Router{}
	var first sync.Once
	var owners string // when the first of them has drained its peer
	for _, n := range names {
		k.node(n)
		router := &fake.Router{} // the map is still being filled when speakers ask for theirs
		routers[n] = router
		k.speaker(n, func(o *Options) {
			o.DrainTime = 4 * time.Second
			o.Router = func(context.Context, netip.Addr) (bgp.Router, error) {
				return &drained{router, func() { first.Do(func() { owners = k.owners(addr) }) }}, nil
			}
		})
	}
	k.together(names...)
	k.service("web", []string{addr}, names)
	k.ownedBy(addr, expected(addr, names...))
	for _, n := range names {
		routers[n].SetSession(bgp.Session{Peer: "tor", State: bgp.Established, Routes: 1, Established: 1})
		k.eventually("the peer of "+n+" has to be drained", func() bool {
			return len(k.speakers[n].advertiser.drained()) == 0 && len(k.speakers[n].advertiser.current()) == 1
		})
	}
	for _, n := range names {
		k.speakers[n].stop()
	}
	for _, n := range names {
		r := k.speakers[n]
		err := <-r.ended
		r.ended <- err
	}
	if owners != expected(addr, names...) {
		t.Errorf("when peers were drained %q owned %s, want %s alone", owners, addr, expected(addr, names...))
	}
}
