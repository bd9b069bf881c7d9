package speaker

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/config"
	"fairlead.io/fairlead/internal/endpoints"
	"fairlead.io/fairlead/internal/view"
)

// setupReconcilers wires the cluster's objects to the engine. Each reconciler reads what it was told of, makes a view of it
// and hands that on; the engine finds out whether it matters.
func (s *Speaker) setupReconcilers() error {
	// Names are unique in the speaker's logs and metrics; several speakers in one process are tests.
	skip := true
	opts := controller.Options{SkipNameValidation: &skip, NewQueue: quietQueue}
	err := s.mgr.GetFieldIndexer().IndexField(context.Background(), &discoveryv1.EndpointSlice{}, endpoints.ServiceField, endpoints.OfService)
	if err != nil {
		return fmt.Errorf("index EndpointSlices: %w", err)
	}
	one := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{}} // what changed does not matter: all are read together
	})
	ofService := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetLabels()[discoveryv1.LabelServiceName]}}}
	})
	// The controller's status writes are no change of the configuration.
	edited := builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.LabelChangedPredicate{}))
	build := func(name string) *ctrl.Builder {
		return ctrl.NewControllerManagedBy(s.mgr).Named(name).WithOptions(opts)
	}
	for name, b := range map[string]struct {
		builder *ctrl.Builder
		read    func(context.Context, types.NamespacedName) error
	}{
		"service": {build("service").For(&corev1.Service{}).Watches(&discoveryv1.EndpointSlice{}, ofService), s.readService},
		"node":    {build("node").For(&corev1.Node{}), s.readNode},
		"config": {build("config").Watches(&v1beta1.L2Advertisement{}, one, edited).Watches(&v1beta1.IPAddressPool{}, one, edited),
			func(ctx context.Context, _ types.NamespacedName) error { return s.readConfig(ctx) }},
		"bgp": {build("bgp").Watches(&v1beta1.BGPPeer{}, one, edited).Watches(&v1beta1.BGPAdvertisement{}, one, edited).
			Watches(&v1beta1.BFDProfile{}, one, edited).Watches(&v1beta1.Community{}, one, edited).Watches(&corev1.Secret{}, one),
			func(ctx context.Context, _ types.NamespacedName) error { return s.readBGP(ctx) }},
		"speaker": {build("speaker").Watches(&v1beta1.Speaker{}, one),
			func(ctx context.Context, _ types.NamespacedName) error { return s.readSpeakers(ctx) }},
	} {
		err := b.builder.Complete(reconcile.Func(func(ctx context.Context, r reconcile.Request) (reconcile.Result, error) {
			select {
			case <-s.allRead: // what is there at the start is told object by object too, which must not hold up the first election
			case <-ctx.Done():
				return reconcile.Result{}, context.Cause(ctx)
			}
			return reconcile.Result{}, b.read(ctx, r.NamespacedName)
		}))
		if err != nil {
			return fmt.Errorf("set up the %s controller: %w", name, err)
		}
	}
	err = build("gossip-key").For(&corev1.Secret{}).Complete(reconcile.Func(func(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
		wait, err := s.readKey(ctx)
		return reconcile.Result{RequeueAfter: wait}, err
	}))
	if err != nil {
		return fmt.Errorf("set up the gossip-key controller: %w", err)
	}
	return nil
}

// quietQueue is the queue that controllers have by default, without metrics: for these each queue wakes the process twice a second, and a
// speaker with nothing to do is mostly waking up.
func quietQueue(_ string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	return priorityqueue.New("", func(o *priorityqueue.Opts[reconcile.Request]) { o.RateLimiter = limiter }) // without a name it measures nothing
}

// firstSync reads everything once, so that the first election knows all.
func (s *Speaker) firstSync(ctx context.Context) error {
	c := s.mgr.GetClient()
	var nodes corev1.NodeList
	var services corev1.ServiceList
	for _, list := range []client.ObjectList{&nodes, &services} {
		if err := c.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return fmt.Errorf("read the cluster's state: %w", err)
		}
	}
	for i := range nodes.Items {
		if err := s.readNode(ctx, client.ObjectKeyFromObject(&nodes.Items[i])); err != nil {
			return err
		}
	}
	for i := range services.Items {
		if err := s.readService(ctx, client.ObjectKeyFromObject(&services.Items[i])); err != nil {
			return err
		}
	}
	for _, read := range []func(context.Context) error{s.readConfig, s.readBGP, s.readSpeakers} {
		if err := read(ctx); err != nil {
			return err
		}
	}
	return nil
}

