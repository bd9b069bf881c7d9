package e2e

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/test/e2e/observe"
	"fairlead.io/fairlead/test/lab"
)

const metallbSystem = "metallb-system"

// testMigrateMetalLB: kubectl fairlead migrate metallb takes a live cluster from MetalLB to Fairlead and back, while clients connect: no Service's
// address changes, and MetalLB's objects are afterwards what they were. MetalLB's own programs are not there: their pods do nothing, and while they run
// on a node, its kernel answers for the addresses. Fairlead is stopped for it, and started again.
func testMigrateMetalLB(t *testing.T) {
	s := inStanding(t)
	m := s.metallb()
	specs := m.specs()
	before := m.held()

	plan := m.migrate()
	s.Expect(plan).To(And(ContainSubstring("6  stop MetalLB's speakers: from here on nobody announces"), ContainSubstring("nothing was changed. --apply does it.")))
	s.Expect(m.specs()).To(Equal(specs))

	addr := netip.MustParseAddr("192.168.100.241")
	load, asker := s.load(addr, failoverTimeout), s.ask(addr)
	m.told(m.migrate("--apply", "--prepare"))
	s.Expect(m.held()).To(Equal(before))
	s.Expect(reportedOwners(s.ctx, addr)).To(BeEmpty(), "Fairlead announces before MetalLB is stopped")
	out := m.migrate("--apply")
	m.told(out)
	s.Expect(out).To(ContainSubstring("The way back: kubectl fairlead migrate metallb --back --apply"))
	s.Expect(m.held()).To(Equal(before))
	s.Eventually(func(g Gomega) {
		owners := observe.Owners(asker.spans(addr))
		g.Expect(owners).NotTo(BeEmpty())
		g.Expect(owners[0]).To(Equal("node1"), "who answers for %s first", addr)
		// Maybe not the first of Fairlead's: one that has started late settles before addresses come to it.
		g.Expect(reportedOwners(s.ctx, addr)).To(Equal(owners[len(owners)-1:]), "who answers for %s in the end", addr)
	}).Should(Succeed())
	m.measured("there", load.stop(), asker, addr)
	m.reached()
	o := &outside{scenario: s, ext: s.host("ext")}
	var err error
	o.tor, err = theLab.Router("tor")
	s.Expect(err).NotTo(HaveOccurred())
	o.routed(addr, "node1", "node2", "node3")
	s.Expect(m.migrate("--apply")).To(HavePrefix("Nothing to do: the move was finished at "))
	m.edit() // nobody answers for MetalLB's webhook

	load, asker = s.load(addr, failoverTimeout), s.ask(addr)
	out = m.migrate("--back", "--apply", "--remove-imported")
	m.told(out)
	s.Expect(m.held()).To(Equal(before))
	s.Eventually(func() ([]string, error) { return claims(addr, 500*time.Millisecond) }).Should(Equal([]string{mac(s, "node1")}), "who answers for %s", addr)
	m.measured("back", load.stop(), asker, addr)
	s.Expect(m.specs()).To(Equal(specs))
	m.reached()
	s.Expect(m.migrate("--back", "--apply")).To(HavePrefix("Nothing to do: MetalLB is not stopped"))
}

// metallb is a MetalLB that serves the cluster.
type metallb struct {
	*scenario
	program  string // kubectl-fairlead
	objects  []*unstructured.Unstructured
	services []*corev1.Service
	// stopped is when node1's kernel, for MetalLB, was last told to answer no more, in nanoseconds since 1970.
	stopped atomic.Int64
}

// metallb takes Fairlead's place.
func (s *scenario) metallb() *metallb {
	s.Helper()
	m := &metallb{scenario: s, program: s.plugin()}

	m.hold()
	s.web("web", 3, "")
	m.install("crds.yaml")
	m.install("metallb.yaml")
	for _, svc := range []*corev1.Service{
		s.service("plain", "web"),
		s.service("asks", "web", annotated("metallb.universe.tf/loadBalancerIPs", "192.168.100.241")),
		s.service("named", "web", annotated("metallb.io/address-pool", "reserved")),
		s.service("dual", "web", dualStack),
		s.service("shared-a", "web", annotated("metallb.universe.tf/allow-shared-ip", "key")),
		s.service("shared-b", "web", annotated("metallb.io/allow-shared-ip", "key"), func(svc *corev1.Service) { svc.Spec.Ports[0].Port = 81 }),
	} {
		s.create(svc)
		m.services = append(m.services, svc)
	}
	for i, addrs := range [][]string{{"192.168.100.240"}, {"192.168.100.241"}, {"192.168.100.248"}, {"192.168.100.243", "fd00:100::f3"}, {"192.168.100.244"}, {"192.168.100.244"}} {
		mode := corev1.LoadBalancerIPModeVIP
		for _, a := range addrs {
			m.services[i].Status.LoadBalancer.Ingress = append(m.services[i].Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a, IPMode: &mode})
		}
		s.Expect(cluster.Status().Update(s.ctx, m.services[i])).To(Succeed())
	}
	m.answer()
	m.reached()
	return m
}

