package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/allocation"
)

// statusChange is what a Service's status is to show of ours. Conditions of others are not touched.
type statusChange struct {
	addresses     []netip.Addr
	keepAddresses bool // leave the addresses as they are
	conditions    []metav1.Condition
	drop          []string // types of conditions that are to go
	pools         string   // value of the annotation that names the pools; empty: it is to go
}

// write makes status and annotation show what they should, with no request where they do already, and returns the resulting
// resourceVersion. It is one request: the status subresource of a Service takes changes of metadata as well, which spares the right to
// write anything else of a Service.
func (r *serviceReconciler) write(ctx context.Context, svc *corev1.Service, c *statusChange) (string, error) {
	patch := c.patch(svc)
	if patch == nil {
		return svc.ResourceVersion, nil
	}
	answer := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: svc.Namespace, Name: svc.Name}}
	if err := patchStatus(ctx, r.client, answer, patch); err != nil {
		return "", fmt.Errorf("write the status of Service %s: %w", allocation.Key(svc), err)
	}
	return answer.ResourceVersion, nil
}

// patchStatus by strategic merge: conditions are merged by their type, so that other writers' stay.
func patchStatus(ctx context.Context, c client.Client, svc *corev1.Service, body map[string]any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode the patch: %w", err)
	}
	return c.Status().Patch(ctx, svc, client.RawPatch(types.StrategicMergePatchType, raw)) //nolint:wrapcheck // the caller names the Service
}

// patch for the status subresource; nil: nothing is to be changed. It holds only for the version of the Service that it was made for.
func (c *statusChange) patch(svc *corev1.Service) map[string]any {
	status := map[string]any{}
	if !c.keepAddresses && !sameAddresses(svc, c.addresses) {
		var ingress []corev1.LoadBalancerIngress // nil removes the list
		vip := corev1.LoadBalancerIPModeVIP
		for _, a := range c.addresses {
			ingress = append(ingress, corev1.LoadBalancerIngress{IP: a.String(), IPMode: &vip})
		}
		status["loadBalancer"] = map[string]any{"ingress": ingress}
	}
	if conditions := conditionPatch(svc, c.conditions, c.drop); len(conditions) > 0 {
		status["conditions"] = conditions
	}
	metadata := map[string]any{"uid": svc.UID, "resourceVersion": svc.ResourceVersion}
	body := map[string]any{"metadata": metadata}
	if len(status) > 0 {
		body["status"] = status
	}
	if svc.Annotations[v1beta1.AnnotationAllocatedFromPool] != c.pools {
		var value any // nil removes it
		if c.pools != "" {
			value = c.pools
		}
		metadata["annotations"] = map[string]any{v1beta1.AnnotationAllocatedFromPool: value}
	} else if len(status) == 0 {
		return nil
	}
	return body
}

func conditionPatch(svc *corev1.Service, want []metav1.Condition, drop []string) []any {
	var list []any
	for _, w := range want {
		have := meta.FindStatusCondition(svc.Status.Conditions, w.Type)
		if have != nil && have.Status == w.Status && have.Reason == w.Reason && have.Message == w.Message {
			continue
		}
		w.LastTransitionTime = metav1.Now()
		if have != nil && have.Status == w.Status {
			w.LastTransitionTime = have.LastTransitionTime
		}
		w.ObservedGeneration = svc.Generation
		list = append(list, w)
	}
	for _, t := range drop {
		if meta.FindStatusCondition(svc.Status.Conditions, t) != nil {
			list = append(list, map[string]any{"$patch": "delete", "type": t})
		}
	}
	return list
}

// sameAddresses reports whether the status shows exactly these addresses, as we write them.
func sameAddresses(svc *corev1.Service, addrs []netip.Addr) bool {
	return slices.EqualFunc(svc.Status.LoadBalancer.Ingress, addrs, func(i corev1.LoadBalancerIngress, a netip.Addr) bool {
		return i.IP == a.String() && i.Hostname == "" && i.IPMode != nil && *i.IPMode == corev1.LoadBalancerIPModeVIP
	})
}
