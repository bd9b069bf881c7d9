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
	"fairlead.io/fairlead/internal/allocation"
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
	services, err := s.services(ctx)
	if err != nil {
		return err
	}
	cluster := allocation.Cluster{Pools: pools.Items, Namespaces: namespaces.Items, Services: services}
	var loaded allocation.Loaded
	s.book.with(func(a *ipam.Allocator) {
		if loaded, err = cluster.Load(a, s.class); err != nil {
			return
		}
		a.AssignAll(loaded.Requests)
		for k, svc := range loaded.Services {
			s.book.known[k] = known{uid: svc.UID, resourceVersion: svc.ResourceVersion}
			if s.book.services != nil {
				s.book.services.Add(requestOf(k))
			}
		}
		for k, svc := range loaded.Foreign {
			s.book.known[k] = known{uid: svc.UID, resourceVersion: svc.ResourceVersion, foreign: true}
		}
	})
	if err != nil {
		return err //nolint:wrapcheck // it says what failed
	}
	for _, c := range loaded.Conflicts {
		s.warn(loaded.Services[c.Service], c)
	}
	s.log.Info("Took over what is assigned", "pools", len(cluster.Pools), "services", len(loaded.Services), "conflicts", len(loaded.Conflicts))
	close(s.book.synced)
	return nil
}

// services are all that may matter, read in pages of one consistent list, so that a large cluster is never in memory as a whole.
func (s *start) services(ctx context.Context) ([]corev1.Service, error) {
	const page = 500
	var all []corev1.Service
	var list corev1.ServiceList
	for {
		next := list.Continue
		list = corev1.ServiceList{}
		if err := s.reader.List(ctx, &list, client.Limit(page), client.Continue(next)); err != nil {
			return nil, fmt.Errorf("list Services: %w", err)
		}
		for i := range list.Items {
			svc := &list.Items[i]
			if svc.Spec.Type == corev1.ServiceTypeLoadBalancer || allocation.Marked(svc) {
				svc.ManagedFields = nil
				all = append(all, *svc)
			}
		}
		if list.Continue == "" {
			return all, nil
		}
	}
}
