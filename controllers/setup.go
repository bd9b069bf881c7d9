package controllers

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/endpoints"
	"fairlead.io/fairlead/internal/service"
	"fairlead.io/fairlead/ipam"
)

// Options of the controllers.
type Options struct {
	// Namespace of Fairlead, for the gossip key.
	Namespace string
	// Class of the Services that are served.
	Class service.Class
	// Registerer of the metrics.
	Registerer prometheus.Registerer
}

// requestTimeout bounds each write, so that none is under way any more when a lease that could not be renewed expires.
const requestTimeout = 4 * time.Second

// serviceWorkers is how many Services are written at the same time; deciding takes microseconds, and the rest is waiting for the API server.
const serviceWorkers = 8

// RESTConfig prepares the client's configuration: no client-side throttling, because the API server's priority and fairness
// does that better, and a bound on each write. Reads are not bounded, because watches must not be and no other read does harm late.
func RESTConfig(c *rest.Config) *rest.Config {
	c = rest.CopyConfig(c)
	c.QPS, c.Burst = -1, 0
	c.Wrap(func(next http.RoundTripper) http.RoundTripper { return boundedTripper{next} })
	return c
}

// boundedTripper bounds writes, here and, by the parameter timeout, in the API server, which may get to a request late. A write of an
// assignment (a patch) is seen through even if its caller is to stop: a leader that gave up on it would release the lease while it may still happen.
type boundedTripper struct{ next http.RoundTripper }

func (t boundedTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet {
		return t.next.RoundTrip(r) //nolint:wrapcheck // a wrapper shows its wrapped one's errors
	}
	ctx := r.Context()
	if r.Method == http.MethodPatch {
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	// The answer to a write is short and read at once; the context must live until then, and ends by itself.
	context.AfterFunc(ctx, cancel)
	r = r.WithContext(ctx)
	u := *r.URL
	if query := u.Query(); !query.Has("timeout") {
		query.Set("timeout", requestTimeout.String())
		u.RawQuery = query.Encode()
	}
	r.URL = &u
	return t.next.RoundTrip(r) //nolint:wrapcheck // as above
}

// NewScheme has the kinds that the controller reads and writes.
func NewScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(s))
	utilruntime.Must(appsv1.AddToScheme(s))
	utilruntime.Must(discoveryv1.AddToScheme(s))
	utilruntime.Must(v1beta1.AddToScheme(s))
	return s
}

// CacheOptions keep in memory what is read, and no more; Secrets only of Fairlead's own namespace, and of them no password.
func CacheOptions(namespace string) (cache.Options, error) {
	slices, err := endpoints.Selector()
	if err != nil {
		return cache.Options{}, err //nolint:wrapcheck // it says what failed
	}
	return cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			// Not copied when it is read: nothing here changes what it has read.
			&corev1.Service{}:   {Transform: trimService, UnsafeDisableDeepCopy: new(true)},
			&corev1.Namespace{}: {Transform: trimNamespace},
			&corev1.Node{}:      {Transform: trimNode},
			&appsv1.Deployment{}: {
				Namespaces: map[string]cache.Config{namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", Deployment)}}, Transform: trimDeployment,
			},
			&corev1.Secret{}:             {Namespaces: map[string]cache.Config{namespace: {}}, Transform: trimSecret},
			&discoveryv1.EndpointSlice{}: {Label: slices, Transform: endpoints.Trim},
		},
	}, nil
}

// trimNode leaves of a Node what decides about its BGP sessions.
func trimNode(o any) (any, error) {
	n, ok := o.(*corev1.Node)
	if !ok {
		return o, nil
	}
	status := corev1.NodeStatus{Addresses: n.Status.Addresses}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady || c.Type == corev1.NodeNetworkUnavailable {
			status.Conditions = append(status.Conditions, corev1.NodeCondition{Type: c.Type, Status: c.Status})
		}
	}
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion, Labels: n.Labels}, Status: status}, nil
}

// trimSecret leaves of a Secret what tells if a value can be a password: how long it is and if there are line breaks or zero bytes in it.
func trimSecret(o any) (any, error) {
	s, ok := o.(*corev1.Secret)
	if !ok {
		return o, nil
	}
	masked := make(map[string][]byte, len(s.Data))
	for key, value := range s.Data {
		value = bytes.Clone(value)
		for i, c := range value {
			if c != '\n' && c != '\r' && c != 0 {
				value[i] = 'x'
			}
		}
		masked[key] = value
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: s.Name, Namespace: s.Namespace, UID: s.UID, ResourceVersion: s.ResourceVersion}, Data: masked}, nil
}

