package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
)

// allocationPatience is how long a step waits: the controller answers in milliseconds, and one that starts anew has the lease within seconds.
const allocationPatience = 20 * time.Second

// stage is what the steps of a case act on: the pools and Services that they have made, and what they last said of each Service.
type stage struct {
	*scenario
	pools    map[string]*v1beta1.IPAddressPool
	services map[string]*corev1.Service
	said     map[string]func(Gomega, *corev1.Service)
}

// step of a case. Each waits until what it says is so; none waits for a time to pass.
type step func(*stage)

// play the steps of a case, look once more if all that they said holds and the pools count right, and clear the stage.
func play(t *testing.T, steps []step) {
	s := &stage{
		scenario: &scenario{TB: t, WithT: NewWithT(t), ctx: t.Context(), namespace: shop},
		pools:    map[string]*v1beta1.IPAddressPool{}, services: map[string]*corev1.Service{},
		said: map[string]func(Gomega, *corev1.Service){},
	}
	s.SetDefaultEventuallyTimeout(allocationPatience)
	s.SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	s.Cleanup(s.clear)
	done := 0
	s.Cleanup(func() {
		if s.Failed() {
			s.Logf("%d of %d steps were done", done, len(steps))
		}
	})
	for _, step := range steps {
		step(s)
		done++
	}
	s.Eventually(s.poolsCount).Should(Succeed())
	for name := range s.services {
		s.Expect(s.said).To(HaveKey(name), "the case must say what becomes of Service %s", name)
		s.holds(s, name)
	}
}

