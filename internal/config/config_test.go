package config

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"fairlead.io/fairlead/api/v1beta1"
)

func match(key, value string) metav1.LabelSelector {
	return metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
}

func compile(t *testing.T, change func(*v1beta1.L2AdvertisementSpec)) *L2Advertisement {
	t.Helper()
	a := &v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Name: "adv"}}
	change(&a.Spec)
	c, err := CompileL2Advertisement(a)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestInvalidL2Advertisement(t *testing.T) {
	bad := metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}
	for field, tt := range map[string]struct {
		change func(*v1beta1.L2AdvertisementSpec)
		reason string
	}{
		"spec.ipAddressPoolSelectors[0]": {func(s *v1beta1.L2AdvertisementSpec) { s.IPAddressPoolSelectors = []metav1.LabelSelector{bad} }, v1beta1.ReasonInvalidSelector},
		"spec.serviceSelectors[1]":       {func(s *v1beta1.L2AdvertisementSpec) { s.ServiceSelectors = []metav1.LabelSelector{{}, bad} }, v1beta1.ReasonInvalidSelector},
		"spec.nodeSelectors[0]":          {func(s *v1beta1.L2AdvertisementSpec) { s.NodeSelectors = []metav1.LabelSelector{bad} }, v1beta1.ReasonInvalidSelector},
		"spec.preferredNodeSelectors[0].preference": {func(s *v1beta1.L2AdvertisementSpec) {
			s.PreferredNodeSelectors = []v1beta1.PreferredNodeSelector{{Weight: 1, Preference: bad}}
		}, v1beta1.ReasonInvalidSelector},
		"spec.interfaces[1]": {func(s *v1beta1.L2AdvertisementSpec) { s.Interfaces = []string{"eth*", "[a-"} }, v1beta1.ReasonInvalidInterfacePattern},
	} {
		a := &v1beta1.L2Advertisement{}
		tt.change(&a.Spec)
		_, err := CompileL2Advertisement(a)
		var e *Error
		if !errors.As(err, &e) || e.Reason != tt.reason || !strings.HasPrefix(e.Error(), field+":") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestSelectsPool(t *testing.T) {
	web := labels.Set{"tier": "web"}
	byName := compile(t, func(s *v1beta1.L2AdvertisementSpec) { s.IPAddressPools = []string{"a"} })
	byLabel := compile(t, func(s *v1beta1.L2AdvertisementSpec) {
		s.IPAddressPoolSelectors = []metav1.LabelSelector{match("tier", "web")}
	})
	either := compile(t, func(s *v1beta1.L2AdvertisementSpec) {
		s.IPAddressPools, s.IPAddressPoolSelectors = []string{"a"}, []metav1.LabelSelector{match("tier", "web")}
	})
	all := compile(t, func(*v1beta1.L2AdvertisementSpec) {})
	for _, tt := range []struct {
		what string
		adv  *L2Advertisement
		pool string
		set  labels.Set
		want bool
	}{
		{"by name", byName, "a", labels.Set{}, true},
		{"other name", byName, "b", web, false},
		{"a deleted pool's name", byName, "a", nil, true},
		{"by label", byLabel, "b", web, true},
		{"other label", byLabel, "b", labels.Set{"tier": "db"}, false},
		{"no pool", byLabel, "", nil, false},
		{"either: name", either, "a", labels.Set{}, true},
		{"either: label", either, "b", web, true},
		{"either: neither", either, "c", labels.Set{}, false},
		{"all", all, "c", labels.Set{}, true},
		{"all: no pool", all, "", nil, true},
	} {
		if got := tt.adv.SelectsPool(tt.pool, tt.set); got != tt.want {
			t.Errorf("%s: %t", tt.what, got)
		}
	}
}

func TestNodesAndInterfaces(t *testing.T) {
	a := compile(t, func(s *v1beta1.L2AdvertisementSpec) {
		s.NodeSelectors = []metav1.LabelSelector{match("rack", "1"), match("rack", "2")}
		s.Interfaces = []string{"eth?", "bond*"}
		s.PreferredNodeSelectors = []v1beta1.PreferredNodeSelector{{Weight: 5, Preference: match("rack", "1")}, {Weight: 7, Preference: match("fast", "yes")}}
	})
	if !a.SelectsNode(labels.Set{"rack": "2"}) || a.SelectsNode(labels.Set{"rack": "3"}) {
		t.Error("node selectors are alternatives")
	}
	if got := a.Weight(labels.Set{"rack": "1", "fast": "yes"}); got != 12 {
		t.Errorf("weight %d, want the sum 12", got)
	}
	if got, all := a.MatchInterfaces([]string{"bond0", "eth0", "eth10", "lan"}); all || !slices.Equal(got, []string{"bond0", "eth0"}) {
		t.Errorf("interfaces %v, all %t", got, all)
	}
}

func TestPools(t *testing.T) {
	at := func(sec int64) metav1.ObjectMeta {
		return metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(time.Unix(sec, 0))}
	}
	pool := func(name string, created int64, ranges, excluded []v1beta1.AddressRange) v1beta1.IPAddressPool {
		p := v1beta1.IPAddressPool{ObjectMeta: at(created), Spec: v1beta1.IPAddressPoolSpec{Addresses: ranges, ExcludeAddresses: excluded}}
		p.Name, p.Labels = name, map[string]string{"name": name}
		return p
	}
	leaving := pool("leaving", 0, []v1beta1.AddressRange{"10.0.0.1", "10.3.0.1"}, nil)
	leaving.DeletionTimestamp = &leaving.CreationTimestamp
	p := CompilePools([]v1beta1.IPAddressPool{
		leaving,
		pool("young", 9, []v1beta1.AddressRange{"10.0.0.0/24", "fd00::1-fd00::f"}, nil),
		pool("old", 1, []v1beta1.AddressRange{"10.0.0.10 - 10.0.0.20", "junk", "10.1.0.9-10.1.0.1"}, []v1beta1.AddressRange{"10.0.0.15"}),
		pool("same-b", 3, []v1beta1.AddressRange{"10.2.0.5/24"}, nil),
		pool("same-a", 3, []v1beta1.AddressRange{"10.2.0.7"}, nil),
	})
	for _, tt := range []struct{ addr, annotated, want string }{
		{"10.0.0.1", "", "young"}, // of two, the one that stays
		{"10.3.0.1", "", "leaving"},
		{"10.0.0.10", "young", "old"}, // overlap: the older
		{"10.0.0.15", "", "young"},    // which does not have what it excludes
		{"fd00::a", "", "young"},
		{"10.2.0.7", "", "same-a"}, // of one age: by name
		{"10.2.0.200", "", "same-b"},
		{"10.1.0.5", "", ""},
		{"10.9.9.9", "old", "old"}, // the range has changed since
		{"10.9.9.9", "deleted", "deleted"},
	} {
		name, set := p.Of(netip.MustParseAddr(tt.addr), tt.annotated)
		if name != tt.want || (set != nil) != (name != "" && name != "deleted") || (set != nil && set["name"] != name) {
			t.Errorf("%s (%q) is of %q %v, want %q", tt.addr, tt.annotated, name, set, tt.want)
		}
	}
	// A pool without labels is one that selectors can match.
	bare := pool("bare", 1, []v1beta1.AddressRange{"10.4.0.0/24"}, nil)
	bare.Labels = nil
	unlabelled := compile(t, func(s *v1beta1.L2AdvertisementSpec) {
		s.IPAddressPoolSelectors = []metav1.LabelSelector{{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "tier", Operator: metav1.LabelSelectorOpDoesNotExist}}}}
	})
	if name, set := CompilePools([]v1beta1.IPAddressPool{bare}).Of(netip.MustParseAddr("10.4.0.1"), ""); name != "bare" || !unlabelled.SelectsPool(name, set) {
		t.Errorf("pool %q with labels %v is not selected", name, set)
	}
	if name, _ := (*Pools)(nil).Of(netip.MustParseAddr("10.0.0.1"), ""); name != "" {
		t.Error("no pools have an address")
	}
}
