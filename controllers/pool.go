package controllers

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/allocation"
	"fairlead.io/fairlead/ipam"
)

// poolInterval is the least time between two writes of one pool, and poolDelay how long its counts may change before it is looked at.
const (
	poolInterval = time.Second
	poolDelay    = 100 * time.Millisecond
	// kindInterval is how often it is asked if the kind of pools goes, while one that is in use is being deleted: nothing else tells.
	kindInterval = 2 * time.Second
)

// poolReconciler tells the Book what a pool's spec says, and the pool's status what the Book says.
type poolReconciler struct {
	client  client.Client
	book    *Book
	metrics *Metrics
	leaving *leaving

	mu      sync.Mutex // guards written
	written map[string]time.Time
}

func (r *poolReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if err := r.book.wait(ctx); err != nil {
		return reconcile.Result{}, err
	}
	var pool v1beta1.IPAddressPool
	if err := r.client.Get(ctx, req.NamespacedName, &pool); err != nil {
		if !apierrors.IsNotFound(err) {
			return reconcile.Result{}, fmt.Errorf("read IPAddressPool %s: %w", req.Name, err)
		}
		var err error
		r.book.with(func(a *ipam.Allocator) { err = a.RemovePool(req.Name) })
		if err != nil {
			return reconcile.Result{}, fmt.Errorf("remove IPAddressPool %s: %w", req.Name, err)
		}
		r.metrics.dropPool(req.Name)
		r.mu.Lock()
		delete(r.written, req.Name)
		r.mu.Unlock()
		return reconcile.Result{}, nil
	}

	spec, invalid := allocation.Pool(&pool)
	var status ipam.PoolStatus
	var inUse bool
	var err error
	r.book.with(func(a *ipam.Allocator) {
		err = a.SetPool(spec)
		status, _ = a.Status(pool.Name)
		inUse = a.InUse(pool.Name)
	})
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("take over IPAddressPool %s: %w", pool.Name, err)
	}
	ready := readyOf(&spec, invalid, status)
	// One that is disabled or being deleted is as its author wants it.
	r.metrics.setPool(pool.Name, status, ready.Status == metav1.ConditionTrue || ready.Reason == v1beta1.ReasonDisabled || ready.Reason == v1beta1.ReasonDeleting)

	want := statusOf(&pool, status, ready)
	finalizer := controllerutil.ContainsFinalizer(&pool, v1beta1.PoolInUseFinalizer)
	deleting := !pool.DeletionTimestamp.IsZero()
	hold, done := inUse, reconcile.Result{}
	if inUse && (finalizer || !deleting) {
		switch why := r.whyNot(ctx, deleting); {
		case why != "" && finalizer:
			log.FromContext(ctx).Info("Lets go of a pool in use", "reason", why)
			hold = false
		case why != "":
			hold = false
		case deleting:
			done.RequeueAfter = kindInterval
		}
	}
	if finalizer == hold && want == nil {
		return done, nil
	}
	// What decides if a pool that is deleted stays or goes is not held up by the limit on writes.
	if urgent := hold && !finalizer && !deleting || !hold && finalizer && (deleting || inUse); !urgent {
		if wait := r.tooSoon(pool.Name); wait > 0 {
			return reconcile.Result{RequeueAfter: wait}, nil
		}
	}
	if finalizer != hold && (!hold || !deleting) {
		if err := patchFinalizer(ctx, r.client, &pool, hold); err != nil {
			return ignoreStale(err, "write the finalizer of IPAddressPool "+pool.Name)
		}
		return reconcile.Result{RequeueAfter: poolDelay}, nil // for the status, unless it is gone
	}
	if want == nil {
		return done, nil
	}
	if before := meta.FindStatusCondition(pool.Status.Conditions, v1beta1.ConditionReady); before == nil || before.Reason != ready.Reason {
		log.FromContext(ctx).Info("Pool changes state", "reason", ready.Reason, "message", ready.Message)
	}
	base := pool.DeepCopy()
	pool.Status = *want
	if err := r.client.Status().Patch(ctx, &pool, client.MergeFrom(base)); err != nil {
		return ignoreStale(err, "write the status of IPAddressPool "+pool.Name)
	}
	return done, nil
}

