package move

import (
	"slices"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/allocation"
	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/service"
	"fairlead.io/fairlead/internal/workload"
	"fairlead.io/fairlead/ipam"
)

// PreflightBack says what is to be known before a move back, the gravest first.
func PreflightBack(in *Input) []Finding {
	p := &preflight{in: in}
	if workload.Find(in.MetalLB, workload.DaemonSet) == nil {
		p.find(Problem, "there is no DaemonSet of MetalLB's in namespace %s to go back to: name its namespace by --metallb-namespace", in.Imported.Programs.Namespace)
	}
	for _, o := range in.MetalLB {
		if o.GetKind() == workload.Deployment && !workload.Runs(o) && (!Kept(o) || o.GetAnnotations()[KeptReplicas] == "0") {
			p.find(Note, "%s was scaled to nothing before the move, and stays so: start it by kubectl -n %s scale deployment %s --replicas=1", workload.Name(o), o.GetNamespace(), o.GetName())
		}
	}
	p.servicesBack()
	p.managed()
	slices.SortStableFunc(p.found, func(a, b Finding) int { return rank(a.Weight) - rank(b.Weight) })
	return p.found
}

// servicesBack keep what they have only if MetalLB serves them, and has the address in a pool: otherwise it takes it away.
func (p *preflight) servicesBack() {
	class, pools := service.Class{Name: v1beta1.DefaultLoadBalancerClass}, config.CompilePools(p.in.Imported.Pools)
	if controller := workload.Find(p.in.Fairlead, workload.Deployment); controller != nil { // else it is removed, and what it gave is still there
		class = workload.Class(controller)
	}
	theirs := map[ipam.Key]bool{}
	for i := range p.in.Imported.Services {
		theirs[allocation.Key(&p.in.Imported.Services[i])] = true
	}
	for i := range p.in.Services {
		svc := &p.in.Services[i]
		addrs := sorted(service.Addresses(svc))
		if !class.Ours(svc) || len(addrs) == 0 {
			continue
		}
		if !theirs[allocation.Key(svc)] {
			p.find(Loss, "MetalLB does not serve Service %s, because of its class: nobody announces it then", allocation.Key(svc))
			continue
		}
		for _, addr := range addrs {
			if pool, _ := pools.Of(addr, ""); pool == "" {
				p.find(Loss, "Service %s has address %s, which lies in no pool of MetalLB's: MetalLB takes it away. Add it to an IPAddressPool of MetalLB's", allocation.Key(svc), addr)
			}
		}
	}
}
