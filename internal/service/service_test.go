package service

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestOurs(t *testing.T) {
	class := func(s string) *string { return &s }
	for _, tc := range []struct {
		name    string
		spec    corev1.ServiceSpec
		require bool
		want    bool
	}{
		{"no class", corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}, false, true},
		{"no class, required", corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}, true, false},
		{"our class", corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: class("us")}, false, true},
		{"our class, required", corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: class("us")}, true, true},
		{"other class", corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: class("them")}, false, false},
		{"empty class is a class", corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: class("")}, false, false},
		{"cluster IP", corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP}, false, false},
		{"node port", corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort}, false, false},
		{"external name", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName}, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := (Class{Name: "us", Require: tc.require}).Ours(&corev1.Service{Spec: tc.spec}); got != tc.want {
				t.Errorf("Ours = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestFamilies(t *testing.T) {
	for _, tc := range []struct {
		name string
		spec corev1.ServiceSpec
		want []Family
	}{
		{"none yet", corev1.ServiceSpec{}, []Family{}},
		{"headless", corev1.ServiceSpec{ClusterIP: "None", ClusterIPs: []string{"None"}}, []Family{}},
		{"IPv4", corev1.ServiceSpec{ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1"}}, []Family{IPv4}},
		{"only the old field", corev1.ServiceSpec{ClusterIP: "fd00::1"}, []Family{IPv6}},
		{"dual, IPv6 first", corev1.ServiceSpec{ClusterIPs: []string{"fd00::1", "10.0.0.1"}}, []Family{IPv6, IPv4}},
		{"one cluster IP, two families", corev1.ServiceSpec{ClusterIPs: []string{"10.0.0.1"},
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}}, []Family{IPv4}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			svc := &corev1.Service{Spec: tc.spec}
			if got := Families(svc); !slices.Equal(got, tc.want) {
				t.Errorf("Families = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestAddresses(t *testing.T) {
	svc := &corev1.Service{Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{
		{IP: "192.0.2.1"}, {Hostname: "lb.example"}, {IP: "fd00::1"}, {IP: "junk"}, {IP: "192.0.2.1"},
	}}}}
	want := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fd00::1")}
	if got := Addresses(svc); !slices.Equal(got, want) {
		t.Errorf("Addresses = %v, want %v", got, want)
	}
}

func TestRequestOf(t *testing.T) {
	addrs := func(s ...string) []netip.Addr {
		var out []netip.Addr
		for _, a := range s {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	for _, tc := range []struct {
		name        string
		annotations map[string]string
		spec        string
		want        Request
		wantErr     string
	}{
		{name: "nothing"},
		{name: "ours", annotations: map[string]string{"fairlead.io/address-pool": "web", "fairlead.io/load-balancer-ips": "192.0.2.1, fd00::1",
			"fairlead.io/allow-shared-ip": "k"}, want: Request{Pool: "web", Addresses: addrs("192.0.2.1", "fd00::1"), SharingKey: "k"}},
		{name: "MetalLB's", annotations: map[string]string{"metallb.io/address-pool": "web", "metallb.io/loadBalancerIPs": "192.0.2.1",
			"metallb.io/allow-shared-ip": "k"}, want: Request{Pool: "web", Addresses: addrs("192.0.2.1"), SharingKey: "k"}},
		{name: "MetalLB's old ones", annotations: map[string]string{"metallb.universe.tf/address-pool": "web",
			"metallb.universe.tf/loadBalancerIPs": "192.0.2.1", "metallb.universe.tf/allow-shared-ip": "k"},
			want: Request{Pool: "web", Addresses: addrs("192.0.2.1"), SharingKey: "k"}},
		{name: "ours wins", annotations: map[string]string{"fairlead.io/address-pool": "a", "metallb.io/address-pool": "b",
			"metallb.universe.tf/address-pool": "c"}, want: Request{Pool: "a"}},
		{name: "spec", spec: "192.0.2.1", want: Request{Addresses: addrs("192.0.2.1")}},
		{name: "both, and equal", spec: "192.0.2.1", annotations: map[string]string{"metallb.io/loadBalancerIPs": "192.0.2.1"},
			wantErr: "both spec.loadBalancerIP (192.0.2.1) and annotation metallb.io/loadBalancerIPs (192.0.2.1) ask for addresses: remove one"},
		{name: "both, and different", spec: "192.0.2.1", annotations: map[string]string{"fairlead.io/load-balancer-ips": "192.0.2.2"}, wantErr: "remove one of them"},
		{name: "junk", annotations: map[string]string{"fairlead.io/load-balancer-ips": "192.0.2.1,web"}, wantErr: `"web" is not an IPv4 or IPv6 address`},
		{name: "empty entry", annotations: map[string]string{"fairlead.io/load-balancer-ips": "192.0.2.1,"}, wantErr: `"" is not`},
		{name: "junk in spec", spec: "web", wantErr: `spec.loadBalancerIP: "web" is not`},
		{name: "zone", spec: "fe80::1%eth0", wantErr: "is not an IPv4 or IPv6 address"},
		{name: "mapped", spec: "::ffff:192.0.2.1", wantErr: "is not an IPv4 or IPv6 address"},
		{name: "two of one family", annotations: map[string]string{"fairlead.io/load-balancer-ips": "192.0.2.1,192.0.2.2"},
			wantErr: "at most one address of each family"},
		{name: "empty pool", annotations: map[string]string{"metallb.io/address-pool": " "}, wantErr: "annotation metallb.io/address-pool is empty"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: tc.annotations}, Spec: corev1.ServiceSpec{LoadBalancerIP: tc.spec}}
			got, err := RequestOf(svc)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error %v, want one with %q", err, tc.wantErr)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %+v, %v; want %+v", got, err, tc.want)
			}
		})
	}
}

func TestSelectorIdentity(t *testing.T) {
	svc := func(ns, name string, selector map[string]string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: corev1.ServiceSpec{Selector: selector}}
	}
	a := svc("shop", "a", map[string]string{"app": "web", "tier": "front"})
	if SelectorIdentity(a) != SelectorIdentity(svc("shop", "b", map[string]string{"tier": "front", "app": "web"})) {
		t.Error("equal selectors have different identities")
	}
	for _, other := range []*corev1.Service{
		svc("pay", "a", a.Spec.Selector), svc("shop", "a", map[string]string{"app": "web"}), svc("shop", "a", nil),
	} {
		if SelectorIdentity(a) == SelectorIdentity(other) {
			t.Errorf("%v and %v have one identity", a.Spec.Selector, other.Spec.Selector)
		}
	}
	if SelectorIdentity(svc("shop", "a", nil)) == SelectorIdentity(svc("shop", "b", nil)) {
		t.Error("two Services without selector have one identity")
	}
}

