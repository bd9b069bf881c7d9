package controllers_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
)

// What the API server does not check disables that pool alone, and its status names the entry.
func TestUnreadablePool(t *testing.T) {
	ns := namespace(t)
	bad := newPool("a-bad", "192.168.100.241")
	bad.Spec.ServiceAllocation = &v1beta1.ServiceAllocation{NamespaceSelectors: []metav1.LabelSelector{
		{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "Sometimes"}}},
	}}
	create(t, bad)
	create(t, newPool("web", "192.168.100.240", "fd00:100::1"))
	run(t)
	p := poolReady(t, "a-bad", v1beta1.ReasonInvalidSelector)
	c := meta.FindStatusCondition(p.Status.Conditions, v1beta1.ConditionReady)
	if want := `spec.serviceAllocation.namespaceSelectors[0]: "Sometimes" is not a valid label selector operator`; !strings.Contains(c.Message, want) || c.Status != "False" {
		t.Errorf("condition %+v, want %q", c, want)
	}
	poolReady(t, "web", v1beta1.ReasonAccepted)
	create(t, newService(ns, "a"))
	hasAddress(t, ns, "a", "192.168.100.240")
}

func TestOverlap(t *testing.T) {
	ns := namespace(t)
	create(t, newPool("a-older", "192.168.100.240-192.168.100.243"))
	run(t)
	poolReady(t, "a-older", v1beta1.ReasonAccepted)
	create(t, newPool("b-newer", "192.168.100.242-192.168.100.245"))
	p := poolReady(t, "b-newer", v1beta1.ReasonConflict)
	c := meta.FindStatusCondition(p.Status.Conditions, v1beta1.ConditionReady)
	if want := "192.168.100.242-192.168.100.243 belongs to older pool a-older"; !strings.Contains(c.Message, want) || c.Status != "True" {
		t.Errorf("condition %+v, want %q", c, want)
	}
	if p.Status.IPv4.Available != 2 {
		t.Errorf("the newer pool has %d addresses, want 2", p.Status.IPv4.Available)
	}
	create(t, newService(ns, "x", annotated(v1beta1.AnnotationAddressPool, "b-newer")))
	hasAddress(t, ns, "x", "192.168.100.244")
	create(t, newService(ns, "y", annotated(v1beta1.AnnotationLoadBalancerIPs, "192.168.100.242")))
	hasAddress(t, ns, "y", "192.168.100.242")

	// Deleting the older hands its part over, the address in use with it, so that it can go.
	if err := kube.Delete(t.Context(), getPool(t, "a-older")); err != nil {
		t.Fatal(err)
	}
	create(t, newService(ns, "z", annotated(v1beta1.AnnotationLoadBalancerIPs, "192.168.100.243"), annotated(v1beta1.AnnotationAddressPool, "b-newer")))
	hasAddress(t, ns, "z", "192.168.100.243")
	poolReady(t, "b-newer", v1beta1.ReasonAccepted)
	hasAddress(t, ns, "y", "192.168.100.242")
	eventually(t, "the older pool is gone, and y's annotation follows", func() string {
		var p v1beta1.IPAddressPool
		err := kube.Get(t.Context(), client.ObjectKey{Name: "a-older"}, &p)
		if a := get(t, ns, "y").Annotations[v1beta1.AnnotationAllocatedFromPool]; !apierrors.IsNotFound(err) || a != "b-newer" {
			return fmt.Sprint(err, p.Finalizers, a)
		}
		return ""
	})
}

