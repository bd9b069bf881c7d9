package controllers

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/service"
	"fairlead.io/fairlead/ipam"
)

// start fills the Book when this process becomes the leader. Until it is done, nothing is assigned.
type start struct {
	reader client.Reader // of the API server, not of the cache: see the package comment
	book   *Book
	class  service.Class
	log    logr.Logger
	warn   func(*corev1.Service, ipam.Conflict)
}

// NeedLeaderElection makes the manager run it with the lease.
func (s *start) NeedLeaderElection() bool { return true }

// Start tries until it succeeds.
func (s *start) Start(ctx context.Context) error {
	backoff := wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Steps: 7, Cap: 5 * time.Second}
	err := backoff.DelayFunc().Until(ctx, true, false, func(ctx context.Context) (bool, error) {
		if err := s.fill(ctx); err != nil {
			s.log.Error(err, "Cannot read what is assigned, trying again")
			return false, nil
		}
		return true, nil
	})
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("read what is assigned: %w", err)
	}
	return nil
}

func (s *start) fill(ctx context.Context) error {
	var pools v1beta1.IPAddressPoolList
	if err := s.reader.List(ctx, &pools); err != nil {
		return fmt.Errorf("list IPAddressPools: %w", err)
	}
	var namespaces corev1.NamespaceList
	if err := s.reader.List(ctx, &namespaces); err != nil {
		return fmt.Errorf("list Namespaces: %w", err)
	}
	var services corev1.ServiceList
	if err := s.reader.List(ctx, &services); err != nil {
		return fmt.Errorf("list Services: %w", err)
	}
	labels := make(map[string]map[string]string, len(namespaces.Items))
	for i := range namespaces.Items {
		labels[namespaces.Items[i].Name] = namespaces.Items[i].Labels
	}
	specs := make([]ipam.Pool, len(pools.Items))
	for i := range pools.Items {
		specs[i] = PoolOf(&pools.Items[i])
	}

	var items []ipam.Imported
	var reqs []ipam.Request
	byKey := map[ipam.Key]*corev1.Service{}
	for i := range services.Items {
		svc := &services.Items[i]
		ours := s.class.Ours(svc)
		if !ours && !marked(svc) {
			continue
		}
		it := ImportedOf(svc, labels[svc.Namespace])
		byKey[it.Service] = svc
		items = append(items, it)
		if ours {
			reqs = append(reqs, it.Request)
		}
	}
	var conflicts []ipam.Conflict
	var err error
	s.book.with(func(a *ipam.Allocator) {
		if err = a.SetPools(specs); err != nil {
			return
		}
		conflicts = a.Import(items)
		a.AssignAll(reqs)
		for k, svc := range byKey {
			s.book.known[k] = known{resourceVersion: svc.ResourceVersion}
			if s.book.services != nil {
				s.book.services.Add(requestOf(k))
			}
		}
	})
	if err != nil {
		return fmt.Errorf("read IPAddressPools: %w", err)
	}
	for _, c := range conflicts {
		s.warn(byKey[c.Service], c)
	}
	s.log.Info("Took over what is assigned", "pools", len(specs), "services", len(items), "conflicts", len(conflicts))
	close(s.book.synced)
	return nil
}
