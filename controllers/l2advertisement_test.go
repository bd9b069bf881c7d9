package controllers_test

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
)

// advertisement that is deleted when the test ends.
func advertisement(t *testing.T, name string, change func(*v1beta1.L2AdvertisementSpec)) *v1beta1.L2Advertisement {
	t.Helper()
	adv := &v1beta1.L2Advertisement{}
	adv.Name = name
	if change != nil {
		change(&adv.Spec)
	}
	create(t, adv)
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(kube.Delete(cleanup(), adv)); err != nil {
			t.Error(err)
		}
	})
	return adv
}

// accepted waits until the status of an advertisement speaks of its present generation, and of this.
func accepted(t *testing.T, name string, status metav1.ConditionStatus, reason, message string) *v1beta1.L2Advertisement {
	t.Helper()
	var adv v1beta1.L2Advertisement
	eventually(t, fmt.Sprintf("L2Advertisement %s is %s", name, reason), func() string {
		if err := kube.Get(t.Context(), client.ObjectKey{Name: name}, &adv); err != nil {
			return err.Error()
		}
		c := meta.FindStatusCondition(adv.Status.Conditions, v1beta1.ConditionAccepted)
		if c == nil || c.Status != status || c.Reason != reason || !strings.Contains(c.Message, message) ||
			c.ObservedGeneration != adv.Generation || adv.Status.ObservedGeneration != adv.Generation {
			return fmt.Sprintf("generation %d, %+v", adv.Generation, adv.Status)
		}
		return ""
	})
	return &adv
}

func patchAdvertisement(t *testing.T, name, body string) {
	t.Helper()
	adv := &v1beta1.L2Advertisement{}
	adv.Name = name
	if err := kube.Patch(t.Context(), adv, client.RawPatch("application/merge-patch+json", []byte(body))); err != nil {
		t.Fatal(err)
	}
}

// An advertisement that cannot be read says so and names the entry, alone; corrected, it is in use.
func TestL2AdvertisementAccepted(t *testing.T) {
	advertisement(t, "good", nil)
	advertisement(t, "bad-selector", func(s *v1beta1.L2AdvertisementSpec) {
		s.NodeSelectors = []metav1.LabelSelector{{}, {MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "rack", Operator: "Sometimes"}}}}
	})
	advertisement(t, "bad-pattern", func(s *v1beta1.L2AdvertisementSpec) { s.Interfaces = []string{"eth0", "eth[12"} })
	run(t)
	good := accepted(t, "good", metav1.ConditionTrue, v1beta1.ReasonAccepted, "in use as written")
	accepted(t, "bad-selector", metav1.ConditionFalse, v1beta1.ReasonInvalidSelector, `spec.nodeSelectors[1]: "Sometimes" is not a valid label selector operator`)
	accepted(t, "bad-pattern", metav1.ConditionFalse, v1beta1.ReasonInvalidInterfacePattern, `spec.interfaces[1]: "eth[12"`)

	patchAdvertisement(t, "bad-selector", `{"spec":{"nodeSelectors":[{"matchLabels":{"rack":"a"}}]}}`)
	accepted(t, "bad-selector", metav1.ConditionTrue, v1beta1.ReasonAccepted, "in use as written")
	patchAdvertisement(t, "bad-pattern", `{"spec":{"interfaces":["eth[12]"]}}`)
	accepted(t, "bad-pattern", metav1.ConditionTrue, v1beta1.ReasonAccepted, "in use as written")
	if now := accepted(t, "good", metav1.ConditionTrue, v1beta1.ReasonAccepted, ""); now.ResourceVersion != good.ResourceVersion {
		t.Error("the status of an advertisement that did not change was written again")
	}
}

// A pool that does not exist is named until it does, and again when it is gone. Objects may be created in any order, so it is no refusal.
func TestL2AdvertisementOfUnknownPool(t *testing.T) {
	namespace(t) // for the end of the pools
	advertisement(t, "early", func(s *v1beta1.L2AdvertisementSpec) { s.IPAddressPools = []string{"web", "late"} })
	create(t, newPool("web", "192.168.100.240"))
	run(t)
	accepted(t, "early", metav1.ConditionTrue, v1beta1.ReasonAccepted, "these pools do not exist: late; create them or correct spec.ipAddressPools")
	create(t, newPool("late", "192.168.100.241"))
	accepted(t, "early", metav1.ConditionTrue, v1beta1.ReasonAccepted, "in use as written")
	if err := kube.Delete(t.Context(), getPool(t, "web")); err != nil {
		t.Fatal(err)
	}
	accepted(t, "early", metav1.ConditionTrue, v1beta1.ReasonAccepted, "these pools do not exist: web;")
}
