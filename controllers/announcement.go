package controllers

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/allocation"
	"fairlead.io/fairlead/internal/announced"
	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/endpoints"
	"fairlead.io/fairlead/internal/service"
	"fairlead.io/fairlead/internal/view"
	"fairlead.io/fairlead/ipam"
)

// announcements rolls up what the speakers report. Its mutex guards both maps; they hold the same reports by either side.
type announcements struct {
	client client.Reader
	plan   *bgpPlan
	// follow the EndpointSlices from now on. They are read only where BGP needs them.
	follow func(context.Context) error

	mu     sync.Mutex
	byAddr map[netip.Addr]map[string]announced.Report // by node
	byNode map[string]map[netip.Addr]announced.Report
}

func newAnnouncements(c client.Reader, plan *bgpPlan) *announcements {
	return &announcements{client: c, plan: plan, byAddr: map[netip.Addr]map[string]announced.Report{}, byNode: map[string]map[netip.Addr]announced.Report{}}
}

// report takes over what one node reports, and returns the addresses for which that is news.
func (a *announcements) report(node string, status *v1beta1.SpeakerStatus) (changed []netip.Addr) {
	now := announced.Reports(status)
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.byNode[node]
	for addr := range before {
		if _, stays := now[addr]; !stays {
			if delete(a.byAddr[addr], node); len(a.byAddr[addr]) == 0 {
				delete(a.byAddr, addr)
			}
			changed = append(changed, addr)
		}
	}
	for addr, r := range now {
		if was, had := before[addr]; had && was.Equal(r) {
			continue
		}
		if a.byAddr[addr] == nil {
			a.byAddr[addr] = map[string]announced.Report{}
		}
		a.byAddr[addr][node] = r
		changed = append(changed, addr)
	}
	if a.byNode[node] = now; len(now) == 0 {
		delete(a.byNode, node)
	}
	return changed
}

// state of an address, from what all speakers report.
func (a *announcements) state(addr netip.Addr) announced.State {
	a.mu.Lock()
	defer a.mu.Unlock()
	return announced.Of(a.byAddr[addr])
}

// announcement is what a Service is told of the announcing of its addresses.
type announcement struct {
	metav1.Condition
	// disputes with other hosts on the network: a sentence for each address.
	disputes map[netip.Addr]string
}

// announcement of a Service with these addresses.
func (a *announcements) announcement(ctx context.Context, svc *corev1.Service, addrs []ipam.Assigned) (announcement, error) {
	c := announcement{disputes: map[netip.Addr]string{}, Condition: metav1.Condition{
		Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAnnounced}}
	routes, err := a.routes(ctx, svc, addrs)
	if err != nil {
		return c, err
	}
	var said, missing, silent []string // missing: nobody announces it; silent: and it is to be advertised, and no session is there
	var dark []ipam.Assigned
	for _, x := range addrs {
		state, route := a.state(x.Addr), routes[x.Addr]
		if state.Node != "" {
			sentence := state.Sentence(x.Addr, x.Pool)
			said = append(said, sentence)
			if state.Conflict != nil {
				c.disputes[x.Addr] = sentence
			}
		}
		switch {
		case route.up:
			said = append(said, fmt.Sprintf("%s is advertised to %s (BGP)", x.Addr, few(route.peers)))
		case len(route.peers) > 0:
			said = append(said, fmt.Sprintf("%s is to be advertised to %s (BGP), and no session is established that it could be over: see kubectl get bgppeers", x.Addr, few(route.peers)))
			if state.Node == "" {
				silent = append(silent, x.Addr.String())
			}
		case state.Node == "":
			missing = append(missing, x.Addr.String())
			dark = append(dark, x)
		}
		if !state.Announces && !route.up {
			c.Status = metav1.ConditionFalse
		}
	}
	if len(silent) > 0 {
		c.Reason = v1beta1.ReasonNoSession
	}
	if len(missing) > 0 {
		unselected, err := a.unselected(ctx, svc, dark)
		if err != nil {
			return c, err
		}
		if len(unselected) > 0 {
			c.Reason = v1beta1.ReasonNoAdvertisement
			said = append(said, fmt.Sprintf("no accepted L2Advertisement or BGPAdvertisement selects %s: create one, or check its status, pools and selectors", strings.Join(unselected, " and ")))
		} else {
			c.Reason = v1beta1.ReasonNotAnnounced
			said = append(said, fmt.Sprintf("no speaker reports that it announces %s: check that the Service has a serving endpoint, and that a node which "+
				"the advertisement selects, on which it has an interface or a BGP peer, and which is not excluded from load balancers has a ready speaker "+
				"(kubectl fairlead explain service %s -n %s says why for each node)", strings.Join(missing, " and "), svc.Name, svc.Namespace))
		}
	}
	if len(c.disputes) > 0 {
		c.Reason = v1beta1.ReasonAddressConflict // before all others: it stays until somebody does something about it
	}
	c.Message = cut(strings.Join(said, "; "))
	return c, nil
}

