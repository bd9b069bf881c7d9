package controllers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
)

// show writes addresses into a Service's status, as another implementation would.
func show(t *testing.T, ns, name string, mode *corev1.LoadBalancerIPMode, addrs ...string) {
	t.Helper()
	var ingress []corev1.LoadBalancerIngress
	for _, a := range addrs {
		ingress = append(ingress, corev1.LoadBalancerIngress{IP: a, IPMode: mode})
	}
	showIngress(t, ns, name, ingress...)
}

func showIngress(t *testing.T, ns, name string, ingress ...corev1.LoadBalancerIngress) {
	t.Helper()
	for {
		svc := get(t, ns, name)
		svc.Status.LoadBalancer.Ingress = ingress
		err := kube.Status().Update(t.Context(), svc)
		if err == nil {
			return
		}
		if !strings.Contains(err.Error(), "object has been modified") {
			t.Fatal(err)
		}
	}
}

// What MetalLB has written, in any of its versions and by any of its rules, stays through the first start, a restart and a change of leader,
// while others wait for addresses.
func TestAdoption(t *testing.T) {
	ns, other := namespace(t), namespace(t)
	create(t, newPool("web", "192.168.100.240-192.168.100.249", "fd00:100::f0-fd00:100::ff"))
	cross := newPool("cross", "192.168.100.200-192.168.100.201")
	cross.Spec.AllowCrossNamespaceSharing = true
	create(t, cross)
	off := newPool("off", "192.168.100.210")
	off.Spec.Disabled = true
	create(t, off)
	limited := newPool("limited", "192.168.100.220")
	limited.Spec.ServiceAllocation = &v1beta1.ServiceAllocation{Namespaces: []string{"elsewhere"}}
	create(t, limited)

	vip := corev1.LoadBalancerIPModeVIP
	port := func(p int32) func(*corev1.Service) {
		return func(svc *corev1.Service) { svc.Spec.Ports[0].Port = p }
	}
	dual := func(svc *corev1.Service) {
		policy := corev1.IPFamilyPolicyRequireDualStack
		svc.Spec.IPFamilyPolicy = &policy
	}
	const newPrefix, oldPrefix = "metallb.io/", "metallb.universe.tf/"
	want := map[string]string{}
	for _, tc := range []struct {
		ns, name string
		mode     *corev1.LoadBalancerIPMode
		addrs    string
		change   []func(*corev1.Service)
	}{
		{ns, "plain", &vip, "192.168.100.243", []func(*corev1.Service){annotated(newPrefix+"ip-allocated-from-pool", "web")}},
		{ns, "before-ipmode", nil, "192.168.100.244", []func(*corev1.Service){annotated(oldPrefix+"ip-allocated-from-pool", "web")}},
		{ns, "no-annotation", nil, "192.168.100.245", nil},
		{ns, "dual", &vip, "192.168.100.246 fd00:100::f6", []func(*corev1.Service){dual, annotated(newPrefix+"ip-allocated-from-pool", "web")}},
		{ns, "by-pool", &vip, "192.168.100.247", []func(*corev1.Service){annotated(oldPrefix+"address-pool", "web")}},
		{ns, "by-address", &vip, "192.168.100.248", []func(*corev1.Service){annotated(newPrefix+"loadBalancerIPs", "192.168.100.248")}},
		{ns, "by-field", nil, "192.168.100.249", []func(*corev1.Service){func(svc *corev1.Service) { svc.Spec.LoadBalancerIP = "192.168.100.249" }}},
		{ns, "shared-1", &vip, "192.168.100.242", []func(*corev1.Service){annotated(newPrefix+"allow-shared-ip", "k"), port(80)}},
		{ns, "shared-2", &vip, "192.168.100.242", []func(*corev1.Service){annotated(newPrefix+"allow-shared-ip", "k"), port(443)}},
		{ns, "across-1", &vip, "192.168.100.200", []func(*corev1.Service){annotated(oldPrefix+"allow-shared-ip", "k2"), port(80)}},
		{other, "across-2", &vip, "192.168.100.200", []func(*corev1.Service){annotated(newPrefix+"allow-shared-ip", "k2"), port(443)}},
		{ns, "pool-disabled", &vip, "192.168.100.210", nil},
		{ns, "pool-limited", &vip, "192.168.100.220", nil},
		{ns, "pool-gone", &vip, "192.168.100.9", []func(*corev1.Service){annotated(newPrefix+"ip-allocated-from-pool", "gone")}},
		{other, "wants-what-another-has", nil, "", []func(*corev1.Service){annotated(newPrefix+"loadBalancerIPs", "192.168.100.243")}},
	} {
		create(t, newService(tc.ns, tc.name, tc.change...))
		if tc.addrs != "" {
			show(t, tc.ns, tc.name, tc.mode, strings.Fields(tc.addrs)...)
		}
		want[tc.ns+"/"+tc.name] = tc.addrs
	}
	check := func(when string) {
		t.Helper()
		for key, addrs := range want {
			ns, name, _ := strings.Cut(key, "/")
			if addrs == "" {
				pending(t, ns, name, v1beta1.ReasonAddressInUse, "192.168.100.243 belongs to Service")
				continue
			}
			eventually(t, when+": "+name+" is adopted as it is", func() string {
				svc := get(t, ns, name)
				if got := ips(svc); got != addrs {
					t.Fatalf("%s: %s had %s and has %q", when, name, addrs, got)
				}
				if c := condition(svc, v1beta1.ConditionAddressAssigned); c.Status != metav1.ConditionTrue {
					return fmt.Sprintf("%+v", c)
				}
				return ""
			})
		}
	}
	noLease(t)
	first := run(t, "--leader-elect=true")
	check("first start")
	if got := get(t, ns, "plain").Annotations[v1beta1.AnnotationAllocatedFromPool]; got != "web" {
		t.Errorf("the annotation says %q", got)
	}
	// The lowest that is left: 240 and 241.
	create(t, newService(ns, "new"))
	hasAddress(t, ns, "new", "192.168.100.201") // pool cross comes before web
	create(t, newService(ns, "new-web", annotated(v1beta1.AnnotationAddressPool, "web")))
	hasAddress(t, ns, "new-web", "192.168.100.240")

	second := run(t, "--leader-elect=true")
	standsBy(t, second)
	first.kill()
	leads(t, second)
	check("change of leader")
	second.stop()
	third := run(t, "--leader-elect=true")
	leads(t, third)
	check("restart")
	hasAddress(t, ns, "new", "192.168.100.201")
}

