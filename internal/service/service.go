// Package service reads a Service the way Fairlead's programs need it: is it ours, what does it ask for, what does it have.
//
// It decides nothing about addresses or nodes and holds no state. Everything is computed from the object alone, cheaply,
// because it runs for every event of every Service.
package service

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Class says which Services a program serves.
type Class struct {
	// Name is the spec.loadBalancerClass that is served.
	Name string
	// Require leaves Services without a class alone; they are served otherwise.
	Require bool
}

// Ours reports whether a Service is served: type LoadBalancer, and of the class. It says nothing about cluster IPs: see Families.
func (c Class) Ours(svc *corev1.Service) bool {
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return false
	}
	if svc.Spec.LoadBalancerClass == nil {
		return !c.Require
	}
	return *svc.Spec.LoadBalancerClass == c.Name
}

// String says which Services are served, as messages have it.
func (c Class) String() string {
	if c.Require {
		return fmt.Sprintf("Services of class %q alone", c.Name)
	}
	return fmt.Sprintf("Services without a class, and of class %q", c.Name)
}

// Family of an address.
type Family uint8

// The two families.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// FamilyOf an address.
func FamilyOf(a netip.Addr) Family {
	if a.Unmap().Is4() {
		return IPv4
	}
	return IPv6
}

// Families are the families of the Service's cluster IPs, in their order, at most one of each. A headless Service, and one
// that has no cluster IP yet, has none. The cluster IPs and not spec.ipFamilies are asked, because a packet to an address
// of a family without a cluster IP would be forwarded nowhere.
func Families(svc *corev1.Service) []Family {
	families := make([]Family, 0, 2)
	add := func(s string) {
		if a, err := netip.ParseAddr(s); err == nil && !slices.Contains(families, FamilyOf(a)) {
			families = append(families, FamilyOf(a))
		}
	}
	for _, s := range svc.Spec.ClusterIPs {
		add(s)
	}
	if len(svc.Spec.ClusterIPs) == 0 {
		add(svc.Spec.ClusterIP)
	}
	return families
}

// RequiresDualStack reports whether the Service wants addresses of both families or none.
func RequiresDualStack(svc *corev1.Service) bool {
	return svc.Spec.IPFamilyPolicy != nil && *svc.Spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack
}

// Addresses are the addresses in the Service's status, without entries that are no address (host names of other implementations).
func Addresses(svc *corev1.Service) []netip.Addr {
	ingress := svc.Status.LoadBalancer.Ingress
	if len(ingress) == 0 {
		return nil
	}
	addrs := make([]netip.Addr, 0, len(ingress))
	for i := range ingress {
		if a, err := netip.ParseAddr(ingress[i].IP); err == nil && a.Zone() == "" {
			if a = a.Unmap(); !slices.Contains(addrs, a) {
				addrs = append(addrs, a)
			}
		}
	}
	return addrs
}

// Local reports whether external traffic goes only to endpoints on the node that receives it (externalTrafficPolicy Local).
func Local(svc *corev1.Service) bool {
	return svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// Port is one port that a Service listens on. Two Services on one address must not have a Port in common.
type Port struct {
	Protocol corev1.Protocol
	Port     uint16
}

// Ports of the Service, in the order of its spec.
func Ports(svc *corev1.Service) []Port {
	ports := make([]Port, 0, len(svc.Spec.Ports))
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		protocol := p.Protocol
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		ports = append(ports, Port{Protocol: protocol, Port: uint16(p.Port)}) // the API server allows 1..65535
	}
	return ports
}

// SelectorIdentity is a text that two Services have in common exactly when their selectors are equal and not empty. It
// carries the namespace, because equal selectors in two namespaces select different pods. A Service without selector
// has endpoints made by hand, which are its own: the identity then names the Service.
func SelectorIdentity(svc *corev1.Service) string {
	if len(svc.Spec.Selector) == 0 {
		return svc.Namespace + "/" + svc.Name
	}
	return svc.Namespace + SelectorText(svc)
}

// SelectorText is a text that Services have in common exactly when their selectors are equal, in whatever namespaces.
func SelectorText(svc *corev1.Service) string {
	keys := make([]string, 0, len(svc.Spec.Selector))
	for k := range svc.Spec.Selector {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var b strings.Builder
	// A comma and an equals sign occur in no label key or value, so that different selectors give different texts.
	for _, k := range keys {
		b.WriteByte(',')
		b.WriteString(k)
		b.WriteByte('=')
		b.WriteString(svc.Spec.Selector[k])
	}
	return b.String()
}
