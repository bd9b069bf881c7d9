package move

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.io/fairlead/internal/workload"
)

// KeptReplicas of a Deployment that is stopped are in an annotation. A DaemonSet is marked by workload.StoppedLabel and by nothing else:
// taking that out is the way back, whatever else was changed in between.
const KeptReplicas = "fairlead.io/stopped-replicas"

// DefaultReplicas of Fairlead's controller, where nothing says how many there are to be.
const DefaultReplicas = 2

// Kept reports whether the program was stopped here, so that Start brings it back as it was.
func Kept(o *unstructured.Unstructured) bool {
	if o.GetKind() == workload.Deployment {
		_, kept := o.GetAnnotations()[KeptReplicas]
		return kept
	}
	return workload.Stopped(o)
}

// Stop changes a Deployment or DaemonSet so that it has no pods, and reports whether there was anything to change.
func Stop(o *unstructured.Unstructured) (bool, error) {
	if Kept(o) && !workload.Runs(o) {
		return false, nil
	}
	if o.GetKind() == workload.DaemonSet {
		return true, set(o, "true", "spec", "template", "spec", "nodeSelector", workload.StoppedLabel)
	}
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[KeptReplicas] = fmt.Sprint(workload.Replicas(o))
	o.SetAnnotations(annotations)
	return true, set(o, int64(0), "spec", "replicas")
}

// Start undoes Stop. A Deployment that was scaled to nothing in another way, or before, gets as many replicas as are wanted in that case; none: it
// stays as it is. One that somebody has scaled up again keeps its number.
func Start(o *unstructured.Unstructured, wanted int64) (bool, error) {
	if o.GetKind() == workload.DaemonSet {
		if !workload.Stopped(o) {
			return false, nil
		}
		unstructured.RemoveNestedField(o.Object, "spec", "template", "spec", "nodeSelector", workload.StoppedLabel)
		return true, nil
	}
	kept, has := o.GetAnnotations()[KeptReplicas]
	n := wanted
	if has {
		if _, err := fmt.Sscan(kept, &n); err != nil || n < 0 {
			return false, fmt.Errorf("annotation %s of %s is %q and no number of replicas: correct it", KeptReplicas, workload.Name(o), kept)
		}
		if n == 0 { // it was stopped before it ever ran
			n = wanted
		}
		unstructured.RemoveNestedField(o.Object, "metadata", "annotations", KeptReplicas)
	}
	if workload.Replicas(o) > 0 || n == 0 {
		return has, nil
	}
	return true, set(o, n, "spec", "replicas")
}

func set(o *unstructured.Unstructured, value any, path ...string) error {
	if err := unstructured.SetNestedField(o.Object, value, path...); err != nil {
		return fmt.Errorf("change %s: %w", workload.Name(o), err)
	}
	return nil
}
