package cli

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/doctor"
	"fairlead.io/fairlead/internal/neighbours"
	"fairlead.io/fairlead/internal/version"
	"fairlead.io/fairlead/internal/workload"
)

// doctorReader reads what an examination looks at, as far as the user may.
type doctorReader struct {
	disco     discovery.DiscoveryInterface
	client    client.Client
	namespace string
	clock     *serverClock
	failed    bool // something could not be read, and not for want of a right
}

// serverClock is the API server's, as its first answer has it: what is read tells times by it and by those of nodes, and the clock of the
// machine that it is read from may be wrong.
type serverClock struct {
	once sync.Once
	is   time.Time // zero: it has told none
}

// wrap what asks the API server.
func (c *serverClock) wrap(next http.RoundTripper) http.RoundTripper { return &timed{next, c} }

type timed struct {
	next  http.RoundTripper
	clock *serverClock
}

// RoundTrip implements http.RoundTripper.
func (t *timed) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := t.next.RoundTrip(r)
	if err == nil {
		if at, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
			t.clock.once.Do(func() { t.clock.is = at })
		}
	}
	return answer, err //nolint:wrapcheck // it is passed on
}

// WrappedRoundTripper is for those who look for what is inside.
func (t *timed) WrappedRoundTripper() http.RoundTripper { return t.next }

func newDoctorReader(config func() (*rest.Config, error), namespace string) (*doctorReader, error) {
	c, err := config()
	if err != nil {
		return nil, err
	}
	clock := &serverClock{}
	c = rest.CopyConfig(c)
	c.Wrap(clock.wrap)
	disco, err := discovery.NewDiscoveryClientForConfig(c)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", c.Host, err)
	}
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	cl, err := client.New(c, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", c.Host, err)
	}
	return &doctorReader{disco: disco, client: cl, namespace: namespace, clock: clock}, nil
}

// answer to a question: it was answered, there is no such thing, or why it was not answered.
type answer struct {
	absent bool
	unread string
}

// answered says what came of a question.
func (r *doctorReader) answered(err error, asked right) answer {
	switch {
	case err == nil:
		return answer{}
	case apierrors.IsForbidden(err):
		return answer{unread: "you may not " + asked.text(asked.verbs)}
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		return answer{absent: true}
	}
	r.failed = true
	return answer{unread: fmt.Sprintf("%s: %s", asked.text(asked.verbs), err)}
}

// list all objects that a right is about.
func (r *doctorReader) list(ctx context.Context, list client.ObjectList, resource right, opts ...client.ListOption) answer {
	resource.verbs = "list"
	return r.answered(r.client.List(ctx, list, append(opts, client.InNamespace(resource.namespace))...), resource)
}

// get one object.
func (r *doctorReader) get(ctx context.Context, name string, o client.Object, resource right) answer {
	resource.verbs = "get"
	return r.answered(r.client.Get(ctx, client.ObjectKey{Namespace: resource.namespace, Name: name}, o), resource)
}

// server says the API server's version, and what time it is there. It is asked first: a lease does not look old because reading takes long.
func (r *doctorReader) server() (string, time.Time, error) {
	here := time.Now()
	v, err := r.disco.ServerVersion()
	if err != nil {
		return "", here, fmt.Errorf("ask the API server for its version: %w", err)
	}
	if r.clock.is.IsZero() {
		return v.GitVersion, here, nil
	}
	return v.GitVersion, r.clock.is, nil
}

func (r *doctorReader) read(ctx context.Context) (*doctor.Input, error) {
	server, now, err := r.server()
	if err != nil {
		return nil, err
	}
	in := &doctor.Input{Namespace: r.namespace, Version: version.Version, Server: server, Now: now}
	for _, read := range []func(context.Context, *doctor.Input){
		r.kinds, r.programs, r.ownNamespace, r.lease, r.gossip, r.beside, r.network, r.objects,
	} {
		read(ctx, in)
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("read the cluster's state: %w", context.Cause(ctx))
	}
	return in, nil
}