func ofAnotherClass(svc *corev1.Service) {
	class := "example.com/other"
	svc.Spec.LoadBalancerClass = &class
}

// An address in the status of a Service of another class is not given to anybody until it is free, and that Service is left as it is.
func TestForeignClass(t *testing.T) {
	ns := namespace(t)
	create(t, newPool("web", "192.168.100.240-192.168.100.241"))
	create(t, newService(ns, "theirs", ofAnotherClass))
	show(t, ns, "theirs", nil, "192.168.100.240")
	// The annotation was copied from a Service of ours: that makes it no such Service.
	create(t, newService(ns, "marked", ofAnotherClass, annotated(v1beta1.AnnotationAllocatedFromPool, "web")))
	show(t, ns, "marked", nil, "10.1.1.1")
	run(t)
	create(t, newService(ns, "a"))
	hasAddress(t, ns, "a", "192.168.100.241")
	create(t, newService(ns, "b", annotated(v1beta1.AnnotationLoadBalancerIPs, "192.168.100.240")))
	pending(t, ns, "b", v1beta1.ReasonAddressInUse, "it is served by another implementation")
	// It shows more while we run: what it had before is not free for a moment.
	create(t, newPool("news", "10.9.9.9", "192.168.100.243"))
	show(t, ns, "theirs", nil, "10.9.9.9", "192.168.100.240")
	eventually(t, "that is seen", func() string {
		if p := getPool(t, "news"); p.Status.IPv4.Assigned != 1 {
			return fmt.Sprintf("%+v", p.Status.IPv4)
		}
		return ""
	})
	pending(t, ns, "b", v1beta1.ReasonAddressInUse, "it is served by another implementation")
	// It moves, and then goes.
	show(t, ns, "theirs", nil, "192.168.100.242")
	hasAddress(t, ns, "b", "192.168.100.240")
	create(t, newPool("more", "192.168.100.242"))
	create(t, newService(ns, "c", annotated(v1beta1.AnnotationAddressPool, "more")))
	pending(t, ns, "c", v1beta1.ReasonPoolExhausted, "pool more has no free IPv4 address: 1 of 1 in use")
	if err := kube.Delete(t.Context(), get(t, ns, "theirs")); err != nil {
		t.Fatal(err)
	}
	hasAddress(t, ns, "c", "192.168.100.242")

	// It shows an address of ours: that stays with ours, and is not free when ours is gone.
	counted(t, "news", 0)
	show(t, ns, "marked", nil, "192.168.100.242", "192.168.100.243")
	eventually(t, "that is seen", func() string {
		if p := getPool(t, "news"); p.Status.IPv4.Assigned != 1 {
			return fmt.Sprintf("%+v", p.Status.IPv4)
		}
		return ""
	})
	hasAddress(t, ns, "c", "192.168.100.242")
	if err := kube.Delete(t.Context(), get(t, ns, "c")); err != nil {
		t.Fatal(err)
	}
	create(t, newService(ns, "d", annotated(v1beta1.AnnotationAddressPool, "more")))
	pending(t, ns, "d", v1beta1.ReasonPoolExhausted, "1 of 1 in use")
	if svc := get(t, ns, "marked"); ips(svc) != "192.168.100.242 192.168.100.243" || len(svc.Status.Conditions) > 0 || svc.Annotations[v1beta1.AnnotationAllocatedFromPool] == "" {
		t.Errorf("the Service of another class was touched: %+v %v", svc.Status, svc.Annotations)
	}
}

