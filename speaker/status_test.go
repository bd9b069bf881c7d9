package speaker

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
)

// The news that the object was deleted may come while it is being compared: it is made anew nonetheless.
func TestSpeakerDeletedDuringAWrite(t *testing.T) {
	k := newCluster(t)
	n := k.node("node1")
	ctx := context.Background()
	object := &v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: "node1"}}
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(k.Delete(ctx, object)); err != nil {
			t.Error(err)
		}
	})
	meanwhile := func() {}
	w := newStatusWriter(k.Client, k.Client, "node1", func() types.UID { return n.UID }, func() report {
		meanwhile()
		return report{version: "v1", dataplane: health{Ready: true, Reason: v1beta1.ReasonNoProxyHealth}}
	}, logr.Discard())
	write := func() {
		t.Helper()
		if err := w.write(ctx); err != nil {
			t.Fatal(err)
		}
	}
	write()
	meanwhile = func() {
		meanwhile = func() {}
		if err := k.Delete(ctx, object.DeepCopy()); err != nil {
			t.Fatal(err)
		}
		w.observe(nil)
	}
	write()
	write()
	var got v1beta1.Speaker
	if err := k.Get(ctx, client.ObjectKeyFromObject(object), &got); apierrors.IsNotFound(err) || got.Status.Version != "v1" {
		t.Errorf("after it was deleted the Speaker is %+v: %v", got.Status, err)
	}
}

// The last words of a stopping speaker must not be followed by what was to be said before.
func TestStatusWritesDoNotOvertake(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	w := newStatusWriter(nil, nil, "node1", nil, func() report {
		close(entered)
		<-release
		return report{}
	}, logr.Discard())
	w.base = &v1beta1.Speaker{}
	fill(&w.base.Status, report{})
	first := make(chan error, 1)
	go func() { first <- w.write(context.Background()) }()
	<-entered
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := w.write(ctx); err == nil {
		t.Error("two writes at a time")
	}
	close(release)
	if err := <-first; err != nil {
		t.Error(err)
	}
}

func claimed(ip string, announced bool) v1beta1.AddressConflict {
	return v1beta1.AddressConflict{IP: ip, Interface: "eth0", HardwareAddress: "02:00:00:00:00:09",
		Since: metav1.NewMicroTime(time.Date(2026, 1, 1, 0, 0, 0, 1234, time.UTC)), Announced: announced}
}

