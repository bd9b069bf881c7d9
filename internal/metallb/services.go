package metallb

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/service"
)

// addService that MetalLB may serve.
func (c *converter) addService(o Object, namespace, name string) {
	var svc corev1.Service
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o, &svc); err != nil {
		c.out.Report.Add("Service "+namespace+"/"+name, "").Find(Broken, "", "it cannot be read: %s", err)
		return
	}
	svc.Namespace = namespace
	label := "Service " + namespace + "/" + name
	if _, twice := c.seen[label]; twice {
		return
	}
	c.seen[label] = o
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer && c.serves(&svc) {
		c.out.Services = append(c.out.Services, svc)
	}
}

// serves reports whether MetalLB does.
func (c *converter) serves(svc *corev1.Service) bool {
	for _, prefix := range annotationPrefixes() {
		if svc.Annotations[prefix+"ip-allocated-from-pool"] != "" {
			return true
		}
	}
	if svc.Spec.LoadBalancerClass != nil {
		return c.out.Programs.Class != "" && *svc.Spec.LoadBalancerClass == c.out.Programs.Class
	}
	return c.out.Programs.Class == ""
}

func annotationPrefixes() []string { return []string{"metallb.io/", "metallb.universe.tf/"} }

func label(svc *corev1.Service) string { return svc.Namespace + "/" + svc.Name }

// readServices finds what Services need of the pools: sharing across namespaces; and which of them would not get what they have.
func (c *converter) readServices() {
	pools := config.CompilePools(c.out.Pools)
	c.share(pools)
	annotated := map[string]int{}
	for i := range c.out.Services {
		svc := &c.out.Services[i]
		var item *Item
		find := func(v Verdict, field, format string, args ...any) {
			if item == nil {
				item = c.out.Report.Add("Service "+label(svc), "")
			}
			item.Find(v, field, format, args...)
		}
		for _, key := range sortedKeys(svc.Annotations) {
			for _, prefix := range annotationPrefixes() {
				name, ours := strings.CutPrefix(key, prefix)
				switch {
				case !ours:
				case slices.Contains([]string{"address-pool", "loadBalancerIPs", "allow-shared-ip", "ip-allocated-from-pool"}, name):
					annotated[key]++
				default:
					find(Unknown, "metadata.annotations", "Fairlead does not know the annotation %s: remove it, or see what it was for", key)
				}
			}
		}
		request, err := service.RequestOf(svc)
		switch {
		case err != nil:
			find(NoEquivalent, "metadata.annotations", "its request would be refused: %s", err)
		case request.Pool != "" && !c.has(request.Pool):
			find(NoEquivalent, "metadata.annotations", "it asks for addresses of pool %s, which is not imported: it keeps what it has, and would get no other: correct the annotation or make the pool", request.Pool)
		}
		for _, addr := range service.Addresses(svc) {
			if pool, _ := pools.Of(addr, ""); pool == "" {
				find(NoEquivalent, "status.loadBalancer", "it has address %s, which lies in no imported pool: it keeps it, but only advertisements for all pools announce it: add the address to a pool", addr)
			}
		}
	}
	for _, key := range sortedKeys(annotated) {
		c.out.Report.Note("Services with annotation %s: %d. Fairlead understands it as it is.", key, annotated[key])
	}
}

func (c *converter) has(pool string) bool {
	return slices.ContainsFunc(c.out.Pools, func(p v1beta1.IPAddressPool) bool { return p.Name == pool })
}

// share allows sharing across namespaces for the pools in which it is done: MetalLB allows it everywhere.
func (c *converter) share(pools *config.Pools) {
	type shared struct {
		addr netip.Addr
		key  string
	}
	holders := map[shared][]string{}
	namespaces := map[shared]map[string]bool{}
	var order []shared
	for i := range c.out.Services {
		svc := &c.out.Services[i]
		request, _ := service.RequestOf(svc) // the key is right in any case
		if request.SharingKey == "" {
			continue
		}
		for _, addr := range service.Addresses(svc) {
			s := shared{addr, request.SharingKey}
			if namespaces[s] == nil {
				namespaces[s] = map[string]bool{}
				order = append(order, s)
			}
			namespaces[s][svc.Namespace] = true
			holders[s] = append(holders[s], label(svc))
		}
	}
	slices.SortFunc(order, func(a, b shared) int { return cmp.Or(a.addr.Compare(b.addr), cmp.Compare(a.key, b.key)) })
	for _, s := range order {
		if len(namespaces[s]) < 2 {
			continue
		}
		name, _ := pools.Of(s.addr, "")
		for i := range c.out.Pools {
			if p := &c.out.Pools[i]; p.Name == name {
				p.Spec.AllowCrossNamespaceSharing = true
				slices.Sort(holders[s])
				c.made[made{"IPAddressPool", name}].Find(Changes, "", "the pool gets allowCrossNamespaceSharing: true, because Services of several namespaces share %s (%s). Without it only Services of one namespace share an address, which MetalLB does not ask for",
					s.addr, strings.Join(holders[s], ", "))
			}
		}
	}
}

// finish says what is to be said of the whole.
func (c *converter) finish() {
	for _, kind := range sortedKeys(c.statuses) {
		c.out.Report.Note("Objects of kind %s: %d. They are passed over: MetalLB tells in them what it does.", kind, c.statuses[kind])
	}
	for i := range c.out.Pools {
		if p := &c.out.Pools[i]; !c.advertised(p) {
			c.out.Report.Note("No advertisement selects IPAddressPool %s: its addresses are given out and announced by nobody, as with MetalLB.", p.Name)
		}
	}
	for _, s := range c.sources["AddressPool"] {
		c.allPools(s)
	}
	if len(c.out.Report.Items) == 0 {
		c.out.Report.Note("There is nothing of MetalLB's in what was read. It was looked for in namespace %s; for another one give --metallb-namespace.", c.out.Programs.Namespace)
	}
}

func (c *converter) advertised(p *v1beta1.IPAddressPool) bool {
	set := labels.Merge(p.Labels, nil)
	for i := range c.out.L2Advertisements {
		if a, err := config.CompileL2Advertisement(&c.out.L2Advertisements[i]); err == nil && a.SelectsPool(p.Name, set) {
			return true
		}
	}
	b := config.CompileBGP(&config.BGPObjects{Advertisements: c.out.BGPAdvertisements, Communities: c.out.Communities})
	return slices.ContainsFunc(b.Advertisements, func(a *config.BGPAdvertisement) bool { return a.SelectsPool(p.Name, set) })
}

// allPools tells of advertisements for all pools beside an AddressPool, which says itself how it is announced.
func (c *converter) allPools(s *source) {
	if len(s.item.Becomes) == 0 {
		return
	}
	for _, kind := range []string{"L2Advertisement", "BGPAdvertisement"} {
		for _, adv := range c.sources[kind] {
			if len(adv.item.Becomes) > 0 && !adv.spec.has("ipAddressPools") && !adv.spec.has("ipAddressPoolSelectors") {
				s.item.Find(Changes, "spec.protocol", "%s is for all pools, and so for this one too: name its pools in ipAddressPools if that is not meant", fmt.Sprintf("%s %s", kind, adv.name))
			}
		}
	}
}
