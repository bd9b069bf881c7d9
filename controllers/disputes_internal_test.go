package controllers

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/allocation"
)

// A Service is told of each conflict once, whatever the cache or a restart made of what is known.
func TestDisputed(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.168.100.240"), netip.MustParseAddr("fd00:100::f0")
	type look struct {
		uid    types.UID
		reason string // of the condition in the cache
		now    []netip.Addr
		news   []netip.Addr
	}
	for name, looks := range map[string][]look{
		"none":   {{"a", v1beta1.ReasonAnnounced, nil, nil}},
		"begins": {{"a", v1beta1.ReasonAnnounced, []netip.Addr{v4}, []netip.Addr{v4}}},
		"the cache is behind": {
			{"a", v1beta1.ReasonAnnounced, []netip.Addr{v4}, []netip.Addr{v4}}, {"a", v1beta1.ReasonAnnounced, []netip.Addr{v4}, nil}},
		"goes on":       {{"a", v1beta1.ReasonAnnounced, []netip.Addr{v4}, []netip.Addr{v4}}, {"a", v1beta1.ReasonAddressConflict, []netip.Addr{v4}, nil}},
		"after a start": {{"a", v1beta1.ReasonAddressConflict, []netip.Addr{v4}, nil}, {"a", v1beta1.ReasonAddressConflict, []netip.Addr{v4}, nil}},
		"another address": {
			{"a", v1beta1.ReasonAddressConflict, []netip.Addr{v4}, nil}, {"a", v1beta1.ReasonAddressConflict, []netip.Addr{v4, v6}, []netip.Addr{v6}}},
		"ends and begins": {
			{"a", v1beta1.ReasonAddressConflict, []netip.Addr{v4}, nil}, {"a", v1beta1.ReasonAddressConflict, nil, nil}, {"a", v1beta1.ReasonAnnounced, []netip.Addr{v4}, []netip.Addr{v4}}},
		"made anew": {{"a", v1beta1.ReasonAnnounced, []netip.Addr{v4}, []netip.Addr{v4}}, {"b", "", []netip.Addr{v4}, []netip.Addr{v4}}},
	} {
		t.Run(name, func(t *testing.T) {
			metrics, err := NewMetrics(prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			b := NewBook(metrics)
			for i, l := range looks {
				svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart", UID: l.uid}}
				if l.reason != "" {
					svc.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionAnnounced, Reason: l.reason}}
				}
				if news := b.disputed(svc, l.now); !slices.Equal(news, l.news) {
					t.Errorf("look %d: %v is news, want %v", i, news, l.news)
				}
				b.written(svc, "1", &statusChange{}) // forgets nothing
			}
			if b.released(allocation.Key(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"}})); len(b.known) > 0 {
				t.Errorf("of a Service that is gone remains %v", b.known)
			}
		})
	}
}