func TestFillConflictsAndSettling(t *testing.T) {
	const (
		host   = "the host with hardware address 02:00:00:00:00:09, seen on eth0, "
		remedy = "; free the address on that host, or exclude it from its pool (spec.excludeAddresses) and let the Service ask for another one (annotation fairlead.io/load-balancer-ips)"
	)
	dark := func(ip string) string { return ip + " is not announced: " + host + "already uses it" }
	defended := func(ip string) string {
		return ip + " is announced, but " + host + "uses it too and may get part of its traffic"
	}
	settled := metav1.Condition{Type: v1beta1.SpeakerSettled, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonSettled, Message: "addresses come (back) to the node as the election ranks it"}
	settling := func(since string) metav1.Condition {
		return metav1.Condition{Type: v1beta1.SpeakerSettled, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonSettling,
			Message: "the node " + since + "; addresses come (back) to it from other nodes when it has been healthy for 10s (--l2-failback-delay)"}
	}
	conflict := func(message string) metav1.Condition {
		return metav1.Condition{Type: v1beta1.SpeakerAddressConflict, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonForeignClaim, Message: message}
	}
	for name, tc := range map[string]struct {
		report report
		order  string // of the list
		want   metav1.Condition
	}{
		"settled": {report{}, "", settled},
		"no conflict": {report{}, "", metav1.Condition{Type: v1beta1.SpeakerAddressConflict, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonNoConflict,
			Message: "no other host on the network was seen to use an address that this node is to answer for"}},
		"settling": {report{settling: true, healthySince: time.Date(2026, 1, 1, 12, 0, 0, 999, time.FixedZone("", 3600)), failbackDelay: 10 * time.Second}, "",
			settling("has been healthy since 2026-01-01T11:00:00Z")},
		"not healthy": {report{settling: true, failbackDelay: 10 * time.Second}, "",
			settling("is not healthy: see that its data plane is ready and that it reaches most other speakers")},
		"in use before": {report{conflicts: []v1beta1.AddressConflict{claimed("192.168.100.240", false)}}, "192.168.100.240", conflict(dark("192.168.100.240") + remedy)},
		"defended":      {report{conflicts: []v1beta1.AddressConflict{claimed("fd00::1", true)}}, "fd00::1", conflict(defended("fd00::1") + remedy)},
		"several": {report{conflicts: []v1beta1.AddressConflict{claimed("10.0.0.1", true), claimed("10.0.0.10", false), claimed("10.0.0.9", false), claimed("10.0.0.2", true), claimed("10.0.0.3", true)}},
			"10.0.0.9 10.0.0.10 10.0.0.1 10.0.0.2 10.0.0.3",
			conflict(dark("10.0.0.9") + "; " + dark("10.0.0.10") + "; " + defended("10.0.0.1") + "; and so with 2 more (status.conflicts)" + remedy)},
	} {
		t.Run(name, func(t *testing.T) {
			var got v1beta1.SpeakerStatus
			fill(&got, tc.report)
			var order []string
			for _, c := range got.Conflicts {
				order = append(order, c.IP)
			}
			if strings.Join(order, " ") != tc.order {
				t.Errorf("conflicts are %v, want %s", order, tc.order)
			}
			c := meta.FindStatusCondition(got.Conditions, tc.want.Type)
			if c == nil || c.Status != tc.want.Status || c.Reason != tc.want.Reason || c.Message != tc.want.Message {
				t.Errorf("got  %+v\nwant %+v", c, tc.want)
			}
		})
	}
}

// A report of more conflicts than the status may hold is taken by the API server, is not written again while it stays the same, and ends.
func TestConflictsInTheAPIServer(t *testing.T) {
	k := newCluster(t)
	n := k.node("node1")
	object := &v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: "node1"}}
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(k.Delete(context.Background(), object)); err != nil {
			t.Error(err)
		}
	})
	r := report{dataplane: health{Ready: true, Reason: v1beta1.ReasonNoProxyHealth}, interfaces: []v1beta1.SpeakerInterface{{Name: "eth0", Settling: true}}}
	w := newStatusWriter(k.Client, k.Client, "node1", func() types.UID { return n.UID }, func() report { return r }, logr.Discard())
	write := func() *v1beta1.Speaker {
		t.Helper()
		if err := w.write(t.Context()); err != nil {
			t.Fatal(err)
		}
		var s v1beta1.Speaker
		if err := k.Get(t.Context(), client.ObjectKeyFromObject(object), &s); err != nil {
			t.Fatal(err)
		}
		return &s
	}
	for i := range v1beta1.MaxAddressConflicts + 5 {
		r.conflicts = append(r.conflicts, claimed(fmt.Sprintf("10.0.0.%d", i), i%2 == 0))
	}
	first := write()
	if len(first.Status.Conflicts) != v1beta1.MaxAddressConflicts || !first.Status.Interfaces[0].Settling {
		t.Errorf("%d conflicts, %+v", len(first.Status.Conflicts), first.Status.Interfaces)
	}
	again := first.DeepCopy()
	if fill(&again.Status, r); !equality.Semantic.DeepEqual(first.Status, again.Status) {
		t.Errorf("an unchanged report would be written again: %+v", again.Status)
	}
	r.conflicts, r.interfaces = nil, []v1beta1.SpeakerInterface{{Name: "eth0"}}
	if last := write(); len(last.Status.Conflicts) != 0 || last.Status.Interfaces[0].Settling || meta.IsStatusConditionTrue(last.Status.Conditions, v1beta1.SpeakerAddressConflict) {
		t.Errorf("after the conflicts: %+v", last.Status)
	}
}