// hold Fairlead by applying config/held, as the guide says, and start it again in the end.
func (m *metallb) hold() {
	m.Helper()
	m.Cleanup(func() {
		ended := *m.scenario
		ended.ctx = context.Background()
		ended.run(2, func(selector map[string]string) { delete(selector, "fairlead.io/stopped") })
		for _, node := range theLab.Nodes() {
			ended.Eventually(func(g Gomega) {
				var speaker v1beta1.Speaker
				g.Expect(cluster.Get(ended.ctx, client.ObjectKey{Name: node.Name}, &speaker)).To(Succeed())
				g.Expect(speaker.Status.Conditions).NotTo(BeEmpty())
			}).Should(Succeed())
		}
	})
	root, err := filepath.Abs("../..")
	m.Expect(err).NotTo(HaveOccurred())
	apply := exec.CommandContext(m.ctx, filepath.Join(root, "bin", "tools", "kubectl"), "--kubeconfig", theLab.Kubeconfig(), "apply", "--server-side", "-k", "held")
	output, err := apply.CombinedOutput()
	m.Expect(err).NotTo(HaveOccurred(), "%s", output)
	m.runs(0)
}

// run so many of Fairlead's controllers, and its speakers on the nodes that the selector is edited to, and wait until it is so.
func (s *scenario) run(replicas int32, edit func(selector map[string]string)) {
	s.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: lab.ControllerDeployment}}
	ds := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: lab.SpeakerDaemonSet}}
	update(s, d, func(d *appsv1.Deployment) {
		d.Spec.Replicas = &replicas
		delete(d.Annotations, "fairlead.io/stopped-replicas")
	})
	update(s, ds, func(ds *appsv1.DaemonSet) { edit(ds.Spec.Template.Spec.NodeSelector) })
	s.runs(replicas)
}

// runs waits until there are so many of Fairlead's controllers, and its speakers where they are to be.
func (s *scenario) runs(replicas int32) {
	s.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: lab.ControllerDeployment}}
	ds := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: lab.SpeakerDaemonSet}}
	s.Eventually(func(g Gomega) {
		s.get(g, d)
		s.get(g, ds)
		g.Expect([]int64{d.Status.ObservedGeneration, ds.Status.ObservedGeneration}).To(Equal([]int64{d.Generation, ds.Generation}))
		g.Expect(d.Status.AvailableReplicas).To(Equal(replicas), "controllers")
		g.Expect(ds.Status.NumberAvailable).To(Equal(ds.Status.DesiredNumberScheduled), "speakers")
		if replicas == 0 {
			var pods corev1.PodList
			g.Expect(cluster.List(s.ctx, &pods, client.InNamespace(system))).To(Succeed())
			g.Expect(pods.Items).To(BeEmpty())
		}
	}).WithTimeout(2 * patience).Should(Succeed())
}

// install the objects of a file, which go in the end, in reverse order.
func (m *metallb) install(name string) {
	m.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "metallb", name))
	m.Expect(err).NotTo(HaveOccurred())
	for _, doc := range strings.Split(string(raw), "---\n") {
		o := &unstructured.Unstructured{}
		m.Expect(yaml.Unmarshal([]byte(doc), &o.Object)).To(Succeed())
		if len(o.Object) == 0 {
			continue
		}
		m.Eventually(func() error { // the kind may not be served yet
			return cluster.Create(m.ctx, o)
		}).Should(Succeed(), "%s %s", o.GetKind(), o.GetName())
		m.Cleanup(func() {
			ctx := context.Background()
			m.Expect(client.IgnoreNotFound(cluster.Delete(ctx, o, client.PropagationPolicy(metav1.DeletePropagationBackground)))).To(Succeed())
			NewWithT(m).Eventually(func() bool {
				return apierrors.IsNotFound(cluster.Get(ctx, client.ObjectKeyFromObject(o), o.DeepCopy()))
			}).WithTimeout(patience).Should(BeTrue(), "%s %s goes", o.GetKind(), o.GetName())
		})
		m.objects = append(m.objects, o)
	}
}

