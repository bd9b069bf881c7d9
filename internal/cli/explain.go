package cli

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/allocation"
	"fairlead.io/fairlead/internal/service"
	"fairlead.io/fairlead/ipam"
)

// ExplainOptions are what the decision depends on beside the cluster's objects.
type ExplainOptions struct {
	// Class of the Services that are served, as fairlead-controller has it.
	Class service.Class
	// Anew decides as if the Service held nothing.
	Anew bool
	// Without decides as if these nodes were cut off.
	Without []string
	// IgnoreExcludeLabel as fairlead-speaker has it.
	IgnoreExcludeLabel bool
}

// ExplainService prints which addresses a Service gets, for each pool that was looked at why it was or was not used, for each node why it
// does or does not answer, and for each node and BGP peer which routes it advertises to it, or why it does not: the decisions of the
// controller's and the speakers' own code, made anew from the snapshot.
func ExplainService(w io.Writer, s Snapshot, key ipam.Key, o ExplainOptions) error {
	i := slices.IndexFunc(s.Services, func(svc corev1.Service) bool { return allocation.Key(&svc) == key })
	if i < 0 {
		return fmt.Errorf("there is no Service %s; name another one, or its namespace with --namespace", key)
	}
	svc := &s.Services[i]
	out := &printer{tabs: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	out.row("Service " + string(key))
	out.row("Served by Fairlead", servedText(svc, o.Class))
	if !o.Class.Ours(svc) {
		return out.finish("explain Service " + string(key))
	}

	cluster := allocation.Cluster{Pools: s.Pools, Namespaces: s.Namespaces, Services: s.Services}
	a := ipam.NewAllocator()
	loaded, err := cluster.Load(a, o.Class)
	if err != nil {
		return err //nolint:wrapcheck // it says what failed
	}
	out.row("Asks for", asksText(svc))
	out.row("Status shows", statusText(svc, a))
	if o.Anew {
		a.Release(key)
	}
	d, ok := a.DecideAmong(loaded.Requests, key)
	if !ok {
		out.row("", "it is being deleted: it is given nothing, and keeps what it has until it is gone")
		return out.finish("explain Service " + string(key))
	}
	if len(s.Pools) == 0 || !slices.ContainsFunc(s.Namespaces, func(ns corev1.Namespace) bool { return ns.Name == svc.Namespace }) {
		out.row("Not known", "what was read has no IPAddressPool, or not the Namespace "+svc.Namespace+" with its labels: what follows may differ from what the cluster does")
	}
	for _, c := range loaded.Conflicts {
		if c.Service == key {
			out.row("", fmt.Sprintf("%s is also in the status of Service %s, which keeps it: %s", c.Addr, c.Keeper, c.Why))
		}
	}
	gets := make([]string, len(d.Addresses))
	for i, x := range d.Addresses {
		gets[i] = x.Addr.String()
	}
	what := "Gets"
	if o.Anew {
		what = "Would get anew"
	}
	out.row(what, cmp.Or(strings.Join(gets, ", "), "nothing"))
	out.row("Because", fmt.Sprintf("%s: %s", d.Reason, d.Message()))
	if c := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAddressAssigned); !o.Anew && (c == nil || c.Reason != string(d.Reason) || !strings.HasPrefix(d.Message(), strings.TrimSuffix(c.Message, "…"))) {
		said := "nothing"
		if c != nil {
			said = c.Reason + ": " + c.Message
		}
		out.row("Its condition says", said+" (if that stays so, see that fairlead-controller runs and what it logs)")
	}
	if c := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAnnounced); c != nil {
		out.row("Announced", fmt.Sprintf("%s: %s", c.Status, c.Message))
	}
	out.end()
	if len(d.Considered) > 0 {
		out.considered(d.Considered)
	}
	if shown := service.Addresses(svc); len(shown) > 0 {
		c, views := layer2Of(&s, &o), viewsOf(&s, &o)
		b := bgpOf(&s, c)
		for _, addr := range shown {
			if len(s.L2Advertisements) > 0 || !b.used() {
				out.announcement(&s, &o, c, holdersOf(views, addr), addr, a.PoolOf(addr))
			}
			if b.used() {
				out.routes(&o, b, views, key, addr)
			}
		}
	}
	return out.finish("explain Service " + string(key))
}

func (p *printer) considered(list []ipam.Considered) {
	p.row("POOL", "FAMILY", "USED", "REASON", "WHY")
	for _, c := range list {
		used := "no"
		if c.Used {
			used = "yes"
		}
		p.row(dash(c.Pool), c.Family.String(), used, string(c.Reason), c.Message())
	}
	p.end()
}

func (p *printer) finish(doing string) error {
	if p.err == nil {
		p.err = p.tabs.Flush()
	}
	if p.err != nil {
		return fmt.Errorf("%s: %w", doing, p.err)
	}
	return nil
}

// servedText says whether and why a Service is served.
func servedText(svc *corev1.Service, class service.Class) string {
	has := "no class"
	if svc.Spec.LoadBalancerClass != nil {
		has = fmt.Sprintf("class %q", *svc.Spec.LoadBalancerClass)
	}
	switch {
	case svc.Spec.Type != corev1.ServiceTypeLoadBalancer:
		return fmt.Sprintf("no: it is of type %s, not LoadBalancer", svc.Spec.Type)
	case class.Ours(svc):
		return "yes: type LoadBalancer, " + has
	case svc.Spec.LoadBalancerClass == nil:
		return "no: it has no spec.loadBalancerClass, and --require-load-balancer-class is set"
	}
	return fmt.Sprintf("no: its spec.loadBalancerClass is %q, and %q is served", *svc.Spec.LoadBalancerClass, class.Name)
}

// asksText says what a Service asks for, in the words of its owner.
func asksText(svc *corev1.Service) string {
	r, err := service.RequestOf(svc)
	if err != nil {
		return err.Error()
	}
	var families []string
	for _, f := range service.Families(svc) {
		families = append(families, fmt.Sprintf("an IPv%d", f))
	}
	parts := []string{strings.Join(families, " and ") + " address"}
	if len(families) == 0 {
		parts[0] = "nothing: it has no cluster IP"
	}
	if service.RequiresDualStack(svc) {
		parts[0] += ", both or none"
	}
	if r.Pool != "" {
		parts = append(parts, "from pool "+r.Pool)
	}
	for _, addr := range r.Addresses {
		parts = append(parts, addr.String())
	}
	if r.SharingKey != "" {
		parts = append(parts, fmt.Sprintf("sharing under the key %q", r.SharingKey))
	}
	return strings.Join(parts, "; ")
}

// statusText lists the addresses in the status, with their pools and with whom they are shared.
func statusText(svc *corev1.Service, a *ipam.Allocator) string {
	key := allocation.Key(svc)
	var texts []string
	for _, addr := range service.Addresses(svc) {
		text := addr.String() + " (in no pool"
		if pool := a.PoolOf(addr); pool != "" {
			text = addr.String() + " (pool " + pool
		}
		others := slices.DeleteFunc(a.Holders(addr), func(k ipam.Key) bool { return k == key })
		if len(others) > 0 {
			names := make([]string, len(others))
			for i, k := range others {
				names[i] = string(k)
			}
			slices.Sort(names)
			text += ", also held by " + strings.Join(names, ", ")
		}
		texts = append(texts, text+")")
	}
	return cmp.Or(strings.Join(texts, ", "), "no address")
}
