package clustertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/cli"
	"fairlead.io/fairlead/internal/metallb"
	"fairlead.io/fairlead/internal/testenv"
)

// live is a cluster that MetalLB serves, in which Fairlead is installed and held. What nodes and Kubernetes' own controllers would do with the
// programs of both, and Fairlead with the Services, is pretended.
type live struct {
	*testing.T
	// objects that are there from the start, as they were made.
	objects []*unstructured.Unstructured
	// onWrite, if set, is told what the command prints.
	onWrite func(string)
	// turns that what is pretended has made to their ends.
	turns atomic.Int64
}

// told passes on what is written.
type told struct {
	bytes.Buffer
	on func(string)
}

func (w *told) Write(p []byte) (int, error) {
	if w.on != nil {
		w.on(string(p))
	}
	return w.Buffer.Write(p)
}

func newLive(t *testing.T) *live {
	t.Helper()
	prepare(t)
	l := &live{T: t}
	for _, doc := range strings.Split(string(read(t, filepath.Join("testdata", "metallb-live.yaml"))), "\n---\n") {
		if strings.Contains(doc, "kind: ValidatingWebhookConfiguration") {
			continue // last: nobody answers for it
		}
		l.create(doc)
	}
	l.install()
	l.service("web", map[string]string{"metallb.universe.tf/address-pool": "named"}, "192.0.2.64")
	l.service("dual", nil, "192.0.2.3", "2001:db8::3")
	l.service("dns-a", map[string]string{"metallb.io/allow-shared-ip": "dns"}, "192.0.2.5")
	l.service("dns-b", map[string]string{"metallb.io/allow-shared-ip": "dns"}, "192.0.2.5")
	l.service("waits", nil)
	for _, doc := range strings.Split(string(read(t, filepath.Join("testdata", "metallb-live.yaml"))), "\n---\n") {
		if strings.Contains(doc, "kind: ValidatingWebhookConfiguration") {
			l.create(doc)
		}
	}
	l.pretend()
	return l
}

// install Fairlead, held.
func (l *live) install() {
	l.Helper()
	root, err := testenv.Root()
	if err != nil {
		l.Fatal(err)
	}
	for _, path := range []string{"controller/deployment.yaml", "speaker/daemonset.yaml"} {
		text := string(read(l.T, filepath.Join(root, "config", path)))
		text = strings.Replace(text, "replicas: 2", "replicas: 0", 1) // as config/held has them
		l.create(strings.Replace(text, "kubernetes.io/os: linux", "kubernetes.io/os: linux\n        fairlead.io/stopped: \"true\"", strings.Count(path, "daemonset")))
	}
}

// deleteNamespace of Fairlead with all that is in it, as Kubernetes does; finalized, it is gone, and else still going.
func (l *live) deleteNamespace(ns *corev1.Namespace, finalized bool) {
	l.Helper()
	l.objects = slices.DeleteFunc(l.objects, func(o *unstructured.Unstructured) bool { return o.GetNamespace() == ns.Name })
	in := []client.DeleteAllOfOption{client.InNamespace(ns.Name), client.GracePeriodSeconds(0)}
	for _, o := range []client.Object{&appsv1.Deployment{}, &appsv1.DaemonSet{}, &corev1.ConfigMap{}, &corev1.Secret{}} {
		if err := kube.DeleteAllOf(l.Context(), o, in...); err != nil {
			l.Fatal(err)
		}
	}
	l.settled() // no pod is pretended any more
	if err := errors.Join(kube.DeleteAllOf(l.Context(), &corev1.Pod{}, in...), kube.Delete(l.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns.Name}})); err != nil {
		l.Fatal(err)
	}
	if finalized {
		l.finalize(ns)
	}
}

