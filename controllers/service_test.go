package controllers_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
)

func TestAssignAndRelease(t *testing.T) {
	ns := namespace(t)
	create(t, newPool("web", "192.168.100.240-192.168.100.241"))
	run(t)
	create(t, newService(ns, "a"))
	svc := hasAddress(t, ns, "a", "192.168.100.240")
	if mode := svc.Status.LoadBalancer.Ingress[0].IPMode; mode == nil || *mode != corev1.LoadBalancerIPModeVIP {
		t.Errorf("ipMode is %v", mode)
	}
	if c := condition(svc, v1beta1.ConditionAddressAssigned); c.Status != metav1.ConditionTrue || c.Reason != v1beta1.ReasonAssigned {
		t.Errorf("condition %+v", c)
	}
	if c := condition(svc, v1beta1.ConditionAnnounced); c.Status != metav1.ConditionFalse || c.Reason != v1beta1.ReasonNoAdvertisement {
		t.Errorf("condition %+v", c)
	}
	eventually(t, "the annotation names the pool", func() string {
		if got := get(t, ns, "a").Annotations[v1beta1.AnnotationAllocatedFromPool]; got != "web" {
			return fmt.Sprintf("%q", got)
		}
		return ""
	})
	create(t, newService(ns, "b"))
	hasAddress(t, ns, "b", "192.168.100.241")
	create(t, newService(ns, "c"))
	pending(t, ns, "c", v1beta1.ReasonPoolExhausted, "pool web has no free IPv4 address: 2 of 2 in use")
	eventually(t, "the pool counts", func() string {
		p := getPool(t, "web")
		if p.Status.IPv4 != (v1beta1.AddressCounts{Assigned: 2}) || len(p.Finalizers) != 1 {
			return fmt.Sprintf("%+v %v", p.Status, p.Finalizers)
		}
		return ""
	})

	// A type change frees the address for the one that waits, and leaves nothing of ours behind.
	update(t, ns, "a", func(svc *corev1.Service) { svc.Spec.Type = corev1.ServiceTypeClusterIP })
	hasAddress(t, ns, "c", "192.168.100.240")
	eventually(t, "a is clean", func() string {
		svc := get(t, ns, "a")
		if len(svc.Status.Conditions)+len(svc.Status.LoadBalancer.Ingress) > 0 || svc.Annotations[v1beta1.AnnotationAllocatedFromPool] != "" {
			return fmt.Sprintf("%+v %v", svc.Status, svc.Annotations)
		}
		return ""
	})
	// And so does a delete.
	create(t, newService(ns, "d"))
	pending(t, ns, "d", v1beta1.ReasonPoolExhausted, "2 of 2 in use")
	if err := kube.Delete(t.Context(), get(t, ns, "b")); err != nil {
		t.Fatal(err)
	}
	hasAddress(t, ns, "d", "192.168.100.241")

	eventually(t, "there is one event for each transition", func() string {
		var list eventsv1.EventList
		if err := admin(t).List(t.Context(), &list, client.InNamespace(ns)); err != nil {
			t.Fatal(err)
		}
		n := map[string]int{}
		for _, e := range list.Items {
			if e.ReportingController == "fairlead-controller" { // the API server has something to tell at times too
				n[e.Regarding.Name+" "+e.Reason]++
			}
		}
		want := map[string]int{"a AddressAssigned": 1, "a AddressReleased": 1, "b AddressAssigned": 1, "c PoolExhausted": 1, "c AddressAssigned": 1,
			"d PoolExhausted": 1, "d AddressAssigned": 1}
		if fmt.Sprint(n) != fmt.Sprint(want) {
			return fmt.Sprintf("%v, want %v", n, want)
		}
		return ""
	})
}

