package cli

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/metallb"
)

// action is what is to be done with an object that was imported.
type action string

const (
	create    action = "created"
	change    action = "changed"
	unchanged action = "unchanged"
	// leave it alone: somebody else's, or refused.
	leave action = "left alone"
	// pruned: it was left over.
	pruned action = "deleted"
	// missed, because of an error before.
	missed action = "not written"
)

// planned is an object with what is to be done.
type planned struct {
	object  *unstructured.Unstructured
	action  action
	verdict metallb.Verdict
	// why it is left alone.
	why string
}

// planner finds out by dry runs what writing would do. It never forces: a field that somebody else has set stays as it is.
type planner struct{ dynamic dynamic.Interface }

// errNotInstalled: the cluster has not Fairlead's kinds.
var errNotInstalled = errors.New("the cluster does not have Fairlead's kinds: install Fairlead first (config/default)")

func checkInstalled(disco discovery.DiscoveryInterface) error {
	_, err := disco.ServerResourcesForGroupVersion(v1beta1.GroupVersion.String())
	switch {
	case apierrors.IsNotFound(err):
		return errNotInstalled
	case err != nil:
		return fmt.Errorf("ask if the API server has Fairlead's kinds: %w", err)
	}
	return nil
}

// plan for all objects, before any is written.
func (p *planner) plan(ctx context.Context, objects []*unstructured.Unstructured) ([]planned, error) {
	out := make([]planned, 0, len(objects))
	for _, obj := range objects {
		x, err := p.planOne(ctx, obj)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	return out, nil
}

func (p *planner) planOne(ctx context.Context, obj *unstructured.Unstructured) (planned, error) {
	x := planned{object: obj, action: create}
	current, err := p.of(obj).Get(ctx, obj.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		current = nil
	case err != nil:
		return x, fmt.Errorf("read %s: %w", nameOf(obj), err)
	default:
		from := current.GetAnnotations()[metallb.ImportedFromAnnotation]
		x.action = change
		if current.GetLabels()[metallb.ManagedByLabel] != metallb.ManagedBy || from == "" {
			x.leave(metallb.LeftAlone, "%s exists and was not imported: it stays as it is. Delete or rename one of the two if the import is to have it", nameOf(obj))
			return x, nil
		}
		if wanted := obj.GetAnnotations()[metallb.ImportedFromAnnotation]; from != wanted {
			x.leave(metallb.LeftAlone, "%s exists and was imported from %s, and not from %s: it stays as it is. Delete it if the import is to have its name", nameOf(obj), from, wanted)
			return x, nil
		}
	}
	result, err := p.apply(ctx, obj, true)
	var status apierrors.APIStatus
	switch {
	case apierrors.IsConflict(err):
		x.leave(metallb.LeftAlone, "%s was changed by somebody else since it was imported, and stays as it is: %s. Make the source say the same, or delete the object and import it anew", nameOf(obj), oneLine(err))
		return x, nil
	case errors.As(err, &status) && !apierrors.IsServerTimeout(err) && !apierrors.IsTooManyRequests(err) && !apierrors.IsInternalError(err):
		x.leave(metallb.Broken, "the API server refuses %s: %s", nameOf(obj), oneLine(err))
		return x, nil
	case err != nil:
		return x, fmt.Errorf("try %s: %w", nameOf(obj), err)
	}
	if current != nil && reflect.DeepEqual(essence(current), essence(result)) {
		x.action = unchanged
	}
	return x, nil
}

func (x *planned) leave(v metallb.Verdict, format string, args ...any) {
	x.action, x.verdict, x.why = leave, v, fmt.Sprintf(format, args...)
}

// write what was planned. What has changed since in the way of it is left alone; any other error ends it, and a later run does the rest.
func (p *planner) write(ctx context.Context, list []planned) error {
	for i := range list {
		x := &list[i]
		if x.action != create && x.action != change {
			continue
		}
		_, err := p.apply(ctx, x.object, false)
		switch {
		case apierrors.IsConflict(err):
			x.leave(metallb.LeftAlone, "%s was changed by somebody else just now: %s. Import it again", nameOf(x.object), oneLine(err))
		case err != nil:
			for j := i; j < len(list); j++ {
				if list[j].action == create || list[j].action == change {
					list[j].action = missed
				}
			}
			return fmt.Errorf("write %s: %w", nameOf(x.object), err)
		}
	}
	return nil
}

// apply an object server-side, with a field manager of its own.
func (p *planner) apply(ctx context.Context, obj *unstructured.Unstructured, try bool) (*unstructured.Unstructured, error) {
	options := metav1.ApplyOptions{FieldManager: metallb.ManagedBy}
	if try {
		options.DryRun = []string{metav1.DryRunAll}
	}
	return p.of(obj).Apply(ctx, obj.GetName(), obj, options) //nolint:wrapcheck // the callers look at it, and say what failed
}

func (p *planner) of(obj *unstructured.Unstructured) dynamic.ResourceInterface {
	gvk := obj.GroupVersionKind()
	resource := strings.ToLower(gvk.Kind) + "s"
	if gvk.Kind == "Community" {
		resource = "communities"
	}
	return p.dynamic.Resource(schema.GroupVersionResource{Group: gvk.Group, Version: gvk.Version, Resource: resource}).Namespace(obj.GetNamespace())
}

// essence of an object is what a write would change.
func essence(o *unstructured.Unstructured) map[string]any {
	o = o.DeepCopy()
	for _, field := range []string{"managedFields", "resourceVersion", "generation"} {
		unstructured.RemoveNestedField(o.Object, "metadata", field)
	}
	return o.Object
}

func nameOf(o *unstructured.Unstructured) string {
	if o.GetNamespace() != "" {
		return o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
	}
	return o.GetKind() + " " + o.GetName()
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