// finalize a namespace that is being deleted, which the API server does not do by itself.
func (l *live) finalize(ns *corev1.Namespace) {
	l.Helper()
	now := &corev1.Namespace{}
	if err := kube.Get(l.Context(), client.ObjectKeyFromObject(ns), now); err != nil {
		if !apierrors.IsNotFound(err) {
			l.Fatal(err)
		}
		return
	}
	now.Spec.Finalizers = nil
	if err := kube.SubResource("finalize").Update(l.Context(), now); err != nil {
		l.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// create an object, which goes when the test ends.
func (l *live) create(doc string) *unstructured.Unstructured {
	l.Helper()
	o := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
		l.Fatal(err)
	}
	if err := kube.Create(l.Context(), o); err != nil {
		l.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
	}
	l.objects = append(l.objects, o)
	l.Cleanup(func() {
		if err := kube.Delete(context.Background(), o, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil && !apierrors.IsNotFound(err) {
			l.Error(err)
		}
	})
	return o
}

// service with addresses as MetalLB gave them, and an endpoint.
func (l *live) service(name string, annotations map[string]string, addrs ...string) {
	l.Helper()
	dual := corev1.IPFamilyPolicyPreferDualStack
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: annotations},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	if strings.HasSuffix(name, "-b") {
		svc.Spec.Ports[0].Port = 81
	}
	if len(addrs) > 1 {
		svc.Spec.IPFamilyPolicy = &dual
	}
	ready := true
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.1.1.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	}
	for _, o := range []client.Object{svc, slice} {
		if err := kube.Create(l.Context(), o); err != nil {
			l.Fatal(err)
		}
		l.Cleanup(func() {
			if err := kube.Delete(context.Background(), o); err != nil {
				l.Error(err)
			}
		})
	}
	mode := corev1.LoadBalancerIPModeVIP
	for _, a := range addrs {
		svc.Status.LoadBalancer.Ingress = append(svc.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a, IPMode: &mode})
	}
	if err := kube.Status().Update(l.Context(), svc); err != nil {
		l.Fatal(err)
	}
}

// pretend until the test ends.
func (l *live) pretend() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ticker := time.NewTicker(20 * time.Millisecond); ; {
			err := errors.Join(programs(ctx), services(ctx))
			if err != nil && ctx.Err() == nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
				l.Error(err)
			}
			if !apierrors.IsConflict(err) { // after one it has not come to its end
				l.turns.Add(1)
			}
			select {
			case <-ctx.Done():
				ticker.Stop()
				return
			case <-ticker.C:
			}
		}
	}()
	l.Cleanup(func() {
		cancel()
		<-done
		for _, ns := range []string{"metallb-system", "fairlead-system"} {
			err := errors.Join(kube.DeleteAllOf(context.Background(), &corev1.Pod{}, client.InNamespace(ns), client.GracePeriodSeconds(0)),
				kube.DeleteAllOf(context.Background(), &corev1.ConfigMap{}, client.InNamespace(ns)))
			if err != nil {
				l.Error(err)
			}
		}
	})
}

// programs get one pod, or as many as they have replicas.
func programs(ctx context.Context) error {
	var deployments appsv1.DeploymentList
	var daemonSets appsv1.DaemonSetList
	if err := errors.Join(kube.List(ctx, &deployments), kube.List(ctx, &daemonSets)); err != nil {
		return err
	}
	var errs []error
	for i := range deployments.Items {
		d := &deployments.Items[i]
		n, err := pods(ctx, d, d.Spec.Selector, d.Spec.Template.Labels, *d.Spec.Replicas)
		old := d.Status.DeepCopy()
		d.Status.ObservedGeneration, d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.ReadyReplicas, d.Status.AvailableReplicas = d.Generation, n, n, n, n
		if errs = append(errs, err); err == nil && (old.ObservedGeneration != d.Generation || old.Replicas != n) {
			errs = append(errs, kube.Status().Update(ctx, d))
		}
	}
	for i := range daemonSets.Items {
		d := &daemonSets.Items[i]
		want := int32(1)
		if _, stopped := d.Spec.Template.Spec.NodeSelector["fairlead.io/stopped"]; stopped {
			want = 0
		}
		n, err := pods(ctx, d, d.Spec.Selector, d.Spec.Template.Labels, want)
		old := d.Status.DeepCopy()
		d.Status.ObservedGeneration, d.Status.DesiredNumberScheduled, d.Status.UpdatedNumberScheduled, d.Status.NumberAvailable = d.Generation, n, n, n
		d.Status.CurrentNumberScheduled, d.Status.NumberReady = n, n
		if errs = append(errs, err); err == nil && (old.ObservedGeneration != d.Generation || old.DesiredNumberScheduled != n) {
			errs = append(errs, kube.Status().Update(ctx, d))
		}
	}
	return errors.Join(errs...)
}

