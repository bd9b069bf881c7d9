package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/allocation"
	"fairlead.io/fairlead/internal/doctor"
	"fairlead.io/fairlead/ipam"
)

// Snapshot is the cluster's state as far as Fairlead is concerned.
type Snapshot struct {
	doctor.Objects
	// Services of type LoadBalancer, and others that were asked for.
	Services       []corev1.Service
	Namespaces     []corev1.Namespace
	Nodes          []corev1.Node
	EndpointSlices []discoveryv1.EndpointSlice
}

func clientConfig(kubeconfig, contextName string) clientcmd.ClientConfig {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: contextName})
}

// DefaultNamespace is that of the kubeconfig's context.
func DefaultNamespace(kubeconfig, contextName string) string {
	if ns, _, err := clientConfig(kubeconfig, contextName).Namespace(); err == nil { // without a kubeconfig, files are read
		return ns
	}
	return "default"
}

// Config is that of a kubeconfig, by kubectl's own rules for finding it; kubeconfig and context may be empty.
func Config(kubeconfig, contextName string) (*rest.Config, error) {
	config, err := clientConfig(kubeconfig, contextName).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	return config, nil
}

// NewClient makes a client from a kubeconfig; see Config.
func NewClient(kubeconfig, contextName string) (client.Client, error) {
	config, err := Config(kubeconfig, contextName)
	if err != nil {
		return nil, err
	}
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", config.Host, err)
	}
	return c, nil
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1beta1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("register types: %w", err)
	}
	return scheme, nil
}

// Read takes a snapshot of the cluster. The Services named are in it, if they exist, whatever their type.
func Read(ctx context.Context, c client.Reader, named ...ipam.Key) (Snapshot, error) {
	var l lists
	for _, x := range l.all() {
		if err := c.List(ctx, x.list, x.opts...); err != nil {
			return Snapshot{}, fmt.Errorf("list %s: %w", x.what, err)
		}
	}
	for _, k := range named {
		if slices.ContainsFunc(l.services.Items, func(svc corev1.Service) bool { return allocation.Key(&svc) == k }) {
			continue
		}
		var svc corev1.Service
		err := c.Get(ctx, client.ObjectKey{Namespace: k.Namespace(), Name: k.Name()}, &svc)
		if err == nil {
			l.services.Items = append(l.services.Items, svc)
		} else if !apierrors.IsNotFound(err) {
			return Snapshot{}, fmt.Errorf("read Service %s: %w", k, err)
		}
	}
	return l.snapshot(), nil
}

// lists that a snapshot is made of.
type lists struct {
	pools          v1beta1.IPAddressPoolList
	advertisements v1beta1.L2AdvertisementList
	routes         v1beta1.BGPAdvertisementList
	peers          v1beta1.BGPPeerList
	profiles       v1beta1.BFDProfileList
	communities    v1beta1.CommunityList
	speakers       v1beta1.SpeakerList
	services       corev1.ServiceList
	namespaces     corev1.NamespaceList
	nodes          corev1.NodeList
	endpointSlices discoveryv1.EndpointSliceList
}

// listed is one of the lists, with what it is of and how it is asked for.
type listed struct {
	what string
	list client.ObjectList
	opts []client.ListOption
}

// own are those of Fairlead's kinds, by resource.
func (l *lists) own() map[string]client.ObjectList {
	return map[string]client.ObjectList{
		"ipaddresspools": &l.pools, "l2advertisements": &l.advertisements, "bgpadvertisements": &l.routes, "bgppeers": &l.peers,
		"bfdprofiles": &l.profiles, "communities": &l.communities, "speakers": &l.speakers,
	}
}

// balancers asks for Services of type LoadBalancer.
func balancers() client.ListOption {
	return client.MatchingFields{"spec.type": string(corev1.ServiceTypeLoadBalancer)}
}

func (l *lists) all() []listed {
	return []listed{
		{"IPAddressPools (is Fairlead installed?)", &l.pools, nil},
		{"L2Advertisements", &l.advertisements, nil},
		{"BGPAdvertisements", &l.routes, nil},
		{"BGPPeers", &l.peers, nil},
		{"BFDProfiles", &l.profiles, nil},
		{"Communities", &l.communities, nil},
		{"Speakers", &l.speakers, nil},
		{"Services of type LoadBalancer", &l.services, []client.ListOption{balancers()}},
		{"Namespaces", &l.namespaces, nil},
		{"Nodes", &l.nodes, nil},
		{"EndpointSlices", &l.endpointSlices, nil},
	}
}

func (l *lists) snapshot() Snapshot {
	return Snapshot{
		Objects: doctor.Objects{
			Pools: l.pools.Items, L2Advertisements: l.advertisements.Items, BGPAdvertisements: l.routes.Items, BGPPeers: l.peers.Items,
			BFDProfiles: l.profiles.Items, Communities: l.communities.Items, Speakers: l.speakers.Items,
		},
		Services: l.services.Items, Namespaces: l.namespaces.Items, Nodes: l.nodes.Items, EndpointSlices: l.endpointSlices.Items,
	}
}
