package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/view"
	"fairlead.io/fairlead/internal/workload"
)

// speakers must run on every node, and tell of themselves.
func (e *examiner) speakers() {
	o := e.program(workload.DaemonSet)
	if o == nil {
		return
	}
	var ds appsv1.DaemonSet
	if !e.typed(o, &ds) {
		return
	}
	if workload.Stopped(o) {
		e.find(Problem, workload.Name(o), "it is stopped by the label %s in its nodeSelector, so that nobody announces: kubectl fairlead migrate metallb --apply starts it when MetalLB is moved from; else apply config/default", workload.StoppedLabel)
		return
	}
	before := len(e.found)
	switch s := &ds.Status; {
	case s.ObservedGeneration < ds.Generation:
		e.find(Warning, workload.Name(o), "nobody has taken up its last change yet: if that stays so, see that kube-controller-manager runs")
	case s.UpdatedNumberScheduled < s.DesiredNumberScheduled:
		e.find(Warning, workload.Name(o), "it is being rolled out: %d of %d pods are new. If it does not go on, a pod that is not ready is in the way", s.UpdatedNumberScheduled, s.DesiredNumberScheduled)
	}
	if e.unless(e.in.Nodes.Unread, "Nodes") && e.unless(e.in.Pods.Unread, "Pods of "+e.in.Namespace) {
		e.nodes(&ds)
		e.excluded(o)
	}
	e.versions()
	if e.quiet(before) {
		e.find(OK, workload.Name(o), "%d of %d nodes have a speaker, image %s", ds.Status.NumberReady, ds.Status.DesiredNumberScheduled, image(o))
	}
	e.version(o)
	e.alike(o)
}

// nodes must each have a pod that runs and an object that it writes.
func (e *examiner) nodes(ds *appsv1.DaemonSet) {
	objects := map[string]*v1beta1.Speaker{}
	for i := range e.in.Objects.Is.Speakers {
		objects[e.in.Objects.Is.Speakers[i].Name] = &e.in.Objects.Is.Speakers[i]
	}
	running, leaving := e.podsOf(ds.Spec.Selector)
	pods, old := byNode(running), byNode(leaving)
	without := map[string][]string{} // nodes by why they have no pod
	var down, mute, soon []string
	exists := map[string]bool{}
	for i := range e.in.Nodes.Is {
		node := &e.in.Nodes.Is[i]
		exists[node.Name] = true
		pod := pods[node.Name]
		switch {
		case !linux(node):
		case !ready(node):
			down = append(down, node.Name)
		case pod == nil:
			why := keptAway(&ds.Spec.Template.Spec, node)
			switch before := old[node.Name]; {
			case why != "":
			case before != nil && e.in.Now.Sub(before.DeletionTimestamp.Time) < startTime, before == nil && e.in.Now.Sub(readySince(node)) < startTime:
				soon = append(soon, node.Name)
				continue
			case before != nil:
				e.find(Problem, "Pod "+before.Namespace+"/"+before.Name, "it should have ended by %s, and keeps another speaker from Node %s: see that kubelet and the container runtime run there", before.DeletionTimestamp.UTC().Format(time.RFC3339), node.Name)
				continue
			}
			without[why] = append(without[why], node.Name)
		default:
			before := len(e.found)
			e.podTrouble(pod)
			if len(e.found) == before && objects[node.Name] == nil && e.in.Objects.Unread == "" && !slices.Contains(e.in.Absent, "speakers") {
				mute = append(mute, node.Name)
			}
		}
	}
	for _, why := range slices.Sorted(maps.Keys(without)) {
		if why == "" {
			e.find(Problem, these("Node", without[why]), "no speaker runs there, and nothing is seen that keeps it away: kubectl -n %s describe daemonset %s", ds.Namespace, ds.Name)
			continue
		}
		e.find(Warning, these("Node", without[why]), "no speaker runs there, and nothing is announced from there: %s", why)
	}
	if len(soon) > 0 {
		e.find(Warning, these("Node", soon), "a speaker is about to be started there: look again in a minute")
	}
	if len(down) > 0 {
		e.find(Warning, these("Node", down), "not ready, so that no speaker was looked for there: kubectl describe node says why")
	}
	if len(mute) > 0 {
		e.find(Problem, these("Node", mute), "a speaker runs there, and there is no Speaker object of it: its log (kubectl -n %s logs daemonset/%s) says what keeps it from writing one", ds.Namespace, ds.Name)
	}
	var gone []string
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		if !exists[name] {
			gone = append(gone, name)
		}
	}
	if len(gone) > 0 {
		e.find(Warning, these("Speaker", gone), "there is no Node of that name any more: kubectl delete speakers.%s %s", v1beta1.Group, strings.Join(gone, " "))
	}
	e.interfaces(pods)
}

// interfaces: without one a speaker cannot answer on layer 2.
func (e *examiner) interfaces(pods map[string]*corev1.Pod) {
	var bare []string
	for i := range e.in.Objects.Is.Speakers {
		s := &e.in.Objects.Is.Speakers[i]
		if len(s.Status.Interfaces) == 0 && len(s.Status.Conditions) > 0 && pods[s.Name] != nil {
			bare = append(bare, s.Name)
		}
	}
	if len(bare) > 0 && len(e.in.Objects.Is.L2Advertisements) > 0 {
		e.find(Warning, these("Speaker", bare), "no interface was found that could be answered on: see that the node has one that is up and has an address, and that --interfaces-exclude does not leave it out")
	}
}

