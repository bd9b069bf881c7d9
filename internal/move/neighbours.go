package move

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
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
	var c struct {
		Mode string `json:"mode"`
		IPVS struct {
			StrictARP bool `json:"strictARP"`
		} `json:"ipvs"`
	}
	if err := yaml.Unmarshal([]byte(*p.in.KubeProxy), &c); err != nil {
		p.find(Note, "ConfigMap kube-system/kube-proxy cannot be read (%s): if kube-proxy runs in mode ipvs, see that it has strictARP: true", strings.Join(strings.Fields(err.Error()), " "))
		return
	}
	if c.Mode == "ipvs" && !c.IPVS.StrictARP {
		p.find(Problem, "kube-proxy runs in mode ipvs without strict ARP, so that every node would answer for every address: set ipvs.strictARP: true in ConfigMap kube-system/kube-proxy (config.conf) and restart it by kubectl -n kube-system rollout restart daemonset kube-proxy")
	}
}

// announcers beside MetalLB, by what they run.
func (p *preflight) announcers() {
	seen := map[string]bool{}
	find := func(o *unstructured.Unstructured, what, advice string) {
		if !seen[what] {
			seen[what] = true
			p.find(Note, "%s runs %s: %s", Name(o), what, advice)
		}
	}
	const classes = "see that it and Fairlead serve different Services (spec.loadBalancerClass), as it and MetalLB do now"
	for _, o := range p.in.Others {
		if o.GetKind() != "Pod" && !Runs(o) {
			continue
		}
		for _, c := range containers(o) {
			image, _ := c["image"].(string)
			switch {
			case strings.Contains(image, "kube-vip"):
				if serves := envTrue(c, "svc_enable") || contains(c, "--services"); serves {
					find(o, "kube-vip for Services", classes)
				}
			case strings.Contains(image, "purelb/"):
				find(o, "PureLB", classes)
			case strings.Contains(image, "openelb"), strings.Contains(image, "porter"):
				find(o, "OpenELB", classes)
			case strings.Contains(image, "klipper-lb"):
				find(o, "the ServiceLB of k3s", "it serves every Service without a class: start k3s with --disable=servicelb")
			}
		}
		l := o.GetLabels()
		if l["app.kubernetes.io/name"] == "fairlead" && o.GetNamespace() != p.in.Namespace && o.GetKind() != "Pod" {
			find(o, "another Fairlead", "remove it, or name its namespace by --namespace if it is the one that is meant")
		}
	}
	if p.in.Cilium["enable-l2-announcements"] == "true" || p.in.Cilium["enable-bgp-control-plane"] == "true" {
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
		p.find(Note, "%s is managed by %s: %s", Name(o), by, advice)
	}
}

// Operator reports whether a program is the MetalLB operator, which would start again what is stopped.
func Operator(o *unstructured.Unstructured) bool {
	return o.GetKind() == Deployment && strings.HasPrefix(o.GetName(), "metallb-operator")
}

func envTrue(container map[string]any, name string) bool {
	list, _ := container["env"].([]any)
	for _, e := range list {
		if m, ok := e.(map[string]any); ok && m["name"] == name {
			return m["value"] == "true"
		}
	}
	return false
}

func contains(container map[string]any, arg string) bool {
	list, _ := container["args"].([]any)
	for _, a := range list {
		if a == arg {
			return true
		}
	}
	return false
}
