package move

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/allocation"
	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/metallb"
	"fairlead.io/fairlead/internal/neighbours"
	"fairlead.io/fairlead/internal/service"
	"fairlead.io/fairlead/internal/workload"
	"fairlead.io/fairlead/ipam"
)

// Weight of a finding.
type Weight string

// The weights, the gravest first.
const (
	// Problem keeps the move from being begun.
	Problem Weight = "PROBLEM"
	// Loss keeps it from being begun unless it is accepted.
	Loss Weight = "LOSS"
	// Note is to be known.
	Note Weight = "NOTE"
)

// Finding is something to be known before a move, and what to do about it.
type Finding struct {
	Weight Weight
	Text   string
}

// Input is what the cluster shows before a move.
type Input struct {
	// Namespace that Fairlead is to be in.
	Namespace string
	// KindsInstalled: the API server has Fairlead's.
	KindsInstalled bool
	// MetalLB's programs, and Fairlead's in its namespace.
	MetalLB, Fairlead []*unstructured.Unstructured
	// Others are all Deployments and DaemonSets, and the pods of kube-system.
	Others []*unstructured.Unstructured
	// KubeProxy is the configuration in its ConfigMap; Cilium the settings in its own. Nil: there is none.
	KubeProxy *string
	Cilium    neighbours.Cilium
	// Imported is what MetalLB's configuration comes to, with what the API server makes of it in its report.
	Imported *metallb.Result
	// Services, Namespaces and Pools of Fairlead's that there are.
	Services   []corev1.Service
	Namespaces []corev1.Namespace
	Pools      []v1beta1.IPAddressPool
}

// Preflight says what is to be known before a move, the gravest first.
func Preflight(in *Input) []Finding {
	p := &preflight{in: in}
	p.programs()
	p.losses()
	p.services()
	p.strictARP()
	p.announcers()
	p.managed()
	slices.SortStableFunc(p.found, func(a, b Finding) int { return rank(a.Weight) - rank(b.Weight) })
	return p.found
}

func rank(w Weight) int { return slices.Index([]Weight{Problem, Loss, Note}, w) }

type preflight struct {
	in    *Input
	found []Finding
}

func (p *preflight) find(w Weight, format string, args ...any) {
	p.found = append(p.found, Finding{w, fmt.Sprintf(format, args...)})
}

// programs of both: they must be there.
func (p *preflight) programs() {
	in := p.in
	ns := in.Imported.Programs.Namespace
	if !slices.ContainsFunc(in.MetalLB, func(o *unstructured.Unstructured) bool { return o.GetKind() == workload.DaemonSet }) {
		p.find(Problem, "there is no DaemonSet of MetalLB's in namespace %s: name its namespace by --metallb-namespace", ns)
	}
	controller, speaker := workload.Find(in.Fairlead, workload.Deployment), workload.Find(in.Fairlead, workload.DaemonSet)
	if !in.KindsInstalled || controller == nil || speaker == nil {
		p.find(Problem, "Fairlead is not installed in namespace %s, or not all of it: install it so that nothing of it runs yet, by kubectl apply --server-side -k config/held", in.Namespace)
		return
	}
	if running(in.MetalLB, workload.Deployment) && workload.Runs(controller) {
		p.find(Note, "%s runs beside MetalLB's: each puts the other's addresses right. The move ends that", workload.Name(controller))
	}
	class := workload.Class(controller)
	if other := workload.Class(speaker); other != class {
		p.find(Problem, "%s serves %s, and %s serves %s: give both the same --load-balancer-class and --require-load-balancer-class", workload.Name(controller), class, workload.Name(speaker), other)
	}
	if in.Imported.Programs.IgnoreExcludeLabel && !workload.Flagged(speaker, "ignore-exclude-lb") {
		p.find(Note, "MetalLB runs with --ignore-exclude-lb, and %s without: nodes that are excluded from load balancers announce no longer", workload.Name(speaker))
	}
	if in.Imported.Programs.BGP == "frr-k8s-external" && len(in.Imported.BGPPeers) > 0 {
		p.find(Problem, "MetalLB has its BGP sessions in a frr-k8s of another namespace, which keeps them when MetalLB is stopped: run MetalLB with its own (METALLB_BGP_TYPE) first, or move by hand and delete its FRRConfigurations there")
	}
}