// excluded nodes announce nothing. Where all are, nobody does.
func (e *examiner) excluded(speaker *unstructured.Unstructured) {
	if workload.Flagged(speaker, "ignore-exclude-lb") || len(e.in.Nodes.Is) == 0 {
		return
	}
	for i := range e.in.Nodes.Is {
		if node := &e.in.Nodes.Is[i]; linux(node) && !view.NodeOf(node).Excluded() {
			return
		}
	}
	e.find(Problem, "Nodes", "each has the label %s, so that none announces anything: kubectl label nodes --all %s- takes it off, or run the speakers with --ignore-exclude-lb", view.ExcludeLabel, view.ExcludeLabel)
}

// versions that speakers say they have.
func (e *examiner) versions() {
	nodes := map[string][]string{}
	for i := range e.in.Objects.Is.Speakers {
		if s := &e.in.Objects.Is.Speakers[i]; s.Status.Version != "" {
			nodes[s.Status.Version] = append(nodes[s.Status.Version], s.Name)
		}
	}
	list := slices.Sorted(maps.Keys(nodes))
	switch {
	case len(list) > 1:
		var parts []string
		for _, v := range list {
			parts = append(parts, v+" on "+names(nodes[v]))
		}
		e.find(Warning, "Speakers", "they are of different versions (%s): see that the rollout goes on", strings.Join(parts, "; "))
	case len(list) == 1 && !sameVersion(list[0], e.in.Version):
		e.find(Warning, "Speakers", "they are of version %s, and this plugin is of version %s: take the kubectl-fairlead of the release that is installed", list[0], e.in.Version)
	}
}

// alike must controller and speakers be, in what they are and whom they serve.
func (e *examiner) alike(speaker *unstructured.Unstructured) {
	controller := workload.Find(e.in.Programs.Is, workload.Deployment)
	if controller == nil {
		return
	}
	if a, b := image(controller), image(speaker); a != b {
		e.find(Warning, workload.Name(speaker), "its image is %s, and the controller's is %s: bring both to one release", b, a)
	}
	if a, b := workload.Class(controller), workload.Class(speaker); a != b {
		e.find(Problem, workload.Name(speaker), "it serves %s, and the controller serves %s: give both the same --load-balancer-class and --require-load-balancer-class", b, a)
	}
}

// byNode has the pods by the node that each is for.
func byNode(list []*corev1.Pod) map[string]*corev1.Pod {
	out := map[string]*corev1.Pod{}
	for _, p := range list {
		out[nodeOf(p)] = p
	}
	return out
}

// nodeOf a pod of a DaemonSet, which is made for one node.
func nodeOf(p *corev1.Pod) string {
	if p.Spec.NodeName != "" || p.Spec.Affinity == nil || p.Spec.Affinity.NodeAffinity == nil || p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return p.Spec.NodeName
	}
	for _, term := range p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, f := range term.MatchFields {
			if f.Key == "metadata.name" && len(f.Values) == 1 {
				return f.Values[0]
			}
		}
	}
	return ""
}

// keptAway says what keeps a speaker from a node, and what to do about it; empty: nothing that is seen.
func keptAway(spec *corev1.PodSpec, node *corev1.Node) string {
	for _, key := range slices.Sorted(maps.Keys(spec.NodeSelector)) {
		if value, has := node.Labels[key]; !has || value != spec.NodeSelector[key] {
			return fmt.Sprintf("the DaemonSet's nodeSelector asks for %s=%s. Label the node if it is to announce", key, spec.NodeSelector[key])
		}
	}
	for i := range node.Spec.Taints {
		if t := &node.Spec.Taints[i]; t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerated(spec.Tolerations, t) {
			return fmt.Sprintf("there is the taint %s. Add a toleration to the DaemonSet (speaker.tolerations of the chart) if it is to announce", t.ToString())
		}
	}
	if spec.Affinity != nil && spec.Affinity.NodeAffinity != nil && spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		return "the DaemonSet has a node affinity, which may not select it"
	}
	return ""
}

// tolerated reports whether a taint keeps no pod of a DaemonSet away. Those on the host network get some tolerations by themselves.
func tolerated(list []corev1.Toleration, t *corev1.Taint) bool {
	if strings.HasPrefix(t.Key, "node.kubernetes.io/") && slices.Contains([]string{"not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable", "network-unavailable"}, strings.TrimPrefix(t.Key, "node.kubernetes.io/")) {
		return true
	}
	return slices.ContainsFunc(list, func(x corev1.Toleration) bool {
		switch {
		case x.Effect != "" && x.Effect != t.Effect, x.Key != "" && x.Key != t.Key:
			return false
		case x.Operator == "" || x.Operator == corev1.TolerationOpEqual:
			return x.Value == t.Value
		}
		return true
	})
}

func linux(node *corev1.Node) bool {
	os, has := node.Labels[corev1.LabelOSStable]
	if !has {
		os = node.Status.NodeInfo.OperatingSystem
	}
	return os == "" || os == "linux"
}

// readySince when a node is ready; the zero time: nobody has said it.
func readySince(node *corev1.Node) time.Time {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.LastTransitionTime.Time
		}
	}
	return time.Time{}
}

// ready reports whether a node is, or nobody has said otherwise.
func ready(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return true
}
