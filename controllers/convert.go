package controllers

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/service"
	"fairlead.io/fairlead/ipam"
)

func keyOf(svc *corev1.Service) ipam.Key { return ipam.Service(svc.Namespace, svc.Name) }

func requestOf(k ipam.Key) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: k.Namespace(), Name: k.Name()}}
}

// ImportedOf turns a Service, and the labels of its namespace, into what the allocator takes.
func ImportedOf(svc *corev1.Service, namespaceLabels map[string]string) ipam.Imported {
	it := ipam.Imported{
		Request: ipam.Request{
			Service: keyOf(svc), Created: svc.CreationTimestamp.Time, Labels: svc.Labels, NamespaceLabels: namespaceLabels,
		},
		Addresses: service.Addresses(svc),
		Pools:     allocatedFrom(svc),
	}
	for _, f := range service.Families(svc) {
		if f == service.IPv4 {
			it.Families = append(it.Families, ipam.IPv4)
		} else {
			it.Families = append(it.Families, ipam.IPv6)
		}
	}
	if service.RequiresDualStack(svc) {
		it.Policy = ipam.Require
	}
	r, err := service.RequestOf(svc)
	if err != nil {
		it.Invalid = err.Error()
	}
	it.Pool = r.Pool
	it.Request.Addresses = r.Addresses
	if r.SharingKey != "" {
		s := &ipam.Sharing{Key: r.SharingKey}
		if service.Local(svc) {
			s.Local = service.SelectorIdentity(svc)
		}
		for _, p := range service.Ports(svc) {
			s.Ports = append(s.Ports, ipam.Port{Protocol: string(p.Protocol), Port: p.Port})
		}
		it.Sharing = s
	}
	return it
}

// allocatedFrom reads the annotation that says which pools the addresses came from, ours or MetalLB's.
func allocatedFrom(svc *corev1.Service) []string {
	for _, name := range []string{v1beta1.AnnotationAllocatedFromPool, "metallb.io/ip-allocated-from-pool", "metallb.universe.tf/ip-allocated-from-pool"} {
		if v := svc.Annotations[name]; v != "" {
			return strings.Split(v, ",")
		}
	}
	return nil
}

// poolsText is the value of the annotation for the addresses; empty: none of them is in a pool.
func poolsText(list []ipam.Assigned) string {
	names := make([]string, len(list))
	one := true
	for i, x := range list {
		names[i] = x.Pool
		one = one && names[i] == names[0]
	}
	if one && len(names) > 0 {
		return names[0]
	}
	return strings.Join(names, ",")
}

// PoolOf turns an IPAddressPool into what the allocator takes. A pool that cannot be read is Invalid and has no addresses.
func PoolOf(p *v1beta1.IPAddressPool) ipam.Pool {
	out := ipam.Pool{
		Name: p.Name, Created: p.CreationTimestamp.Time, Deleting: !p.DeletionTimestamp.IsZero(),
		AvoidBuggyIPs: p.Spec.AvoidBuggyIPs, AutoAssign: p.Spec.AutoAssign == nil || *p.Spec.AutoAssign,
		Disabled: p.Spec.Disabled, ShareAcrossNamespaces: p.Spec.AllowCrossNamespaceSharing,
	}
	invalid := func(format string, args ...any) ipam.Pool {
		out.Invalid = fmt.Sprintf(format, args...)
		out.Addresses, out.Exclude, out.Limits = nil, nil, nil
		return out
	}
	for i, s := range p.Spec.Addresses {
		r, err := ipam.ParseRange(string(s))
		if err != nil {
			return invalid("spec.addresses[%d]: %s", i, err)
		}
		out.Addresses = append(out.Addresses, r)
	}
	for i, s := range p.Spec.ExcludeAddresses {
		r, err := ipam.ParseRange(string(s))
		if err != nil {
			return invalid("spec.excludeAddresses[%d]: %s", i, err)
		}
		out.Exclude = append(out.Exclude, r)
	}
	if a := p.Spec.ServiceAllocation; a != nil {
		out.Limits = &ipam.Limits{Priority: a.Priority, Namespaces: a.Namespaces}
		var err error
		if out.Limits.NamespaceSelectors, err = selectors(a.NamespaceSelectors); err != nil {
			return invalid("spec.serviceAllocation.namespaceSelectors%s", err)
		}
		if out.Limits.ServiceSelectors, err = selectors(a.ServiceSelectors); err != nil {
			return invalid("spec.serviceAllocation.serviceSelectors%s", err)
		}
	}
	return out
}

// selector shows a Kubernetes label selector to the allocator.
type selector struct{ labels.Selector }

func (s selector) Matches(l map[string]string) bool { return s.Selector.Matches(labels.Set(l)) }

func selectors(list []metav1.LabelSelector) ([]ipam.Selector, error) {
	out := make([]ipam.Selector, len(list))
	for i := range list {
		s, err := metav1.LabelSelectorAsSelector(&list[i])
		if err != nil {
			return nil, fmt.Errorf("[%d]: %w", i, err)
		}
		out[i] = selector{s}
	}
	return out, nil
}
