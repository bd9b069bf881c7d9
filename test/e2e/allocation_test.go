package e2e

import (
	"context"
	"math"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/api/v1beta1"
)

// The namespaces of all cases. A Service without one is in the first.
const (
	shop = "shop"
	pay  = "pay"
)

// num is short for what a pool's status counts of one family.
type num = v1beta1.AddressCounts

// testAllocation: every rule by which Services get addresses, one case each, with all pools of the cluster for itself. The addresses are
// never announced. At the end of each case everything that it said of its Services still holds, and its pools count right.
func testAllocation(t *testing.T) {
	g := NewWithT(t)
	for _, name := range []string{shop, pay} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		g.Eventually(func() error { return cluster.Create(t.Context(), ns) }).WithTimeout(patience).Should(Succeed(), "namespace %s; one of an earlier run has to go first", name)
		t.Cleanup(func() { g.Expect(cluster.Delete(context.Background(), ns)).To(Succeed()) })
	}
	g.Eventually(func() ([]v1beta1.IPAddressPool, error) {
		var pools v1beta1.IPAddressPoolList
		err := cluster.List(t.Context(), &pools)
		return pools.Items, err
	}).WithTimeout(patience).Should(BeEmpty(), "pools of others; the suite needs all of the cluster for itself")

	for _, tc := range []struct {
		name  string
		steps []step
	}{
		// Pools.
		{"no pool at all is explained", []step{
			service("a"), waits("a", v1beta1.ReasonNoPool, "there is no IPAddressPool: create one"),
			pool("first", "10.77.0.0/30"), has("a", "10.77.0.0"),
		}},
		{"a pool as CIDR, as CIDR with host bits, as range, as single address", []step{
			pool("cidr", "10.77.0.0/30"), pool("host-bits", "10.77.0.22/30"), pool("range", "10.77.0.9-10.77.0.11"), pool("single", "10.77.0.32"),
			service("a", from("cidr")), has("a", "10.77.0.0"),
			service("b", from("host-bits")), has("b", "10.77.0.20"),
			service("c", from("range")), has("c", "10.77.0.9"),
			service("d", from("single")), has("d", "10.77.0.32"),
		}},
		{"a freed address goes to a waiting Service, first to one that asks for it", []step{
			pool("freed", "10.77.0.1"),
			service("a"), has("a", "10.77.0.1"),
			service("b"), waits("b", v1beta1.ReasonPoolExhausted, "pool freed has no free IPv4 address: 1 of 1 in use"),
			service("c", asking("10.77.0.1")), waits("c", v1beta1.ReasonAddressInUse, "10.77.0.1 belongs to Service shop/a"),
			remove("a"), has("c", "10.77.0.1"), waits("b", v1beta1.ReasonPoolExhausted),
			remove("c"), has("b", "10.77.0.1"),
		}},
		{"LoadBalancer to ClusterIP frees the address", []step{
			pool("retyped", "10.77.0.1"),
			service("a"), has("a", "10.77.0.1"),
			service("b"), waits("b", v1beta1.ReasonPoolExhausted),
			edit("a", ofType(corev1.ServiceTypeClusterIP)), hasNothing("a"), has("b", "10.77.0.1"),
			edit("a", ofType(corev1.ServiceTypeLoadBalancer)), waits("a", v1beta1.ReasonPoolExhausted),
		}},
		{"same addresses across five controller restarts with rivals pending", []step{
			pool("restarts", "10.77.0.0/30 fd00:77::/127"),
			service("m", dualStack), has("m", "10.77.0.0", "fd00:77::"),
			service("n", asking("10.77.0.3")), has("n", "10.77.0.3"),
			service("o", sharing("key"), tcp(80)), has("o", "10.77.0.1"),
			service("p", sharing("key"), tcp(443)), has("p", "10.77.0.1"),
			service("q", preferDualStack()), has("q", "10.77.0.2", "fd00:77::1"),
			service("a"), waits("a", v1beta1.ReasonPoolExhausted, "4 of 4 in use"),
			service("b", asking("10.77.0.0")), waits("b", v1beta1.ReasonAddressInUse, "10.77.0.0 belongs to Service shop/m"),
			times(5,
				restart(),
				service("new"), waits("new", v1beta1.ReasonPoolExhausted, "4 of 4 in use"), remove("new"),
				has("m", "10.77.0.0", "fd00:77::"), has("n", "10.77.0.3"), has("o", "10.77.0.1"), has("p", "10.77.0.1"), has("q", "10.77.0.2", "fd00:77::1"),
				waits("a", v1beta1.ReasonPoolExhausted), waits("b", v1beta1.ReasonAddressInUse)),
			remove("n"), has("a", "10.77.0.3"),
		}},
		{"equal pools are chosen by name, the same every time", []step{
			pool("equal-c", "10.77.0.1"), pool("equal-a", "10.77.0.3"), pool("equal-b", "10.77.0.2"),
			times(5, service("x"), has("x", "10.77.0.3"), edit("x", ofType(corev1.ServiceTypeClusterIP)), hasNothing("x"), remove("x")),
			service("z"), has("z", "10.77.0.3"), service("y"), has("y", "10.77.0.2"), service("x"), has("x", "10.77.0.1"),
		}},
		{"autoAssign false: only on request, by pool or by address", []step{
			pool("reserved", "10.77.0.0/30", onlyOnRequest),
			service("a"), waits("a", v1beta1.ReasonNoPool, "pool reserved is only for Services that ask for it (spec.autoAssign is false)"),
			service("b", from("reserved")), has("b", "10.77.0.0"),
			service("c", asking("10.77.0.3")), has("c", "10.77.0.3"),
		}},
		{".0 and .255 are left out with avoidBuggyIPs; switching it on evicts nobody", []step{
			pool("buggy", "10.77.0.254-10.77.1.1"), service("z", asking("10.77.1.0")), has("z", "10.77.1.0"),
			editPool("buggy", avoidingBuggyIPs), counts("buggy", num{Assigned: 1, Available: 2, Outside: 1}, num{}),
			service("a"), has("a", "10.77.0.254"), service("b"), has("b", "10.77.1.1"),
			service("c"), waits("c", v1beta1.ReasonPoolExhausted, "2 of 2 in use"),
			service("d", asking("10.77.0.255")), waits("d", v1beta1.ReasonAddressExcluded, "10.77.0.255 is not given out because it ends in .0 or .255"),
			has("z", "10.77.1.0"),
		}},
		{"exclusions are never given; a later one evicts nobody", []step{
			pool("exclusions", "10.77.0.0/29", except("10.77.0.0 10.77.0.2-10.77.0.5")),
			service("a"), has("a", "10.77.0.1"), service("b"), has("b", "10.77.0.6"),
			service("c", asking("10.77.0.4")), waits("c", v1beta1.ReasonAddressExcluded, "10.77.0.4 is excluded from pool exclusions (spec.excludeAddresses)"),
			editPool("exclusions", except("10.77.0.0/30")), has("c", "10.77.0.4"), has("a", "10.77.0.1"),
		}},
		{"a disabled pool gives out nothing new and takes nothing back", []step{
			pool("disabled", "10.77.0.0/30"), service("a"), has("a", "10.77.0.0"),
			editPool("disabled", disabled), ready("disabled", v1beta1.ReasonDisabled, "no new allocations"),
			service("b"), waits("b", v1beta1.ReasonNoPool, "pool disabled is disabled"),
			service("c", from("disabled")), waits("c", v1beta1.ReasonPoolDisabled, "pool disabled is disabled"),
			has("a", "10.77.0.0"),
			editPool("disabled", enabled), has("c", "10.77.0.1"), has("b", "10.77.0.2"),
		}},
		{"a deleted pool takes nothing back, and goes with its last address", []step{
			pool("deleted", "10.77.0.0/30"), service("a"), has("a", "10.77.0.0"), counts("deleted", num{Assigned: 1, Available: 3}, num{}),
			removePool("deleted"), ready("deleted", v1beta1.ReasonDeleting, "goes when its last address is released"),
			service("b"), waits("b", v1beta1.ReasonNoPool, "pool deleted is being deleted"), has("a", "10.77.0.0"),
			remove("a"), gone("deleted"), waits("b", v1beta1.ReasonNoPool, "there is no IPAddressPool"),
		}},
		{"a shrunk pool takes nothing back, and does not give it again", []step{
			pool("shrunk", "10.77.0.0/30"), service("a"), has("a", "10.77.0.0"), service("b"), has("b", "10.77.0.1"),
			editPool("shrunk", spanning("10.77.0.1")), counts("shrunk", num{Assigned: 2, Outside: 1}, num{}),
			service("c"), waits("c", v1beta1.ReasonPoolExhausted, "1 of 1 in use"), has("a", "10.77.0.0"),
			remove("a"), counts("shrunk", num{Assigned: 1}, num{}), waits("c", v1beta1.ReasonPoolExhausted),
		}},
		{"of overlapping pools the older keeps the overlap, until it is deleted", []step{
			pool("older", "10.77.0.0/30"), pool("overlapping", "10.77.0.2-10.77.0.4"),
			ready("overlapping", v1beta1.ReasonConflict, "10.77.0.2-10.77.0.3 belongs to older pool older"),
			service("a", from("overlapping")), has("a", "10.77.0.4"),
			service("b", from("overlapping")), waits("b", v1beta1.ReasonPoolExhausted, "1 of 1 in use"),
			service("c", asking("10.77.0.2")), has("c", "10.77.0.2"), counts("older", num{Assigned: 1, Available: 3}, num{}),
			removePool("older"), has("b", "10.77.0.3"), has("c", "10.77.0.2"), gone("older"), ready("overlapping", v1beta1.ReasonAccepted, ""),
		}},

		// What a Service asks for.
		{"the pool annotation is honoured, and a switched pool moves the Service as soon as there is room", []step{
			pool("left", "10.77.0.0"), pool("wanted", "10.77.0.4"), pool("asked", "10.77.0.8/30"),
			service("a", from("asked")), has("a", "10.77.0.8"), edit("a", from("wanted")), has("a", "10.77.0.4"),
			service("b", from("left")), has("b", "10.77.0.0"), edit("b", from("wanted")),
			keeps("b", "10.77.0.0", v1beta1.ReasonPoolExhausted, "pool wanted has no free IPv4 address: 1 of 1 in use"),
			remove("a"), has("b", "10.77.0.4"),
		}},
		{"an unknown pool is explained, and its Services are served when it is made", []step{
			pool("known", "10.77.0.0/30"),
			service("a", from("unknown")), waits("a", v1beta1.ReasonUnknownPool, "there is no pool unknown; pools: ", "known 10.77.0.0-10.77.0.3"),
			pool("unknown", "10.77.0.4/30"), has("a", "10.77.0.4"),
		}},
		{"a requested address by field, by annotation, and another one later", []step{
			pool("requested", "10.77.0.0/29 fd00:77::/126"),
			service("a", askingByField("10.77.0.2")), has("a", "10.77.0.2"),
			service("b", asking("10.77.0.1")), has("b", "10.77.0.1"),
			service("c", asking("fd00:77::3, 10.77.0.3"), dualStack), has("c", "10.77.0.3", "fd00:77::3"),
			edit("a", askingByField("10.77.0.4")), has("a", "10.77.0.4"), edit("b", asking("10.77.0.2")), has("b", "10.77.0.2"),
		}},
		{"a requested address by field and by annotation is refused", []step{
			pool("both", "10.77.0.0/30"),
			service("a", askingByField("10.77.0.2"), asking("10.77.0.3")), waits("a", v1beta1.ReasonInvalidRequest, "remove one of them"),
			edit("a", without(v1beta1.AnnotationLoadBalancerIPs)), has("a", "10.77.0.2"),
			edit("a", asking("10.77.0.1")), keeps("a", "10.77.0.2", v1beta1.ReasonInvalidRequest, "remove one of them"),
		}},
		{"a requested address by field and by annotation is refused, also where they are equal", []step{
			pool("equal", "10.77.0.0/30"),
			service("a", askingByField("10.77.0.2"), asking("10.77.0.2")), waits("a", v1beta1.ReasonInvalidRequest, "remove one of them"),
			edit("a", askingByField("")), has("a", "10.77.0.2"),
		}},
		{"a malformed request is refused and explained", []step{
			pool("malformed", "10.77.0.0/30"),
			service("a", asking("10.77.0.300")), waits("a", v1beta1.ReasonInvalidRequest, `annotation fairlead.io/load-balancer-ips: "10.77.0.300" is not an IPv4 or IPv6 address`),
			service("b", asking("10.77.0.0/30")), waits("b", v1beta1.ReasonInvalidRequest, `"10.77.0.0/30" is not an IPv4 or IPv6 address`),
			service("c", asking("10.77.0.1,")), waits("c", v1beta1.ReasonInvalidRequest, `"" is not an IPv4 or IPv6 address`),
			service("d", askingByField("web")), waits("d", v1beta1.ReasonInvalidRequest, `spec.loadBalancerIP: "web" is not an IPv4 or IPv6 address`),
			service("e", from("")), waits("e", v1beta1.ReasonInvalidRequest, "annotation fairlead.io/address-pool is empty: name a pool or remove the annotation"),
			service("f", asking("fd00:77::1")), waits("f", v1beta1.ReasonInvalidRequest, "the Service asks for fd00:77::1 but has no IPv6 cluster IP"),
			edit("a", asking("10.77.0.3")), has("a", "10.77.0.3"),
		}},
		{"a requested address outside every pool waits, is explained, and is given when a pool has it", []step{
			pool("elsewhere", "10.77.0.0/30"),
			service("a", asking("10.77.9.9")), waits("a", v1beta1.ReasonAddressNotInPool, "10.77.9.9 is in no pool; pools: ", "elsewhere 10.77.0.0-10.77.0.3"),
			pool("late", "10.77.9.9"), has("a", "10.77.9.9"),
		}},
		{"two requested addresses of one family are refused", []step{
			pool("one-family", "10.77.0.0/30 fd00:77::/126"),
			service("a", asking("10.77.0.1,10.77.0.2"), dualStack),
			waits("a", v1beta1.ReasonInvalidRequest, "asks for 10.77.0.1 and 10.77.0.2: ask for at most one address of each family"),
			service("b", asking("fd00:77::1,fd00:77::2"), ipv6Only), waits("b", v1beta1.ReasonInvalidRequest, "at most one address of each family"),
		}},
		{"a requested address outside the requested pool is refused", []step{
			pool("inside", "10.77.0.0/30"), pool("outside", "10.77.0.4/30"),
			service("a", from("inside"), asking("10.77.0.4")),
			waits("a", v1beta1.ReasonAddressNotInPool, "10.77.0.4 is in pool outside and not in pool inside, which the Service asks for"),
			edit("a", from("outside")), has("a", "10.77.0.4"),
		}},
		{"legacy annotation prefixes mean the same, and ours wins", []step{
			pool("legacy-a", "10.77.0.0/30"), pool("legacy-b", "10.77.0.4/30"),
			service("a", annotated("metallb.io/address-pool", "legacy-b"), annotated("metallb.io/allow-shared-ip", "key"), tcp(80)), has("a", "10.77.0.4"),
			service("b", annotated("metallb.universe.tf/address-pool", "legacy-b"), annotated("metallb.universe.tf/allow-shared-ip", "key"), tcp(443)), has("b", "10.77.0.4"),
			service("c", annotated("metallb.io/loadBalancerIPs", "10.77.0.2")), has("c", "10.77.0.2"),
			service("d", annotated("metallb.universe.tf/loadBalancerIPs", "10.77.0.3")), has("d", "10.77.0.3"),
			service("e", from("legacy-a"), annotated("metallb.io/address-pool", "legacy-b")), has("e", "10.77.0.0"),
		}},

		// Whom a pool is for.
		{"namespaces", []step{
			pool("namespaces", "10.77.0.0/30", forNamespaces(shop)),
			service("pay/a"), waits("pay/a", v1beta1.ReasonNoPool, "pool namespaces is limited to namespaces shop"),
			service("pay/b", from("namespaces")), waits("pay/b", v1beta1.ReasonPoolNotAllowed, "pool namespaces is limited to namespaces shop"),
			service("pay/c", asking("10.77.0.1")), waits("pay/c", v1beta1.ReasonPoolNotAllowed, "10.77.0.1 cannot be given: pool namespaces is limited to namespaces shop"),
			service("d"), has("d", "10.77.0.0"),
		}},
		{"namespaceSelectors react to label edits, which evict nobody", []step{
			pool("label-web", "10.77.0.0/30", forNamespacesWith("team", "web")), pool("label-db", "10.77.0.4/30", forNamespacesWith("team", "db")),
			service("a"), waits("a", v1beta1.ReasonNoPool, "pool label-web is limited to namespaces with labels team=web"),
			service("b", from("label-db")), waits("b", v1beta1.ReasonPoolNotAllowed, "pool label-db is limited to namespaces with labels team=db"),
			label(shop, "team", "web"), has("a", "10.77.0.0"), waits("b", v1beta1.ReasonPoolNotAllowed),
			label(shop, "team", "db"), has("b", "10.77.0.4"), has("a", "10.77.0.0"),
			service("c", from("label-web")), waits("c", v1beta1.ReasonPoolNotAllowed, "pool label-web is limited to namespaces with labels team=web"),
		}},
		{"serviceSelectors react to label edits, which evict nobody", []step{
			pool("tiers", "10.77.0.0/30", forServicesWith("tier", "front")),
			service("a"), waits("a", v1beta1.ReasonNoPool, "pool tiers is limited to Services with labels tier=front"),
			edit("a", labelled("tier", "front")), has("a", "10.77.0.0"),
			edit("a", labelled("tier", "back"), from("nowhere")), keeps("a", "10.77.0.0", v1beta1.ReasonUnknownPool, "there is no pool nowhere"),
			edit("a", without(v1beta1.AnnotationAddressPool)), has("a", "10.77.0.0"),
		}},
		{"namespaces or namespaceSelectors, and serviceSelectors", []step{
			pool("and", "10.77.0.0/30", forNamespaces(shop), forNamespacesWith("team", "web"), forServicesWith("tier", "front")),
			service("a"), waits("a", v1beta1.ReasonNoPool, "pool and is limited to Services with labels tier=front"),
			service("b", labelled("tier", "front")), has("b", "10.77.0.0"),
			service("pay/c", labelled("tier", "front")), waits("pay/c", v1beta1.ReasonNoPool, "pool and is limited to namespaces shop and to namespaces with labels team=web"),
			service("pay/d"), waits("pay/d", v1beta1.ReasonNoPool, "pool and is limited to namespaces shop and to namespaces with labels team=web"),
			label(pay, "team", "web"), has("pay/c", "10.77.0.1"), waits("pay/d", v1beta1.ReasonNoPool, "pool and is limited to Services with labels tier=front"),
		}},
		{"priority order, and fall-through to the next pool; one with only a priority is for all Services", []step{
			pool("fall-0", "10.77.0.8"), pool("fall-a", "10.77.0.7", forNamespaces(shop)), pool("fall-b", "10.77.0.6", forNamespaces(shop), priority(20)),
			pool("fall-c", "10.77.0.5", forNamespaces(shop), priority(10)), pool("fall-d", "10.77.0.2-10.77.0.3", priority(1)),
			service("a"), has("a", "10.77.0.2"), service("pay/b"), has("pay/b", "10.77.0.3"),
			service("c"), has("c", "10.77.0.5"), service("d"), has("d", "10.77.0.6"), service("e"), has("e", "10.77.0.7"), service("f"), has("f", "10.77.0.8"),
			service("g"), waits("g", v1beta1.ReasonPoolExhausted, "no pool that is open to this Service has a free IPv4 address: pool fall-d has no free IPv4 address: 2 of 2 in use; pool fall-c"),
		}},

		// Sharing.
		{"sharing: same key and other ports yes; same port no; TCP and UDP of one number yes", []step{
			pool("shared", "10.77.0.0/30"),
			service("a", sharing("key"), tcp(80)), has("a", "10.77.0.0"), service("b", sharing("key"), tcp(443)), has("b", "10.77.0.0"),
			service("c", sharing("key"), tcp(80)), has("c", "10.77.0.1"),
			service("d", sharing("key"), tcp(80), asking("10.77.0.0")), waits("d", v1beta1.ReasonAddressInUse, "10.77.0.0 belongs to Service shop/a", "both have port TCP 80"),
			service("e", sharing("key"), udp(80), asking("10.77.0.0")), has("e", "10.77.0.0"),
			counts("shared", num{Assigned: 2, Available: 2}, num{}),
		}},
		{"sharing: other key no; key on one side no", []step{
			pool("key", "10.77.0.0/29"),
			service("a", sharing("key"), tcp(80)), has("a", "10.77.0.0"),
			service("b", sharing("other"), tcp(443)), has("b", "10.77.0.1"), service("c", tcp(443)), has("c", "10.77.0.2"),
			service("d", sharing("other"), tcp(443), asking("10.77.0.0")), waits("d", v1beta1.ReasonAddressInUse, "10.77.0.0 belongs to Service shop/a", "it names another sharing key"),
			service("e", tcp(443), asking("10.77.0.0")), waits("e", v1beta1.ReasonAddressInUse, "10.77.0.0 belongs to Service shop/a", "this Service names no sharing key"),
			service("f", sharing("key"), tcp(80), asking("10.77.0.2")), waits("f", v1beta1.ReasonAddressInUse, "10.77.0.2 belongs to Service shop/c", "it names no sharing key"),
		}},
		{"sharing: Cluster and Local no", []step{
			pool("policy", "10.77.0.0/30"),
			service("a", sharing("key"), tcp(80)), has("a", "10.77.0.0"), service("b", sharing("key"), tcp(443), localTraffic), has("b", "10.77.0.1"),
			service("c", sharing("key"), tcp(443), localTraffic, asking("10.77.0.0")),
			waits("c", v1beta1.ReasonAddressInUse, "10.77.0.0 belongs to Service shop/a", "the two differ in externalTrafficPolicy"),
		}},
		{"sharing: Local and Local with the same selector yes, with another no", []step{
			pool("selector", "10.77.0.0/30"),
			service("a", sharing("key"), tcp(80), localTraffic), has("a", "10.77.0.0"), service("b", sharing("key"), tcp(443), localTraffic), has("b", "10.77.0.0"),
			service("c", sharing("key"), tcp(8080), localTraffic, selecting("other")), has("c", "10.77.0.1"),
			service("d", sharing("key"), tcp(8080), localTraffic, selecting("other"), asking("10.77.0.0")),
			waits("d", v1beta1.ReasonAddressInUse, "10.77.0.0 belongs to Service shop/a", "both have externalTrafficPolicy Local and their selectors differ"),
		}},
		{"sharing: keys changed to align later regain the address", []step{
			pool("aligned", "10.77.0.0"),
			service("a", sharing("key"), tcp(80)), has("a", "10.77.0.0"), service("b", sharing("key"), tcp(443)), has("b", "10.77.0.0"),
			edit("b", sharing("other")), waits("b", v1beta1.ReasonPoolExhausted, "pool aligned has no free IPv4 address: 1 of 1 in use"),
			told("b", "AddressReleased", "Released 10.77.0.0: it can no longer share 10.77.0.0 with Service shop/a: it names another sharing key"),
			edit("b", sharing("key")), has("b", "10.77.0.0"),
			edit("b", sharing("other")), waits("b", v1beta1.ReasonPoolExhausted), edit("a", sharing("other")), has("b", "10.77.0.0"), has("a", "10.77.0.0"),
		}},
		{"sharing: the key of another namespace no, unless the pool allows it", []step{
			pool("tenants", "10.77.0.0/30"),
			service("a", sharing("key"), tcp(80)), has("a", "10.77.0.0"), service("pay/b", sharing("key"), tcp(443)), has("pay/b", "10.77.0.1"),
			service("pay/c", sharing("key"), tcp(8080), asking("10.77.0.0")),
			waits("pay/c", v1beta1.ReasonAddressInUse, "10.77.0.0 belongs to Service shop/a", "pool tenants does not allow sharing across namespaces"),
			editPool("tenants", sharedAcrossNamespaces), has("pay/c", "10.77.0.0"),
		}},

		// Two families.
		{"SingleStack: the family of the cluster IP; a second one is added when it is asked for, and given up again", []step{
			pool("single-stack", "10.77.0.0/30 fd00:77::/126"),
			service("a"), has("a", "10.77.0.0"), service("b", ipv6Only), has("b", "fd00:77::"),
			edit("a", preferDualStack()), has("a", "10.77.0.0", "fd00:77::1"), edit("a", singleStack), has("a", "10.77.0.0"),
		}},
		{"RequireDualStack: both or none, also from two pools", []step{
			pool("four", "10.77.0.0/30"),
			service("a", dualStack), waits("a", v1beta1.ReasonNoPool, "pool four has no IPv6 addresses", "the Service requires both families (spec.ipFamilyPolicy RequireDualStack)"),
			counts("four", num{Available: 4}, num{}),
			pool("six", "fd00:77::1", forNamespaces(shop)), has("a", "10.77.0.0", "fd00:77::1"),
			service("b", dualStack), waits("b", v1beta1.ReasonPoolExhausted, "pool six has no free IPv6 address: 1 of 1 in use", "the Service requires both families"),
			service("pay/c", dualStack), waits("pay/c", v1beta1.ReasonNoPool, "pool six is limited to namespaces shop", "the Service requires both families"),
		}},
		{"PreferDualStack: both families where there are both, in the Service's order", []step{
			pool("prefer", "10.77.0.0/30 fd00:77::/126"),
			service("a", preferDualStack(corev1.IPv4Protocol, corev1.IPv6Protocol)), has("a", "10.77.0.0", "fd00:77::"),
			service("b", preferDualStack(corev1.IPv6Protocol, corev1.IPv4Protocol)), has("b", "fd00:77::1", "10.77.0.1"),
			service("c", preferDualStack(), asking("fd00:77::3")), has("c", "10.77.0.2", "fd00:77::3"),
		}},
		{"PreferDualStack: one family where there is one, none where there is none", []step{
			pool("prefer-four", "10.77.0.0"),
			service("a", preferDualStack()), hasPartly("a", "10.77.0.0 from pool prefer-four is assigned; pool prefer-four has no IPv6 addresses", "10.77.0.0"),
			service("b", preferDualStack()), waits("b", v1beta1.ReasonPoolExhausted, "pool prefer-four has no free IPv4 address: 1 of 1 in use"),
		}},
		{"PreferDualStack: the second family is added when an address is freed, and when the pool grows", []step{
			pool("grows", "10.77.0.0/30 fd00:77::1"), service("a", preferDualStack()), has("a", "10.77.0.0", "fd00:77::1"),
			service("b", preferDualStack()), hasPartly("b", "pool grows has no free IPv6 address: 1 of 1 in use", "10.77.0.1"),
			service("c", preferDualStack(corev1.IPv6Protocol, corev1.IPv4Protocol)), hasPartly("c", "pool grows has no free IPv6 address: 1 of 1 in use", "10.77.0.2"),
			remove("a"), has("b", "10.77.0.1", "fd00:77::1"),
			editPool("grows", spanning("10.77.0.0/30 fd00:77::/126")), has("c", "fd00:77::", "10.77.0.2"), has("b", "10.77.0.1", "fd00:77::1"),
		}},
		{"PreferDualStack with one cluster IP stays at one address, however often it is looked at", []step{
			pool("stays", "10.77.0.0/30 fd00:77::/126"), service("a"), has("a", "10.77.0.0"), leftFromSingleStack("a"),
			times(5,
				edit("a", from("nowhere")), keeps("a", "10.77.0.0", v1beta1.ReasonUnknownPool, "there is no pool nowhere"),
				edit("a", without(v1beta1.AnnotationAddressPool)), has("a", "10.77.0.0")),
			hasOneClusterIP("a"),
		}},

		// Counters.
		{"an IPv6 block of 64 bits before a range in one pool counts right", []step{
			pool("wide", "fd00:77::/64 10.77.0.0-10.77.0.3"), ready("wide", v1beta1.ReasonAccepted, ""),
			counts("wide", num{Available: 4}, num{Available: math.MaxInt64}),
			service("a", dualStack), has("a", "10.77.0.0", "fd00:77::"),
			counts("wide", num{Assigned: 1, Available: 3}, num{Assigned: 1, Available: math.MaxInt64}),
		}},
		{"pool counters are right at all times", []step{
			pool("counted", "10.77.0.0/29 fd00:77::/126"), counts("counted", num{Available: 8}, num{Available: 4}),
			service("a", sharing("key"), tcp(80), dualStack), has("a", "10.77.0.0", "fd00:77::"),
			service("b", sharing("key"), tcp(443)), has("b", "10.77.0.0"), service("c"), has("c", "10.77.0.1"),
			counts("counted", num{Assigned: 2, Available: 6}, num{Assigned: 1, Available: 3}),
			remove("a"), editPool("counted", spanning("10.77.0.0 10.77.0.4-10.77.0.9 fd00:77::/126"), except("10.77.0.4")),
			counts("counted", num{Assigned: 2, Available: 5, Outside: 1}, num{Available: 4}),
			remove("b", "c"), counts("counted", num{Available: 6}, num{Available: 4}),
		}},
	} {
		t.Run(tc.name, func(t *testing.T) { play(t, tc.steps) })
	}
}
