package move

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/service"
)

// containers of a program's pods.
func containers(o *unstructured.Unstructured) []map[string]any {
	path := []string{"spec", "template", "spec", "containers"}
	if o.GetKind() == "Pod" {
		path = []string{"spec", "containers"}
	}
	list, _, err := unstructured.NestedSlice(o.Object, path...)
	if err != nil {
		return nil
	}
	var out []map[string]any
	for _, x := range list {
		if m, ok := x.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// option of a program's command line, as Go's flags are written.
func option(o *unstructured.Unstructured, name string) (value string, given bool) {
	for _, c := range containers(o) {
		var words []string
		for _, field := range []string{"command", "args"} {
			list, _, err := unstructured.NestedStringSlice(c, field)
			if err == nil {
				words = append(words, list...)
			}
		}
		for i, word := range words {
			key, v, has := strings.Cut(strings.TrimLeft(word, "-"), "=")
			if key != name || !strings.HasPrefix(word, "-") {
				continue
			}
			if value, given = v, true; !has && i+1 < len(words) && !strings.HasPrefix(words[i+1], "-") {
				value = words[i+1]
			}
		}
	}
	return value, given
}

// flagged reports whether an option that is true or false is given as true.
func flagged(o *unstructured.Unstructured, name string) bool {
	value, given := option(o, name)
	return given && value != "false"
}

// ClassOf is which Services a program of Fairlead serves.
func ClassOf(o *unstructured.Unstructured) service.Class {
	class := service.Class{Name: v1beta1.DefaultLoadBalancerClass, Require: flagged(o, "require-load-balancer-class")}
	if name, given := option(o, "load-balancer-class"); given {
		class.Name = name
	}
	return class
}
