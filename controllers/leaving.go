package controllers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"fairlead.io/fairlead/api/v1beta1"
)

const (
	// Deployment is the object that runs the controller in a cluster.
	Deployment = "fairlead-controller"
	// poolDefinition is the name of the CRD of pools.
	poolDefinition = "ipaddresspools.fairlead.io"
)

// leaving knows if Fairlead is being taken off the cluster. Nobody would be left then to take the finalizer off a pool, and what is deleted
// afterwards, the pool or its kind, would hang at it for ever. So the finalizers go while the controller still may do that: `kubectl delete -k`
// deletes the namespace first and the controller's rights some ten requests later. What nothing waits for is not waited for here.
type leaving struct {
	client    client.Client
	reader    client.Reader // of the API server
	book      *Book
	namespace string

	namespaceGoes, deploymentGone atomic.Bool
}

// why no pool is to be held any more; empty: Fairlead stays.
func (l *leaving) why() string {
	switch {
	case l.namespaceGoes.Load():
		return "namespace " + l.namespace + " is being deleted, and Fairlead with it"
	case l.deploymentGone.Load():
		return "Deployment " + l.namespace + "/" + Deployment + " was deleted, and with it who could let go of the pool later"
	}
	return ""
}

// kindGoes reports if the kind of pools itself is being deleted, by a current read: no pool can be kept then.
func (l *leaving) kindGoes(ctx context.Context) (bool, error) {
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	err := l.reader.Get(ctx, client.ObjectKey{Name: poolDefinition}, crd)
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read CustomResourceDefinition %s: %w", poolDefinition, err)
	}
	return !crd.DeletionTimestamp.IsZero(), nil
}

// Reconcile takes the finalizer off all pools at the same time, or has it put back on those in use if Fairlead stays after all.
func (l *leaving) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	why := l.why()
	if why == "" {
		l.book.holdPools()
		return reconcile.Result{}, nil
	}
	return reconcile.Result{}, letGo(ctx, l.client, why)
}

// LetGo takes the finalizer off all pools once, for when no controller runs any more; one that does would put it back.
func LetGo(ctx context.Context, c client.Client) error {
	err := retry.OnError(retry.DefaultRetry, apierrors.IsConflict, func() error {
		return letGo(ctx, c, "Fairlead was uninstalled")
	})
	if meta.IsNoMatchError(err) {
		return nil // the kind is gone, and so are all pools
	}
	return err
}

func letGo(ctx context.Context, c client.Client, why string) error {
	var pools v1beta1.IPAddressPoolList
	if err := c.List(ctx, &pools); err != nil {
		return fmt.Errorf("list IPAddressPools: %w", err)
	}
	errs := make([]error, len(pools.Items))
	var all sync.WaitGroup
	for i := range pools.Items {
		pool := &pools.Items[i]
		if !controllerutil.ContainsFinalizer(pool, v1beta1.PoolInUseFinalizer) {
			continue
		}
		all.Go(func() {
			if err := patchFinalizer(ctx, c, pool, false); client.IgnoreNotFound(err) != nil {
				errs[i] = fmt.Errorf("take the finalizer off IPAddressPool %s: %w", pool.Name, err)
				return
			}
			log.FromContext(ctx).Info("Lets go of a pool in use", "IPAddressPool", pool.Name, "reason", why)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// addLeaving with a queue of its own, so that it waits for no other work.
func addLeaving(mgr manager.Manager, l *leaving) error {
	follow := func(name string, note func(o client.Object, gone bool)) (handler.Funcs, builder.WatchesOption) {
		seen := func(o client.Object, gone bool, q queue) {
			before := l.why()
			note(o, gone)
			if before != "" || l.why() != "" {
				q.Add(reconcile.Request{})
			}
		}
		return handler.Funcs{
				CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { seen(e.Object, false, q) },
				UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) { seen(e.ObjectNew, false, q) },
				DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { seen(e.Object, true, q) },
			}, builder.WithPredicates(predicate.NewPredicateFuncs(func(o client.Object) bool {
				return o.GetName() == name
			}))
	}
	namespaces, own := follow(l.namespace, func(o client.Object, gone bool) { l.namespaceGoes.Store(gone || !o.GetDeletionTimestamp().IsZero()) })
	// A controller outside the cluster has none, and none that it never had goes.
	deployments, itsOwn := follow(Deployment, func(o client.Object, gone bool) { l.deploymentGone.Store(gone || !o.GetDeletionTimestamp().IsZero()) })
	return builder.ControllerManagedBy(mgr). //nolint:wrapcheck // Setup wraps
							Named("leaving").
							Watches(&corev1.Namespace{}, namespaces, own).
							Watches(&appsv1.Deployment{}, deployments, itsOwn).
							WithOptions(controller.Options{LogConstructor: logOf(mgr, "Leaving")}).
							Complete(l)
}
