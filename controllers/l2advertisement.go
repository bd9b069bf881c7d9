package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/config"
)

// l2AdvertisementReconciler says in an L2Advertisement's status if the speakers use it.
type l2AdvertisementReconciler struct {
	client  client.Client
	metrics *Metrics
}

func addL2Advertisements(mgr manager.Manager, r *l2AdvertisementReconciler) error {
	// A pool that comes or goes concerns the advertisements that name it.
	naming := handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, pool client.Object) []reconcile.Request {
		var list v1beta1.L2AdvertisementList
		if err := r.client.List(ctx, &list); err != nil { // from the cache, which is filled
			mgr.GetLogger().Error(err, "List L2Advertisements for a pool", "pool", pool.GetName())
			return nil
		}
		var requests []reconcile.Request
		for i := range list.Items {
			if slices.Contains(list.Items[i].Spec.IPAddressPools, pool.GetName()) {
				requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
			}
		}
		return requests
	})
	comesOrGoes := builder.WithPredicates(predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }})
	err := builder.ControllerManagedBy(mgr).
		Named("l2advertisement").
		For(&v1beta1.L2Advertisement{}).
		Watches(&v1beta1.IPAddressPool{}, naming, comesOrGoes).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up the L2Advertisement controller: %w", err)
	}
	return nil
}

func (r *l2AdvertisementReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var adv v1beta1.L2Advertisement
	if err := r.client.Get(ctx, req.NamespacedName, &adv); err != nil {
		if apierrors.IsNotFound(err) {
			r.metrics.dropConfig("L2Advertisement", req.Name)
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("read L2Advertisement %s: %w", req.Name, err)
	}
	var unknown []string
	for _, name := range adv.Spec.IPAddressPools {
		switch err := r.client.Get(ctx, client.ObjectKey{Name: name}, &v1beta1.IPAddressPool{}); {
		case apierrors.IsNotFound(err):
			unknown = append(unknown, name)
		case err != nil:
			return reconcile.Result{}, fmt.Errorf("read IPAddressPool %s: %w", name, err)
		}
	}
	accepted, err := acceptedOf(&adv, unknown)
	if err != nil {
		return reconcile.Result{}, err
	}
	r.metrics.setConfig("L2Advertisement", adv.Name, accepted.Status == metav1.ConditionTrue)
	base := adv.DeepCopy()
	changed := meta.SetStatusCondition(&adv.Status.Conditions, accepted)
	if !changed && adv.Status.ObservedGeneration == adv.Generation {
		return reconcile.Result{}, nil
	}
	adv.Status.ObservedGeneration = adv.Generation
	if err := r.client.Status().Patch(ctx, &adv, client.MergeFrom(base)); err != nil {
		return ignoreStale(err, "write the status of L2Advertisement "+adv.Name)
	}
	return reconcile.Result{}, nil
}

// acceptedOf says in a condition if the advertisement is in use; unknown are the pools that it names and that do not exist,
// which is no fault yet, as objects may be created in any order.
func acceptedOf(adv *v1beta1.L2Advertisement, unknown []string) (metav1.Condition, error) {
	c := metav1.Condition{Type: v1beta1.ConditionAccepted, ObservedGeneration: adv.Generation}
	_, err := config.CompileL2Advertisement(adv)
	var refused *config.Error
	switch {
	case errors.As(err, &refused):
		c.Status, c.Reason, c.Message = metav1.ConditionFalse, refused.Reason, cut(refused.Error())
	case err != nil:
		return c, fmt.Errorf("read L2Advertisement %s: %w", adv.Name, err)
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1beta1.ReasonAccepted, "the advertisement is in use as written"
		if len(unknown) > 0 {
			c.Message = cut("the advertisement is in use, but " + unknownPools(unknown))
		}
	}
	return c, nil
}
