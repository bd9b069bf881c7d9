package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.io/fairlead/internal/workload"
)

// port of a host.
type port struct {
	number   int64
	protocol string
}

func (p port) String() string { return fmt.Sprintf("%d/%s", p.number, p.protocol) }

// ports that speakers take on their nodes must be nobody else's. What is not declared is not seen.
func (e *examiner) ports() {
	speaker := workload.Find(e.in.Programs.Is, workload.DaemonSet)
	if speaker == nil || !e.unless(e.in.Others.Unread, "Ports of other programs") {
		return
	}
	ours, before := speakerPorts(speaker), len(e.found)
	for _, o := range e.in.Others.Is {
		if owned := o.GetOwnerReferences(); o.GetKind() == workload.Pod && len(owned) > 0 && owned[0].Kind != "Node" || !workload.Runs(o) || workload.Name(o) == workload.Name(speaker) {
			continue // what owns a pod is looked at; a static one is its node's, of which there is no more to see
		}
		for _, p := range hostPorts(o) {
			if flag, taken := ours[p]; taken {
				e.find(Warning, workload.Name(o), "it takes port %s of its nodes, which the speakers take (%s): where both are to run one does not start. Give one of them another", p, flag)
			}
		}
	}
	if e.quiet(before) {
		var list []string
		for p := range ours {
			list = append(list, p.String())
		}
		slices.Sort(list)
		e.find(OK, workload.Name(speaker), "no other program declares ports %s of the nodes", strings.Join(list, ", "))
	}
}

// speakerPorts are the ports that speakers listen on, with the option that changes each.
func speakerPorts(o *unstructured.Unstructured) map[port]string {
	number := func(flag string, fallback int64) int64 {
		value, given := workload.Option(o, flag)
		if i := strings.LastIndex(value, ":"); i >= 0 {
			value = value[i+1:]
		}
		if n, err := strconv.ParseInt(value, 10, 64); given && err == nil {
			return n
		}
		return fallback
	}
	const metrics, health, gossip, bfd = "metrics-bind-address", "health-probe-bind-address", "gossip-port", "l2-bfd-port"
	list := map[port]string{
		{number(metrics, 9790), "TCP"}: "--" + metrics,
		{number(health, 9791), "TCP"}:  "--" + health,
		{number(gossip, 9792), "TCP"}:  "--" + gossip,
		{number(gossip, 9792), "UDP"}:  "--" + gossip,
		{number(bfd, 9793), "UDP"}:     "--" + bfd,
	}
	maps.DeleteFunc(list, func(p port, _ string) bool { return p.number == 0 }) // served nowhere
	return list
}

// hostPorts that a program declares. On the host's network each port of a container is one.
func hostPorts(o *unstructured.Unstructured) []port {
	host := workload.HostNetwork(o)
	var list []port
	for _, c := range workload.Containers(o) {
		declared, _ := c["ports"].([]any)
		for _, x := range declared {
			m, _ := x.(map[string]any)
			n, given := m["hostPort"].(int64)
			if !given && host {
				n, given = m["containerPort"].(int64)
			}
			protocol, _ := m["protocol"].(string)
			if protocol == "" {
				protocol = "TCP"
			}
			if p := (port{n, protocol}); given && !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	return list
}