// Services that MetalLB let share an address go on sharing it, though we would not let them begin to.
func TestAdoptedShares(t *testing.T) {
	ns, other := namespace(t), namespace(t)
	p := newPool("web", "192.168.100.240-192.168.100.249")
	p.Spec.AllowCrossNamespaceSharing = true
	create(t, p)
	want := map[string]string{}
	for _, tc := range []struct {
		ns, name, ip string
		port         int32
		selector     map[string]string
	}{
		{ns, "two-namespaces-1", "192.168.100.245", 80, map[string]string{"app": "web"}},
		{other, "two-namespaces-2", "192.168.100.245", 443, map[string]string{"app": "web"}},
		{ns, "no-selector-1", "192.168.100.246", 80, nil},
		{ns, "no-selector-2", "192.168.100.246", 443, nil},
	} {
		create(t, newService(tc.ns, tc.name, annotated("metallb.io/allow-shared-ip", tc.ip), func(svc *corev1.Service) {
			svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
			svc.Spec.Ports[0].Port = tc.port
			svc.Spec.Selector = tc.selector
		}))
		show(t, tc.ns, tc.name, nil, tc.ip)
		want[tc.ns+"/"+tc.name] = tc.ip
	}
	for range 2 {
		c := run(t)
		leads(t, c)
		for key, ip := range want {
			ns, name, _ := strings.Cut(key, "/")
			eventually(t, name+" is adopted", func() string {
				svc := get(t, ns, name)
				if ips(svc) != ip {
					t.Fatalf("%s had %s and has %q", name, ip, ips(svc))
				}
				if c := condition(svc, v1beta1.ConditionAddressAssigned); c.Status != metav1.ConditionTrue {
					return fmt.Sprintf("%+v", c)
				}
				return ""
			})
		}
		c.stop()
	}
}

