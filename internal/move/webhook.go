package move

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.io/fairlead/internal/workload"
)

// SilencedCondition is the match condition that keeps a webhook from being called. Everything else of it stays as it is, so that taking the
// condition out is the way back. failurePolicy Ignore would not do: the API server would still wait for an answer.
const SilencedCondition = "fairlead.io/stopped"

// CallsInto reports whether a webhook configuration calls a Service in the namespace.
func CallsInto(o *unstructured.Unstructured, namespace string) bool {
	for _, w := range webhooks(o) {
		if ns, _, err := unstructured.NestedString(w, "clientConfig", "service", "namespace"); err == nil && ns == namespace {
			return true
		}
	}
	return false
}

// Silenced reports whether no webhook of the configuration is called.
func Silenced(o *unstructured.Unstructured) bool {
	for _, w := range webhooks(o) {
		if silencer(w) < 0 {
			return false
		}
	}
	return true
}

// Silence a webhook configuration, and report whether there was anything to change.
func Silence(o *unstructured.Unstructured) (bool, error) {
	list, changed := webhooks(o), false
	for _, w := range list {
		if silencer(w) < 0 {
			conditions, _, err := unstructured.NestedSlice(w, "matchConditions")
			if err != nil {
				return false, fmt.Errorf("read %s: %w", workload.Name(o), err)
			}
			w["matchConditions"] = append(conditions, map[string]any{"name": SilencedCondition, "expression": "false"})
			changed = true
		}
	}
	return changed, setWebhooks(o, list)
}

// Call undoes Silence.
func Call(o *unstructured.Unstructured) (bool, error) {
	list, changed := webhooks(o), false
	for _, w := range list {
		i := silencer(w)
		if i < 0 {
			continue
		}
		changed = true
		conditions, _, err := unstructured.NestedSlice(w, "matchConditions")
		if err != nil {
			return false, fmt.Errorf("read %s: %w", workload.Name(o), err)
		}
		if conditions = append(conditions[:i], conditions[i+1:]...); len(conditions) > 0 {
			w["matchConditions"] = conditions
		} else {
			delete(w, "matchConditions")
		}
	}
	return changed, setWebhooks(o, list)
}

func webhooks(o *unstructured.Unstructured) []map[string]any {
	list, _, err := unstructured.NestedSlice(o.Object, "webhooks")
	if err != nil {
		return nil
	}
	var out []map[string]any
	for _, x := range list {
		if w, ok := x.(map[string]any); ok {
			out = append(out, w)
		}
	}
	return out
}

func setWebhooks(o *unstructured.Unstructured, list []map[string]any) error {
	items := make([]any, len(list))
	for i, w := range list {
		items[i] = w
	}
	return set(o, items, "webhooks")
}

// silencer is where a webhook's condition is, or -1.
func silencer(w map[string]any) int {
	conditions, _, err := unstructured.NestedSlice(w, "matchConditions")
	if err != nil {
		return -1
	}
	for i, c := range conditions {
		if m, ok := c.(map[string]any); ok && m["name"] == SilencedCondition {
			return i
		}
	}
	return -1
}
