package controllers

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/allocation"
	"fairlead.io/fairlead/internal/service"
	"fairlead.io/fairlead/ipam"
)

// Actions and reasons of events on Services, beside the reasons of conditions.
const (
	eventAssigned = "AddressAssigned"
	eventReleased = "AddressReleased"
	eventConflict = "AddressConflict"
	// eventOverwritten: another program writes the addresses in the Service's status again and again.
	eventOverwritten = "StatusOverwritten"
	actionAssign     = "AssignAddress"
	actionRelease    = "ReleaseAddress"
	actionAnnounce   = "AnnounceAddress"
)

// serviceReconciler gives one Service what the Book decides for it.
type serviceReconciler struct {
	client   client.Client
	reader   client.Reader // of the API server
	book     *Book
	class    service.Class
	recorder events.EventRecorder
	announce *announcements
	metrics  *Metrics
}

// behindRetry is how long to wait for the cache where no event will tell, and after a write that lost against another.
const behindRetry = 100 * time.Millisecond

func (r *serviceReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if err := r.book.wait(ctx); err != nil {
		return reconcile.Result{}, err
	}
	k := ipam.Service(req.Namespace, req.Name)
	var svc corev1.Service
	err := r.client.Get(ctx, req.NamespacedName, &svc)
	if apierrors.IsNotFound(err) {
		return r.gone(ctx, req, k)
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("read Service %s: %w", k, err)
	}
	older, uncertain := r.book.behind(k, svc.ResourceVersion)
	if uncertain {
		// Only the API server knows whether the last write happened.
		svc = corev1.Service{}
		if err := r.reader.Get(ctx, req.NamespacedName, &svc); err != nil {
			if apierrors.IsNotFound(err) {
				r.book.released(k)
				return reconcile.Result{}, nil
			}
			return reconcile.Result{}, fmt.Errorf("read Service %s from the API server: %w", k, err)
		}
	} else if older {
		return reconcile.Result{RequeueAfter: behindRetry}, nil // the event that will bring what is known already passes unseen, see news
	}
	_, served := r.book.has(k)
	switch {
	case !r.class.Ours(&svc) && (served || allocation.Marked(&svc)):
		return r.letGo(ctx, &svc)
	case !r.class.Ours(&svc):
		r.book.observe(&svc, svc.ResourceVersion)
		return reconcile.Result{}, nil
	case !svc.DeletionTimestamp.IsZero():
		r.book.stopWaiting(k) // it keeps what it has until it is gone
		return reconcile.Result{}, nil
	}
	return r.serve(ctx, &svc)
}

// gone releases what a Service had, once the API server itself says that it is gone.
func (r *serviceReconciler) gone(ctx context.Context, req reconcile.Request, k ipam.Key) (reconcile.Result, error) {
	if has, _ := r.book.has(k); !has {
		r.book.released(k)
		return reconcile.Result{}, nil
	}
	var svc metav1.PartialObjectMetadata
	svc.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Service"))
	err := r.reader.Get(ctx, req.NamespacedName, &svc)
	switch {
	case err == nil:
		// The cache has not seen it yet, or it was made again under its name.
		return reconcile.Result{RequeueAfter: behindRetry}, nil
	case !apierrors.IsNotFound(err):
		return reconcile.Result{}, fmt.Errorf("read Service %s from the API server: %w", k, err)
	}
	if held := r.book.held(k); len(held) > 0 {
		log.FromContext(ctx).Info("Released the addresses of a deleted Service", "addresses", texts(held))
	}
	r.book.released(k)
	r.announce.forget(k)
	return reconcile.Result{}, nil
}