// readService hands a Service and its endpoints on.
func (s *Speaker) readService(ctx context.Context, name types.NamespacedName) error {
	var svc corev1.Service
	switch err := s.mgr.GetClient().Get(ctx, name, &svc, client.UnsafeDisableDeepCopy); {
	case apierrors.IsNotFound(err):
		s.setService(name, nil)
		return nil
	case err != nil:
		return fmt.Errorf("read Service %s: %w", name, err)
	}
	if !s.opts.Class.Ours(&svc) || len(svc.Status.LoadBalancer.Ingress) == 0 {
		s.setService(name, nil)
		return nil
	}
	var slices discoveryv1.EndpointSliceList
	if err := s.mgr.GetClient().List(ctx, &slices, client.InNamespace(name.Namespace), client.MatchingFields{endpoints.ServiceField: name.Name},
		client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("read the EndpointSlices of Service %s: %w", name, err)
	}
	s.setService(name, view.ServiceOf(&svc, slices.Items))
	return nil
}

func (s *Speaker) setService(name types.NamespacedName, v *view.Service) {
	s.engine.setService(name, v)
	s.advertiser.setService(name, v)
}

// readNode hands a Node on.
func (s *Speaker) readNode(ctx context.Context, name types.NamespacedName) error {
	var node corev1.Node
	err := s.mgr.GetClient().Get(ctx, name, &node)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read Node %s: %w", name.Name, err)
	}
	if apierrors.IsNotFound(err) {
		s.setNode(name.Name, nil)
		if name.Name == s.opts.NodeName {
			s.setOwnNode(nil)
		}
		return nil
	}
	n := view.NodeOf(&node)
	s.setNode(name.Name, &n)
	if name.Name == s.opts.NodeName {
		s.setOwnNode(&node)
	}
	return nil
}

func (s *Speaker) setNode(name string, v *view.Node) {
	s.engine.setNode(name, v)
	s.advertiser.setNode(name, v)
}

// readConfig hands pools and advertisements on. An advertisement that cannot be compiled is left out; the controller tells
// of it in its status.
func (s *Speaker) readConfig(ctx context.Context) error {
	c := s.mgr.GetClient()
	var pools v1beta1.IPAddressPoolList
	var advs v1beta1.L2AdvertisementList
	for _, list := range []client.ObjectList{&pools, &advs} {
		if err := c.List(ctx, list); err != nil {
			return fmt.Errorf("read pools and advertisements: %w", err)
		}
	}
	compiled := make([]*config.L2Advertisement, 0, len(advs.Items))
	for i := range advs.Items {
		a, err := config.CompileL2Advertisement(&advs.Items[i])
		if err != nil {
			s.log.V(1).Info("L2Advertisement is not used", "name", advs.Items[i].Name, "error", err.Error())
			continue
		}
		compiled = append(compiled, a)
	}
	compiledPools := config.CompilePools(pools.Items)
	s.engine.setConfig(compiledPools, compiled)
	s.advertiser.setPools(compiledPools)
	return nil
}

// readSpeakers finds the others' gossip addresses and what they leave to hosts outside the cluster, and sees what became of this node's own
// object. After a restart that tells what this node left to them.
func (s *Speaker) readSpeakers(ctx context.Context) error {
	var list v1beta1.SpeakerList
	if err := s.mgr.GetClient().List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("read Speakers: %w", err)
	}
	peers, disputed := map[string]netip.AddrPort{}, map[netip.Addr]bool{}
	var own *v1beta1.Speaker
	for i := range list.Items {
		sp := &list.Items[i]
		for _, c := range sp.Status.Conflicts {
			if addr, err := netip.ParseAddr(c.IP); err == nil && !c.Announced {
				disputed[addr] = true
			}
		}
		if sp.Name == s.opts.NodeName {
			own = sp.DeepCopy()
			continue
		}
		if addr, err := netip.ParseAddrPort(sp.Status.GossipAddress); err == nil {
			peers[sp.Name] = addr
		}
	}
	s.engine.setDisputed(disputed)
	s.setPeers(peers)
	s.status.observe(own)
	return nil
}
