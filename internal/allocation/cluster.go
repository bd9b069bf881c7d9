package allocation

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/service"
	"fairlead.io/fairlead/ipam"
)

// Cluster is all that decides about addresses.
type Cluster struct {
	Pools      []v1beta1.IPAddressPool
	Namespaces []corev1.Namespace
	Services   []corev1.Service
}

// Loaded is what an allocator was told of a cluster.
type Loaded struct {
	// Requests of the Services that are served, for ipam.Allocator.AssignAll.
	Requests []ipam.Request
	// Conflicts between the statuses of Services.
	Conflicts []ipam.Conflict
	// Services that have to do with Fairlead: served, or left with something of it. They point into the Cluster.
	Services map[ipam.Key]*corev1.Service
	// Foreign are Services of other implementations that show addresses. They point into the Cluster.
	Foreign map[ipam.Key]*corev1.Service
}

// Load tells an empty allocator the cluster's pools and namespaces and what the statuses of Services show. Nothing is assigned.
func (c *Cluster) Load(a *ipam.Allocator, class service.Class) (Loaded, error) {
	l := Loaded{Services: map[ipam.Key]*corev1.Service{}, Foreign: map[ipam.Key]*corev1.Service{}}
	pools := make([]ipam.Pool, len(c.Pools))
	for i := range c.Pools {
		pools[i], _ = Pool(&c.Pools[i])
	}
	if err := a.SetPools(pools); err != nil {
		return l, fmt.Errorf("read IPAddressPools: %w", err)
	}
	for i := range c.Namespaces {
		a.SetNamespace(c.Namespaces[i].Name, c.Namespaces[i].Labels)
	}
	var ours []ipam.Imported
	for i := range c.Services {
		svc := &c.Services[i]
		served := class.Ours(svc)
		switch {
		case served || Marked(svc):
			it := Imported(svc)
			l.Services[it.Service] = svc
			ours = append(ours, it)
			if served && svc.DeletionTimestamp.IsZero() {
				l.Requests = append(l.Requests, it.Request)
			}
		case svc.Spec.Type == corev1.ServiceTypeLoadBalancer && len(service.Addresses(svc)) > 0:
			l.Foreign[Key(svc)] = svc
		}
	}
	l.Conflicts = a.Import(ours)
	// After ours, whoever is older: what is ours stays ours.
	for k, svc := range l.Foreign {
		a.Observe(k, service.Addresses(svc))
	}
	return l, nil
}