func TestDualStack(t *testing.T) {
	ns := namespace(t)
	create(t, newPool("web", "192.168.100.240-192.168.100.249", "fd00:100::240-fd00:100::249"))
	run(t)
	for name, policy := range map[string]corev1.IPFamilyPolicy{"require": corev1.IPFamilyPolicyRequireDualStack, "single": corev1.IPFamilyPolicySingleStack} {
		create(t, newService(ns, name, func(svc *corev1.Service) {
			svc.Spec.IPFamilyPolicy = &policy
			if policy == corev1.IPFamilyPolicySingleStack {
				svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol}
			}
		}))
	}
	eventually(t, "both have addresses", func() string {
		r, s := strings.Fields(ips(get(t, ns, "require"))), strings.Fields(ips(get(t, ns, "single")))
		if len(r) != 2 || r[0] != "192.168.100.240" || !strings.HasPrefix(r[1], "fd00:100::24") || len(s) != 1 || !strings.HasPrefix(s[0], "fd00:100::24") {
			return fmt.Sprint(r, s)
		}
		return ""
	})
}

// What is not ours is left exactly as it is.
func TestLeftAlone(t *testing.T) {
	ns := namespace(t)
	create(t, newPool("web", "192.168.100.240-192.168.100.249"))
	run(t)
	other := "example.com/other"
	for name, change := range map[string]func(*corev1.Service){
		"headless": func(s *corev1.Service) { s.Spec.Type, s.Spec.ClusterIP = corev1.ServiceTypeClusterIP, "None" },
		"external": func(s *corev1.Service) {
			s.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"}
		},
		"nodeport": func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort },
		"class":    func(s *corev1.Service) { s.Spec.LoadBalancerClass = &other },
	} {
		create(t, newService(ns, name, change))
	}
	no := false
	create(t, newService(ns, "manual", func(s *corev1.Service) { s.Spec.Selector, s.Spec.AllocateLoadBalancerNodePorts = nil, &no }))
	hasAddress(t, ns, "manual", "192.168.100.240")
	for _, name := range []string{"headless", "external", "nodeport", "class"} {
		svc := get(t, ns, name)
		if len(svc.Status.LoadBalancer.Ingress)+len(svc.Status.Conditions)+len(svc.Annotations) > 0 {
			t.Errorf("%s was touched: %+v %v", name, svc.Status, svc.Annotations)
		}
	}
}

// Other writers' conditions and annotations survive.
func TestOtherConditionsSurvive(t *testing.T) {
	ns := namespace(t)
	create(t, newPool("web", "192.168.100.240"))
	create(t, newService(ns, "a", annotated("example.com/x", "y")))
	svc := get(t, ns, "a")
	meta.SetStatusCondition(&svc.Status.Conditions, metav1.Condition{Type: "example.com/Other", Status: metav1.ConditionTrue, Reason: "Because"})
	if err := kube.Status().Update(t.Context(), svc); err != nil {
		t.Fatal(err)
	}
	run(t)
	svc = hasAddress(t, ns, "a", "192.168.100.240")
	if condition(svc, "example.com/Other").Reason != "Because" || svc.Annotations["example.com/x"] != "y" {
		t.Errorf("others' conditions are gone: %+v", svc.Status.Conditions)
	}
}

func TestBadRequests(t *testing.T) {
	ns := namespace(t)
	create(t, newPool("web", "192.168.100.240-192.168.100.249"))
	create(t, newService(ns, "good"))
	run(t)
	hasAddress(t, ns, "good", "192.168.100.240")
	for name, tc := range map[string]struct {
		change          func(*corev1.Service)
		reason, message string
	}{
		"foreign": {annotated(v1beta1.AnnotationLoadBalancerIPs, "192.168.100.5"), v1beta1.ReasonAddressNotInPool,
			"192.168.100.5 is in no pool; pools: web 192.168.100.240-192.168.100.249"},
		"taken":  {annotated(v1beta1.AnnotationLoadBalancerIPs, "192.168.100.240"), v1beta1.ReasonAddressInUse, "192.168.100.240 belongs to Service " + ns + "/good"},
		"nopool": {annotated("metallb.io/address-pool", "wbe"), v1beta1.ReasonUnknownPool, "there is no pool wbe"},
		"junk":   {annotated("metallb.universe.tf/loadBalancerIPs", "web"), v1beta1.ReasonInvalidRequest, `"web" is not an IPv4 or IPv6 address`},
		"two":    {annotated(v1beta1.AnnotationLoadBalancerIPs, "192.168.100.241,192.168.100.242"), v1beta1.ReasonInvalidRequest, "at most one address of each family"},
		"disagree": {func(s *corev1.Service) {
			s.Spec.LoadBalancerIP = "192.168.100.241"
			annotated(v1beta1.AnnotationLoadBalancerIPs, "192.168.100.242")(s)
		}, v1beta1.ReasonInvalidRequest, "remove one of them"},
	} {
		create(t, newService(ns, name, tc.change))
		svc := pending(t, ns, name, tc.reason, tc.message)
		if len(svc.Status.LoadBalancer.Ingress) > 0 {
			t.Errorf("%s has an address", name)
		}
	}
	hasAddress(t, ns, "good", "192.168.100.240")
	// What it asked for in vain comes to be: a pool for the foreign address.
	create(t, newPool("late", "192.168.100.5"))
	hasAddress(t, ns, "foreign", "192.168.100.5")
}