// A pool in use stays until its last address is released; a shrunk pool takes nothing from anybody.
func TestPoolInUse(t *testing.T) {
	ns := namespace(t)
	create(t, newPool("web", "192.168.100.240-192.168.100.241"))
	run(t)
	create(t, newService(ns, "a"))
	create(t, newService(ns, "b", annotated(v1beta1.AnnotationLoadBalancerIPs, "192.168.100.241")))
	hasAddress(t, ns, "a", "192.168.100.240")
	hasAddress(t, ns, "b", "192.168.100.241")
	p := getPool(t, "web")
	if err := kube.Patch(t.Context(), p, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"addresses":["192.168.100.240","192.168.100.250"]}}`))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pool counts what lies outside", func() string {
		if got := getPool(t, "web").Status.IPv4; got != (v1beta1.AddressCounts{Assigned: 2, Available: 1, Outside: 1}) {
			return fmt.Sprintf("%+v", got)
		}
		return ""
	})
	if err := kube.Delete(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	poolReady(t, "web", v1beta1.ReasonDeleting)
	create(t, newService(ns, "c"))
	pending(t, ns, "c", v1beta1.ReasonNoPool, "pool web is being deleted")
	hasAddress(t, ns, "a", "192.168.100.240")
	hasAddress(t, ns, "b", "192.168.100.241")
	for _, name := range []string{"a", "b"} {
		if err := kube.Delete(t.Context(), get(t, ns, name)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the pool goes", func() string {
		err := kube.Get(t.Context(), client.ObjectKey{Name: "web"}, p)
		if !apierrors.IsNotFound(err) {
			return fmt.Sprint(err, p.Finalizers)
		}
		return ""
	})
}

// A pool that is deleted as soon as a Service has an address of it stays for that Service, and goes with it.
func TestPoolDeletedAtOnce(t *testing.T) {
	ns := namespace(t)
	run(t)
	create(t, newPool("quick", "192.168.100.240"))
	create(t, newService(ns, "a"))
	hasAddress(t, ns, "a", "192.168.100.240")
	eventually(t, "the pool is held, well before its status may be written again", func() string {
		if p := getPool(t, "quick"); len(p.Finalizers) == 0 {
			return fmt.Sprintf("%+v", p.Status)
		}
		return ""
	})
	if err := kube.Delete(t.Context(), getPool(t, "quick")); err != nil {
		t.Fatal(err)
	}
	poolReady(t, "quick", v1beta1.ReasonDeleting)
	if err := kube.Delete(t.Context(), get(t, ns, "a")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pool goes", func() string {
		if err := kube.Get(t.Context(), client.ObjectKey{Name: "quick"}, &v1beta1.IPAddressPool{}); !apierrors.IsNotFound(err) {
			return fmt.Sprint(err)
		}
		return ""
	})
}

func TestAnnounced(t *testing.T) {
	ns := namespace(t)
	create(t, newPool("web", "192.168.100.240"))
	run(t)
	create(t, newService(ns, "a"))
	hasAddress(t, ns, "a", "192.168.100.240")
	announced := func(reason, message string) {
		t.Helper()
		eventually(t, "Announced is "+reason, func() string {
			c := condition(get(t, ns, "a"), v1beta1.ConditionAnnounced)
			if c.Reason != reason || !strings.Contains(c.Message, message) {
				return fmt.Sprintf("%+v", c)
			}
			return ""
		})
	}
	announced(v1beta1.ReasonNoAdvertisement, "no accepted L2Advertisement or BGPAdvertisement selects 192.168.100.240")
	adv := &v1beta1.L2Advertisement{}
	adv.Name = "all"
	create(t, adv)
	t.Cleanup(func() {
		if err := kube.Delete(cleanup(), adv); err != nil {
			t.Error(err)
		}
	})
	announced(v1beta1.ReasonNotAnnounced, "no speaker reports")
	speaker := &v1beta1.Speaker{}
	speaker.Name = "node2"
	create(t, speaker)
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(kube.Delete(cleanup(), speaker)); err != nil {
			t.Error(err)
		}
	})
	speaker.Status.Layer2 = []v1beta1.Layer2Address{{IP: "192.168.100.240", Since: metav1.NewMicroTime(get(t, ns, "a").CreationTimestamp.Time)}}
	if err := kube.Status().Update(t.Context(), speaker); err != nil {
		t.Fatal(err)
	}
	announced(v1beta1.ReasonAnnounced, "192.168.100.240 is announced by node2 (layer 2)")
	if err := kube.Delete(t.Context(), speaker); err != nil {
		t.Fatal(err)
	}
	announced(v1beta1.ReasonNotAnnounced, "no speaker reports")
	hasAddress(t, ns, "a", "192.168.100.240")
}

func TestGossipKey(t *testing.T) {
	run(t)
	var first, second corev1.Secret
	read := func(s *corev1.Secret) func() string {
		return func() string {
			if err := kube.Get(t.Context(), client.ObjectKey{Namespace: "fairlead-system", Name: "fairlead-gossip"}, s); err != nil {
				return err.Error()
			}
			return ""
		}
	}
	eventually(t, "the key is made", read(&first))
	if len(first.Data["key"]) != 32 {
		t.Errorf("the key has %d bytes", len(first.Data["key"]))
	}
	reads := requests(t, "GET secrets")
	c := run(t)
	leads(t, c)
	eventually(t, "another controller looks for it", func() string {
		if n := requests(t, "GET secrets"); n == reads {
			return "it does not"
		}
		return ""
	})
	c.stop() // when it has done what it does about it
	eventually(t, "the key is there", read(&second))
	if first.ResourceVersion != second.ResourceVersion {
		t.Error("the key was changed")
	}
}
