package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/metallb"
	"fairlead.io/fairlead/internal/move"
	"fairlead.io/fairlead/internal/workload"
)

// stepsBack does each step of a move back to MetalLB.
func (m *mover) stepsBack() map[move.ID]func(context.Context) error {
	return map[move.ID]func(context.Context) error{
		move.Remember:       m.remember(m.state.OurController),
		move.StopController: func(ctx context.Context) error { return m.stopAll(ctx, m.input.Fairlead, workload.Deployment) },
		move.StartControllers: func(ctx context.Context) error {
			if err := m.startAll(ctx, m.input.MetalLB, workload.Deployment, 0); err != nil {
				return err
			}
			// The webhooks last: their programs are there now.
			return m.changeHooks(ctx, move.Call, "is called again", "was called already")
		},
		move.StopOurSpeakers: func(ctx context.Context) error { return m.stopAll(ctx, m.input.Fairlead, workload.DaemonSet) },
		move.StartTheirs:     func(ctx context.Context) error { return m.startAll(ctx, m.input.MetalLB, workload.DaemonSet, 0) },
		move.RemoveImported:  m.removeImported,
		move.Forget:          m.forget,
	}
}

// forget what was remembered, if all is as it was.
func (m *mover) forget(ctx context.Context) error {
	list, err := m.services(ctx)
	if err != nil {
		return err
	}
	if changed := m.record.Changed(list); len(changed) > 0 {
		return errors.New(strings.Join(changed, "; "))
	}
	m.did("%d Services keep the addresses that they had", len(m.record))
	return m.forgetRecord(ctx)
}

// importedKinds in the order in which they are removed: what announces first.
func importedKinds() []string {
	return []string{"BGPAdvertisement", "L2Advertisement", "BGPPeer", "IPAddressPool", "BFDProfile", "Community"}
}

// removeImported deletes the objects that an import made, with the Secrets beside them. Fairlead's controller, which lets go of pools in use,
// is stopped: nobody gives addresses from them.
func (m *mover) removeImported(ctx context.Context) error {
	kinds := make([]schema.GroupVersionKind, 0, len(importedKinds())+1)
	for _, kind := range importedKinds() {
		kinds = append(kinds, v1beta1.GroupVersion.WithKind(kind))
	}
	kinds = append(kinds, corev1.SchemeGroupVersion.WithKind("Secret"))
	for _, kind := range kinds {
		options := []client.ListOption{client.MatchingLabels{metallb.ManagedByLabel: metallb.ManagedBy}}
		if kind.Kind == "Secret" {
			options = append(options, client.InNamespace(m.o.Namespace))
		}
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		err := m.client.List(ctx, list, options...)
		if meta.IsNoMatchError(err) { // Fairlead's kinds are removed, and so are its objects
			continue
		}
		if err != nil {
			return fmt.Errorf("list objects of kind %s: %w", kind.Kind, err)
		}
		for i := range list.Items {
			o := &list.Items[i]
			err := m.client.Delete(ctx, o, client.PropagationPolicy(metav1.DeletePropagationBackground))
			if err != nil && !apierrors.IsNotFound(err) {
				return fmt.Errorf("delete %s: %w", nameOf(o), err)
			}
			if slices.Contains(o.GetFinalizers(), v1beta1.PoolInUseFinalizer) {
				_, err := m.edit(ctx, keyOf(o), func(o *unstructured.Unstructured) (bool, error) {
					return controllerutil.RemoveFinalizer(o, v1beta1.PoolInUseFinalizer), nil
				})
				if err != nil && !apierrors.IsNotFound(err) {
					return err
				}
			}
			m.did("%s is deleted", nameOf(o))
		}
	}
	return nil
}
