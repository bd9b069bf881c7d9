package controllers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
)

// newSpeaker of a node, until the test ends, and what writes its status.
func newSpeaker(t *testing.T, node string) (report func(v1beta1.SpeakerStatus)) {
	t.Helper()
	s := &v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: node}}
	create(t, s)
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(kube.Delete(cleanup(), s)); err != nil {
			t.Error(err)
		}
	})
	return func(status v1beta1.SpeakerStatus) {
		t.Helper()
		s.Status = status
		if err := kube.Status().Update(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
}

// warnings of a reason that a Service got; a repeated one counts as often as it was repeated.
func warnings(t *testing.T, ns, name, reason string) (n int, notes string) {
	t.Helper()
	var list eventsv1.EventList
	if err := admin(t).List(t.Context(), &list, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	for _, e := range list.Items {
		if e.Regarding.Name != name || e.Reason != reason || e.Type != corev1.EventTypeWarning {
			continue
		}
		n++
		if e.Series != nil {
			n += int(e.Series.Count) - 1
		}
		notes += e.Note + "\n"
	}
	return n, notes
}

// A host on the network uses the address of a Service: the condition says so for as long as it lasts, and an event when it begins.
func TestAddressConflict(t *testing.T) {
	ns := namespace(t)
	create(t, newPool("web", "192.168.100.240"))
	c := run(t)
	create(t, newService(ns, "a"))
	created := hasAddress(t, ns, "a", "192.168.100.240").CreationTimestamp.Time
	report := newSpeaker(t, "node1")
	const (
		remedy = "; free the address on that host, or exclude it from pool web (spec.excludeAddresses) and let the Service ask for another one (annotation fairlead.io/load-balancer-ips)"
		dark   = "192.168.100.240 is not announced: the host with hardware address %s, seen by node1 on eth0, already uses it" + remedy
		shared = "192.168.100.240 is announced by node1 (layer 2), but the host with hardware address %s, seen by node1 on eth0, uses it too and may get part of its traffic" + remedy
	)
	layer2 := []v1beta1.Layer2Address{{IP: "192.168.100.240", Since: metav1.NewMicroTime(created)}}
	for i, step := range []struct {
		restart   bool
		layer2    []v1beta1.Layer2Address
		host      string // that claims the address; empty: none
		announced bool
		status    metav1.ConditionStatus
		reason    string
		message   string
		events    int // so far
	}{
		{false, nil, "02:00:00:00:00:09", false, metav1.ConditionFalse, v1beta1.ReasonAddressConflict, dark, 1},
		{false, nil, "02:00:00:00:00:0a", false, metav1.ConditionFalse, v1beta1.ReasonAddressConflict, dark, 1}, // the conflict goes on, with another host
		{false, layer2, "", false, metav1.ConditionTrue, v1beta1.ReasonAnnounced, "192.168.100.240 is announced by node1 (layer 2)", 1},
		{false, layer2, "02:00:00:00:00:0b", true, metav1.ConditionTrue, v1beta1.ReasonAddressConflict, shared, 2},
		{true, layer2, "02:00:00:00:00:0c", true, metav1.ConditionTrue, v1beta1.ReasonAddressConflict, shared, 2},
		{false, layer2, "", false, metav1.ConditionTrue, v1beta1.ReasonAnnounced, "192.168.100.240 is announced by node1 (layer 2)", 2},
		{false, layer2, "02:00:00:00:00:0d", true, metav1.ConditionTrue, v1beta1.ReasonAddressConflict, shared, 3},
		{false, nil, "", false, metav1.ConditionFalse, v1beta1.ReasonNoAdvertisement, "no accepted L2Advertisement or BGPAdvertisement selects 192.168.100.240: create one, or check its status, pools and selectors", 3},
	} {
		if step.restart {
			c.stop()
			c = run(t)
			leads(t, c)
		}
		status, message := v1beta1.SpeakerStatus{Layer2: step.layer2}, step.message
		if step.host != "" {
			status.Conflicts = []v1beta1.AddressConflict{{IP: "192.168.100.240", Interface: "eth0", HardwareAddress: step.host,
				Since: metav1.NewMicroTime(created.Add(time.Second)), Announced: step.announced}}
			message = fmt.Sprintf(message, step.host)
		}
		report(status)
		eventually(t, fmt.Sprintf("step %d: the condition says it", i), func() string {
			if c := condition(get(t, ns, "a"), v1beta1.ConditionAnnounced); c.Status != step.status || c.Reason != step.reason || c.Message != message {
				return fmt.Sprintf("%+v", c)
			}
			return ""
		})
		eventually(t, fmt.Sprintf("step %d: %d events", i, step.events), func() string {
			n, notes := warnings(t, ns, "a", v1beta1.ReasonAddressConflict)
			if n > step.events {
				t.Fatalf("step %d: %d events, want %d:\n%s", i, n, step.events, notes)
			}
			if n < step.events || step.events > 0 && !strings.Contains(notes, fmt.Sprintf(dark, "02:00:00:00:00:09")) {
				return fmt.Sprintf("%d:\n%s", n, notes)
			}
			return ""
		})
	}
}

// A Service that is given an address which is known to be in conflict is told as well, with the address.
func TestAddressConflictFromTheStart(t *testing.T) {
	ns := namespace(t)
	create(t, newPool("web", "192.168.100.240"))
	newSpeaker(t, "node1")(v1beta1.SpeakerStatus{Conflicts: []v1beta1.AddressConflict{{IP: "192.168.100.240", Interface: "eth0",
		HardwareAddress: "02:00:00:00:00:09", Since: metav1.NowMicro()}}})
	run(t)
	create(t, newService(ns, "a"))
	eventually(t, "the Service is told", func() string {
		n, notes := warnings(t, ns, "a", v1beta1.ReasonAddressConflict)
		if c := condition(get(t, ns, "a"), v1beta1.ConditionAnnounced); n != 1 || c.Reason != v1beta1.ReasonAddressConflict {
			return fmt.Sprintf("%d events %s; %+v", n, notes, c)
		}
		return ""
	})
}
