package move

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.io/fairlead/internal/neighbours"
	"fairlead.io/fairlead/internal/workload"
)

// strictARP of kube-proxy: in mode ipvs every node has every address on an interface, and answers for it.
func (p *preflight) strictARP() {
	if len(p.in.Imported.L2Advertisements) == 0 {
		return
	}
	if p.in.KubeProxy == nil {
		p.find(Note, "there is no ConfigMap kube-proxy in namespace kube-system: if kube-proxy runs in mode ipvs, see that it has strictARP: true")
		return
	}
	proxy, err := neighbours.ReadKubeProxy(*p.in.KubeProxy)
	if err != nil {
		p.find(Note, "ConfigMap kube-system/kube-proxy cannot be read (%s): if kube-proxy runs in mode ipvs, see that it has strictARP: true", err)
		return
	}
	if proxy.Answers() {
		p.find(Problem, "%s", neighbours.WithoutStrictARP)
	}
}

// announcers beside MetalLB, by what they run.
func (p *preflight) announcers() {
	for _, a := range neighbours.Announcers(p.in.Others, p.in.Namespace) {
		advice := "see that it and Fairlead serve different Services (spec.loadBalancerClass), as it and MetalLB do now"
		switch a.What {
		case neighbours.ServiceLB:
			advice = neighbours.WithoutServiceLB
		case neighbours.AnotherFairlead:
			advice = neighbours.WithoutAnotherFairlead
		}
		p.find(Note, "%s runs %s: %s", workload.Name(a.Program), a.What, advice)
	}
	if p.in.Cilium.Announces() {
		p.find(Note, "Cilium is set to announce addresses of Services (ConfigMap kube-system/cilium-config): see that its policies select none that MetalLB serves")
	}
}

// managed says who may undo what the move does to MetalLB's objects.
func (p *preflight) managed() {
	for _, o := range p.in.MetalLB {
		l, a := o.GetLabels(), o.GetAnnotations()
		var by, advice string
		switch {
		case slices.ContainsFunc(o.GetOwnerReferences(), func(r metav1.OwnerReference) bool { return r.Kind == "MetalLB" }):
			by, advice = "the MetalLB operator", "it starts the program again: scale the operator to nothing first"
			if slices.ContainsFunc(p.in.MetalLB, Operator) {
				advice = "that is stopped with the rest, so that it does not start the program again"
			}
		case l["olm.owner"] != "":
			by, advice = "OLM", "it starts the program again: take its subscription and ClusterServiceVersion away first"
		case a["argocd.argoproj.io/tracking-id"] != "" || l["argocd.argoproj.io/instance"] != "":
			by, advice = "Argo CD", "with automatic sync it starts the program again: pause that first"
		case l["kustomize.toolkit.fluxcd.io/name"] != "" || l["helm.toolkit.fluxcd.io/name"] != "":
			by, advice = "Flux", "it starts the program again at its next reconciliation: suspend that first (flux suspend)"
		case l["app.kubernetes.io/managed-by"] == "Helm":
			by, advice = "Helm", "helm upgrade starts the program again: do not run it for MetalLB until the move is over"
		default:
			continue
		}
		p.find(Note, "%s is managed by %s: %s", workload.Name(o), by, advice)
	}
}

// Operator reports whether a program is the MetalLB operator, which would start again what is stopped.
func Operator(o *unstructured.Unstructured) bool {
	return o.GetKind() == workload.Deployment && strings.HasPrefix(o.GetName(), "metallb-operator")
}
