package controllers

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/view"
)

// bgpReconciler says in the status of the objects that configure BGP what comes of them, and of peers how many sessions there are. They
// depend on each other, so that they are looked at together; there are few.
type bgpReconciler struct {
	client  client.Client
	plan    *bgpPlan
	metrics *Metrics
	// said are the objects that the metrics speak of.
	said map[metricOf]bool
}

type metricOf struct{ kind, name string }

// bgpDelay gathers what changes at about the same time: all sessions of a router that restarts, all objects of one manifest.
const bgpDelay = 300 * time.Millisecond

func addBGP(mgr manager.Manager, r *bgpReconciler) error {
	// What changed does not matter: all are looked at together.
	all := handler.Funcs{
		CreateFunc: func(_ context.Context, _ event.CreateEvent, q queue) { q.AddAfter(reconcile.Request{}, bgpDelay) },
		UpdateFunc: func(_ context.Context, _ event.UpdateEvent, q queue) { q.AddAfter(reconcile.Request{}, bgpDelay) },
		DeleteFunc: func(_ context.Context, _ event.DeleteEvent, q queue) { q.AddAfter(reconcile.Request{}, bgpDelay) },
	}
	changed := func(matters func(before, after client.Object) bool) builder.WatchesOption {
		return builder.WithPredicates(predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return matters(e.ObjectOld, e.ObjectNew) }})
	}
	sessions := changed(func(before, after client.Object) bool {
		a, ok1 := before.(*v1beta1.Speaker)
		b, ok2 := after.(*v1beta1.Speaker)
		return !ok1 || !ok2 || !equality.Semantic.DeepEqual(a.Status.BGP, b.Status.BGP)
	})
	nodes := changed(func(before, after client.Object) bool {
		a, ok1 := before.(*corev1.Node)
		b, ok2 := after.(*corev1.Node)
		return !ok1 || !ok2 || nodeReady(a) != nodeReady(b) || !view.NodeOf(a).Equal(view.NodeOf(b))
	})
	pools := builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}))
	err := builder.ControllerManagedBy(mgr).
		Named("bgp").
		Watches(&v1beta1.BGPPeer{}, all).
		Watches(&v1beta1.BGPAdvertisement{}, all).
		Watches(&v1beta1.BFDProfile{}, all).
		Watches(&v1beta1.Community{}, all).
		Watches(&corev1.Secret{}, all).
		Watches(&corev1.Node{}, all, nodes).
		Watches(&v1beta1.Speaker{}, all, sessions).
		Watches(&v1beta1.IPAddressPool{}, all, pools).
		WatchesRawSource(source.Func(func(_ context.Context, q queue) error {
			r.plan.setTell(func() { q.AddAfter(reconcile.Request{}, bgpDelay) })
			return nil
		})).
		WithOptions(controller.Options{LogConstructor: logOf(mgr, "BGP")}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("set up the BGP controller: %w", err)
	}
	return nil
}

func (r *bgpReconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	s, err := r.plan.refresh(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	verdicts := r.plan.verdicts(s)
	r.tell(verdicts)
	var again reconcile.Result
	var errs []error
	write := func(o, base client.Object) {
		if equality.Semantic.DeepEqual(o, base) {
			return
		}
		if err := r.client.Status().Patch(ctx, o, client.MergeFrom(base)); err != nil {
			result, err := ignoreStale(err, "write the status of "+o.GetName())
			if result.RequeueAfter > 0 {
				again = result
			}
			errs = append(errs, err)
		}
	}
	// The objects are the cache's: each is changed in a copy.
	for i := range s.Peers {
		o, v := s.Peers[i].DeepCopy(), verdicts[metricOf{config.KindBGPPeer, s.Peers[i].Name}]
		setConditions(&o.Status.Conditions, &o.Status.ObservedGeneration, o.Generation, v.accepted, v.established)
		o.Status.Wanted, o.Status.Established = int32(v.wanted), int32(v.up)
		write(o, &s.Peers[i])
	}
	for i := range s.Advertisements {
		o, v := s.Advertisements[i].DeepCopy(), verdicts[metricOf{config.KindBGPAdvertisement, s.Advertisements[i].Name}]
		setConditions(&o.Status.Conditions, &o.Status.ObservedGeneration, o.Generation, v.accepted)
		write(o, &s.Advertisements[i])
	}
	for i := range s.Profiles {
		o, v := s.Profiles[i].DeepCopy(), verdicts[metricOf{config.KindBFDProfile, s.Profiles[i].Name}]
		setConditions(&o.Status.Conditions, &o.Status.ObservedGeneration, o.Generation, v.accepted)
		write(o, &s.Profiles[i])
	}
	for i := range s.Communities {
		o, v := s.Communities[i].DeepCopy(), verdicts[metricOf{config.KindCommunity, s.Communities[i].Name}]
		setConditions(&o.Status.Conditions, &o.Status.ObservedGeneration, o.Generation, v.accepted)
		write(o, &s.Communities[i])
	}
	return again, errors.Join(errs...)
}

// setConditions of an object, which speak of its generation.
func setConditions(conditions *[]metav1.Condition, observed *int64, generation int64, list ...metav1.Condition) {
	for _, c := range list {
		c.ObservedGeneration = generation
		meta.SetStatusCondition(conditions, c)
	}
	*observed = generation
}

// tell the metrics.
func (r *bgpReconciler) tell(verdicts map[metricOf]bgpVerdict) {
	for o, v := range verdicts {
		r.metrics.setConfig(o.kind, o.name, v.accepted.Status == metav1.ConditionTrue)
		r.said[o] = true
	}
	for o := range r.said {
		if _, exists := verdicts[o]; !exists {
			r.metrics.dropConfig(o.kind, o.name)
			delete(r.said, o)
		}
	}
}
