package doctor

import (
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/workload"
)

// settleTime is how long a Service may be without a condition after it was made.
const settleTime = 30 * time.Second

// services that are ours must have been looked at by the controller.
func (e *examiner) services() {
	if !e.unless(e.in.Services.Unread, "Services of type LoadBalancer") {
		return
	}
	class := e.class()
	var ours, passed, foreign []string
	for i := range e.in.Services.Is {
		svc := &e.in.Services.Is[i]
		name := svc.Namespace + "/" + svc.Name
		switch {
		case svc.Spec.Type != corev1.ServiceTypeLoadBalancer:
		case !class.Ours(svc):
			if svc.Spec.LoadBalancerClass != nil {
				name += fmt.Sprintf(" (class %s)", *svc.Spec.LoadBalancerClass)
			} else {
				name += " (no class)"
			}
			foreign = append(foreign, name)
		default:
			ours = append(ours, name)
			if meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAddressAssigned) == nil && e.in.Now.Sub(svc.CreationTimestamp.Time) > settleTime {
				passed = append(passed, name)
			}
		}
	}
	switch {
	case len(passed) == 0:
		e.find(OK, "Services", "%d of type LoadBalancer are Fairlead's, and the controller has told of each", len(ours))
	case e.leads():
		e.find(Problem, these("Service", passed), "the controller runs, and has said nothing of it (condition %s): its log (kubectl -n %s logs deployment/%s) says what keeps it", v1beta1.ConditionAddressAssigned, e.in.Namespace, workload.Find(e.in.Programs.Is, workload.Deployment).GetName())
	default:
		e.find(Problem, these("Service", passed), "nobody gives out addresses: see what is said of the controller here")
	}
	if len(foreign) > 0 {
		e.find(OK, "Services", "%d of type LoadBalancer are not Fairlead's, which serves %s: %s", len(foreign), class, names(foreign))
	}
}

// leads reports whether a controller is available.
func (e *examiner) leads() bool {
	o := workload.Find(e.in.Programs.Is, workload.Deployment)
	if o == nil {
		return false
	}
	var d appsv1.Deployment
	return e.typed(o, &d) && d.Status.AvailableReplicas > 0
}