func (r *serviceReconciler) serve(ctx context.Context, svc *corev1.Service) (reconcile.Result, error) {
	k := allocation.Key(svc)
	times, wait, isNew := r.book.overwritten(svc, time.Now())
	if isNew && times == overwriteTolerated+1 {
		r.warnOverwritten(ctx, svc, r.book.held(k))
	}
	d, conflicts := r.book.assign(allocation.Imported(svc))
	if wait > 0 {
		return reconcile.Result{RequeueAfter: wait}, nil // decided, and written later
	}
	for _, c := range conflicts {
		r.warnConflict(svc, c)
	}

	condition := metav1.Condition{
		Type: v1beta1.ConditionAddressAssigned, Status: metav1.ConditionFalse, Reason: string(d.Reason), Message: cut(d.Message()),
	}
	if d.Satisfied {
		condition.Status = metav1.ConditionTrue
	}
	var announced announcement
	change := statusChange{addresses: addressesOf(d.Addresses), conditions: []metav1.Condition{condition}, pools: poolsText(d.Addresses)}
	if len(d.Addresses) == 0 {
		r.announce.forget(k)
		change.drop = []string{v1beta1.ConditionAnnounced}
		// Host names are another implementation's: they are left until there is an address to put in their place.
		change.keepAddresses = len(service.Addresses(svc)) == 0
	} else if !sameAddresses(svc, change.addresses) {
		// In the same write, so that a new Service costs one: later changes of it are the roll-up's.
		var err error
		if announced, err = r.announce.announcement(ctx, svc, d.Addresses); err != nil {
			return reconcile.Result{}, err
		}
		change.conditions = append(change.conditions, announced.Condition)
	}
	if !sameAddresses(svc, change.addresses) {
		tellDisputes(ctx, r.book, r.recorder, svc, announced)
	}
	before := meta.FindStatusCondition(svc.Status.Conditions, v1beta1.ConditionAddressAssigned)
	version, err := r.write(ctx, svc, &change)
	if err != nil {
		return r.failed(k, err)
	}
	r.book.written(svc, version, &change)
	r.report(ctx, svc, d, before)
	return reconcile.Result{}, nil
}

// letGo takes what is ours off a Service that is not, or not any more.
func (r *serviceReconciler) letGo(ctx context.Context, svc *corev1.Service) (reconcile.Result, error) {
	k := allocation.Key(svc)
	held := r.book.held(k)
	change := statusChange{keepAddresses: !r.book.ours(svc), drop: []string{v1beta1.ConditionAddressAssigned, v1beta1.ConditionAnnounced}}
	version, err := r.write(ctx, svc, &change)
	if err != nil {
		return r.failed(k, err)
	}
	if change.keepAddresses {
		r.book.observe(svc, version)
	} else {
		r.book.released(k)
	}
	r.announce.forget(k)
	if len(held) > 0 {
		log.FromContext(ctx).Info("Released the addresses of a Service that is not served any more", "addresses", texts(held))
		r.recorder.Eventf(svc, nil, corev1.EventTypeNormal, eventReleased, actionRelease, "Released %s: the Service is not served by Fairlead any more", texts(held))
	}
	return reconcile.Result{}, nil
}

// failed sorts errors of writes: those that say that nothing was written, and those that leave it open.
func (r *serviceReconciler) failed(k ipam.Key, err error) (reconcile.Result, error) {
	switch {
	case apierrors.IsConflict(err):
		return reconcile.Result{RequeueAfter: behindRetry}, nil // somebody else wrote; the cache will show it
	case apierrors.IsNotFound(err):
		return reconcile.Result{RequeueAfter: behindRetry}, nil // deleted; gone will see to it
	}
	r.book.doubt(k)
	return reconcile.Result{}, err
}

