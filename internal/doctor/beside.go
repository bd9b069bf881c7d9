package doctor

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/metallb"
	"fairlead.io/fairlead/internal/neighbours"
	"fairlead.io/fairlead/internal/service"
	"fairlead.io/fairlead/internal/workload"
)

// kubeProxy must not let every node answer for every address.
func (e *examiner) kubeProxy() {
	const name = "ConfigMap kube-system/kube-proxy"
	layer2 := len(e.in.Objects.Is.L2Advertisements) > 0
	if e.in.Cilium.Is.ReplacesKubeProxy() && !neighbours.RunsKubeProxy(e.in.Others.Is) {
		e.find(OK, "ConfigMap kube-system/cilium-config", "Cilium forwards in kube-proxy's place")
		return
	}
	if !e.unless(e.in.KubeProxy.Unread, name) {
		return
	}
	const look = "if kube-proxy runs in mode ipvs, see that it has strictARP: true"
	level := OK // routes by BGP do not need it
	if layer2 {
		level = Warning
	}
	if e.in.KubeProxy.Is == nil {
		e.find(level, name, "there is none, so that kube-proxy's mode is not known: %s", look)
		return
	}
	if strings.TrimSpace(*e.in.KubeProxy.Is) == "" {
		e.find(level, name, "it has no entry config.conf, so that kube-proxy's mode is not known: %s", look)
		return
	}
	k, err := neighbours.ReadKubeProxy(*e.in.KubeProxy.Is)
	switch {
	case err != nil:
		e.find(level, name, "it cannot be read (%s): %s", err, look)
	case k.Answers() && e.in.Others.Unread == "" && !neighbours.RunsKubeProxy(e.in.Others.Is):
		e.find(OK, name, "mode ipvs without strict ARP, but there is no kube-proxy that runs by it")
	case k.Answers() && layer2:
		e.find(Problem, name, "%s", neighbours.WithoutStrictARP)
	case k.Answers():
		e.find(Warning, name, "mode ipvs without strict ARP, which layer 2 needs: set ipvs.strictARP: true (config.conf) and restart kube-proxy before the first L2Advertisement")
	case k.Mode == "ipvs":
		e.find(OK, name, "mode ipvs with strict ARP")
	case k.Mode == "":
		e.find(OK, name, "the usual mode, which needs no strict ARP")
	default:
		e.find(OK, name, "mode %s, which needs no strict ARP", k.Mode)
	}
}

// others that serve Services, or announce their addresses.
func (e *examiner) others() {
	before := len(e.found)
	if e.unless(e.in.Cilium.Unread, "ConfigMap kube-system/cilium-config") && e.in.Cilium.Is.Announces() {
		e.find(Warning, "ConfigMap kube-system/cilium-config", "Cilium is set to announce addresses of Services: see that its policies select none that Fairlead serves")
	}
	if !e.unless(e.in.Others.Unread, "Programs of other namespaces") {
		return
	}
	class := e.class()
	e.metallb(class)
	for _, a := range neighbours.Announcers(e.in.Others.Is, e.in.Namespace) {
		name := workload.Name(a.Program)
		switch {
		case a.What == neighbours.AnotherFairlead:
			e.find(Problem, name, "it is another Fairlead, and two are not supported in one cluster: %s", neighbours.WithoutAnotherFairlead)
		case a.ByClass || class.Require:
			e.find(OK, name, "it runs %s, and the two serve different Services (spec.loadBalancerClass)", a.What)
		case a.What == neighbours.ServiceLB:
			e.find(Problem, name, "it runs %s, and serves what Fairlead serves: %s, or run Fairlead with --require-load-balancer-class", a.What, neighbours.WithoutServiceLB)
		default:
			e.find(Warning, name, "it runs %s: see that it and Fairlead serve different Services (spec.loadBalancerClass)", a.What)
		}
	}
	if e.quiet(before) {
		e.find(OK, "Programs", "no other that serves the same Services was found among Deployments, DaemonSets and pods of kube-system")
	}
}

// metallb must not serve the same Services: each would put the other's addresses right.
func (e *examiner) metallb(class service.Class) {
	var objects []metallb.Object
	for _, o := range e.in.Others.Is {
		objects = append(objects, o.Object)
	}
	var running *unstructured.Unstructured
	var programs []metallb.Object
	for _, o := range metallb.Workloads(objects, metallb.Namespace(objects, "")) {
		u := &unstructured.Unstructured{Object: o}
		if programs = append(programs, o); running == nil && workload.Runs(u) {
			running = u
		}
	}
	if running == nil {
		return
	}
	theirs := metallb.Convert(programs, metallb.Options{}).Programs.Class
	serves := fmt.Sprintf("Services of class %q alone", theirs)
	if theirs == "" {
		serves = "Services without a class"
	}
	if theirs == "" && class.Require || theirs != "" && theirs != class.Name {
		e.find(OK, workload.Name(running), "MetalLB runs and serves %s; Fairlead serves %s", serves, class)
		return
	}
	e.find(Problem, workload.Name(running), "MetalLB runs and serves %s, which Fairlead serves too, so that each puts the other's addresses right: kubectl fairlead migrate metallb moves the cluster; else give the two different classes", serves)
}

// class of the Services that are served.
func (e *examiner) class() service.Class {
	if o := workload.Find(e.in.Programs.Is, workload.Deployment); o != nil {
		return workload.Class(o)
	}
	return service.Class{Name: v1beta1.DefaultLoadBalancerClass}
}
