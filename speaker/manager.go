package speaker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/endpoints"
)

// ManagerOptions are the options of a manager for a speaker: what it caches is trimmed to what that speaker reads. The API server is
// asked once if it can select Services by type; older ones cannot, and send them all.
func ManagerOptions(ctx context.Context, cfg *rest.Config, o *Options) (ctrl.Options, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			return ctrl.Options{}, fmt.Errorf("register types: %w", err)
		}
	}
	services := cache.ByObject{Transform: trimService}
	byType, err := canSelectByType(ctx, cfg, scheme)
	if err != nil {
		return ctrl.Options{}, err
	}
	if byType {
		services.Field = loadBalancers
	} else {
		o.Log.Info("the API server cannot select Services by type: all are read")
	}
	notHeadless, err := endpoints.Selector()
	if err != nil {
		return ctrl.Options{}, err //nolint:wrapcheck // it says what failed
	}
	stop := 10 * time.Second
	return ctrl.Options{
		Scheme: scheme,
		Cache: cache.Options{
			DefaultTransform: cache.TransformStripManagedFields(),
			ByObject: map[client.Object]cache.ByObject{
				&corev1.Service{}:            services,
				&discoveryv1.EndpointSlice{}: {Label: notHeadless, Transform: endpoints.Trim},
				&corev1.Node{}:               {Transform: trimNode},
				// The gossip's keys, and passwords of BGPPeers. Helm's releases may be large.
				&corev1.Secret{}: {Namespaces: map[string]cache.Config{o.Namespace: {
					FieldSelector: fields.OneTermNotEqualSelector("type", "helm.sh/release.v1")}}, Transform: trimSecret},
				&v1beta1.Speaker{}: {Transform: trimSpeaker(o.NodeName)},
			},
		},
		// An API server that is slow to start is waited for.
		Controller:              config.Controller{CacheSyncTimeout: time.Hour},
		GracefulShutdownTimeout: &stop, // the hand-over comes before it
	}, nil
}

var loadBalancers = fields.OneTermEqualSelector("spec.type", string(corev1.ServiceTypeLoadBalancer))

func canSelectByType(ctx context.Context, cfg *rest.Config, scheme *runtime.Scheme) (bool, error) {
	c, err := client.New(cfg, client.Options{Scheme: scheme})
	if err != nil {
		return false, fmt.Errorf("make a client: %w", err)
	}
	err = c.List(ctx, &corev1.ServiceList{}, &client.ListOptions{FieldSelector: loadBalancers, Limit: 1})
	if apierrors.IsBadRequest(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("list Services: %w", err)
	}
	return true, nil
}

// The transforms keep what the reconcilers read. An object of another type is a tombstone, and passes.

func trimService(o any) (any, error) {
	svc, ok := o.(*corev1.Service)
	if !ok {
		return o, nil
	}
	trimMeta(&svc.ObjectMeta)
	for key := range svc.Annotations {
		if !strings.HasPrefix(key, v1beta1.Group+"/") {
			delete(svc.Annotations, key)
		}
	}
	svc.Spec = corev1.ServiceSpec{Type: svc.Spec.Type, LoadBalancerClass: svc.Spec.LoadBalancerClass, ExternalTrafficPolicy: svc.Spec.ExternalTrafficPolicy}
	svc.Status.Conditions = nil
	return svc, nil
}

func trimNode(o any) (any, error) {
	n, ok := o.(*corev1.Node)
	if !ok {
		return o, nil
	}
	trimMeta(&n.ObjectMeta)
	n.Annotations = nil
	n.Spec = corev1.NodeSpec{Unschedulable: n.Spec.Unschedulable}
	status := corev1.NodeStatus{Addresses: n.Status.Addresses}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeNetworkUnavailable {
			status.Conditions = append(status.Conditions, corev1.NodeCondition{Type: c.Type, Status: c.Status})
		}
	}
	n.Status = status
	return n, nil
}

// trimSpeaker keeps of the others' objects where they gossip and which addresses they leave to other hosts, and its own as it is: what is
// written is the difference to it.
func trimSpeaker(node string) func(any) (any, error) {
	return func(o any) (any, error) {
		s, ok := o.(*v1beta1.Speaker)
		if !ok {
			return o, nil
		}
		trimMeta(&s.ObjectMeta)
		if s.Name != node {
			left := slices.DeleteFunc(s.Status.Conflicts, func(c v1beta1.AddressConflict) bool { return c.Announced })
			s.Status = v1beta1.SpeakerStatus{GossipAddress: s.Status.GossipAddress, Conflicts: left}
		}
		return s, nil
	}
}

func trimSecret(o any) (any, error) {
	s, ok := o.(*corev1.Secret)
	if !ok {
		return o, nil
	}
	trimMeta(&s.ObjectMeta)
	s.Annotations = nil // what kubectl applied last has the data as well
	return s, nil
}

func trimMeta(m *metav1.ObjectMeta) {
	m.ManagedFields = nil
	m.Finalizers = nil
}
