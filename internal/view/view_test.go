package view

import (
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/api/v1beta1"
)

var (
	v4 = netip.MustParseAddr("192.168.100.240")
	v6 = netip.MustParseAddr("fd00::240")
)

func aService(pools string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}, Annotations: map[string]string{v1beta1.AnnotationAllocatedFromPool: pools}},
		Spec:       corev1.ServiceSpec{ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal},
		Status:     corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: v4.String()}, {IP: v6.String()}}}},
	}
}

func TestService(t *testing.T) {
	slice := []discoveryv1.EndpointSlice{{AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{NodeName: new("n")}}}}
	for pools, want := range map[string][2]string{"": {"", ""}, "web": {"web", "web"}, "four, six": {"four", "six"}} {
		s := ServiceOf(aService(pools), slice)
		if s.Pool(v4) != want[0] || s.Pool(v6) != want[1] || !s.Local || !s.Endpoints.On(v4, "n") || s.Endpoints.Any(v6) || !slices.Equal(s.Addresses, []netip.Addr{v4, v6}) {
			t.Errorf("%q: %+v", pools, s)
		}
		if !s.Equal(ServiceOf(aService(pools), slice)) {
			t.Errorf("%q: equal Services differ", pools)
		}
	}
	base := ServiceOf(aService("web"), slice)
	for name, other := range map[string]*Service{
		"endpoints": ServiceOf(aService("web"), nil),
		"pools":     ServiceOf(aService("other"), slice),
		"labels":    ServiceOf(func() *corev1.Service { s := aService("web"); s.Labels = nil; return s }(), slice),
		"policy":    ServiceOf(func() *corev1.Service { s := aService("web"); s.Spec.ExternalTrafficPolicy = ""; return s }(), slice),
		"address": ServiceOf(func() *corev1.Service {
			s := aService("web")
			s.Status.LoadBalancer.Ingress = s.Status.LoadBalancer.Ingress[:1]
			return s
		}(), slice),
	} {
		if base.Equal(other) {
			t.Errorf("%s: Services that differ are equal", name)
		}
	}
	if s := ServiceOf(&corev1.Service{}, slice); s != nil {
		t.Errorf("a Service without an address: %+v", s)
	}
}

func TestNode(t *testing.T) {
	nodeWith := func(change func(*corev1.Node)) Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"rack": "1"}}, Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "n"}, {Type: corev1.NodeInternalIP, Address: v4.String()}, {Type: corev1.NodeExternalIP, Address: "192.0.2.1"}},
		}}
		change(n)
		return NodeOf(n)
	}
	base := nodeWith(func(*corev1.Node) {})
	if !slices.Equal(base.Addresses, []netip.Addr{v4}) || base.NetworkUnavailable || base.Excluded() {
		t.Errorf("%+v", base)
	}
	for name, tt := range map[string]struct {
		change func(*corev1.Node)
		equal  bool
	}{
		"not ready": {func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionFalse }, true},
		"network": {func(n *corev1.Node) {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue})
		}, false},
		"labels":    {func(n *corev1.Node) { n.Labels[ExcludeLabel] = "" }, false},
		"addresses": {func(n *corev1.Node) { n.Status.Addresses[1].Address = v6.String() }, false},
	} {
		if got := nodeWith(tt.change); got.Equal(base) != tt.equal || got.Excluded() != (name == "labels") || got.NetworkUnavailable != (name == "network") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
