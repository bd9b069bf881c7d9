package cli

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
)

// Snapshot is the cluster's state as far as Fairlead is concerned.
type Snapshot struct {
	Pools            []v1beta1.IPAddressPool
	L2Advertisements []v1beta1.L2Advertisement
	Speakers         []v1beta1.Speaker
	// Services of type LoadBalancer.
	Services []corev1.Service
}

// NewClient makes a client from a kubeconfig, by kubectl's own rules for finding it; kubeconfig and context may be empty.
func NewClient(kubeconfig, contextName string) (client.Client, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: contextName}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register Kubernetes types: %w", err)
	}
	if err := v1beta1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register Fairlead's types: %w", err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", config.Host, err)
	}
	return c, nil
}

// Read takes a snapshot of the cluster.
func Read(ctx context.Context, c client.Reader) (Snapshot, error) {
	var pools v1beta1.IPAddressPoolList
	if err := c.List(ctx, &pools); err != nil {
		return Snapshot{}, fmt.Errorf("list IPAddressPools (is Fairlead installed?): %w", err)
	}
	var advertisements v1beta1.L2AdvertisementList
	if err := c.List(ctx, &advertisements); err != nil {
		return Snapshot{}, fmt.Errorf("list L2Advertisements: %w", err)
	}
	var speakers v1beta1.SpeakerList
	if err := c.List(ctx, &speakers); err != nil {
		return Snapshot{}, fmt.Errorf("list Speakers: %w", err)
	}
	var services corev1.ServiceList
	if err := c.List(ctx, &services, client.MatchingFields{"spec.type": string(corev1.ServiceTypeLoadBalancer)}); err != nil {
		return Snapshot{}, fmt.Errorf("list Services of type LoadBalancer: %w", err)
	}
	return Snapshot{
		Pools: pools.Items, L2Advertisements: advertisements.Items, Speakers: speakers.Items, Services: services.Items,
	}, nil
}
