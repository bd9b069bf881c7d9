// Package view is what layer 2 and BGP need to know of a Service and of a Node, and nothing else of them: two views are equal when
// nothing that matters has changed. It decides nothing.
package view

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/endpoints"
	"fairlead.io/fairlead/internal/service"
)

// ExcludeLabel on a node keeps it from announcing.
const ExcludeLabel = "node.kubernetes.io/exclude-from-external-load-balancers"

// Service is what matters of a Service that has addresses of ours.
type Service struct {
	Addresses []netip.Addr
	// Pools that the addresses were taken from, as the Service's annotation names them: one for all addresses, or one each.
	Pools  []string
	Labels labels.Set
	// Local: only endpoints on the node that a packet comes to are forwarded to.
	Local     bool
	Endpoints endpoints.View
}

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

// Equal reports whether two Services are the same in all that matters.
func (s *Service) Equal(o *Service) bool {
	return slices.Equal(s.Addresses, o.Addresses) && slices.Equal(s.Pools, o.Pools) && maps.Equal(s.Labels, o.Labels) &&
		s.Local == o.Local && s.Endpoints.Equal(&o.Endpoints)
}

// Pool that an address was taken from, as the annotation says; empty: it does not say.
func (s *Service) Pool(addr netip.Addr) string {
	switch i := slices.Index(s.Addresses, addr); {
	case len(s.Pools) == 0:
		return ""
	case i >= 0 && len(s.Pools) == len(s.Addresses):
		return s.Pools[i]
	}
	return s.Pools[0]
}

// Node is what matters of a Node.
type Node struct {
	Labels             labels.Set
	NetworkUnavailable bool
	// Addresses are the node's internal addresses, in their order.
	Addresses []netip.Addr
}

// NodeOf reads what matters of a Node.
func NodeOf(node *corev1.Node) Node {
	n := Node{Labels: node.Labels}
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeNetworkUnavailable && c.Status == corev1.ConditionTrue {
			n.NetworkUnavailable = true
		}
	}
	for _, a := range node.Status.Addresses {
		if addr, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
			n.Addresses = append(n.Addresses, addr.Unmap())
		}
	}
	return n
}

// Equal reports whether two Nodes are the same in all that matters.
func (n Node) Equal(o Node) bool {
	return n.NetworkUnavailable == o.NetworkUnavailable && maps.Equal(n.Labels, o.Labels) && slices.Equal(n.Addresses, o.Addresses)
}

// Excluded reports whether the node is labelled to be left out of load balancing.
func (n Node) Excluded() bool {
	_, ok := n.Labels[ExcludeLabel]
	return ok
}
