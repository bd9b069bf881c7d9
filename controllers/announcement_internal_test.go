package controllers

import (
	"net/netip"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/api/v1beta1"
)

// Each change of what a node says of an address is news, and nothing else is.
func TestReport(t *testing.T) {
	addr := netip.MustParseAddr("192.168.100.240")
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	claim := func(after time.Duration) *v1beta1.SpeakerStatus {
		return &v1beta1.SpeakerStatus{Layer2: []v1beta1.Layer2Address{{IP: addr.String(), Since: metav1.NewMicroTime(start.Add(after))}}}
	}
	conflict := func(mac string) *v1beta1.SpeakerStatus {
		return &v1beta1.SpeakerStatus{Conflicts: []v1beta1.AddressConflict{{IP: addr.String(), HardwareAddress: mac, Since: metav1.NewMicroTime(start)}}}
	}
	a := newAnnouncements(nil, nil)
	for i, step := range []struct {
		node   string
		status *v1beta1.SpeakerStatus
		news   int
		want   string
	}{
		{"node2", claim(0), 1, "node2"},
		{"node2", claim(0), 0, "node2"},
		{"node1", claim(time.Millisecond), 1, "node1"},  // node2 is dead and still claims it
		{"node3", claim(time.Millisecond), 1, "node1"},  // at the same instant: by name
		{"node2", claim(time.Second), 1, "node2"},       // it is back and has taken it home
		{"node1", &v1beta1.SpeakerStatus{}, 1, "node2"}, //
		{"node3", nil, 1, "node2"},                      // its Speaker is gone
		{"node2", &v1beta1.SpeakerStatus{}, 1, ""},      //
		{"node2", &v1beta1.SpeakerStatus{}, 0, ""},      //
		{"node1", claim(-time.Hour), 1, "node1"},        // a clock that is behind is no harm while nobody else claims it
		{"node3", conflict("02:00:00:00:00:09"), 1, "node3"},
		{"node3", conflict("02:00:00:00:00:09"), 0, "node3"},
		{"node3", conflict("02:00:00:00:00:0a"), 1, "node3"},
		{"node3", &v1beta1.SpeakerStatus{}, 1, "node1"},
	} {
		if news := len(a.report(step.node, step.status)); news != step.news {
			t.Errorf("step %d: %d addresses are news, want %d", i, news, step.news)
		}
		if got := a.state(addr).Node; got != step.want {
			t.Errorf("step %d: announced by %q, want %q", i, got, step.want)
		}
	}
}
