package move

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// What marks a program as stopped. Of a DaemonSet the label in its node selector is all, since no node has it: taking it out is the way
// back, whatever else was changed in between.
const (
	// StoppedLabel in the node selector of a DaemonSet.
	StoppedLabel = "fairlead.io/stopped"
	// KeptReplicas of a Deployment, in an annotation.
	KeptReplicas = "fairlead.io/stopped-replicas"
)

// DefaultReplicas of Fairlead's controller, where nothing says how many there are to be.
const DefaultReplicas = 2

// Kinds of programs.
const (
	Deployment = "Deployment"
	DaemonSet  = "DaemonSet"
)

// Name of an object, as messages have it.
func Name(o *unstructured.Unstructured) string {
	if o.GetNamespace() == "" {
		return o.GetKind() + " " + o.GetName()
	}
	return o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
}

// Runs reports whether the program asks for pods.
func Runs(o *unstructured.Unstructured) bool {
	if o.GetKind() == Deployment {
		return replicas(o) > 0
	}
	return !marked(o)
}

// Kept reports whether the program was stopped here, so that Start brings it back as it was.
func Kept(o *unstructured.Unstructured) bool {
	if o.GetKind() == Deployment {
		_, kept := o.GetAnnotations()[KeptReplicas]
		return kept
	}
	return marked(o)
}

// Stop changes a Deployment or DaemonSet so that it has no pods, and reports whether there was anything to change.
func Stop(o *unstructured.Unstructured) (bool, error) {
	if Kept(o) && !Runs(o) {
		return false, nil
	}
	if o.GetKind() == DaemonSet {
		return true, set(o, "true", "spec", "template", "spec", "nodeSelector", StoppedLabel)
	}
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[KeptReplicas] = fmt.Sprint(replicas(o))
	o.SetAnnotations(annotations)
	return true, set(o, int64(0), "spec", "replicas")
}

// Start undoes Stop. A Deployment that was scaled to nothing in another way gets as many replicas as are wanted in that case; none: it
// stays as it is. One that somebody has scaled up again keeps its number.
func Start(o *unstructured.Unstructured, wanted int64) (bool, error) {
	if o.GetKind() == DaemonSet {
		if !marked(o) {
			return false, nil
		}
		unstructured.RemoveNestedField(o.Object, "spec", "template", "spec", "nodeSelector", StoppedLabel)
		return true, nil
	}
	kept, has := o.GetAnnotations()[KeptReplicas]
	n := wanted
	if has {
		if _, err := fmt.Sscan(kept, &n); err != nil || n < 0 {
			return false, fmt.Errorf("annotation %s of %s is %q and no number of replicas: correct it", KeptReplicas, Name(o), kept)
		}
		unstructured.RemoveNestedField(o.Object, "metadata", "annotations", KeptReplicas)
	}
	if replicas(o) > 0 || n == 0 {
		return has, nil
	}
	return true, set(o, n, "spec", "replicas")
}

func replicas(o *unstructured.Unstructured) int64 {
	n, has, err := unstructured.NestedInt64(o.Object, "spec", "replicas")
	if err != nil || !has {
		return 1 // as the API server has it
	}
	return n
}

func marked(o *unstructured.Unstructured) bool {
	selector, _, err := unstructured.NestedStringMap(o.Object, "spec", "template", "spec", "nodeSelector")
	_, has := selector[StoppedLabel]
	return err == nil && has
}

func set(o *unstructured.Unstructured, value any, path ...string) error {
	if err := unstructured.SetNestedField(o.Object, value, path...); err != nil {
		return fmt.Errorf("change %s: %w", Name(o), err)
	}
	return nil
}