// kinds are the CustomResourceDefinitions.
func (r *doctorReader) kinds(ctx context.Context, in *doctor.Input) {
	list := listOf("apiextensions.k8s.io", "CustomResourceDefinition")
	a := r.list(ctx, list, right{group: "apiextensions.k8s.io", resource: "customresourcedefinitions"})
	in.Kinds.Unread = a.unread
	for i := range list.Items {
		o := &list.Items[i]
		if group, _, _ := unstructured.NestedString(o.Object, "spec", "group"); group == v1beta1.Group {
			in.Kinds.Is = append(in.Kinds.Is, kindOf(o))
		}
	}
}

func kindOf(o *unstructured.Unstructured) doctor.Kind {
	resource, _, _ := strings.Cut(o.GetName(), ".")
	k := doctor.Kind{Resource: resource, Deleting: o.GetDeletionTimestamp() != nil, Why: "the API server has not said why"}
	conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, x := range conditions {
		c, _ := x.(map[string]any)
		switch message, _ := c["message"].(string); {
		case c["type"] == "Established" && c["status"] == "True":
			k.Established = true
		case c["status"] == "False" && message != "" && (c["type"] == "Established" || c["type"] == "NamesAccepted"):
			k.Why = message
		}
	}
	versions, _, _ := unstructured.NestedSlice(o.Object, "spec", "versions")
	for _, x := range versions {
		v, _ := x.(map[string]any)
		if v["name"] == v1beta1.GroupVersion.Version && v["served"] == true {
			k.Schema, _, _ = unstructured.NestedMap(v, "schema", "openAPIV3Schema")
		}
	}
	return k
}

// programs are all Deployments and DaemonSets, or if not all may be read those of Fairlead's namespace, and the pods there.
func (r *doctorReader) programs(ctx context.Context, in *doctor.Input) {
	for _, kind := range []string{workload.Deployment, workload.DaemonSet} {
		resource := right{group: "apps", resource: strings.ToLower(kind) + "s"}
		list := listOf("apps", kind)
		a := r.list(ctx, list, resource)
		if a.unread != "" {
			in.Others.Unread = join(in.Others.Unread, a.unread)
			resource.namespace = r.namespace
			a = r.list(ctx, list, resource)
			in.Programs.Unread = join(in.Programs.Unread, a.unread)
		}
		for i := range list.Items {
			o := &list.Items[i]
			in.Others.Is = append(in.Others.Is, o)
			if neighbours.IsFairlead(o) && o.GetNamespace() == r.namespace {
				in.Programs.Is = append(in.Programs.Is, o)
			}
		}
	}
	var pods corev1.PodList
	a := r.list(ctx, &pods, right{resource: "pods", namespace: r.namespace})
	in.Pods = doctor.Part[[]corev1.Pod]{Is: pods.Items, Unread: a.unread}
}

func (r *doctorReader) ownNamespace(ctx context.Context, in *doctor.Input) {
	var ns corev1.Namespace
	a := r.get(ctx, r.namespace, &ns, right{resource: "namespaces"})
	if in.OwnNamespace.Unread = a.unread; a == (answer{}) {
		in.OwnNamespace.Is = &ns
	}
}

func (r *doctorReader) lease(ctx context.Context, in *doctor.Input) {
	name := doctor.DefaultLease
	if o := workload.Find(in.Programs.Is, workload.Deployment); o != nil {
		name = doctor.LeaseName(o)
	}
	var lease coordinationv1.Lease
	a := r.get(ctx, name, &lease, right{group: "coordination.k8s.io", resource: "leases", namespace: r.namespace})
	if in.Lease.Unread = a.unread; a == (answer{}) {
		in.Lease.Is = &lease
	}
}

// gossip is the length of each entry of the Secret; the values go no further.
func (r *doctorReader) gossip(ctx context.Context, in *doctor.Input) {
	var secret corev1.Secret
	a := r.get(ctx, doctor.GossipSecret(workload.Find(in.Programs.Is, workload.DaemonSet)), &secret, right{resource: "secrets", namespace: r.namespace})
	if in.Gossip.Unread = a.unread; a == (answer{}) {
		in.Gossip.Is = map[string]int{}
		for name, value := range secret.Data {
			in.Gossip.Is[name] = len(value)
		}
	}
}