// trimService leaves of a Service that is no load balancer what tells whether something of ours is on it.
func trimService(o any) (any, error) {
	svc, ok := o.(*corev1.Service)
	if !ok {
		return o, nil
	}
	svc.ManagedFields = nil
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
		return svc, nil
	}
	svc.Spec = corev1.ServiceSpec{Type: svc.Spec.Type}
	svc.Labels, svc.OwnerReferences = nil, nil
	if v, ok := svc.Annotations[v1beta1.AnnotationAllocatedFromPool]; ok {
		svc.Annotations = map[string]string{v1beta1.AnnotationAllocatedFromPool: v}
	} else {
		svc.Annotations = nil
	}
	return svc, nil
}

func trimNamespace(o any) (any, error) {
	ns, ok := o.(*corev1.Namespace)
	if !ok {
		return o, nil
	}
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: ns.Name, UID: ns.UID, ResourceVersion: ns.ResourceVersion, Labels: ns.Labels, DeletionTimestamp: ns.DeletionTimestamp,
	}}, nil
}

// trimDeployment leaves of a Deployment whether it is there.
func trimDeployment(o any) (any, error) {
	d, ok := o.(*appsv1.Deployment)
	if !ok {
		return o, nil
	}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{
		Namespace: d.Namespace, Name: d.Name, UID: d.UID, ResourceVersion: d.ResourceVersion, DeletionTimestamp: d.DeletionTimestamp,
	}}, nil
}

// Setup adds everything to the manager.
func Setup(mgr manager.Manager, o Options) (*Book, error) {
	metrics, err := NewMetrics(o.Registerer)
	if err != nil {
		return nil, err
	}
	book := NewBook(metrics)
	plan := newBGPPlan(mgr.GetClient(), o.Namespace, book.holding)
	rollup := newAnnouncements(mgr.GetClient(), plan)
	recorder := mgr.GetEventRecorder("fairlead-controller")
	services := &serviceReconciler{
		client: mgr.GetClient(), reader: mgr.GetAPIReader(), book: book, class: o.Class, recorder: recorder, announce: rollup, metrics: metrics,
	}
	if err := addServices(mgr, services); err != nil {
		return nil, fmt.Errorf("set up the service controller: %w", err)
	}
	leaving := &leaving{client: mgr.GetClient(), reader: mgr.GetAPIReader(), book: book, namespace: o.Namespace}
	if err := addLeaving(mgr, leaving); err != nil {
		return nil, fmt.Errorf("set up the controller of the end: %w", err)
	}
	if err := addPools(mgr, &poolReconciler{client: mgr.GetClient(), book: book, metrics: metrics, leaving: leaving, written: map[string]time.Time{}}); err != nil {
		return nil, fmt.Errorf("set up the pool controller: %w", err)
	}
	if err := addL2Advertisements(mgr, &l2AdvertisementReconciler{client: mgr.GetClient(), metrics: metrics}); err != nil {
		return nil, err
	}
	if err := addBGP(mgr, &bgpReconciler{client: mgr.GetClient(), plan: plan, metrics: metrics, said: map[metricOf]bool{}}); err != nil {
		return nil, err
	}
	announcement := &announcementReconciler{client: mgr.GetClient(), book: book, class: o.Class, rollup: rollup,
		limiter: rate.NewLimiter(announcementRate, announcementRate), recorder: recorder}
	if err := addAnnouncements(mgr, announcement); err != nil {
		return nil, fmt.Errorf("set up the announcement controller: %w", err)
	}
	log := mgr.GetLogger()
	for _, r := range []manager.Runnable{
		&start{reader: mgr.GetAPIReader(), book: book, class: o.Class, log: log.WithName("start"), warn: services.warnConflict},
		&gossipKey{reader: mgr.GetAPIReader(), writer: mgr.GetClient(), namespace: o.Namespace, log: log.WithName("gossip-key")},
	} {
		if err := mgr.Add(r); err != nil {
			return nil, fmt.Errorf("set up the start: %w", err)
		}
	}
	return book, nil
}

// Synced is closed when everything that is assigned has been read.
func (b *Book) Synced() <-chan struct{} { return b.synced }

func addServices(mgr manager.Manager, r *serviceReconciler) error {
	namespaces := handler.Funcs{
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, _ queue) {
			r.book.namespace(e.ObjectNew.GetName(), e.ObjectNew.GetLabels())
		},
		CreateFunc: func(_ context.Context, e event.CreateEvent, _ queue) {
			r.book.namespace(e.Object.GetName(), e.Object.GetLabels())
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, _ queue) { r.book.namespace(e.Object.GetName(), nil) },
	}
	return builder.ControllerManagedBy(mgr). //nolint:wrapcheck // Setup wraps
							Named("service").
							For(&corev1.Service{}, builder.WithPredicates(r.book.news())).
							Watches(&corev1.Namespace{}, namespaces, builder.WithPredicates(predicate.LabelChangedPredicate{})).
							WatchesRawSource(source.Func(r.book.connect(&r.book.services))).
							WithOptions(controller.Options{MaxConcurrentReconciles: serviceWorkers, LogConstructor: logOf(mgr, "Service")}).
							Complete(r)
}

