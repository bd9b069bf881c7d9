// Package workload reads the programs of a cluster, as Deployments, DaemonSets and Pods have them: do they ask for pods, what is in their
// containers, which options do they run with.
//
// It changes nothing, and decides nothing of what follows.
package workload

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/service"
)

// Kinds of programs.
const (
	Deployment = "Deployment"
	DaemonSet  = "DaemonSet"
	Pod        = "Pod"
)

// StoppedLabel in the node selector of a DaemonSet stops it, since no node has it.
const StoppedLabel = "fairlead.io/stopped"

// Name of an object, as messages have it.
func Name(o *unstructured.Unstructured) string {
	if o.GetNamespace() == "" {
		return o.GetKind() + " " + o.GetName()
	}
	return o.GetKind() + " " + o.GetNamespace() + "/" + o.GetName()
}

// Find the first program of a kind; nil: there is none.
func Find(list []*unstructured.Unstructured, kind string) *unstructured.Unstructured {
	for _, o := range list {
		if o.GetKind() == kind {
			return o
		}
	}
	return nil
}

// Runs reports whether the program asks for pods, or is one.
func Runs(o *unstructured.Unstructured) bool {
	if o.GetKind() == Deployment {
		return Replicas(o) > 0
	}
	return !Stopped(o)
}

// Replicas that a Deployment asks for.
func Replicas(o *unstructured.Unstructured) int64 {
	n, has, err := unstructured.NestedInt64(o.Object, "spec", "replicas")
	if err != nil || !has {
		return 1 // as the API server has it
	}
	return n
}

// Stopped reports whether a DaemonSet is stopped by StoppedLabel.
func Stopped(o *unstructured.Unstructured) bool {
	selector, _, err := unstructured.NestedStringMap(o.Object, "spec", "template", "spec", "nodeSelector")
	_, has := selector[StoppedLabel]
	return err == nil && has
}

// podSpec is where the specification of a program's pods is.
func podSpec(o *unstructured.Unstructured) []string {
	if o.GetKind() == Pod {
		return []string{"spec"}
	}
	return []string{"spec", "template", "spec"}
}

// HostNetwork reports whether the program's pods are on the host's network.
func HostNetwork(o *unstructured.Unstructured) bool {
	on, _, err := unstructured.NestedBool(o.Object, append(podSpec(o), "hostNetwork")...)
	return err == nil && on
}

// Containers of a program's pods.
func Containers(o *unstructured.Unstructured) []map[string]any {
	list, _, err := unstructured.NestedSlice(o.Object, append(podSpec(o), "containers")...)
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

// Option of a program's command line, as Go's flags are written.
func Option(o *unstructured.Unstructured, name string) (value string, given bool) {
	for _, c := range Containers(o) {
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

// Flagged reports whether an option that is true or false is given as true.
func Flagged(o *unstructured.Unstructured, name string) bool {
	value, given := Option(o, name)
	return given && value != "false"
}

// Class is which Services a program of Fairlead serves.
func Class(o *unstructured.Unstructured) service.Class {
	class := service.Class{Name: v1beta1.DefaultLoadBalancerClass, Require: Flagged(o, "require-load-balancer-class")}
	if name, given := Option(o, "load-balancer-class"); given {
		class.Name = name
	}
	return class
}
