package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/test/lab"
)

// patience is long enough for a loaded machine: what has not come by then does not come.
const patience = 60 * time.Second

// scenario is one test's part of the cluster: a namespace, its own or the standing one, and a pool of eight IPv4 and eight IPv6 addresses that
// only this namespace may use.
type scenario struct {
	testing.TB
	*WithT
	ctx       context.Context
	namespace string
	// pool's name is that of this scenario alone.
	pool *v1beta1.IPAddressPool
	// v4 and v6 are the first addresses of the pool.
	v4, v6 netip.Addr
	// tried counts the IPv4 addresses that exposeAwayFrom has looked at.
	tried int
}

// poolSize is the number of addresses of each family in a scenario's pool.
const poolSize = 8

// standing is the namespace of tests that run one after another. Its pods stay, so that none has to wait for its own, or measures while those of
// the one before are cleared away.
const standing = "e2e-standing"

// A scenario's number names its pool; its slot is its part of the address space, which another one may have afterwards.
var (
	scenarios atomic.Int32
	slots     = func() chan int {
		const n = 13 // of eight addresses each: 192.168.100.128 to 192.168.100.231
		c := make(chan int, n)
		for i := range n {
			c <- i
		}
		return c
	}()
)

// newScenario makes the namespace and the pool, and removes all of it when the test ends.
func newScenario(t testing.TB) *scenario {
	t.Helper()
	s := &scenario{TB: t, WithT: newWithT(t), ctx: t.Context()}
	s.own(func(name string) {
		s.namespace = name
		s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	})
	return s
}

// newStanding makes the pool, in the standing namespace.
func newStanding(t *testing.T) *scenario {
	t.Helper()
	s := inStanding(t)
	s.own(func(string) {})
	return s
}

// inStanding is without a pool. The namespace is made when it is needed first, and goes with the last test.
func inStanding(t *testing.T) *scenario {
	t.Helper()
	s := &scenario{TB: t, WithT: newWithT(t), ctx: t.Context(), namespace: standing}
	s.Eventually(func() error {
		var ns corev1.Namespace
		err := cluster.Get(s.ctx, client.ObjectKey{Name: standing}, &ns)
		switch {
		case apierrors.IsNotFound(err):
			return cluster.Create(s.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: standing}})
		case err == nil && !ns.DeletionTimestamp.IsZero():
			return errors.New("that of an earlier run has to go first")
		}
		return err
	}).Should(Succeed(), "namespace %s", standing)
	return s
}

// clearStanding removes the standing namespace, if there is one.
func clearStanding(t *testing.T) {
	err := cluster.Delete(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: standing}})
	NewWithT(t).Expect(client.IgnoreNotFound(err)).To(Succeed())
}

// own gives the scenario a slot, and a pool that goes with the test; prepare is told the pool's name before it is made.
func (s *scenario) own(prepare func(name string)) {
	s.Helper()
	slot := <-slots
	name := fmt.Sprintf("e2e-%d", scenarios.Add(1))
	s.v4 = netip.AddrFrom4([4]byte{192, 168, 100, byte(128 + poolSize*slot)})
	s.v6 = netip.MustParseAddr(fmt.Sprintf("fd00:100::1:%x", poolSize*slot))
	// Cleanups run last first: the slot is free when everything made below is gone.
	s.Cleanup(func() { slots <- slot })
	prepare(name)
	s.pool = &v1beta1.IPAddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1beta1.IPAddressPoolSpec{
			Addresses: []v1beta1.AddressRange{
				v1beta1.AddressRange(fmt.Sprintf("%s/29", s.v4)),
				v1beta1.AddressRange(fmt.Sprintf("%s/125", s.v6)),
			},
			ServiceAllocation: &v1beta1.ServiceAllocation{Namespaces: []string{s.namespace}},
		},
	}
	s.Cleanup(func() {
		NewWithT(s.TB).Eventually(func() bool {
			return apierrors.IsNotFound(cluster.Get(context.Background(), client.ObjectKeyFromObject(s.pool), &v1beta1.IPAddressPool{}))
		}).WithTimeout(patience).Should(BeTrue(), "pool %s goes when its last address is released", s.pool.Name)
	})
	s.create(s.pool)
	s.create(advertisement(s.pool.Name))
}

func newWithT(t testing.TB) *WithT {
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(patience)
	g.SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	return g
}

// in is the same scenario within a subtest.
func (s *scenario) in(t *testing.T) *scenario {
	sub := *s
	sub.TB, sub.WithT, sub.ctx = t, newWithT(t), t.Context()
	return &sub
}