// Five restarts with rivals waiting, and a start with what another implementation wrote: no address moves.
func TestRestarts(t *testing.T) {
	ns := namespace(t)
	create(t, newPool("web", "192.168.100.240-192.168.100.242"))
	create(t, newService(ns, "adopted", annotated("metallb.io/loadBalancerIPs", "192.168.100.241")))
	svc := get(t, ns, "adopted")
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.168.100.241"}}
	if err := kube.Status().Update(t.Context(), svc); err != nil {
		t.Fatal(err)
	}
	// In no pool, and adopted all the same.
	create(t, newService(ns, "outside"))
	svc = get(t, ns, "outside")
	svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.168.100.9"}}
	if err := kube.Status().Update(t.Context(), svc); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		create(t, newService(ns, fmt.Sprintf("rival-%d", i)))
	}
	state := func() map[string]string {
		m := map[string]string{}
		for _, s := range services(t, ns) {
			m[s.Name] = ips(&s)
		}
		return m
	}
	settled := func() string {
		all := services(t, ns)
		waiting := names(all, func(s *corev1.Service) bool {
			return condition(s, v1beta1.ConditionAddressAssigned).Status == metav1.ConditionFalse
		})
		served := names(all, func(s *corev1.Service) bool {
			return condition(s, v1beta1.ConditionAddressAssigned).Status == metav1.ConditionTrue
		})
		if len(waiting) != 4 || len(served) != 4 {
			return fmt.Sprint(waiting, served, state())
		}
		return ""
	}
	c := run(t)
	eventually(t, "all is given out", settled)
	first := state()
	if first["adopted"] != "192.168.100.241" || first["outside"] != "192.168.100.9" {
		t.Fatalf("adopted addresses moved: %v", first)
	}
	for i := range 5 {
		if i%2 == 0 {
			c.stop()
		} else {
			c.kill()
		}
		c = run(t)
		leads(t, c)
		create(t, newService(ns, fmt.Sprintf("late-%d", i)))
		pending(t, ns, fmt.Sprintf("late-%d", i), v1beta1.ReasonPoolExhausted, "3 of 3 in use")
		for name, was := range first {
			if is := ips(get(t, ns, name)); is != was {
				t.Fatalf("restart %d: %s had %q and has %q", i, name, was, is)
			}
		}
	}
}

// Two claims for one address: the older Service keeps it, the other is told and gets another.
func TestDoubleClaim(t *testing.T) {
	ns := namespace(t)
	create(t, newPool("web", "192.168.100.240-192.168.100.242"))
	for _, name := range []string{"z-older", "younger"} {
		create(t, newService(ns, name))
		svc := get(t, ns, name)
		svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.168.100.240"}}
		if err := kube.Status().Update(t.Context(), svc); err != nil {
			t.Fatal(err)
		}
		older(t, svc)
	}
	run(t)
	hasAddress(t, ns, "younger", "192.168.100.241")
	hasAddress(t, ns, "z-older", "192.168.100.240")
}