// beside is what else of kube-system is looked at.
func (r *doctorReader) beside(ctx context.Context, in *doctor.Input) {
	const system = "kube-system"
	settings := right{resource: "configmaps", namespace: system}
	var proxy, cilium corev1.ConfigMap
	a := r.get(ctx, "kube-proxy", &proxy, settings)
	if in.KubeProxy.Unread = a.unread; a == (answer{}) {
		text := proxy.Data["config.conf"]
		in.KubeProxy.Is = &text
	}
	a = r.get(ctx, "cilium-config", &cilium, settings)
	in.Cilium = doctor.Part[neighbours.Cilium]{Is: cilium.Data, Unread: a.unread}
	in.Others.Unread = join(in.Others.Unread, r.static(ctx, system, &in.Others.Is))
}

// atOnce is how many pods are read at once: of a large cluster's there may be thousands in kube-system.
const atOnce = 500

// static appends the pods of a namespace that no workload has made, and says why they could not be read.
func (r *doctorReader) static(ctx context.Context, namespace string, list *[]*unstructured.Unstructured) (unread string) {
	for next := ""; ; {
		pods := listOf("", workload.Pod)
		if a := r.list(ctx, pods, right{resource: "pods", namespace: namespace}, client.Limit(atOnce), client.Continue(next)); a.unread != "" {
			return a.unread
		}
		for i := range pods.Items {
			if o := metav1.GetControllerOf(&pods.Items[i]); o == nil || o.Kind == "Node" {
				*list = append(*list, &pods.Items[i])
			}
		}
		if next = pods.GetContinue(); next == "" {
			return ""
		}
	}
}

// network is the nodes, and what the cluster has of the address space.
func (r *doctorReader) network(ctx context.Context, in *doctor.Input) {
	var nodes corev1.NodeList
	a := r.list(ctx, &nodes, right{resource: "nodes"})
	in.Nodes = doctor.Part[[]corev1.Node]{Is: nodes.Items, Unread: a.unread}
	cidrs := listOf("networking.k8s.io", "ServiceCIDR")
	a = r.list(ctx, cidrs, right{group: "networking.k8s.io", resource: "servicecidrs"})
	in.ServiceCIDRs.Unread = a.unread
	for i := range cidrs.Items {
		list, _, _ := unstructured.NestedStringSlice(cidrs.Items[i].Object, "spec", "cidrs")
		for _, text := range list {
			if p, err := netip.ParsePrefix(text); err == nil {
				in.ServiceCIDRs.Is = append(in.ServiceCIDRs.Is, p.Masked())
			}
		}
	}
	var endpoints discoveryv1.EndpointSliceList
	a = r.list(ctx, &endpoints, right{group: "discovery.k8s.io", resource: "endpointslices", namespace: corev1.NamespaceDefault},
		client.MatchingLabels{discoveryv1.LabelServiceName: "kubernetes"})
	in.APIServers.Unread = a.unread
	for i := range endpoints.Items {
		for _, e := range endpoints.Items[i].Endpoints {
			for _, text := range e.Addresses {
				if addr, err := netip.ParseAddr(text); err == nil {
					in.APIServers.Is = append(in.APIServers.Is, addr.Unmap())
				}
			}
		}
	}
}

// objects of Fairlead's, and the Services, with what they say of themselves.
func (r *doctorReader) objects(ctx context.Context, in *doctor.Input) {
	var l lists
	own := l.own()
	for _, resource := range slices.Sorted(maps.Keys(own)) {
		a := r.list(ctx, own[resource], right{group: v1beta1.Group, resource: resource})
		in.Objects.Unread = join(in.Objects.Unread, a.unread)
		if a.absent {
			in.Absent = append(in.Absent, resource)
		}
	}
	a := r.list(ctx, &l.services, right{resource: "services"}, balancers())
	s := l.snapshot()
	in.Services = doctor.Part[[]corev1.Service]{Is: s.Services, Unread: a.unread}
	in.Objects.Is = s.Objects
	in.Attention = attentionOf(&s)
}

// listOf objects of a kind, in version v1 of its group.
func listOf(group, kind string) *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: group, Version: "v1", Kind: kind + "List"})
	return list
}

// join why parts of something could not be read.
func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}