// undo makes what ends a fault: it does so when it is called, or else when the test ends.
func (s *scenario) undo(end func()) func() {
	var once sync.Once // not sync.OnceFunc, which takes a failed assertion in end for a panic
	f := func() { once.Do(end) }
	s.Cleanup(f)
	return f
}

// advertisement of one pool on layer 2, named after it.
func advertisement(pool string) *v1beta1.L2Advertisement {
	return &v1beta1.L2Advertisement{
		ObjectMeta: metav1.ObjectMeta{Name: pool},
		Spec:       v1beta1.L2AdvertisementSpec{AdvertisementSelection: v1beta1.AdvertisementSelection{IPAddressPools: []string{pool}}},
	}
}

// create makes an object, and deletes it when the test ends; a Service is gone, and its address released, before its pool goes.
func (s *scenario) create(obj client.Object) {
	s.Helper()
	s.Expect(cluster.Create(s.ctx, obj)).To(Succeed())
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err := cluster.Delete(ctx, obj, client.PropagationPolicy(metav1.DeletePropagationBackground))
		if err != nil && !apierrors.IsNotFound(err) {
			s.Errorf("clean up %T %s: %v", obj, obj.GetName(), err)
		}
	})
}

// web starts pods of the walkthrough's web server with label app=NAME, on the given node or spread over all, and waits until they are ready.
// Those of the standing namespace may be there, and stay.
func (s *scenario) web(name string, replicas int32, node string) {
	s.Helper()
	rs := s.webSet(name, replicas, node)
	if s.namespace == standing {
		err := cluster.Create(s.ctx, rs)
		if !apierrors.IsAlreadyExists(err) {
			s.Expect(err).NotTo(HaveOccurred())
		}
	} else {
		s.create(rs)
	}
	s.ready(rs)
}

// host of the lab.
func (s *scenario) host(name string) *lab.Host {
	s.Helper()
	h, err := theLab.Host(name)
	s.Expect(err).NotTo(HaveOccurred())
	return h
}

func (s *scenario) webSet(name string, replicas int32, node string) *appsv1.ReplicaSet {
	labels := map[string]string{"app": name}
	grace := int64(5)
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{
					NodeName:                      node,
					TerminationGracePeriodSeconds: &grace,
					TopologySpreadConstraints: []corev1.TopologySpreadConstraint{{
						MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.DoNotSchedule,
						LabelSelector: &metav1.LabelSelector{MatchLabels: labels},
					}},
					Containers: []corev1.Container{{
						Name: "web", Image: lab.WebImage, ImagePullPolicy: corev1.PullIfNotPresent,
						Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
						ReadinessProbe: &corev1.Probe{
							ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8080)}},
							PeriodSeconds: 1,
						},
					}},
				},
			},
		},
	}
}

func (s *scenario) ready(rs *appsv1.ReplicaSet) {
	s.Helper()
	s.Eventually(func(g Gomega) {
		g.Expect(cluster.Get(s.ctx, client.ObjectKeyFromObject(rs), rs)).To(Succeed())
		g.Expect(rs.Status.ReadyReplicas).To(Equal(*rs.Spec.Replicas), "ready pods of %s", rs.Name)
	}).Should(Succeed())
}

// service is a Service of type LoadBalancer for the pods of app, changed by each edit.
func (s *scenario) service(name, app string, edits ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec: corev1.ServiceSpec{
			Type:     corev1.ServiceTypeLoadBalancer,
			Selector: map[string]string{"app": app},
			Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}
	for _, edit := range edits {
		edit(svc)
	}
	return svc
}

func dualStack(svc *corev1.Service) {
	policy := corev1.IPFamilyPolicyRequireDualStack
	svc.Spec.IPFamilyPolicy = &policy
}

func ipv6Only(svc *corev1.Service) {
	svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol}
}

