package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"

	"fairlead.io/fairlead/internal/metallb"
)

// importInput is what an import reads, and what there was to say while reading.
type importInput struct {
	objects []metallb.Object
	items   []*metallb.Item
	notes   []string
}

// readImportFiles reads objects as they are written. A document that cannot be read keeps no other out.
func readImportFiles(paths []string, stdin io.Reader) (importInput, error) {
	var in importInput
	err := eachDocument(paths, stdin, func(where string, doc []byte) error {
		objects, twice, err := metallb.Document(doc)
		item := &metallb.Item{Source: where}
		if err != nil {
			item.Find(metallb.Broken, "", "%s", oneLine(err))
		}
		if twice != nil {
			item.Find(metallb.Changes, "", "what stands there twice counts the last time, as for kubectl: %s", oneLine(twice))
		}
		if len(item.Findings) > 0 {
			in.items = append(in.items, item)
		}
		in.objects = append(in.objects, objects...)
		return nil
	})
	return in, err
}

// clusterReader lists objects of any kind.
type clusterReader struct {
	disco   discovery.DiscoveryInterface
	dynamic dynamic.Interface
}

// readImportCluster reads MetalLB's objects in all namespaces, in the versions that the API server serves, and what tells how they are used.
func (r *clusterReader) readImportCluster(ctx context.Context, namespace string) (importInput, error) {
	var in importInput
	for _, gvr := range []schema.GroupVersionResource{
		{Group: "apps", Version: "v1", Resource: "deployments"},
		{Group: "apps", Version: "v1", Resource: "daemonsets"},
		{Version: "v1", Resource: "services"},
	} {
		if err := r.list(ctx, &in, gvr, ""); err != nil {
			return in, err
		}
	}
	namespace = metallb.Namespace(in.objects, namespace)
	if err := r.list(ctx, &in, schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}, namespace); err != nil {
		return in, err
	}
	switch err := r.list(ctx, &in, schema.GroupVersionResource{Version: "v1", Resource: "secrets"}, namespace); {
	case apierrors.IsForbidden(err):
		in.notes = append(in.notes, fmt.Sprintf("You may not read the Secrets in namespace %s, so that no password is carried over.", namespace))
	case err != nil:
		return in, err
	}
	return in, r.listMetalLB(ctx, &in)
}

// listMetalLB lists the kinds of MetalLB that are served. Each is read in the version that the API server prefers: what another version
// cannot say would be lost. Where that fails, as it does when MetalLB's webhook does not answer, the others are tried.
func (r *clusterReader) listMetalLB(ctx context.Context, in *importInput) error {
	groups, err := r.disco.ServerGroups()
	if err != nil {
		return fmt.Errorf("ask which kinds the API server has: %w", err)
	}
	i := slices.IndexFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == metallb.Group })
	if i < 0 {
		return nil
	}
	served := map[string][]schema.GroupVersionResource{}
	for _, v := range groups.Groups[i].Versions {
		resources, err := r.disco.ServerResourcesForGroupVersion(v.GroupVersion)
		if err != nil {
			return fmt.Errorf("ask which kinds there are of %s: %w", v.GroupVersion, err)
		}
		for _, x := range resources.APIResources {
			served[x.Name] = append(served[x.Name], schema.GroupVersionResource{Group: metallb.Group, Version: v.Version, Resource: x.Name})
		}
	}
	for _, kind := range metallb.Kinds() {
		var errs []error
		for _, gvr := range served[kind] {
			err := r.list(ctx, in, gvr, "")
			if err == nil {
				errs = nil
				break
			}
			errs = append(errs, err)
		}
		if err := errors.Join(errs...); err != nil && !strings.HasSuffix(kind, "statuses") && !strings.HasSuffix(kind, "states") {
			return err
		}
		delete(served, kind)
	}
	for kind := range served {
		if !strings.Contains(kind, "/") { // no subresource
			in.notes = append(in.notes, fmt.Sprintf("The cluster has a kind %s of MetalLB's, which this program does not know. It was not read.", kind))
		}
	}
	slices.Sort(in.notes)
	return nil
}

// list the objects of a kind, a part of them at a time; in all namespaces if none is named.
func (r *clusterReader) list(ctx context.Context, in *importInput, gvr schema.GroupVersionResource, namespace string) error {
	var found []metallb.Object
	options := metav1.ListOptions{Limit: 500}
	for {
		list, err := r.dynamic.Resource(gvr).Namespace(namespace).List(ctx, options)
		if err != nil {
			return fmt.Errorf("list %s of %s: %w", gvr.Resource, gvr.GroupVersion(), err)
		}
		for i := range list.Items {
			found = append(found, list.Items[i].Object)
		}
		if options.Continue = list.GetContinue(); options.Continue == "" {
			in.objects = append(in.objects, found...)
			return nil
		}
	}
}
