package endpoints

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ServiceField indexes EndpointSlices by their Service's name, see OfService.
const ServiceField = "service"

// OfService gives an EndpointSlice's Service, as an indexer does.
func OfService(o client.Object) []string {
	return []string{o.GetLabels()[discoveryv1.LabelServiceName]}
}

// Selector of the EndpointSlices that can matter: not those of headless Services.
func Selector() (labels.Selector, error) {
	notHeadless, err := labels.NewRequirement(corev1.IsHeadlessService, selection.DoesNotExist, nil)
	if err != nil {
		return nil, fmt.Errorf("select EndpointSlices: %w", err)
	}
	return labels.NewSelector().Add(*notHeadless), nil
}

// Trim leaves of an EndpointSlice, on its way into a cache, what FromSlices reads. An object of another type is a tombstone, and passes.
func Trim(o any) (any, error) {
	s, ok := o.(*discoveryv1.EndpointSlice)
	if !ok {
		return o, nil
	}
	s.ManagedFields, s.Finalizers, s.Annotations, s.OwnerReferences, s.Ports = nil, nil, nil, nil, nil
	s.Labels = map[string]string{discoveryv1.LabelServiceName: s.Labels[discoveryv1.LabelServiceName]}
	for i := range s.Endpoints {
		s.Endpoints[i] = discoveryv1.Endpoint{NodeName: s.Endpoints[i].NodeName, Conditions: s.Endpoints[i].Conditions}
	}
	return s, nil
}
