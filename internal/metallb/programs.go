package metallb

import (
	"fmt"
	"slices"
	"strings"
)

// Programs of MetalLB, as far as their Deployment and DaemonSet tell of them.
type Programs struct {
	// Namespace that they are in, or are taken to be in.
	Namespace string
	// Class of Services that they serve; empty: those without a class.
	Class string
	// IgnoreExcludeLabel: nodes that are excluded from load balancers announce too.
	IgnoreExcludeLabel bool
	// BGP is the implementation, as METALLB_BGP_TYPE names it; empty: not known.
	BGP string
}

func (p *Programs) routesByFRR() bool { return strings.HasPrefix(p.BGP, "frr") }

// Namespace that MetalLB is in: the one wanted, or else where its programs are, or DefaultNamespace.
func Namespace(objects []Object, wanted string) string {
	namespaces := namespacesOf(findPrograms(objects))
	switch {
	case wanted != "":
		return wanted
	case len(namespaces) == 0 || slices.Contains(namespaces, DefaultNamespace):
		return DefaultNamespace
	}
	return namespaces[0]
}

func findPrograms(objects []Object) []Object {
	var found []Object
	for _, o := range objects {
		if isWorkload(o) && isMetalLB(o) {
			found = append(found, o)
		}
	}
	return found
}

func isWorkload(o Object) bool {
	kind := text(o, "kind")
	return kind == "Deployment" || kind == "DaemonSet"
}

// Workloads are the Deployments and DaemonSets in MetalLB's namespace that are MetalLB: its own programs, and the frr-k8s that it brings. One
// in a namespace of its own serves others as well.
func Workloads(objects []Object, namespace string) []Object {
	var found []Object
	for _, o := range objects {
		if isWorkload(o) && text(o, "metadata", "namespace") == namespace && (isMetalLB(o) || isFRRK8s(o)) {
			found = append(found, o)
		}
	}
	return found
}

func isFRRK8s(o Object) bool {
	return strings.Contains(text(o, "metadata", "name"), "frr-k8s") || text(o, "metadata", "labels", "app.kubernetes.io/name") == "frr-k8s"
}

func namespacesOf(objects []Object) []string {
	var out []string
	for _, o := range objects {
		if ns := text(o, "metadata", "namespace"); ns != "" && !slices.Contains(out, ns) {
			out = append(out, ns)
		}
	}
	slices.Sort(out)
	return out
}

// readPrograms reads what matters of the programs' options, and where they are.
func (c *converter) readPrograms(objects []Object) {
	c.out.Programs.Namespace = Namespace(objects, c.options.MetalLBNamespace)
	found := findPrograms(objects)
	if namespaces := namespacesOf(found); len(namespaces) > 1 {
		c.out.Report.Note("MetalLB's programs are in several namespaces: %s. What counts here is %s; for another one give --metallb-namespace.", strings.Join(namespaces, ", "), c.out.Programs.Namespace)
	}
	for _, o := range found {
		if ns := text(o, "metadata", "namespace"); ns == "" || ns == c.out.Programs.Namespace {
			c.readOptions(o)
		}
	}
}

// isMetalLB knows the programs by the labels that its manifests, its chart and its operator give them.
func isMetalLB(o Object) bool {
	return text(o, "metadata", "labels", "app") == "metallb" || text(o, "metadata", "labels", "app.kubernetes.io/name") == "metallb" ||
		strings.HasPrefix(text(o, "metadata", "name"), "metallb-")
}

func (c *converter) readOptions(o Object) {
	label := text(o, "kind") + " " + c.out.Programs.Namespace + "/" + text(o, "metadata", "name")
	var item *Item
	find := func(format string, args ...any) {
		if item == nil {
			item = c.out.Report.Add(label, "")
		}
		item.Find(Changes, "args", format, args...)
	}
	for _, container := range containers(o) {
		args, _ := container["args"].([]any)
		for i, a := range args {
			name, value, hasValue := strings.Cut(strings.TrimLeft(fmt.Sprint(a), "-"), "=")
			if !hasValue && i+1 < len(args) {
				value = fmt.Sprint(args[i+1])
			}
			switch {
			case name == "lb-class" && value != "":
				c.out.Programs.Class = value
				find("with --lb-class=%s MetalLB serves Services of that class and no others. To serve the same, run fairlead-controller and fairlead-speaker with --load-balancer-class=%s and --require-load-balancer-class", value, value)
			case name == "ignore-exclude-lb" && (!hasValue || value == "true"):
				c.out.Programs.IgnoreExcludeLabel = true
				find("with --ignore-exclude-lb nodes with the label node.kubernetes.io/exclude-from-external-load-balancers announce too: run fairlead-speaker with it as well")
			}
		}
		env, _ := container["env"].([]any)
		for _, e := range env {
			if m, ok := e.(Object); ok && text(m, "name") == "METALLB_BGP_TYPE" {
				c.out.Programs.BGP = text(m, "value")
			}
		}
	}
}

func containers(o Object) []Object {
	for _, key := range []string{"spec", "template", "spec"} {
		next, ok := o[key].(Object)
		if !ok {
			return nil
		}
		o = next
	}
	list, _ := o["containers"].([]any)
	var out []Object
	for _, c := range list {
		if m, ok := c.(Object); ok {
			out = append(out, m)
		}
	}
	return out
}
