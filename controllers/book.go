package controllers

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"fairlead.io/fairlead/internal/allocation"
	"fairlead.io/fairlead/internal/service"
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
	// inUse are the pools that were in use when their queue was last told of them.
	inUse   map[string]bool
	metrics *Metrics
	synced  chan struct{}
}

// known is what was last learnt of a Service from the API server itself.
type known struct {
	uid types.UID
	// resourceVersion of the last answer; what the cache has is older if it is below.
	resourceVersion string
	// uncertain: a write may or may not have happened, so that only a read from the API server can tell.
	uncertain bool
	// foreign: another implementation serves it. What the Book has for it is what its status showed last.
	foreign bool
	// shown is what the status showed at resourceVersion, if isShown. Where it later shows something else, somebody else wrote it.
	shown   []netip.Addr
	isShown bool
	// overwritten is how often that happened, and when it did last.
	overwritten     int
	overwrittenLast time.Time
	// disputed are the addresses that another host on the network uses too, as the Service was told.
	disputed []netip.Addr
}

// NewBook is empty until the start has filled it.
func NewBook(m *Metrics) *Book {
	return &Book{alloc: ipam.NewAllocator(), known: map[ipam.Key]known{}, inUse: map[string]bool{}, metrics: m, synced: make(chan struct{})}
}

func requestOf(k ipam.Key) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: k.Namespace(), Name: k.Name()}}
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
			wait := poolDelay
			if inUse := b.alloc.InUse(name); inUse != b.inUse[name] {
				wait = 0 // its finalizer is to come or go
				if b.inUse[name] = inUse; !inUse {
					delete(b.inUse, name)
				}
			}
			b.pools.AddAfter(reconcile.Request{NamespacedName: types.NamespacedName{Name: name}}, wait)
		}
	}
	b.metrics.pending.Set(float64(b.alloc.Waiting()))
}

// holdPools has all pools in use looked at again.
func (b *Book) holdPools() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pools == nil {
		return
	}
	for name := range b.inUse {
		b.pools.Add(reconcile.Request{NamespacedName: types.NamespacedName{Name: name}})
	}
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
		if x := b.known[it.Service]; x.foreign { // it is ours from now on
			a.Observe(it.Service, it.Addresses)
			delete(b.known, it.Service)
		}
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
func (b *Book) written(svc *corev1.Service, resourceVersion string, change *statusChange) {
	k := allocation.Key(svc)
	b.with(func(a *ipam.Allocator) {
		x := b.known[k]
		b.known[k] = known{uid: svc.UID, resourceVersion: resourceVersion, shown: change.addresses, isShown: !change.keepAddresses,
			overwritten: x.overwritten, overwrittenLast: x.overwrittenLast, disputed: x.disputed}
		a.Confirm(k)
	})
}

// observe notes what the status shows of a Service that another implementation serves.
func (b *Book) observe(svc *corev1.Service, resourceVersion string) {
	k := allocation.Key(svc)
	var addrs []netip.Addr
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
		addrs = service.Addresses(svc)
	}
	b.with(func(a *ipam.Allocator) {
		a.Observe(k, addrs)
		if len(addrs) == 0 {
			delete(b.known, k)
		} else {
			b.known[k] = known{uid: svc.UID, resourceVersion: resourceVersion, foreign: true}
		}
	})
}

// The address that somebody else takes out of a Service's status is put back at once, and again; whoever does it a third time within
// overwriteMemory has a program that does it, and two programs that correct each other would load the API server for ever.
const (
	overwriteTolerated = 2
	overwriteMemory    = 10 * time.Minute
	overwriteLongest   = 5 * time.Minute
)

// overwritten says how often somebody else lately changed the addresses in a Service's status after they were written, and how long to wait
// before they are put right; isNew tells the first look at such a change from further ones.
func (b *Book) overwritten(svc *corev1.Service, now time.Time) (times int, wait time.Duration, isNew bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := allocation.Key(svc)
	x := b.known[k]
	if x.uid != "" && x.uid != svc.UID { // made anew under its name
		x = known{}
		b.known[k] = x
	}
	if x.isShown && !sameAddresses(svc, x.shown) {
		if now.Sub(x.overwrittenLast) > overwriteMemory {
			x.overwritten = 0
		}
		x.overwritten++
		x.overwrittenLast, x.shown, x.isShown, isNew = now, nil, false, true
		b.known[k] = x
	}
	if x.overwritten > overwriteTolerated && !x.isShown {
		longest := min(time.Second<<min(x.overwritten-overwriteTolerated-1, 10), overwriteLongest)
		wait = longest - now.Sub(x.overwrittenLast)
	}
	return x.overwritten, max(wait, 0), isNew
}

// news passes on the events of Services that have something to tell: not those of Services that Fairlead has nothing to do with, and not
// what it wrote itself.
func (b *Book) news() predicate.Predicate {
	concerns := func(o client.Object) bool {
		svc, ok := o.(*corev1.Service)
		if !ok || svc.Spec.Type == corev1.ServiceTypeLoadBalancer || allocation.Marked(svc) {
			return ok
		}
		has, _ := b.has(allocation.Key(svc))
		return has
	}
	return predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return concerns(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool {
			b.mu.Lock()
			x := b.known[ipam.Service(e.ObjectNew.GetNamespace(), e.ObjectNew.GetName())]
			b.mu.Unlock()
			return (x.uncertain || x.resourceVersion == "" || x.resourceVersion != e.ObjectNew.GetResourceVersion()) && concerns(e.ObjectNew)
		},
	}
}

// stopWaiting takes a Service out of those that wait.
func (b *Book) stopWaiting(k ipam.Key) {
	b.with(func(a *ipam.Allocator) { a.StopWaiting(k) })
}

// namespace notes a namespace's labels.
func (b *Book) namespace(name string, labels map[string]string) {
	b.with(func(a *ipam.Allocator) { a.SetNamespace(name, labels) })
}

// released notes that the Service is gone.
func (b *Book) released(k ipam.Key) {
	b.with(func(a *ipam.Allocator) {
		a.Release(k)
		delete(b.known, k)
	})
}

// ours reports whether the addresses that a Service shows are from Fairlead, although it does not serve the Service any more: it wrote
// them, or one of them is in a pool.
func (b *Book) ours(svc *corev1.Service) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := allocation.Key(svc)
	if x := b.known[k]; x.isShown && x.uid == svc.UID && sameAddresses(svc, x.shown) {
		return true
	}
	return slices.ContainsFunc(service.Addresses(svc), func(addr netip.Addr) bool {
		return b.alloc.Reserved(k, addr) && !b.known[k].foreign && b.alloc.PoolOf(addr) != ""
	})
}

// doubt notes that a write of the Service may or may not have happened.
func (b *Book) doubt(k ipam.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x := b.known[k]
	x.uncertain, x.isShown = true, false
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

// has reports whether anything is reserved for the Service, or it waits; serves is false where another implementation serves it.
func (b *Book) has(k ipam.Key) (has, serves bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	has = b.alloc.Knows(k)
	return has, has && !b.known[k].foreign
}

// holding are the Services that have addresses, or wait for some.
func (b *Book) holding() []ipam.Key {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.alloc.Services()
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
