package cli

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/doctor"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func condition(t string, status metav1.ConditionStatus, reason, message string) []metav1.Condition {
	return []metav1.Condition{{Type: t, Status: status, Reason: reason, Message: message}}
}

func TestPrintStatus(t *testing.T) {
	cases := map[string]Snapshot{
		"empty": {},
		"walkthrough": {
			Objects: doctor.Objects{
				Pools: []v1beta1.IPAddressPool{{
					ObjectMeta: metav1.ObjectMeta{Name: "loadbalanced"},
					Spec:       v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"192.168.100.240-192.168.100.249", "fd00:100::f0-fd00:100::ff"}},
					Status: v1beta1.IPAddressPoolStatus{
						IPv4:       v1beta1.AddressCounts{Assigned: 1, Available: 9},
						IPv6:       v1beta1.AddressCounts{Available: 16},
						Conditions: condition(v1beta1.ConditionReady, metav1.ConditionTrue, v1beta1.ReasonAccepted, "in use as written"),
					},
				}, {
					ObjectMeta: metav1.ObjectMeta{Name: "newer"},
					Spec:       v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"192.168.100.248-192.168.100.250"}},
					Status: v1beta1.IPAddressPoolStatus{
						IPv4:       v1beta1.AddressCounts{Available: 1},
						Conditions: condition(v1beta1.ConditionReady, metav1.ConditionTrue, v1beta1.ReasonConflict, "192.168.100.248-192.168.100.249 belongs to older pool loadbalanced; this pool does not use it"),
					},
				}},
				Speakers: []v1beta1.Speaker{{
					ObjectMeta: metav1.ObjectMeta{Name: "node1"},
					Status: v1beta1.SpeakerStatus{
						Interfaces: []v1beta1.SpeakerInterface{{Name: "eth0"}},
						Layer2:     []v1beta1.Layer2Address{{IP: "192.168.100.240"}},
						Conditions: condition(v1beta1.SpeakerReady, metav1.ConditionTrue, v1beta1.ReasonSynced, ""),
					},
				}, {
					ObjectMeta: metav1.ObjectMeta{Name: "node2"},
					Status:     v1beta1.SpeakerStatus{Conditions: condition(v1beta1.SpeakerAddressConflict, metav1.ConditionTrue, v1beta1.ReasonForeignClaim, "192.168.100.241 is claimed by 02:00:00:00:00:01")},
				}},
			},
			Services: []corev1.Service{{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "myweb-svc-lb", Annotations: map[string]string{v1beta1.AnnotationAllocatedFromPool: "loadbalanced"}},
				Status:     corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.168.100.240"}}}},
			}, {
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"},
				Status: corev1.ServiceStatus{
					Conditions: condition(v1beta1.ConditionAddressAssigned, metav1.ConditionFalse, v1beta1.ReasonUnknownPool, "pool shops does not exist; pools: loadbalanced"),
				},
			}},
		},
		"conflict": {
			Objects: doctor.Objects{
				Speakers: []v1beta1.Speaker{{
					ObjectMeta: metav1.ObjectMeta{Name: "node1"},
					Status: v1beta1.SpeakerStatus{
						Interfaces: []v1beta1.SpeakerInterface{{Name: "eth0"}},
						Layer2:     []v1beta1.Layer2Address{{IP: "192.168.100.240"}},
						Conflicts: []v1beta1.AddressConflict{
							{IP: "192.168.100.241", Interface: "eth0", HardwareAddress: "02:00:00:00:00:09"},
							{IP: "192.168.100.240", Interface: "eth0", HardwareAddress: "02:00:00:00:00:09", Announced: true},
						},
						Conditions: condition(v1beta1.SpeakerAddressConflict, metav1.ConditionTrue, v1beta1.ReasonForeignClaim, "(what the speaker says)"),
					},
				}},
			},
			Services: []corev1.Service{{
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "defended"},
				Status: corev1.ServiceStatus{
					LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.168.100.240"}}},
					Conditions:   condition(v1beta1.ConditionAnnounced, metav1.ConditionTrue, v1beta1.ReasonAddressConflict, "(what the controller says)"),
				},
			}, {
				ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "dark"},
				Status: corev1.ServiceStatus{
					LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.168.100.241"}}},
					Conditions:   condition(v1beta1.ConditionAnnounced, metav1.ConditionFalse, v1beta1.ReasonAddressConflict, "(what the controller says)"),
				},
			}},
		},
	}
	for name, snapshot := range cases {
		t.Run(name, func(t *testing.T) {
			var got bytes.Buffer
			if err := PrintStatus(&got, snapshot); err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", name+".txt"), got.Bytes())
		})
	}
}

// golden compares with a file, or writes it with -update.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