func pods(ctx context.Context, owner client.Object, selector *metav1.LabelSelector, labels map[string]string, want int32) (int32, error) {
	var list corev1.PodList
	if err := kube.List(ctx, &list, client.InNamespace(owner.GetNamespace()), client.MatchingLabels(selector.MatchLabels)); err != nil {
		return 0, err
	}
	for i := int(want); i < len(list.Items); i++ {
		if err := kube.Delete(ctx, &list.Items[i], client.GracePeriodSeconds(0)); err != nil {
			return 0, err
		}
	}
	for i := len(list.Items); i < int(want); i++ {
		if err := kube.Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: owner.GetNamespace(), GenerateName: owner.GetName() + "-", Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "x", Image: "x"}}},
		}); err != nil {
			return 0, err
		}
	}
	return want, nil
}

// services get what Fairlead's controller would say of them, if it ran.
func services(ctx context.Context) error {
	var controller appsv1.Deployment
	var speaker appsv1.DaemonSet
	var advertisements v1beta1.L2AdvertisementList
	var list corev1.ServiceList
	if err := errors.Join(kube.Get(ctx, client.ObjectKey{Namespace: "fairlead-system", Name: "fairlead-controller"}, &controller),
		kube.Get(ctx, client.ObjectKey{Namespace: "fairlead-system", Name: "fairlead-speaker"}, &speaker),
		kube.List(ctx, &advertisements), kube.List(ctx, &list, client.InNamespace("default"))); err != nil {
		return err
	}
	if controller.Status.Replicas == 0 {
		return nil
	}
	announced := metav1.Condition{Type: v1beta1.ConditionAnnounced, Status: metav1.ConditionFalse, Reason: v1beta1.ReasonNoAdvertisement, Message: "no advertisement"}
	if len(advertisements.Items) > 0 && speaker.Status.NumberReady > 0 {
		announced.Status, announced.Reason = metav1.ConditionTrue, v1beta1.ReasonAnnounced
	}
	var errs []error
	for i := range list.Items {
		svc := &list.Items[i]
		if svc.Spec.Type != corev1.ServiceTypeLoadBalancer || len(svc.Status.LoadBalancer.Ingress) == 0 {
			continue
		}
		changed := meta.SetStatusCondition(&svc.Status.Conditions, metav1.Condition{Type: v1beta1.ConditionAddressAssigned, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonAssigned})
		if meta.SetStatusCondition(&svc.Status.Conditions, announced) || changed {
			errs = append(errs, kube.Status().Update(ctx, svc))
		}
	}
	return errors.Join(errs...)
}

// moved runs the command.
func (l *live) moved(o cli.MigrateOptions) (string, error) {
	l.Helper()
	return l.movedBy(l.Context(), env.Config, o)
}

func (l *live) movedBy(ctx context.Context, c *rest.Config, o cli.MigrateOptions) (string, error) {
	l.Helper()
	o.Options = metallb.Options{Namespace: "fairlead-system", MetalLBNamespace: o.MetalLBNamespace}
	if o.Timeout == 0 {
		o.Timeout = time.Minute // what is pretended gets its turn late where all processors are busy
	}
	out := told{on: l.onWrite}
	err := cli.MigrateMetalLB(ctx, &out, func() (*rest.Config, error) { return c, nil }, o)
	return out.String(), err
}

