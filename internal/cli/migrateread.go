package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/metallb"
	"fairlead.io/fairlead/internal/move"
	"fairlead.io/fairlead/internal/workload"
)

// programKey names an object that a move changes.
type programKey struct {
	kind schema.GroupVersionKind
	key  client.ObjectKey
}

func keyOf(o *unstructured.Unstructured) programKey {
	return programKey{o.GroupVersionKind(), client.ObjectKeyFromObject(o)}
}

var webhookKind = schema.GroupVersionKind{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingWebhookConfiguration"}

// read what the cluster shows.
func (m *mover) read(ctx context.Context) error {
	in, err := (&clusterReader{m.cluster.disco, m.cluster.dynamic}).readImportCluster(ctx, m.o.MetalLBNamespace)
	if err != nil {
		return err
	}
	x, err := m.cluster.convert(ctx, in, m.o.Options, false)
	if err != nil {
		return err
	}
	addPlan(&x.result.Report, x.list)
	if err := m.cluster.seeLeftOver(ctx, &x, m.o.Namespace, false); err != nil {
		return err
	}
	m.converts = x
	m.input = move.Input{Namespace: m.o.Namespace, KindsInstalled: true, Imported: x.result}
	m.sortWorkloads(in.objects)
	if err := m.readBeside(ctx); err != nil {
		return err
	}
	switch err := checkInstalled(m.cluster.disco); {
	case errors.Is(err, errNotInstalled):
		m.input.KindsInstalled = false
		m.input.Services = x.result.Services
	case err != nil:
		return err
	default:
		s, err := Read(ctx, m.client)
		if err != nil {
			return err
		}
		m.input.Services, m.input.Namespaces, m.input.Pools = s.Services, s.Namespaces, s.Pools
		m.state.Announces = len(s.L2Advertisements)+len(s.BGPAdvertisements)+len(s.BGPPeers) > 0
		m.state.Imported = imported(&s)
	}
	if err := m.readRecord(ctx); err != nil {
		return err
	}
	return m.readHooks(ctx)
}

// sortWorkloads to whom they belong.
func (m *mover) sortWorkloads(objects []metallb.Object) {
	in := &m.input
	for _, o := range metallb.Workloads(objects, in.Imported.Programs.Namespace) {
		in.MetalLB = append(in.MetalLB, &unstructured.Unstructured{Object: o})
	}
	// An operator is stopped before what it would start again.
	slices.SortStableFunc(in.MetalLB, func(a, b *unstructured.Unstructured) int { return operatorFirst(a) - operatorFirst(b) })
	for _, o := range objects {
		u := &unstructured.Unstructured{Object: o}
		if u.GetKind() != workload.Deployment && u.GetKind() != workload.DaemonSet {
			continue
		}
		in.Others = append(in.Others, u)
		l := u.GetLabels()
		if u.GetNamespace() == in.Namespace && l["app.kubernetes.io/name"] == "fairlead" {
			in.Fairlead = append(in.Fairlead, u)
		}
	}
	for _, u := range in.MetalLB {
		m.state.Kept = m.state.Kept || move.Kept(u)
		if u.GetKind() == workload.Deployment {
			m.state.Controllers = m.state.Controllers || workload.Runs(u)
		} else {
			m.state.Speakers = m.state.Speakers || workload.Runs(u)
		}
	}
	if u := workload.Find(in.Fairlead, workload.Deployment); u != nil {
		m.state.OurController = workload.Runs(u)
	}
	if u := workload.Find(in.Fairlead, workload.DaemonSet); u != nil {
		m.state.OurSpeakers = workload.Runs(u)
	}
	m.state.Quiet, m.state.Announcing = m.converts.pending()
}

// pending reports which objects are still to be written: those that announce nothing, and those that do. Where the cluster does not have
// Fairlead's kinds all are.
func (x *converted) pending() (quiet, announcing bool) {
	note := func(o *unstructured.Unstructured) {
		quiet, announcing = quiet || !announces(o), announcing || announces(o)
	}
	if x.list == nil {
		for _, o := range x.objects {
			note(o)
		}
	}
	for _, p := range x.list {
		if p.action == create || p.action == change {
			note(p.object)
		}
	}
	return quiet, announcing
}

func operatorFirst(o *unstructured.Unstructured) int {
	if move.Operator(o) {
		return 0
	}
	return 1
}

// announces reports whether an object makes Fairlead's speakers announce, or open sessions.
func announces(o *unstructured.Unstructured) bool {
	return slices.Contains([]string{"L2Advertisement", "BGPAdvertisement", "BGPPeer"}, o.GetKind())
}

// readBeside reads what else there is to know of before a move.
func (m *mover) readBeside(ctx context.Context) error {
	var cm corev1.ConfigMap
	switch err := m.client.Get(ctx, client.ObjectKey{Namespace: "kube-system", Name: "kube-proxy"}, &cm); {
	case err == nil:
		text := cm.Data["config.conf"]
		m.input.KubeProxy = &text
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("read ConfigMap kube-system/kube-proxy: %w", err)
	}
	switch err := m.client.Get(ctx, client.ObjectKey{Namespace: "kube-system", Name: "cilium-config"}, &cm); {
	case err == nil:
		m.input.Cilium = cm.Data
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("read ConfigMap kube-system/cilium-config: %w", err)
	}
	var pods unstructured.UnstructuredList
	pods.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "PodList"})
	if err := m.client.List(ctx, &pods, client.InNamespace("kube-system")); err != nil { // static pods have no workload
		return fmt.Errorf("list pods in namespace kube-system: %w", err)
	}
	for i := range pods.Items {
		m.input.Others = append(m.input.Others, &pods.Items[i])
	}
	return nil
}

