package controllers

import (
	"context"
	"net/netip"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"fairlead.io/fairlead/ipam"
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// Book is what the leader knows: the allocator, and how far it has written each Service. Its mutex guards everything in it.
type Book struct {
	mu    sync.Mutex
	alloc *ipam.Allocator
	known map[ipam.Key]known
	// services and pools are the queues that are told of changes; nil until the controllers run.
	services, pools queue
	metrics         *Metrics
	synced          chan struct{}
}

// known is what was last learnt of a Service from the API server itself.
type known struct {
	// resourceVersion of the last answer; what the cache has is older if it is below.
	resourceVersion string
	// uncertain: a write may or may not have happened, so that only a read from the API server can tell.
	uncertain bool
}

// NewBook is empty until the start has filled it.
func NewBook(m *Metrics) *Book {
	return &Book{alloc: ipam.NewAllocator(), known: map[ipam.Key]known{}, metrics: m, synced: make(chan struct{})}
}

// wait until the start has filled the Book.
func (b *Book) wait(ctx context.Context) error {
	select {
	case <-b.synced:
		return nil
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // the caller's own context
	}
}

// with runs f on the allocator and tells the queues what has changed for others.
func (b *Book) with(f func(*ipam.Allocator)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b.alloc)
	b.tell()
}

// tell the queues; the mutex is held.
func (b *Book) tell() {
	if b.services != nil {
		for _, k := range b.alloc.Woken() {
			b.services.Add(requestOf(k))
		}
	}
	if b.pools != nil {
		for _, name := range b.alloc.Changed() {
			b.pools.Add(reconcile.Request{NamespacedName: types.NamespacedName{Name: name}})
		}
	}
	b.metrics.pending.Set(float64(b.alloc.Waiting()))
}

// connect a queue to what the Book has to tell.
func (b *Book) connect(which *queue) func(context.Context, queue) error {
	return func(_ context.Context, q queue) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		*which = q
		b.tell()
		return nil
	}
}

// assign decides for a Service. What its status shows is taken over first if the Book has nothing for it: it became ours with addresses,
// or another implementation served it while it waited. So the outcome is the same as after a restart, and nobody's address is wiped out.
func (b *Book) assign(it ipam.Imported) (d ipam.Decision, conflicts []ipam.Conflict) {
	b.with(func(a *ipam.Allocator) {
		if len(it.Addresses) > 0 && !a.Holds(it.Service) {
			waited := a.Knows(it.Service)
			conflicts = a.Import([]ipam.Imported{it})
			if waited {
				conflicts = nil // told already, or said by the decision that follows
			}
		}
		d = a.Assign(it.Request)
	})
	return d, conflicts
}

// written notes that the API server's answer shows what the Service has, and nothing else.
func (b *Book) written(k ipam.Key, resourceVersion string) {
	b.with(func(a *ipam.Allocator) {
		b.known[k] = known{resourceVersion: resourceVersion}
		a.Confirm(k)
	})
}

// released notes that the Service is gone, or shows no address of ours any more.
func (b *Book) released(k ipam.Key, resourceVersion string) {
	b.with(func(a *ipam.Allocator) {
		a.Release(k)
		if resourceVersion == "" {
			delete(b.known, k)
		} else {
			b.known[k] = known{resourceVersion: resourceVersion}
		}
	})
}

// doubt notes that a write of the Service may or may not have happened.
func (b *Book) doubt(k ipam.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.known[k]
	x.uncertain = true
	b.known[k] = x
}

// behind reports whether a cached Service is older than what is known of it, and whether only the API server can tell.
func (b *Book) behind(k ipam.Key, resourceVersion string) (older, uncertain bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x, ok := b.known[k]
	if !ok || x.resourceVersion == "" {
		return false, x.uncertain
	}
	order, err := resourceversion.CompareResourceVersion(resourceVersion, x.resourceVersion)
	// Versions that cannot be compared are no reason to wait: a stale write is refused by the API server.
	return err == nil && order < 0, x.uncertain
}

// has reports whether anything is reserved for the Service, or it waits.
func (b *Book) has(k ipam.Key) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.alloc.Knows(k)
}

// holders of an address.
func (b *Book) holders(addr netip.Addr) []ipam.Key {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.alloc.Holders(addr)
}

func (b *Book) held(k ipam.Key) []ipam.Assigned {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.alloc.Held(k)
}