// logOf names the object in each line, and nothing else: there is a logger for each look at an object.
func logOf(mgr manager.Manager, kind string) func(*reconcile.Request) logr.Logger {
	log := mgr.GetLogger()
	return func(r *reconcile.Request) logr.Logger {
		if r == nil {
			return log.WithValues("controller", kind)
		}
		return log.WithValues(kind, strings.TrimPrefix(r.String(), "/"))
	}
}

func addPools(mgr manager.Manager, r *poolReconciler) error {
	return builder.ControllerManagedBy(mgr). //nolint:wrapcheck // Setup wraps
							Named("pool").
							For(&v1beta1.IPAddressPool{}).
							WatchesRawSource(source.Func(r.book.connect(&r.book.pools))).
							WithOptions(controller.Options{RateLimiter: workqueue.DefaultTypedControllerRateLimiter[reconcile.Request](), LogConstructor: logOf(mgr, "IPAddressPool")}).
							Complete(r)
}

func addAnnouncements(mgr manager.Manager, r *announcementReconciler) error {
	speaker := func(q queue, node string, s *v1beta1.SpeakerStatus) {
		for _, addr := range r.rollup.report(node, s) {
			for _, k := range r.book.holders(addr) {
				q.AddAfter(requestOf(k), announcementDelay)
			}
		}
	}
	status := func(o client.Object) *v1beta1.SpeakerStatus {
		if s, ok := o.(*v1beta1.Speaker); ok {
			return &s.Status
		}
		return nil
	}
	speakers := handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			speaker(q, e.Object.GetName(), status(e.Object))
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			speaker(q, e.ObjectNew.GetName(), status(e.ObjectNew))
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { speaker(q, e.Object.GetName(), nil) },
	}
	// What selects addresses changed: any Service that has one may be concerned.
	everyHolder := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		var all []reconcile.Request
		for _, k := range r.book.holding() {
			all = append(all, requestOf(k))
		}
		return all
	})
	spec := builder.WithPredicates(predicate.GenerationChangedPredicate{})
	c, err := builder.ControllerManagedBy(mgr).
		Named("announcement").
		For(&corev1.Service{}, builder.WithPredicates(predicate.NewPredicateFuncs(func(o client.Object) bool {
			svc, ok := o.(*corev1.Service)
			return ok && len(svc.Status.LoadBalancer.Ingress) > 0
		}), r.book.news())).
		Watches(&v1beta1.Speaker{}, speakers).
		Watches(&v1beta1.L2Advertisement{}, everyHolder, spec).
		Watches(&v1beta1.IPAddressPool{}, everyHolder, builder.WithPredicates(predicate.LabelChangedPredicate{})).
		WatchesRawSource(source.Func(r.rollup.plan.connect)). // BGPAdvertisements and what else BGP depends on
		WithOptions(controller.Options{LogConstructor: logOf(mgr, "Service")}).
		Build(r)
	if err != nil {
		return err //nolint:wrapcheck // Setup wraps
	}
	r.rollup.follow = followEndpoints(mgr, c, r.book)
	return nil
}

// followEndpoints gives the function that begins to watch EndpointSlices when it is first called. Layer 2 needs none of them here.
func followEndpoints(mgr manager.Manager, c controller.Controller, b *Book) func(context.Context) error {
	ofService := func(o client.Object, q queue) {
		if k := ipam.Service(o.GetNamespace(), o.GetLabels()[discoveryv1.LabelServiceName]); len(b.held(k)) > 0 {
			q.AddAfter(requestOf(k), announcementDelay)
		}
	}
	events := handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { ofService(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) { ofService(e.ObjectNew, q) },
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { ofService(e.Object, q) },
	}
	var mu sync.Mutex
	var indexed, watched bool
	return func(ctx context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		if !indexed {
			if err := mgr.GetFieldIndexer().IndexField(ctx, &discoveryv1.EndpointSlice{}, endpoints.ServiceField, endpoints.OfService); err != nil {
				return fmt.Errorf("index EndpointSlices: %w", err)
			}
			indexed = true
		}
		if !watched {
			if err := c.Watch(source.Kind[client.Object](mgr.GetCache(), &discoveryv1.EndpointSlice{}, events)); err != nil {
				return fmt.Errorf("watch EndpointSlices: %w", err)
			}
			watched = true
		}
		return nil
	}
}