// SIGKILL at any time while Services come and go: no address is given twice, and none is lost.
func TestKilledAtAnyTime(t *testing.T) {
	ns := namespace(t)
	create(t, newPool("web", "192.168.100.200-192.168.100.219"))
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		r := rand.New(rand.NewPCG(1, 1))
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			svc := newService(ns, fmt.Sprintf("s-%d", r.IntN(40)))
			var err error
			if r.IntN(2) == 0 {
				err = kube.Create(t.Context(), svc)
				if meta.IsNoMatchError(err) {
					done <- err
					return
				}
			} else if err = client.IgnoreNotFound(kube.Delete(t.Context(), svc)); err != nil {
				done <- err
				return
			}
			time.Sleep(time.Duration(r.IntN(15)) * time.Millisecond)
		}
	}()
	r := rand.New(rand.NewPCG(2, 2))
	type owner struct{ uid, ip string }
	seen := map[owner]bool{}
	var start time.Duration // what a start takes here, until something is assigned
	// With few assignments it would test nothing.
	for i, end := 0, time.Now().Add(5*time.Minute); i < 12 || len(seen) < 40; i++ {
		if time.Now().After(end) {
			t.Fatalf("only %d assignments were seen in %d lives", len(seen), i)
		}
		began := time.Now()
		c := run(t)
		life := start/4 + time.Duration(r.Int64N(int64(start+1200*time.Millisecond)))
		for start == 0 || time.Since(began) < life {
			list := services(t, ns)
			unique(t, list)
			now := map[string]string{}
			for i := range list {
				now[string(list[i].UID)] = ips(&list[i])
			}
			for o := range seen {
				if is, alive := now[o.uid]; alive && is != o.ip {
					t.Fatalf("a Service had %s and has %q", o.ip, is)
				}
			}
			for uid, ip := range now {
				if ip != "" {
					seen[owner{uid, ip}] = true
				}
			}
			switch took := time.Since(began); {
			case start == 0 && len(seen) > 0:
				start = took
			case start == 0 && took > time.Minute:
				t.Fatal("nothing is assigned a minute after the start")
			}
		}
		c.kill()
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	run(t)
	// None lost: as many are given out as can be, and the pool counts exactly these.
	eventually(t, "the pool is used as far as it can be", func() string {
		list := services(t, ns)
		unique(t, list)
		given := names(list, func(s *corev1.Service) bool { return ips(s) != "" })
		want := int64(min(len(list), 20))
		p := getPool(t, "web")
		if int64(len(given)) != want || p.Status.IPv4.Assigned != want || p.Status.IPv4.Available != 20-want {
			return fmt.Sprintf("%d Services, %d have addresses; pool %+v", len(list), len(given), p.Status.IPv4)
		}
		return ""
	})
}

// Another implementation serves the same Services for a while, and wrote its status before we had anything to give: what it wrote is adopted
// while we run exactly as it is when we start, and host names stay until there is an address for the Service.
func TestOthersStatusOfWaitingService(t *testing.T) {
	ns := namespace(t)
	run(t)
	create(t, newService(ns, "address"))
	pending(t, ns, "address", v1beta1.ReasonNoPool, "create one")
	show(t, ns, "address", nil, "192.168.100.9")
	eventually(t, "the address is adopted", func() string {
		svc := get(t, ns, "address")
		if c := condition(svc, v1beta1.ConditionAddressAssigned); ips(svc) != "192.168.100.9" || c.Status != metav1.ConditionTrue {
			return fmt.Sprintf("%q, %+v", ips(svc), c)
		}
		return ""
	})
	create(t, newService(ns, "host", annotated(v1beta1.AnnotationAddressPool, "web")))
	pending(t, ns, "host", v1beta1.ReasonUnknownPool, "there is no pool web")
	showIngress(t, ns, "host", corev1.LoadBalancerIngress{Hostname: "lb.example.com"})
	update(t, ns, "host", func(svc *corev1.Service) { svc.Annotations[v1beta1.AnnotationAddressPool] = "wbe" })
	svc := pending(t, ns, "host", v1beta1.ReasonUnknownPool, "there is no pool wbe") // so it was looked at again
	if in := svc.Status.LoadBalancer.Ingress; len(in) != 1 || in[0].Hostname != "lb.example.com" {
		t.Errorf("the host name is gone: %+v", in)
	}
	create(t, newPool("wbe", "192.168.100.9-192.168.100.10"))
	hasAddress(t, ns, "host", "192.168.100.10")
	hasAddress(t, ns, "address", "192.168.100.9")
}
