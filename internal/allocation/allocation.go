// Package allocation turns Kubernetes objects into what ipam takes: a Service into a request, an IPAddressPool into a pool, and a
// whole cluster into an allocator that knows what is assigned. The controller acts on what the allocator then decides, and
// kubectl-fairlead explains it.
//
// It decides nothing about addresses, and reads only what it is given.
package allocation

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/service"
	"fairlead.io/fairlead/ipam"
)

// Key of a Service.
func Key(svc *corev1.Service) ipam.Key { return ipam.Service(svc.Namespace, svc.Name) }

// Imported is what a Service asks for and what its status shows.
func Imported(svc *corev1.Service) ipam.Imported {
	it := ipam.Imported{
		Request:   ipam.Request{Service: Key(svc), Created: svc.CreationTimestamp.Time, Labels: svc.Labels},
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
			s.Local, s.Selector = service.SelectorIdentity(svc), service.SelectorText(svc)
		}
		for _, p := range service.Ports(svc) {
			s.Ports = append(s.Ports, ipam.Port{Protocol: string(p.Protocol), Port: p.Port})
		}
		it.Sharing = s
	}
	return it
}

// Marked reports whether the Service's status carries anything that only Fairlead writes. The annotation does not count: it is easily
// copied from one Service to another.
func Marked(svc *corev1.Service) bool {
	return meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAddressAssigned) != nil ||
		meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAnnounced) != nil
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

// Pool turns an IPAddressPool into what the allocator takes. One that cannot be used has Invalid set and no addresses; invalid is then
// the reason for its condition Ready, and empty otherwise.
func Pool(p *v1beta1.IPAddressPool) (pool ipam.Pool, invalid string) {
	pool = ipam.Pool{
		Name: p.Name, Created: p.CreationTimestamp.Time, Deleting: !p.DeletionTimestamp.IsZero(),
		AvoidBuggyIPs: p.Spec.AvoidBuggyIPs, AutoAssign: p.Spec.AutoAssign == nil || *p.Spec.AutoAssign,
		Disabled: p.Spec.Disabled, ShareAcrossNamespaces: p.Spec.AllowCrossNamespaceSharing,
	}
	fail := func(reason, format string, args ...any) (ipam.Pool, string) {
		pool.Invalid = fmt.Sprintf(format, args...)
		pool.Addresses, pool.Exclude, pool.Limits = nil, nil, nil
		return pool, reason
	}
	for i, s := range p.Spec.Addresses {
		r, err := ipam.ParseRange(string(s))
		if err == nil {
			err = ipam.CheckServable(r)
		}
		if err != nil {
			return fail(v1beta1.ReasonInvalidAddresses, "spec.addresses[%d]: %s", i, err)
		}
		pool.Addresses = append(pool.Addresses, r)
	}
	for i, s := range p.Spec.ExcludeAddresses {
		r, err := ipam.ParseRange(string(s))
		if err != nil {
			return fail(v1beta1.ReasonInvalidAddresses, "spec.excludeAddresses[%d]: %s", i, err)
		}
		pool.Exclude = append(pool.Exclude, r)
	}
	if a := p.Spec.ServiceAllocation; a != nil {
		pool.Limits = &ipam.Limits{Priority: a.Priority, Namespaces: a.Namespaces}
		var err error
		if pool.Limits.NamespaceSelectors, err = selectors(a.NamespaceSelectors); err != nil {
			return fail(v1beta1.ReasonInvalidSelector, "spec.serviceAllocation.namespaceSelectors%s", err)
		}
		if pool.Limits.ServiceSelectors, err = selectors(a.ServiceSelectors); err != nil {
			return fail(v1beta1.ReasonInvalidSelector, "spec.serviceAllocation.serviceSelectors%s", err)
		}
	}
	return pool, ""
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
