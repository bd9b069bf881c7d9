package layer2

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/endpoints"
	"fairlead.io/fairlead/internal/service"
)

// ServiceOf reads what matters of a Service and its EndpointSlices; nil: it has no address.
func ServiceOf(svc *corev1.Service, slices []discoveryv1.EndpointSlice) *Service {
	addresses := service.Addresses(svc)
	if len(addresses) == 0 {
		return nil
	}
	s := &Service{Addresses: addresses, Labels: svc.Labels, Local: service.Local(svc), Endpoints: endpoints.FromSlices(slices)}
	for pool := range strings.SplitSeq(svc.Annotations[v1beta1.AnnotationAllocatedFromPool], ",") {
		if pool = strings.TrimSpace(pool); pool != "" {
			s.Pools = append(s.Pools, pool)
		}
	}
	return s
}

// NodeOf reads what matters of a Node.
func NodeOf(node *corev1.Node) Node {
	n := Node{Labels: node.Labels}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeNetworkUnavailable && c.Status == corev1.ConditionTrue {
			n.NetworkUnavailable = true
		}
	}
	return n
}