// report what changed, once.
func (r *serviceReconciler) report(ctx context.Context, svc *corev1.Service, d ipam.Decision, before *metav1.Condition) {
	had := service.Addresses(svc)
	var gained, lost, whys []string
	for _, x := range d.Addresses {
		if !slices.Contains(had, x.Addr) {
			gained = append(gained, x.Addr.String())
			r.metrics.allocations.WithLabelValues(x.Pool, "assigned").Inc()
		}
	}
	for _, a := range had {
		if !slices.ContainsFunc(d.Addresses, func(x ipam.Assigned) bool { return x.Addr == a }) {
			lost = append(lost, a.String())
		}
	}
	for _, l := range d.Lost {
		if slices.Contains(had, l.Addr) {
			whys = append(whys, ": "+l.Why)
		}
	}
	logger := log.FromContext(ctx)
	if len(lost) > 0 {
		logger.Info("Released addresses", "addresses", strings.Join(lost, ", "))
		r.recorder.Eventf(svc, nil, corev1.EventTypeNormal, eventReleased, actionRelease, "%s", cut("Released "+strings.Join(lost, " and ")+strings.Join(whys, "")))
	}
	if len(gained) > 0 {
		logger.Info("Assigned addresses", "addresses", texts(d.Addresses), "pools", poolsText(d.Addresses))
		r.recorder.Eventf(svc, nil, corev1.EventTypeNormal, eventAssigned, actionAssign, "%s", cut(d.Message()))
	}
	if !d.Satisfied && (before == nil || before.Reason != string(d.Reason)) {
		logger.Info("Cannot assign what the Service asks for", "reason", d.Reason, "message", d.Message())
		r.metrics.allocations.WithLabelValues(r.requestedPool(svc), string(d.Reason)).Inc()
		r.recorder.Eventf(svc, nil, corev1.EventTypeWarning, string(d.Reason), actionAssign, "%s", cut(d.Message()))
	}
}

// requestedPool that exists: names that people make up are no label of a metric.
func (r *serviceReconciler) requestedPool(svc *corev1.Service) string {
	req, err := service.RequestOf(svc)
	if err != nil {
		return ""
	}
	r.book.mu.Lock()
	defer r.book.mu.Unlock()
	if _, ok := r.book.alloc.Status(req.Pool); !ok {
		return ""
	}
	return req.Pool
}

// warnOverwritten says once that two programs write the status of one Service.
func (r *serviceReconciler) warnOverwritten(ctx context.Context, svc *corev1.Service, held []ipam.Assigned) {
	shown := "nothing"
	if in := svc.Status.LoadBalancer.Ingress; len(in) > 0 {
		shown = cmp.Or(in[0].IP, in[0].Hostname)
	}
	log.FromContext(ctx).Info("Another program keeps writing the addresses of a Service; waiting longer each time before they are put right", "has", texts(held), "shown", shown)
	r.recorder.Eventf(svc, nil, corev1.EventTypeWarning, eventOverwritten, actionAssign,
		"The Service has %s, and another program keeps writing %s into its status: if two load balancers serve it, give it the spec.loadBalancerClass of one", texts(held), shown)
}

func (r *serviceReconciler) warnConflict(svc *corev1.Service, c ipam.Conflict) {
	r.recorder.Eventf(svc, nil, corev1.EventTypeWarning, eventConflict, actionAssign,
		"%s is also in the status of Service %s, which keeps it (%s)", c.Addr, c.Keeper, c.Why)
}

// poolsText is the value of the annotation for the addresses; empty: none of them is in a pool.
func poolsText(list []ipam.Assigned) string {
	names := make([]string, len(list))
	one := true
	for i, x := range list {
		names[i] = x.Pool
		one = one && names[i] == names[0]
	}
	if one && len(names) > 0 {
		return names[0]
	}
	return strings.Join(names, ",")
}

func addressesOf(list []ipam.Assigned) []netip.Addr {
	addrs := make([]netip.Addr, len(list))
	for i, x := range list {
		addrs[i] = x.Addr
	}
	return addrs
}

func texts(list []ipam.Assigned) string {
	s := make([]string, len(list))
	for i, x := range list {
		s[i] = x.Addr.String()
	}
	return strings.Join(s, " and ")
}

// cut a sentence to what an event may carry.
func cut(s string) string {
	const most = 1000
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
