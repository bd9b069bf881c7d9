package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/test/e2e/observe"
	"fairlead.io/fairlead/test/lab"
)

// awayLabel keeps a node from answering, by the nodeSelectors of testNothingLost's advertisement.
const awayLabel = "e2e.fairlead.io/away"

// testNothingLost: while the owner's data plane works, no new connection is lost, whatever happens to its speaker or is said of its
// node: not when another node takes the address over, and not when it goes home.
func testNothingLost(t *testing.T) {
	s := newStanding(t)
	s.web("web", 3, "")
	update(s, advertisement(s.pool.Name), func(a *v1beta1.L2Advertisement) {
		a.Spec.NodeSelectors = []metav1.LabelSelector{{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: awayLabel, Operator: metav1.LabelSelectorOpDoesNotExist}}}}
	})
	svc, owner := s.exposeTogether("web")
	for _, tc := range []struct {
		name string
		// leave makes something happen to the owner, and returns what ends it.
		leave func(s *scenario, owner string) (comeBack func())
		// moves: another node must take over before that ends. Else it may be over before anybody has noticed.
		moves bool
	}{
		{"speaker killed", func(s *scenario, owner string) func() { return s.endForGood(owner, lab.KillSpeaker) }, true},
		{"speaker stopped", func(s *scenario, owner string) func() { return s.endForGood(owner, lab.StopSpeaker) }, true},
		{"speaker killed and started again", func(s *scenario, owner string) func() { return s.end(owner, lab.KillSpeaker) }, false},
		{"speaker stopped and started again", func(s *scenario, owner string) func() { return s.end(owner, lab.StopSpeaker) }, false},
		{"rolling restart of all speakers", func(s *scenario, _ string) func() { return s.restartSpeakers() }, false},
		{"owner cordoned", func(s *scenario, owner string) func() {
			return s.patchNode(owner, `{"spec": {"unschedulable": true}}`, `{"spec": {"unschedulable": null}}`)
		}, true},
		{"owner excluded by label", func(s *scenario, owner string) func() { return s.labelNode(owner, corev1.LabelNodeExcludeBalancers) }, true},
		{"owner not selected anymore", func(s *scenario, owner string) func() { return s.labelNode(owner, awayLabel) }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := s.in(t)
			loads := map[netip.Addr]*load{}
			for _, addr := range addresses(svc) {
				s.atHome(addr)
				loads[addr] = s.load(addr, patientTimeout)
			}
			left := time.Now()
			comeBack := tc.leave(s, owner)
			for addr, l := range loads {
				if tc.moves {
					s.Eventually(l.towards).ShouldNot(Equal(mac(s, owner)), "another node than %s takes %s over", owner, addr)
				}
			}
			comeBack()
			for addr, l := range loads {
				// That it is there is not enough: it may not have left yet.
				s.Eventually(func() (map[string]time.Time, error) { return ownedSince(s.ctx, addr) }).WithTimeout(2*patience).
					Should(And(HaveLen(1), HaveKeyWithValue(owner, BeTemporally(">", left))), "%s goes home to %s, or is anew at home there", addr, owner)
				s.Eventually(l.towards).Should(Equal(mac(s, owner)), "the client sends to %s again", owner)
			}
			for addr, l := range loads {
				s.nothingLost(l, fmt.Sprintf("%s, seen at %s of %s", tc.name, addr, owner))
			}
		})
	}
}

// nothingLost lets the load go on for another hundred connections, and checks that none failed since it started. It gives what the client saw.
func (s *scenario) nothingLost(l *load, story string) observe.Connections {
	s.Helper()
	n := l.succeeded()
	s.Eventually(l.succeeded).Should(BeNumerically(">", n+100))
	c := l.stop()
	s.Logf("%s: %s", story, c)
	s.Expect(c.Failed).To(BeEmpty(), "%s: %s", story, c)
	return c
}

// endForGood ends a node's speaker, which is not started again until comeBack.
func (s *scenario) endForGood(node string, how lab.Fault) (comeBack func()) {
	s.Helper()
	comeBack = s.keepAway(node)
	s.Expect(s.host(node).Fault(how)).To(Succeed())
	return comeBack
}

// end ends a node's speaker, which kubelet starts again at once; started waits for that.
func (s *scenario) end(node string, how lab.Fault) (started func()) {
	s.Helper()
	before := s.processes(node, speakerProgram)
	s.Expect(s.host(node).Fault(how)).To(Succeed())
	return func() {
		s.Helper()
		s.Eventually(func() []int { return s.processes(node, speakerProgram) }).
			Should(And(HaveLen(1), Not(Equal(before))), "the speaker of %s runs again", node)
	}
}

// restartSpeakers does what `kubectl rollout restart` does; done waits until all speakers are new.
func (s *scenario) restartSpeakers() (done func()) {
	s.Helper()
	ds := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: lab.SpeakerDaemonSet}}
	patch := fmt.Sprintf(`{"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": %q}}}}}`, time.Now().Format(time.RFC3339Nano))
	s.Expect(cluster.Patch(s.ctx, ds, client.RawPatch(types.MergePatchType, []byte(patch)))).To(Succeed())
	return func() {
		s.Helper()
		s.Eventually(func(g Gomega) {
			s.get(g, ds)
			g.Expect(ds.Status.ObservedGeneration).To(Equal(ds.Generation), "the DaemonSet's generation")
			g.Expect(ds.Status.UpdatedNumberScheduled).To(Equal(ds.Status.DesiredNumberScheduled), "speakers that were restarted")
			g.Expect(ds.Status.NumberAvailable).To(Equal(ds.Status.DesiredNumberScheduled), "speakers that are available")
		}).WithTimeout(3 * patience).Should(Succeed())
	}
}

// patchNode changes a Node; undo changes it back.
func (s *scenario) patchNode(node, change, changeBack string) (undo func()) {
	s.Helper()
	patch := func(text string) error {
		// Not the test's context, which has ended when what it left is cleaned up.
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return cluster.Patch(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, client.RawPatch(types.MergePatchType, []byte(text)))
	}
	s.Expect(patch(change)).To(Succeed())
	return s.undo(func() {
		s.Helper()
		s.Expect(patch(changeBack)).To(Succeed())
	})
}

// labelNode puts a label on a Node; undo removes it.
func (s *scenario) labelNode(node, label string) (undo func()) {
	s.Helper()
	return s.patchNode(node, fmt.Sprintf(`{"metadata": {"labels": {%q: ""}}}`, label), fmt.Sprintf(`{"metadata": {"labels": {%q: null}}}`, label))
}