// Another program that keeps writing its own address into the status of a Service of ours is told of, and not fought at full speed.
func TestOverwritten(t *testing.T) {
	ns := namespace(t)
	create(t, newPool("web", "192.168.100.240"))
	run(t)
	create(t, newService(ns, "a"))
	hasAddress(t, ns, "a", "192.168.100.240")
	for range 2 { // a slip of the hand is put right at once
		show(t, ns, "a", nil, "10.1.2.3")
		hasAddress(t, ns, "a", "192.168.100.240")
	}
	show(t, ns, "a", nil, "10.1.2.3")
	eventually(t, "there is an event", func() string {
		var list eventsv1.EventList
		if err := admin(t).List(t.Context(), &list, client.InNamespace(ns)); err != nil {
			t.Fatal(err)
		}
		for _, e := range list.Items {
			if e.Reason == "StatusOverwritten" && strings.Contains(e.Note, "The Service has 192.168.100.240, and another program keeps writing 10.1.2.3") {
				return ""
			}
		}
		return fmt.Sprintf("%d others", len(list.Items))
	})
	hasAddress(t, ns, "a", "192.168.100.240") // a second later
	writes, started := requests(t, "PATCH services/status"), time.Now()
	for range 20 {
		show(t, ns, "a", nil, "10.1.2.3")
	}
	// After 2, 4, 8 s and so on; one more may have been under way.
	most := 2
	for wait := 2 * time.Second; time.Since(started) > 2*wait-2*time.Second; wait *= 2 {
		most++
	}
	if n := requests(t, "PATCH services/status") - writes; n > most {
		t.Errorf("20 times overwritten within %s, it was written %d times, want at most %d", time.Since(started), n, most)
	}
	// What its owner changes meanwhile counts at once, though it is written later: b cannot have the port that a has now.
	share := annotated(v1beta1.AnnotationAllowSharedIP, "k")
	update(t, ns, "a", func(svc *corev1.Service) {
		share(svc)
		svc.Spec.Ports[0].Port = 443
	})
	create(t, newService(ns, "b", share, func(svc *corev1.Service) { svc.Spec.Ports[0].Port = 444 }))
	hasAddress(t, ns, "b", "192.168.100.240") // so that is known
	create(t, newService(ns, "c", share, func(svc *corev1.Service) { svc.Spec.Ports[0].Port = 443 }))
	pending(t, ns, "c", v1beta1.ReasonPoolExhausted, "1 of 1 in use")
}

// A Service that is being deleted is given nothing any more, and keeps what it has until it is gone.
func TestBeingDeleted(t *testing.T) {
	ns := namespace(t)
	create(t, newPool("web", "192.168.100.240"))
	run(t)
	held := func(svc *corev1.Service) { svc.Finalizers = []string{"example.com/slow"} }
	create(t, newService(ns, "has", held))
	hasAddress(t, ns, "has", "192.168.100.240")
	create(t, newService(ns, "waits", held))
	pending(t, ns, "waits", v1beta1.ReasonPoolExhausted, "1 of 1 in use")
	create(t, newService(ns, "next"))
	pending(t, ns, "next", v1beta1.ReasonPoolExhausted, "1 of 1 in use")
	for _, name := range []string{"waits", "has"} {
		if err := kube.Delete(t.Context(), get(t, ns, name)); err != nil {
			t.Fatal(err)
		}
	}
	create(t, newService(ns, "last", annotated(v1beta1.AnnotationLoadBalancerIPs, "192.168.100.9")))
	pending(t, ns, "last", v1beta1.ReasonAddressNotInPool, "192.168.100.9 is in no pool") // so the deletions before it are known
	hasAddress(t, ns, "has", "192.168.100.240")
	update(t, ns, "has", func(svc *corev1.Service) { svc.Finalizers = nil })
	hasAddress(t, ns, "next", "192.168.100.240") // and not the older one, which is on its way out
	if got := ips(get(t, ns, "waits")); got != "" {
		t.Errorf("a Service that is being deleted was given %s", got)
	}
	update(t, ns, "waits", func(svc *corev1.Service) { svc.Finalizers = nil })

	// Also one that has an address and waited for another.
	policy := corev1.IPFamilyPolicyPreferDualStack
	create(t, newPool("more", "192.168.100.241"))
	create(t, newService(ns, "dual", held, func(svc *corev1.Service) { svc.Spec.IPFamilyPolicy = &policy }))
	hasAddress(t, ns, "dual", "192.168.100.241")
	if err := kube.Delete(t.Context(), get(t, ns, "dual")); err != nil {
		t.Fatal(err)
	}
	create(t, newService(ns, "six", func(svc *corev1.Service) { svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol} }))
	pending(t, ns, "six", v1beta1.ReasonNoPool, "no IPv6 addresses") // so the deletion before it is known
	create(t, newPool("six", "fd00:100::1"))
	hasAddress(t, ns, "six", "fd00:100::1")
	update(t, ns, "dual", func(svc *corev1.Service) { svc.Finalizers = nil })
}