// routes are what comes of a Service's addresses by BGP.
func (a *announcements) routes(ctx context.Context, svc *corev1.Service, addrs []ipam.Assigned) (map[netip.Addr]bgpOutcome, error) {
	if err := a.plan.ensure(ctx); err != nil {
		return nil, err
	}
	key := allocation.Key(svc)
	if !a.plan.used() {
		a.plan.remove(key)
		return nil, nil
	}
	if err := a.follow(ctx); err != nil {
		return nil, err
	}
	var list discoveryv1.EndpointSliceList
	if err := a.client.List(ctx, &list, client.InNamespace(svc.Namespace), client.MatchingFields{endpoints.ServiceField: svc.Name}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("read the EndpointSlices of Service %s: %w", key, err)
	}
	v := &view.Service{Labels: svc.Labels, Local: service.Local(svc), Endpoints: endpoints.FromSlices(list.Items)}
	for _, x := range addrs {
		v.Addresses = append(v.Addresses, x.Addr)
		v.Pools = append(v.Pools, x.Pool)
	}
	return a.plan.set(key, v), nil
}

// forget a Service that has no addresses any more.
func (a *announcements) forget(k ipam.Key) { a.plan.remove(k) }

// unselected are those of the addresses that no advertisement selects. One that cannot be read selects nothing.
func (a *announcements) unselected(ctx context.Context, svc *corev1.Service, addrs []ipam.Assigned) ([]string, error) {
	var l2 v1beta1.L2AdvertisementList
	if err := a.client.List(ctx, &l2); err != nil {
		return nil, fmt.Errorf("list L2Advertisements: %w", err)
	}
	selections := a.plan.selections()
	for i := range l2.Items {
		if adv, err := config.CompileL2Advertisement(&l2.Items[i]); err == nil {
			selections = append(selections, &adv.Selection)
		}
	}
	var unselected []string
	for _, x := range addrs {
		var set labels.Set // nil: there is no such pool
		if x.Pool != "" {
			var pool v1beta1.IPAddressPool
			err := a.client.Get(ctx, client.ObjectKey{Name: x.Pool}, &pool)
			if client.IgnoreNotFound(err) != nil {
				return nil, fmt.Errorf("read IPAddressPool %s: %w", x.Pool, err)
			}
			if err == nil {
				set = labels.Merge(pool.Labels, nil)
			}
		}
		if !slices.ContainsFunc(selections, func(s *config.Selection) bool { return s.SelectsPool(x.Pool, set) && s.SelectsService(svc.Labels) }) {
			unselected = append(unselected, x.Addr.String())
		}
	}
	return unselected, nil
}

// announcementReconciler writes the condition Announced where it changed after the assignment.
type announcementReconciler struct {
	client   client.Client
	book     *Book
	class    service.Class
	rollup   *announcements
	limiter  *rate.Limiter
	recorder events.EventRecorder
}

// Many addresses move at once when a node fails. The condition can wait: traffic does not depend on it.
const (
	announcementDelay = 200 * time.Millisecond
	announcementRate  = 50
)

func (r *announcementReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	if err := r.book.wait(ctx); err != nil {
		return reconcile.Result{}, err
	}
	var svc corev1.Service
	if err := r.client.Get(ctx, req.NamespacedName, &svc); err != nil {
		if apierrors.IsNotFound(err) {
			r.rollup.forget(ipam.Service(req.Namespace, req.Name))
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, fmt.Errorf("read Service %s: %w", req, err)
	}
	if older, _ := r.book.behind(allocation.Key(&svc), svc.ResourceVersion); older {
		return reconcile.Result{RequeueAfter: behindRetry}, nil // see serviceReconciler
	}
	held := r.book.held(allocation.Key(&svc))
	// What is not written yet is the service reconciler's, which writes this condition with the addresses.
	if !r.class.Ours(&svc) || len(held) == 0 || !slices.Equal(service.Addresses(&svc), addressesOf(held)) {
		return reconcile.Result{}, nil
	}
	a, err := r.rollup.announcement(ctx, &svc, held)
	if err != nil {
		return reconcile.Result{}, err
	}
	tellDisputes(ctx, r.book, r.recorder, &svc, a)
	conditions := conditionPatch(&svc, []metav1.Condition{a.Condition}, nil)
	if len(conditions) == 0 {
		return reconcile.Result{}, nil
	}
	if err := r.limiter.Wait(ctx); err != nil {
		return reconcile.Result{}, fmt.Errorf("wait to write the condition of Service %s: %w", req, err)
	}
	// With the uid alone: the condition is true of any version of this Service, and nobody else writes it then.
	answer := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: svc.Namespace, Name: svc.Name}}
	err = patchStatus(ctx, r.client, answer, map[string]any{
		"metadata": map[string]any{"uid": svc.UID},
		"status":   map[string]any{"conditions": conditions},
	})
	if apierrors.IsInvalid(err) {
		return reconcile.Result{RequeueAfter: poolInterval}, nil // another uid: deleted, and made again
	}
	if err != nil {
		return ignoreStale(err, "write the condition of Service "+req.String())
	}
	return reconcile.Result{}, nil
}