// answer for the addresses on node1 for as long as MetalLB's speaker runs there.
func (m *metallb) answer() {
	m.Helper()
	node := m.host("node1")
	addrs := []string{"192.168.100.240/32", "192.168.100.241/32", "192.168.100.248/32", "192.168.100.243/32", "fd00:100::f3/128", "192.168.100.244/32"}
	set := func(verb string) error {
		for _, a := range addrs {
			args := []string{"ip", "address", verb, a, "dev", node.Interface()}
			if verb == "replace" && strings.Contains(a, ":") {
				args = append(args, "nodad")
			}
			if _, err := node.Exec(context.Background(), args...); err != nil {
				return fmt.Errorf("%s %s on %s: %w", verb, a, node.Name, err)
			}
		}
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		answers := false
		for {
			var pods corev1.PodList
			err := cluster.List(ctx, &pods, client.InNamespace(metallbSystem), client.MatchingLabels{"component": "speaker"})
			runs := false
			for i := range pods.Items {
				p := &pods.Items[i]
				runs = runs || p.Spec.NodeName == node.Name && p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp.IsZero()
			}
			switch {
			case ctx.Err() != nil:
				if err = nil; answers {
					err = set("del")
				}
				done <- err
				return
			case err == nil && runs && !answers:
				err, answers = set("replace"), true
			case err == nil && !runs && answers:
				m.stopped.Store(time.Now().UnixNano())
				err, answers = set("del"), false
			}
			if err != nil {
				m.Errorf("stand in for MetalLB: %v", err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	m.Cleanup(func() {
		cancel()
		NewWithT(m).Expect(<-done).To(Succeed())
	})
}

// reached: a pod answers at each address on port 80.
func (m *metallb) reached() {
	m.Helper()
	for _, a := range []string{"192.168.100.240", "192.168.100.241", "192.168.100.248", "192.168.100.243", "fd00:100::f3", "192.168.100.244"} {
		m.Eventually(func() (string, error) { return answeringPod(m.ctx, netip.MustParseAddr(a)) }).ShouldNot(BeEmpty(), "an answer from %s", a)
	}
}

// migrate runs the command, which must succeed.
func (m *metallb) migrate(args ...string) string {
	m.Helper()
	cmd := exec.CommandContext(m.ctx, m.program, append([]string{"migrate", "metallb", "--timeout=2m", "--kubeconfig", theLab.Kubeconfig()}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	m.Expect(err).NotTo(HaveOccurred(), "%s%s", out, &stderr)
	m.Expect(stderr.String()).To(BeEmpty())
	return string(out)
}

func (m *metallb) told(out string) { m.Logf("\n%s", out) }

// measured tells what clients saw of a move.
func (m *metallb) measured(what string, c observe.Connections, a *asker, addr netip.Addr) {
	m.Helper()
	a.stop()
	spans := a.spans(addr)
	m.Logf("%s: nobody answered for %s, more than one for %s (%s); %s", what, observe.Silent(spans).Round(time.Millisecond), observe.Doubled(spans).Round(time.Millisecond), observe.Tell(spans, spans[0].From), c)
	if what == "there" { // on the way back Fairlead's speakers hand over to each other until the last one stops
		for _, span := range spans {
			if span.Who != "node1" {
				m.Expect(span.From).To(BeTemporally(">", time.Unix(0, m.stopped.Load())), "%s answered before MetalLB had stopped", span.Who)
			}
		}
		m.Expect(observe.Doubled(spans)).To(BeNumerically("<=", aMoment), "for how long two answered: speakers that start hand over to each other")
	}
}

// specs of MetalLB's objects.
func (m *metallb) specs() map[string]string {
	m.Helper()
	out := map[string]string{}
	for _, o := range m.objects {
		now := o.DeepCopy()
		m.get(m.WithT, now)
		raw, err := yaml.Marshal(map[string]any{"spec": now.Object["spec"], "webhooks": now.Object["webhooks"], "labels": now.GetLabels(), "annotations": marks(now)})
		m.Expect(err).NotTo(HaveOccurred())
		out[o.GetKind()+" "+o.GetName()] = string(raw)
	}
	return out
}

// marks are an object's annotations, without those in which Kubernetes counts changes.
func marks(o *unstructured.Unstructured) map[string]string {
	marks := maps.Clone(o.GetAnnotations())
	delete(marks, appsv1.DeprecatedTemplateGeneration)
	delete(marks, "deployment.kubernetes.io/revision")
	return marks
}

// held is what the Services' statuses show.
func (m *metallb) held() map[string][]corev1.LoadBalancerIngress {
	m.Helper()
	out := map[string][]corev1.LoadBalancerIngress{}
	for _, svc := range m.services {
		m.get(m.WithT, svc)
		out[svc.Name] = svc.Status.LoadBalancer.Ingress
	}
	return out
}

// edit one of MetalLB's objects, and undo it.
func (m *metallb) edit() {
	m.Helper()
	for _, o := range m.objects {
		if o.GetKind() == "IPAddressPool" {
			for _, patch := range []string{`{"metadata":{"labels":{"edited":"yes"}}}`, `{"metadata":{"labels":null}}`} {
				m.Expect(cluster.Patch(m.ctx, o.DeepCopy(), client.RawPatch("application/merge-patch+json", []byte(patch)))).To(Succeed())
			}
		}
	}
}