// specs of MetalLB's objects, as JSON.
func (l *live) specs() map[string]string {
	l.Helper()
	out := map[string]string{}
	for _, o := range l.objects {
		if o.GetNamespace() == "fairlead-system" {
			continue
		}
		now := l.now(o)
		// The API server counts in it how often the template was changed.
		unstructured.RemoveNestedField(now.Object, "metadata", "annotations", appsv1.DeprecatedTemplateGeneration)
		raw, err := json.Marshal(map[string]any{"spec": now.Object["spec"], "webhooks": now.Object["webhooks"], "labels": now.GetLabels(), "annotations": now.GetAnnotations()})
		if err != nil {
			l.Fatal(err)
		}
		out[o.GetKind()+" "+o.GetName()] = string(raw)
	}
	return out
}

// sameSpecs fails the test if MetalLB's objects are not what they were.
func (l *live) sameSpecs(before map[string]string, when string) {
	l.Helper()
	for name, now := range l.specs() {
		if before[name] != now {
			l.Errorf("%s: %s is\n%s, and was\n%s", when, name, now, before[name])
		}
	}
}

func (l *live) now(o *unstructured.Unstructured) *unstructured.Unstructured {
	l.Helper()
	now := &unstructured.Unstructured{}
	now.SetGroupVersionKind(o.GroupVersionKind())
	if err := kube.Get(l.Context(), client.ObjectKeyFromObject(o), now); err != nil {
		l.Fatal(err)
	}
	return now
}

// versions of everything that a move may write.
func (l *live) versions() map[string]string {
	l.Helper()
	out := versions(l.T)
	for _, o := range l.objects {
		out[o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName()] = l.now(o).GetResourceVersion()
	}
	for _, gvk := range []schema.GroupVersionKind{{Version: "v1", Kind: "ConfigMapList"}, {Version: "v1", Kind: "ServiceList"}, {Version: "v1", Kind: "PodList"}, {Group: "apps", Version: "v1", Kind: "DeploymentList"}} {
		var list unstructured.UnstructuredList
		list.SetGroupVersionKind(gvk)
		if err := kube.List(l.Context(), &list); err != nil {
			l.Fatal(err)
		}
		for _, o := range list.Items {
			out[o.GetKind()+" "+o.GetNamespace()+"/"+o.GetName()] = o.GetResourceVersion()
		}
	}
	return out
}

// addresses of all Services.
func (l *live) addresses() map[string]string {
	l.Helper()
	var list corev1.ServiceList
	if err := kube.List(l.Context(), &list, client.InNamespace("default")); err != nil {
		l.Fatal(err)
	}
	out := map[string]string{}
	for i := range list.Items {
		raw, err := json.Marshal(list.Items[i].Status.LoadBalancer)
		if err != nil {
			l.Fatal(err)
		}
		out[list.Items[i].Name] = string(raw)
	}
	return out
}

// cutOff is a configuration whose user is refused everything after so many writes. That ends the command at once, as if it had been killed.
func cutOff(after int) (*rest.Config, *writes) {
	const body = `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "cut off"}`
	return afterWrites(after, func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusForbidden, Status: "403 Forbidden", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
			Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}, nil
	})
}

// unanswered is a configuration with which the API server does not answer so many requests that follow so many writes.
func unanswered(after, requests int) *rest.Config {
	var c *rest.Config
	var w *writes
	c, w = afterWrites(after, func(*http.Request) (*http.Response, error) {
		if requests--; requests == 0 {
			w.left = -1 // no more
		}
		return nil, errors.New("connection refused")
	})
	return c
}

// afterWrites is a configuration with which requests are answered so when so many writes have been made.
func afterWrites(n int, answer roundTripper) (*rest.Config, *writes) {
	w := &writes{left: n}
	c := rest.CopyConfig(env.Config)
	c.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			if w.left == 0 {
				return answer(r)
			}
			resp, err := next.RoundTrip(r)
			if r.Method != http.MethodGet && !strings.Contains(r.URL.RawQuery, "dryRun") && !strings.Contains(r.URL.Path, "accessreviews") {
				w.left--
			}
			return resp, err
		})
	})
	return c, w
}

// writes that are left; they are made one after another.
type writes struct{ left int }

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