// losses are what the import does not carry over.
func (p *preflight) losses() {
	for _, item := range p.in.Imported.Report.Items {
		for _, f := range item.Findings {
			switch f.Verdict {
			case metallb.Broken, metallb.NoEquivalent, metallb.LeftAlone, metallb.Unknown:
				field := f.Field
				if field != "" {
					field += ": "
				}
				p.find(Loss, "%s: %s: %s%s", item.Source, f.Verdict, field, f.Text)
			case metallb.LeftOver:
				p.find(Note, "%s: %s: %s (kubectl fairlead import metallb --from-cluster)", item.Source, f.Verdict, f.Text)
			default: // it is carried over, or MetalLB pays no heed to it either
			}
		}
	}
}

// services must keep what they have, by the controller's own decision.
func (p *preflight) services() {
	in := p.in
	controller := workload.Find(in.Fairlead, workload.Deployment)
	if controller == nil {
		return
	}
	class := workload.Class(controller)
	cluster := allocation.Cluster{Pools: in.pools(), Namespaces: in.Namespaces, Services: in.Services}
	a := ipam.NewAllocator()
	loaded, err := cluster.Load(a, class)
	if err != nil {
		p.find(Problem, "Fairlead could not take the pools: %s", err)
		return
	}
	a.AssignAll(loaded.Requests)
	requests := map[ipam.Key]ipam.Request{}
	for _, r := range loaded.Requests {
		requests[r.Service] = r
	}
	pools := config.CompilePools(cluster.Pools)
	for i := range in.Imported.Services {
		svc := &in.Imported.Services[i]
		has := sorted(service.Addresses(svc))
		if len(has) == 0 || !svc.DeletionTimestamp.IsZero() {
			continue
		}
		if !class.Ours(svc) {
			p.find(Problem, "MetalLB serves Service %s, and Fairlead would not: it serves %s. Set --load-balancer-class and --require-load-balancer-class of fairlead-controller and fairlead-speaker", allocation.Key(svc), class)
			continue
		}
		for _, addr := range has {
			if pool, _ := pools.Of(addr, ""); pool == "" && !p.said(addr.String()) {
				p.find(Loss, "Service %s has address %s, which lies in no pool: it keeps it, but only advertisements for all pools announce it: add the address to a pool", allocation.Key(svc), addr)
			}
		}
		d := a.Decide(requests[allocation.Key(svc)])
		var gets []string
		for _, x := range d.Addresses {
			gets = append(gets, x.Addr.String())
		}
		for _, addr := range has {
			if !slices.Contains(gets, addr.String()) {
				p.find(Problem, "Service %s has address %s and would not keep it: %s", allocation.Key(svc), addr, d.Message())
			}
		}
	}
}

// said reports whether a loss names the address already.
func (p *preflight) said(addr string) bool {
	return slices.ContainsFunc(p.found, func(f Finding) bool {
		return f.Weight == Loss && strings.Contains(f.Text, "has address "+addr+",")
	})
}

// pools that there are once the import is done: what was not imported stays as it is.
func (in *Input) pools() []v1beta1.IPAddressPool {
	out := slices.Clone(in.Pools)
	for _, p := range in.Imported.Pools {
		i := slices.IndexFunc(out, func(o v1beta1.IPAddressPool) bool { return o.Name == p.Name })
		switch {
		case i < 0:
			out = append(out, p)
		case out[i].Labels[metallb.ManagedByLabel] == metallb.ManagedBy:
			out[i].Spec = p.Spec
		}
	}
	return out
}

func running(list []*unstructured.Unstructured, kind string) bool {
	return slices.ContainsFunc(list, func(o *unstructured.Unstructured) bool { return o.GetKind() == kind && workload.Runs(o) })
}
