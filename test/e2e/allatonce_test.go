package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/speaker"
	"fairlead.io/fairlead/test/e2e/observe"
	"fairlead.io/fairlead/test/process"
)

// onSeveral makes Services whose addresses are at home on different nodes, as many as the pool has, and gives these addresses.
func (s *scenario) onSeveral(app string) []netip.Addr {
	s.Helper()
	var addrs []netip.Addr
	served := map[string]bool{}
	for ; s.tried < poolSize; s.tried++ {
		addr := addIP(s.v4, s.tried)
		if node := home(addr); !served[node] {
			served[node] = true
			s.expose("at-"+node, app, requests(addr))
			s.atHome(addr)
			addrs = append(addrs, addr)
		}
	}
	s.Expect(len(addrs)).To(BeNumerically(">", 1), "nodes that an address of pool %s is at home on", s.pool.Name)
	return addrs
}

// testAllAtOnce: all speakers are killed at one instant, and started again by their kubelets, some maybe a second later than others and so
// not settled when they come. None takes itself for the only one for long; each address is soon answered for again, by its node, or by one
// other until its node has settled.
func testAllAtOnce(t *testing.T) {
	s := newStanding(t)
	s.web("web", 3, "")
	addrs := s.onSeveral("web")
	s.fairly(func(seen Gomega) {
		for _, addr := range addrs {
			s.atHome(addr)
		}
		a := s.ask(addrs...)
		start := time.Now()
		for _, node := range theLab.Nodes() {
			s.Expect(s.kill(node, speakerProgram)).To(Equal(1))
		}
		s.allRun()
		most := 2
		if apart := s.startedApart(); apart > 2*time.Second {
			t.Logf("kubelets started the last speaker %s after the first, which does not wait so long for it", apart)
			most = 3
		}
		for _, addr := range addrs {
			s.atHome(addr)
		}
		a.stop()
		for _, addr := range addrs {
			spans := a.spans(addr)
			t.Logf("%s, at home on %s, since all speakers were killed: %s; announced by %s", addr, home(addr), observe.Tell(spans, start), a.announcers(addr, start))
			owners := append([]string{"nobody"}, observe.Owners(spans)...)
			seen.Expect(owners[len(owners)-1]).To(Equal(home(addr)), "who answers for %s in the end", addr)
			seen.Expect(len(owners)-1).To(BeNumerically("<=", most), "who answered for %s: %v", addr, owners)
			seen.Expect(observe.Doubled(spans)).To(BeNumerically("<=", aMoment), "for how long two nodes answered for %s", addr)
		}
	})
}

// startedApart is the time between the starts of the first and the last of the speakers that run.
func (s *scenario) startedApart() time.Duration {
	s.Helper()
	var starts []time.Duration
	for _, node := range theLab.Nodes() {
		for _, pid := range s.processes(node.Name, speakerProgram) {
			start, err := process.Started(pid)
			s.Expect(err).NotTo(HaveOccurred())
			starts = append(starts, start)
		}
	}
	return slices.Max(starts) - slices.Min(starts)
}

// testGossipKeyReplaced: the gossip's key is made too short, taken away and replaced, each time without the one before. Nobody's addresses move.
func testGossipKeyReplaced(t *testing.T) {
	s := newStanding(t)
	s.web("web", 3, "")
	addrs := s.onSeveral("web")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: speaker.DefaultGossipSecret}}
	s.get(s, secret)
	before := secret.DeepCopy()
	patch := func(ctx context.Context, data string) {
		s.Helper()
		s.Expect(cluster.Patch(ctx, secret.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"data": `+data+`}`)))).To(Succeed())
	}
	encode := func(key string) string { return `"` + base64.StdEncoding.EncodeToString([]byte(key)) + `"` }
	s.undo(func() {
		patch(context.Background(), `{"key": "`+base64.StdEncoding.EncodeToString(before.Data[speaker.GossipKey])+`", "previous": null}`)
	})
	trial := 0
	s.fairly(func(seen Gomega) {
		trial++
		for _, addr := range addrs {
			s.atHome(addr)
		}
		a := s.ask(addrs...)
		start := time.Now()
		for _, tc := range []struct {
			what, data string
			watch      time.Duration
		}{
			{"too short", `{"key": ` + encode("short") + `, "previous": null}`, 2 * time.Second},
			{"taken away", `{"key": null, "previous": null}`, 2 * time.Second},
			{"another one", `{"key": ` + encode(fmt.Sprintf("another one, of thirty-two byte%d", trial)) + `, "previous": null}`, 13 * time.Second}, // used after ten
		} {
			patch(s.ctx, tc.data)
			<-time.After(tc.watch)
			for _, addr := range addrs {
				a.quiet(seen, addr, start, 0)
			}
		}
		a.stop()
		for _, addr := range addrs {
			t.Logf("%s, at home on %s, since the key was changed: %s; announced by %s", addr, home(addr), observe.Tell(a.spans(addr), start), a.announcers(addr, start))
		}
	})
}
