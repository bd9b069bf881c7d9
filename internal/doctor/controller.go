package doctor

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"fairlead.io/fairlead/internal/workload"
)

// DefaultLease is the name of the controllers' lease, where no option says otherwise.
const DefaultLease = "fairlead-controller"

// LeaseName is the name of the lease of a controller.
func LeaseName(controller *unstructured.Unstructured) string {
	if name, given := workload.Option(controller, "leader-elect-lease-name"); given {
		return name
	}
	return DefaultLease
}

// controller must run, and one of its replicas must lead.
func (e *examiner) controller() {
	o := e.program(workload.Deployment)
	if o == nil {
		return
	}
	var d appsv1.Deployment
	if !e.typed(o, &d) {
		return
	}
	wanted, name := workload.Replicas(o), workload.Name(o)
	if wanted == 0 {
		e.find(Problem, name, "it is scaled to nothing, so that no Service is given an address: kubectl -n %s scale deployment %s --replicas=2; if MetalLB is to be moved from, kubectl fairlead migrate metallb --apply starts it", d.Namespace, d.Name)
		return
	}
	before := len(e.found)
	if e.unless(e.in.Pods.Unread, "Pods of "+e.in.Namespace) {
		pods, _ := e.podsOf(d.Spec.Selector)
		for _, p := range pods {
			if !remains(p) || int64(d.Status.AvailableReplicas) < wanted {
				e.podTrouble(p)
			}
		}
	}
	switch s := &d.Status; {
	case s.ObservedGeneration < d.Generation:
		e.find(Warning, name, "nobody has taken up its last change yet: if that stays so, see that kube-controller-manager runs")
	case s.AvailableReplicas == 0:
		e.find(Problem, name, "none of its %d replicas is available, so that no Service is given an address: kubectl -n %s describe deployment %s", wanted, d.Namespace, d.Name)
	case int64(s.AvailableReplicas) < wanted:
		e.find(Warning, name, "%d of %d replicas are available: nobody takes over at once when that one ends", s.AvailableReplicas, wanted)
	case int64(s.UpdatedReplicas) < wanted:
		e.find(Warning, name, "it is being rolled out: %d of %d replicas are new", s.UpdatedReplicas, wanted)
	}
	if e.quiet(before) {
		e.find(OK, name, "%d of %d replicas are available, image %s", d.Status.AvailableReplicas, wanted, image(o))
	}
	e.version(o)
	if d.Status.AvailableReplicas > 0 {
		e.lease(o)
	}
}

// program of Fairlead's of a kind; nil: it is missing, which is told.
func (e *examiner) program(kind string) *unstructured.Unstructured {
	if !e.unless(e.in.Programs.Unread, kind+"s of "+e.in.Namespace) {
		return nil
	}
	if o := workload.Find(e.in.Programs.Is, kind); o != nil {
		return o
	}
	for _, o := range e.in.Others.Is {
		if o.GetKind() == kind && o.GetLabels()["app.kubernetes.io/name"] == "fairlead" {
			e.find(Problem, kind, "Fairlead has none in namespace %s, and one in %s: name that by --namespace", e.in.Namespace, o.GetNamespace())
			return nil
		}
	}
	e.find(Problem, kind, "Fairlead has none in namespace %s (label app.kubernetes.io/name=fairlead): install it by %s; or name its namespace by --namespace", e.in.Namespace, howToInstall)
	return nil
}

// typed reads an object as what it is.
func (e *examiner) typed(o *unstructured.Unstructured, into any) bool {
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, into); err != nil {
		e.find(Problem, workload.Name(o), "it cannot be read: %s", err)
		return false
	}
	return true
}

// lease must be held, and renewed.
func (e *examiner) lease(controller *unstructured.Unstructured) {
	if value, given := workload.Option(controller, "leader-elect"); given && value == "false" {
		e.find(OK, "Lease", "there is none, since the controller runs with --leader-elect=false")
		return
	}
	name := "Lease " + e.in.Namespace + "/" + LeaseName(controller)
	if !e.unless(e.in.Lease.Unread, name) {
		return
	}
	l := e.in.Lease.Is
	if l != nil && l.Spec.RenewTime != nil && (l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "") && e.in.Now.Sub(l.Spec.RenewTime.Time) < startTime {
		e.find(Warning, name, "the controller that had it has just let it go: look again in a minute")
		return
	}
	if l == nil || l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" || l.Spec.RenewTime == nil {
		e.find(Problem, name, "no controller holds it, so that nobody gives out addresses: kubectl -n %s logs %s says why; it must be allowed to create and update leases there", e.in.Namespace, "deployment/"+controller.GetName())
		return
	}
	age, valid := e.in.Now.Sub(l.Spec.RenewTime.Time).Round(time.Second), 10*time.Second
	if l.Spec.LeaseDurationSeconds != nil {
		valid = time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second
	}
	switch {
	case age > 3*valid: // somebody else would have it by then; and clocks differ
		e.find(Problem, name, "%s has it, and has not renewed it for %s: nobody gives out addresses. See that the controller reaches the API server, and that its node's clock is right", *l.Spec.HolderIdentity, age)
	case age < -3*valid:
		e.find(Warning, name, "it is renewed %s from now, by the API server's clock: set that, or the clock of the controller's node, right", -age)
	default:
		e.find(OK, name, "%s leads", *l.Spec.HolderIdentity)
	}
}