// readHooks finds the webhooks that MetalLB's programs serve.
func (m *mover) readHooks(ctx context.Context) error {
	var list unstructured.UnstructuredList
	list.SetGroupVersionKind(webhookKind)
	if err := m.client.List(ctx, &list); err != nil {
		return fmt.Errorf("list ValidatingWebhookConfigurations: %w", err)
	}
	for i := range list.Items {
		u := &list.Items[i]
		if !move.CallsInto(u, m.input.Imported.Programs.Namespace) {
			continue
		}
		m.hooks = append(m.hooks, keyOf(u))
		if move.Silenced(u) {
			m.state.Kept = true
		} else {
			m.state.Webhooks = true
		}
	}
	return nil
}

// services of type LoadBalancer as they are now.
func (m *mover) services(ctx context.Context) ([]corev1.Service, error) {
	var list corev1.ServiceList
	if err := m.client.List(ctx, &list, client.MatchingFields{"spec.type": string(corev1.ServiceTypeLoadBalancer)}); err != nil {
		return nil, fmt.Errorf("list Services of type LoadBalancer: %w", err)
	}
	return list.Items, nil
}

// imported reports whether there are objects that an import made.
func imported(s *Snapshot) bool {
	found := false
	look := func(o metav1.Object) { found = found || o.GetLabels()[metallb.ManagedByLabel] == metallb.ManagedBy }
	each(s.Pools, func(o *v1beta1.IPAddressPool) { look(o) })
	each(s.L2Advertisements, func(o *v1beta1.L2Advertisement) { look(o) })
	each(s.BGPAdvertisements, func(o *v1beta1.BGPAdvertisement) { look(o) })
	each(s.BGPPeers, func(o *v1beta1.BGPPeer) { look(o) })
	each(s.BFDProfiles, func(o *v1beta1.BFDProfile) { look(o) })
	each(s.Communities, func(o *v1beta1.Community) { look(o) })
	return found
}

func each[T any](list []T, do func(*T)) {
	for i := range list {
		do(&list[i])
	}
}
