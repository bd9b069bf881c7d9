package service

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"fairlead.io/fairlead/api/v1beta1"
)

// Request is what a Service asks for by its annotations and by spec.loadBalancerIP. The zero value asks for nothing in particular.
type Request struct {
	// Pool that the addresses must come from; empty: any.
	Pool string
	// Addresses asked for, at most one of each family.
	Addresses []netip.Addr
	// SharingKey that Services name to share an address; empty: none.
	SharingKey string
}

// RequestOf reads what a Service asks for. Our own annotation wins over its aliases, and they are read only in its absence.
// The error is a sentence for the Service's owner: it names the field and what to write instead. The sharing key is right
// even then: a Service that shares an address goes on sharing it.
func RequestOf(svc *corev1.Service) (Request, error) {
	var r Request
	if len(svc.Annotations) == 0 && svc.Spec.LoadBalancerIP == "" {
		return r, nil
	}
	_, r.SharingKey = annotation(svc, v1beta1.AnnotationAllowSharedIP, shareAliases)
	if name, value := annotation(svc, v1beta1.AnnotationAddressPool, poolAliases); name != "" {
		r.Pool = strings.TrimSpace(value)
		if r.Pool == "" {
			return r, fmt.Errorf("annotation %s is empty: name a pool or remove the annotation", name)
		}
	}
	name, value := annotation(svc, v1beta1.AnnotationLoadBalancerIPs, addressAliases)
	var err error
	switch {
	case name != "" && svc.Spec.LoadBalancerIP != "":
		err = fmt.Errorf("both spec.loadBalancerIP (%s) and annotation %s (%s) ask for addresses: remove one of them", svc.Spec.LoadBalancerIP, name, value)
	case name != "":
		r.Addresses, err = parseAddresses("annotation "+name, value)
	case svc.Spec.LoadBalancerIP != "":
		r.Addresses, err = parseAddresses("spec.loadBalancerIP", svc.Spec.LoadBalancerIP)
	}
	return r, err
}

// The aliases in the order in which they are asked. v1beta1 hands out a fresh slice with each call, which is too much for each event.
var (
	poolAliases    = v1beta1.AddressPoolAliases()
	addressAliases = v1beta1.LoadBalancerIPsAliases()
	shareAliases   = v1beta1.AllowSharedIPAliases()
)

// annotation finds the value under our name, else under the first alias that is present; name is empty when there is none.
func annotation(svc *corev1.Service, ours string, aliases []string) (name, value string) {
	if v, ok := svc.Annotations[ours]; ok {
		return ours, v
	}
	for _, alias := range aliases {
		if v, ok := svc.Annotations[alias]; ok {
			return alias, v
		}
	}
	return "", ""
}

// parseAddresses reads a comma-separated list of at most one address per family.
func parseAddresses(field, list string) ([]netip.Addr, error) {
	addrs := make([]netip.Addr, 0, 2)
	for s := range strings.SplitSeq(list, ",") {
		s = strings.TrimSpace(s)
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" || a.Is4In6() {
			return nil, fmt.Errorf("%s: %q is not an IPv4 or IPv6 address", field, s)
		}
		for _, other := range addrs {
			if FamilyOf(other) == FamilyOf(a) {
				return nil, fmt.Errorf("%s asks for %s and %s: ask for at most one address of each family", field, other, a)
			}
		}
		addrs = append(addrs, a)
	}
	return addrs, nil
}