// clear has the controller let go of every Service, which a change of type shows, and deletes all. The pools go when they may.
func (s *stage) clear() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s.ctx = ctx
	toClusterIP := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"type":"ClusterIP"}}`))
	for _, svc := range s.services {
		s.Expect(cluster.Patch(ctx, svc, toClusterIP)).To(Succeed())
	}
	for name := range s.services {
		s.Eventually(func(g Gomega) { freed(g, s.current(g, name)) }).Should(Succeed())
	}
	for _, svc := range s.services {
		s.Expect(cluster.Delete(ctx, svc)).To(Succeed())
	}
	for _, p := range s.pools {
		s.Expect(client.IgnoreNotFound(cluster.Delete(ctx, p))).To(Succeed())
	}
}

// current state of a Service of the case.
func (s *stage) current(g Gomega, name string) *corev1.Service {
	g.Expect(s.services).To(HaveKey(name), "Services of the case")
	s.get(g, s.services[name])
	return s.services[name]
}

// holds checks what was last said of a Service.
func (s *stage) holds(g Gomega, name string) { s.said[name](g, s.current(g, name)) }

// becomes is a step that waits until a check of a Service holds. It must hold at the end of the case too, unless another is said by then.
func becomes(name string, check func(Gomega, *corev1.Service)) step {
	return func(s *stage) {
		s.said[name] = check
		s.Eventually(func(g Gomega) { s.holds(g, name) }).Should(Succeed(), "Service %s", name)
	}
}

// assigned checks a Service's addresses, in their order, and its condition AddressAssigned.
func assigned(g Gomega, svc *corev1.Service, addrs []string, status metav1.ConditionStatus, reason string, sentences ...string) {
	said := message(svc, v1beta1.ConditionAddressAssigned)
	var have []string
	for _, a := range addresses(svc) {
		have = append(have, a.String())
	}
	g.Expect(strings.Join(have, " ")).To(Equal(strings.Join(addrs, " ")), "addresses of %s; AddressAssigned says %s", svc.Name, said)
	c := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAddressAssigned)
	g.Expect(c).To(HaveValue(And(HaveField("Status", status), HaveField("Reason", reason), HaveField("Message", Not(BeEmpty())))), "AddressAssigned of %s", svc.Name)
	for _, sentence := range sentences {
		g.Expect(said).To(ContainSubstring(sentence), "AddressAssigned of %s", svc.Name)
	}
}

// freed checks that nothing of ours is on a Service.
func freed(g Gomega, svc *corev1.Service) {
	g.Expect(addresses(svc)).To(BeEmpty(), "addresses of %s", svc.Name)
	g.Expect(svc.Status.Conditions).To(BeEmpty(), "conditions of %s", svc.Name)
	g.Expect(svc.Annotations).NotTo(HaveKey(v1beta1.AnnotationAllocatedFromPool), "annotations of %s", svc.Name)
}

// has: the Service gets exactly these addresses, and they are all that it asks for.
func has(name string, addrs ...string) step {
	return becomes(name, func(g Gomega, svc *corev1.Service) {
		assigned(g, svc, addrs, metav1.ConditionTrue, v1beta1.ReasonAssigned)
	})
}

// hasPartly: PreferDualStack, and the Service gets one address; the sentence says why not the other.
func hasPartly(name, sentence, addr string) step {
	return becomes(name, func(g Gomega, svc *corev1.Service) {
		assigned(g, svc, []string{addr}, metav1.ConditionTrue, v1beta1.ReasonAssignedPartially, sentence)
	})
}

// waits: the Service has no address, and its condition says why, with the reason and the sentences.
func waits(name, reason string, sentences ...string) step {
	return becomes(name, func(g Gomega, svc *corev1.Service) {
		assigned(g, svc, nil, metav1.ConditionFalse, reason, sentences...)
	})
}

// keeps: the Service cannot have what it asks for, for the reason and with the sentence, and has still the address that it had.
func keeps(name, addr, reason, sentence string) step {
	return becomes(name, func(g Gomega, svc *corev1.Service) {
		assigned(g, svc, []string{addr}, metav1.ConditionFalse, reason, sentence, "the Service keeps "+addr+" until then")
	})
}

// hasNothing: the Service is not ours any more, and nothing of ours is left on it.
func hasNothing(name string) step { return becomes(name, freed) }

// told: an event on the Service has the reason and the sentence.
func told(name, reason, sentence string) step {
	return func(s *stage) {
		s.Eventually(func(g Gomega) {
			var events eventsv1.EventList
			g.Expect(cluster.List(s.ctx, &events, client.InNamespace(s.services[name].Namespace))).To(Succeed())
			g.Expect(events.Items).To(ContainElement(And(
				HaveField("Regarding.UID", s.services[name].UID), HaveField("Reason", reason), HaveField("Note", ContainSubstring(sentence)))))
		}).Should(Succeed(), "events of Service %s", name)
	}
}

// service makes a Service of type LoadBalancer for port 80, of one family: a name, or a namespace and a name.
func service(name string, edits ...func(*corev1.Service)) step {
	return func(s *stage) {
		svc := s.service(name, "web", edits...)
		if namespace, name, ok := strings.Cut(name, "/"); ok {
			svc.Namespace, svc.Name = namespace, name
		}
		s.Expect(cluster.Create(s.ctx, svc)).To(Succeed())
		s.services[name] = svc
	}
}

// edit a Service.
func edit(name string, edits ...func(*corev1.Service)) step {
	return func(s *stage) {
		update(s.scenario, s.services[name], func(svc *corev1.Service) {
			for _, edit := range edits {
				edit(svc)
			}
		})
	}
}

// remove deletes Services.
func remove(names ...string) step {
	return func(s *stage) {
		for _, name := range names {
			s.remove(s.services[name])
			delete(s.services, name)
			delete(s.said, name)
		}
	}
}

// pool makes a pool of addresses, separated by spaces, and waits until the controller knows it. An earlier case's pool of the name may
// have to go first.
func pool(name, addrs string, edits ...poolEdit) step {
	return func(s *stage) {
		p := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: name}}
		for _, edit := range append([]poolEdit{spanning(addrs)}, edits...) {
			edit(&p.Spec)
		}
		s.Eventually(func() error {
			err := cluster.Create(s.ctx, p)
			if err != nil && !apierrors.IsAlreadyExists(err) {
				return StopTrying("cannot make the pool").Wrap(err)
			}
			return err
		}).Should(Succeed(), "pool %s", name)
		s.pools[name] = p
		s.Eventually(func(g Gomega) {
			s.get(g, p)
			g.Expect(p.Status.ObservedGeneration).To(Equal(p.Generation))
		}).Should(Succeed(), "the controller knows pool %s", name)
	}
}

// editPool changes a pool's spec. The controller knows when what is said next needs the change, or after counts.
func editPool(name string, edits ...poolEdit) step {
	return func(s *stage) {
		update(s.scenario, s.pools[name], func(p *v1beta1.IPAddressPool) {
			for _, edit := range edits {
				edit(&p.Spec)
			}
		})
	}
}

// removePool asks for a pool to be deleted.
func removePool(name string) step {
	return func(s *stage) { s.Expect(cluster.Delete(s.ctx, s.pools[name])).To(Succeed()) }
}

// gone: the pool is no more.
func gone(name string) step {
	return func(s *stage) {
		s.Eventually(func() bool {
			return apierrors.IsNotFound(cluster.Get(s.ctx, client.ObjectKeyFromObject(s.pools[name]), s.pools[name]))
		}).Should(BeTrue(), "pool %s goes", name)
		delete(s.pools, name)
	}
}

// ready: the pool's condition Ready gives the reason and the sentence.
func ready(name, reason, sentence string) step {
	return func(s *stage) {
		s.Eventually(func(g Gomega) {
			s.get(g, s.pools[name])
			c := meta.FindStatusCondition(s.pools[name].Status.Conditions, v1beta1.ConditionReady)
			g.Expect(c).To(HaveValue(And(HaveField("Reason", reason), HaveField("Message", ContainSubstring(sentence)))))
		}).Should(Succeed(), "pool %s", name)
	}
}

// counts: the pool's status has exactly these numbers, and they are right.
func counts(name string, ipv4, ipv6 v1beta1.AddressCounts) step {
	return func(s *stage) {
		s.Eventually(func(g Gomega) {
			s.poolsCount(g)
			g.Expect(s.pools[name].Status.IPv4).To(Equal(ipv4), "IPv4 addresses of pool %s", name)
			g.Expect(s.pools[name].Status.IPv6).To(Equal(ipv6), "IPv6 addresses of pool %s", name)
		}).Should(Succeed())
	}
}

// label a namespace, until the case ends.
func label(namespace, key, value string) step {
	set := func(s *stage, value any) {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{key: value}}})
		s.Expect(err).NotTo(HaveOccurred())
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		s.Expect(cluster.Patch(context.WithoutCancel(s.ctx), ns, client.RawPatch(types.MergePatchType, patch))).To(Succeed())
	}
	return func(s *stage) {
		s.Cleanup(func() { set(s, nil) })
		set(s, value)
	}
}

// restart both controllers. What is said next of a new Service shows that the one that leads now does its work.
func restart() step { return func(s *stage) { s.restartControllers() } }

// times repeats steps.
func times(n int, steps ...step) step {
	return func(s *stage) {
		for range n {
			for _, step := range steps {
				step(s)
			}
		}
	}
}
