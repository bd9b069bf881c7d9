package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/metallb"
)

// errPruneAll: where nothing is left of MetalLB's, all that was imported is left over, and is what the cluster runs with now.
var errPruneAll = errors.New("nothing can be imported from this cluster, so that --prune would delete all that ever was: give the namespace by --metallb-namespace, or leave --prune out")

// seeLeftOver finds, in a cluster that has Fairlead's kinds, what is left over, deletes it if that is wanted, and else tells of it in the report.
func (c *importCluster) seeLeftOver(ctx context.Context, x *converted, namespace string, prune bool) (err error) {
	if x.list == nil {
		return nil
	}
	p := &planner{c.dynamic}
	if x.leftOver, err = p.leftOver(ctx, x, namespace); err == nil && prune {
		err = p.prune(ctx, x)
	}
	addLeftOver(&x.result.Report, x.leftOver)
	return err
}

// leftOver are the objects that an earlier import made and that nothing makes any more. What is made of an object that cannot be read now is
// not among them, and neither is what was imported from another namespace.
func (p *planner) leftOver(ctx context.Context, x *converted, namespace string) ([]*unstructured.Unstructured, error) {
	var found []*unstructured.Unstructured
	for _, kind := range append(importedKinds(), "Secret") {
		like := &unstructured.Unstructured{}
		like.SetGroupVersionKind(v1beta1.GroupVersion.WithKind(kind))
		if kind == "Secret" {
			like.SetAPIVersion("v1")
			like.SetNamespace(namespace)
		}
		list, err := p.of(like).List(ctx, metav1.ListOptions{LabelSelector: metallb.ManagedByLabel + "=" + metallb.ManagedBy})
		switch {
		case kind == "Secret" && apierrors.IsForbidden(err): // as those of MetalLB's, which is said
			continue
		case err != nil:
			return nil, fmt.Errorf("list objects of kind %s: %w", kind, err)
		}
		for i := range list.Items {
			if o := &list.Items[i]; o.GetDeletionTimestamp().IsZero() && x.leaves(o) {
				found = append(found, o)
			}
		}
	}
	return found, nil
}

// leaves an object over.
func (x *converted) leaves(o *unstructured.Unstructured) bool {
	from := o.GetAnnotations()[metallb.ImportedFromAnnotation]
	_, source, _ := strings.Cut(from, " ")
	if namespace, _, _ := strings.Cut(source, "/"); namespace != x.result.Programs.Namespace {
		return false
	}
	made := slices.ContainsFunc(x.objects, func(m *unstructured.Unstructured) bool {
		return m.GetKind() == o.GetKind() && m.GetName() == o.GetName()
	})
	item := itemOf(&x.result.Report, from)
	return !made && (item == nil || !slices.ContainsFunc(item.Findings, func(f metallb.Finding) bool { return f.Verdict == metallb.Broken }))
}

// addLeftOver tells in the report what is left over.
func addLeftOver(report *metallb.Report, list []*unstructured.Unstructured) {
	for _, o := range list {
		from := o.GetAnnotations()[metallb.ImportedFromAnnotation]
		item, why := itemOf(report, from), "which does not make it any more"
		if item == nil {
			item, why = report.Add(from, ""), "which has gone"
		}
		item.Find(metallb.LeftOver, "", "%s was imported from it, %s: it stays as it is. --apply --prune deletes what is left over", nameOf(o), why)
	}
}

func itemOf(report *metallb.Report, source string) *metallb.Item {
	i := slices.IndexFunc(report.Items, func(item *metallb.Item) bool { return item.Source == source })
	if i < 0 {
		return nil
	}
	return report.Items[i]
}

// prune deletes what is left over, as it was read. A pool in use goes when its last address is released.
func (p *planner) prune(ctx context.Context, x *converted) error {
	if len(x.objects) == 0 && len(x.leftOver) > 0 {
		return errPruneAll
	}
	for _, o := range x.leftOver {
		uid, version := o.GetUID(), o.GetResourceVersion()
		err := p.of(o).Delete(ctx, o.GetName(), metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid, ResourceVersion: &version}})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete %s: %w", nameOf(o), err)
		}
		x.list = append(x.list, planned{object: o, action: pruned})
	}
	x.leftOver = nil
	return nil
}