func localTraffic(svc *corev1.Service) {
	svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

// expose creates the Service and waits until it has its addresses, they are announced, and, for TCP, an answer came from each.
func (s *scenario) expose(name, app string, edits ...func(*corev1.Service)) *corev1.Service {
	s.Helper()
	svc := s.service(name, app, edits...)
	s.create(svc)
	s.announced(svc)
	if svc.Spec.Ports[0].Protocol == corev1.ProtocolTCP {
		for _, addr := range addresses(svc) {
			// kube-proxy learns of a new Service on its own time, up to a second after the address is announced.
			s.Eventually(func() (string, error) { return answeringPod(s.ctx, addr) }).ShouldNot(BeEmpty(), "an answer from %s of Service %s", addr, name)
		}
	}
	return svc
}

// announced waits until the Service has its addresses and they are announced, and leaves its newest state in svc.
func (s *scenario) announced(svc *corev1.Service) {
	s.Helper()
	s.Eventually(func(g Gomega) {
		s.get(g, svc)
		g.Expect(svc.Status.LoadBalancer.Ingress).NotTo(BeEmpty(), "addresses; AddressAssigned says: %s", message(svc, v1beta1.ConditionAddressAssigned))
		g.Expect(status(svc, v1beta1.ConditionAnnounced)).To(Equal(metav1.ConditionTrue), "Announced says: %s", message(svc, v1beta1.ConditionAnnounced))
	}).Should(Succeed())
}

func (s *scenario) get(g Gomega, obj client.Object) {
	s.Helper()
	g.Expect(cluster.Get(s.ctx, client.ObjectKeyFromObject(obj), obj)).To(Succeed())
}

// update applies an edit to the newest state of an object.
func update[T client.Object](s *scenario, obj T, edit func(T)) {
	s.Helper()
	s.Eventually(func(g Gomega) {
		s.get(g, obj)
		edit(obj)
		g.Expect(cluster.Update(s.ctx, obj)).To(Succeed())
	}).Should(Succeed())
}

// remove deletes an object and waits until it is gone.
func (s *scenario) remove(obj client.Object) {
	s.Helper()
	s.Expect(cluster.Delete(s.ctx, obj, client.PropagationPolicy(metav1.DeletePropagationBackground))).To(Succeed())
	s.Eventually(func() bool {
		return apierrors.IsNotFound(cluster.Get(s.ctx, client.ObjectKeyFromObject(obj), obj))
	}).Should(BeTrue(), "%T %s is gone", obj, obj.GetName())
}

// addresses of the Service, as its status has them.
func addresses(svc *corev1.Service) []netip.Addr {
	var addrs []netip.Addr
	for _, in := range svc.Status.LoadBalancer.Ingress {
		addrs = append(addrs, netip.MustParseAddr(in.IP))
	}
	return addrs
}

func status(svc *corev1.Service, conditionType string) metav1.ConditionStatus {
	if c := meta.FindStatusCondition(svc.Status.Conditions, conditionType); c != nil {
		return c.Status
	}
	return ""
}

func reason(svc *corev1.Service, conditionType string) string {
	if c := meta.FindStatusCondition(svc.Status.Conditions, conditionType); c != nil {
		return c.Reason
	}
	return ""
}

func message(svc *corev1.Service, conditionType string) string {
	if c := meta.FindStatusCondition(svc.Status.Conditions, conditionType); c != nil {
		return c.Reason + ": " + c.Message
	}
	return "nothing"
}

// announcers are the nodes that the Service's condition names.
func announcers(svc *corev1.Service) []string {
	var nodes []string
	said := message(svc, v1beta1.ConditionAnnounced)
	for _, node := range theLab.Nodes() {
		if strings.Contains(said, node.Name) {
			nodes = append(nodes, node.Name)
		}
	}
	return nodes
}

// reportedOwners are the nodes whose Speaker object says that they answer for the address.
func reportedOwners(ctx context.Context, addr netip.Addr) ([]string, error) {
	since, err := ownedSince(ctx, addr)
	return slices.Sorted(maps.Keys(since)), err
}

// ownedSince is, for each node whose Speaker object says that it answers for the address, since when.
func ownedSince(ctx context.Context, addr netip.Addr) (map[string]time.Time, error) {
	var speakers v1beta1.SpeakerList
	if err := cluster.List(ctx, &speakers); err != nil {
		return nil, fmt.Errorf("list speakers: %w", err)
	}
	since := map[string]time.Time{}
	for i := range speakers.Items {
		for _, a := range speakers.Items[i].Status.Layer2 {
			if a.IP == addr.String() {
				since[speakers.Items[i].Name] = a.Since.Time
			}
		}
	}
	return since, nil
}

// owner waits until exactly one node reports to answer for the address.
func (s *scenario) owner(addr netip.Addr) string {
	s.Helper()
	var nodes []string
	s.Eventually(func(g Gomega) {
		var err error
		nodes, err = reportedOwners(s.ctx, addr)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(nodes).To(HaveLen(1), "nodes that report to answer for %s", addr)
	}).Should(Succeed())
	return nodes[0]
}

// endpointSlice is made by hand for a Service without selector.
func (s *scenario) endpointSlice(service string, addr netip.Addr, port int32) *discoveryv1.EndpointSlice {
	family := discoveryv1.AddressTypeIPv4
	if addr.Is6() {
		family = discoveryv1.AddressTypeIPv6
	}
	ready := true
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: service + "-" + strings.ToLower(string(family)),
			Labels: map[string]string{discoveryv1.LabelServiceName: service},
		},
		AddressType: family,
		Ports:       []discoveryv1.EndpointPort{{Port: &port}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{addr.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	}
}