// whyNot says why a pool in use is not to be held; empty: it is.
func (r *poolReconciler) whyNot(ctx context.Context, deleting bool) string {
	if why := r.leaving.why(); why != "" || !deleting {
		return why
	}
	goes, err := r.leaving.kindGoes(ctx)
	if err != nil { // then it is held, and asked again
		log.FromContext(ctx).Error(err, "Cannot tell if the kind of pools is being deleted")
	}
	if goes {
		return "CustomResourceDefinition " + poolDefinition + " is being deleted, and with it every pool"
	}
	return ""
}

// tooSoon notes a write, or says how long it has to wait.
func (r *poolReconciler) tooSoon(name string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if wait := poolInterval - time.Since(r.written[name]); wait > 0 {
		return wait
	}
	r.written[name] = time.Now()
	return 0
}

// patchFinalizer adds or removes ours, with a lock on what was read: the list is replaced as a whole.
func patchFinalizer(ctx context.Context, c client.Client, pool *v1beta1.IPAddressPool, add bool) error {
	base := pool.DeepCopy()
	if add {
		controllerutil.AddFinalizer(pool, v1beta1.PoolInUseFinalizer)
	} else {
		controllerutil.RemoveFinalizer(pool, v1beta1.PoolInUseFinalizer)
	}
	return c.Patch(ctx, pool, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})) //nolint:wrapcheck // the caller names the pool
}

// ignoreStale leaves it to the next event where the object has changed or gone since it was read.
func ignoreStale(err error, what string) (reconcile.Result, error) {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return reconcile.Result{RequeueAfter: poolInterval}, nil
	}
	return reconcile.Result{}, fmt.Errorf("%s: %w", what, err)
}

// readyOf says in a condition what the pool does; invalid is the reason if it cannot be used at all.
func readyOf(spec *ipam.Pool, invalid string, s ipam.PoolStatus) metav1.Condition {
	c := metav1.Condition{Type: v1beta1.ConditionReady, Status: metav1.ConditionFalse}
	empty := func(c ipam.Counts) bool { return c.Available == 0 && c.Assigned == c.Outside }
	none := empty(s.IPv4) && empty(s.IPv6)
	switch {
	case spec.Deleting:
		c.Reason = v1beta1.ReasonDeleting
		c.Message = "the pool is being deleted: it gives out nothing, and goes when its last address is released"
	case invalid != "":
		c.Reason, c.Message = invalid, cut(spec.Invalid)
	case spec.Disabled:
		c.Reason, c.Message = v1beta1.ReasonDisabled, "spec.disabled is true: no new allocations"
	case len(s.Overlaps) > 0:
		c.Reason = v1beta1.ReasonConflict
		parts := make([]string, 0, len(s.Overlaps))
		for _, o := range s.Overlaps {
			parts = append(parts, o.String())
		}
		c.Message = cut(strings.Join(parts, "; ") + "; this pool does not use it")
		if !none {
			c.Status = metav1.ConditionTrue
		}
	case none:
		c.Reason = v1beta1.ReasonInvalidAddresses
		c.Message = "every address of the pool is excluded or avoided: nothing is left to give out"
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1beta1.ReasonAccepted, "the pool is in use as written"
	}
	return c
}

// statusOf is what the pool's status should be; nil: it is.
func statusOf(pool *v1beta1.IPAddressPool, s ipam.PoolStatus, ready metav1.Condition) *v1beta1.IPAddressPoolStatus {
	want := pool.Status.DeepCopy()
	want.IPv4, want.IPv6 = counts(s.IPv4), counts(s.IPv6)
	want.ObservedGeneration = pool.Generation
	ready.ObservedGeneration = pool.Generation
	changed := meta.SetStatusCondition(&want.Conditions, ready)
	if !changed && want.IPv4 == pool.Status.IPv4 && want.IPv6 == pool.Status.IPv6 && want.ObservedGeneration == pool.Status.ObservedGeneration {
		return nil
	}
	return want
}

func counts(c ipam.Counts) v1beta1.AddressCounts {
	return v1beta1.AddressCounts{Assigned: c.Assigned, Available: c.Available, Outside: c.Outside}
}