func TestPorts(t *testing.T) {
	svc := &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}, {Port: 53, Protocol: corev1.ProtocolUDP}}}}
	want := []Port{{corev1.ProtocolTCP, 80}, {corev1.ProtocolUDP, 53}}
	if got := Ports(svc); !slices.Equal(got, want) {
		t.Errorf("Ports = %v, want %v", got, want)
	}
}

// Whatever a Service's owner writes is either refused with a sentence or read as at most one address of each family.
func FuzzRequestOf(f *testing.F) {
	f.Add("192.0.2.1,fd00::1", "web", "", "key")
	f.Add("192.0.2.1", "", "192.0.2.1", "")
	f.Add(",", " ", "fe80::1%eth0", "\x00")
	f.Fuzz(func(t *testing.T, ips, pool, spec, key string) {
		svc := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"fairlead.io/load-balancer-ips": ips,
				"metallb.io/address-pool": pool, "metallb.universe.tf/allow-shared-ip": key}},
			Spec: corev1.ServiceSpec{LoadBalancerIP: spec},
		}
		r, err := RequestOf(svc)
		if err != nil {
			if err.Error() == "" || r.SharingKey != key || len(r.Addresses) > 0 {
				t.Fatalf("refused with %q and %+v", err, r)
			}
			return
		}
		if len(r.Addresses) == 0 || len(r.Addresses) > 2 || r.SharingKey != key || r.Pool == "" {
			t.Fatalf("read as %+v", r)
		}
		if len(r.Addresses) == 2 && FamilyOf(r.Addresses[0]) == FamilyOf(r.Addresses[1]) {
			t.Fatalf("two addresses of one family: %v", r.Addresses)
		}
		for _, a := range r.Addresses {
			if !a.IsValid() || a.Is4In6() || a.Zone() != "" {
				t.Fatalf("address %v", a)
			}
		}
	})
}

func BenchmarkRequestOf(b *testing.B) {
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"fairlead.io/address-pool": "web"}}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := RequestOf(svc); err != nil {
			b.Fatal(err)
		}
	}
}
