package clustertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/cli"
	"fairlead.io/fairlead/internal/doctor"
	"fairlead.io/fairlead/internal/testenv"
)

const system = "fairlead-system"

// foundBy is what doctor finds, as it is told to programs.
func foundBy(t *testing.T, c *rest.Config) ([]doctor.Finding, error) {
	t.Helper()
	var raw bytes.Buffer
	err := cli.Doctor(t.Context(), &raw, func() (*rest.Config, error) { return c, nil }, cli.DoctorOptions{Namespace: system, Output: cli.OutputJSON})
	var list []doctor.Finding
	if err := json.Unmarshal(raw.Bytes(), &list); err != nil {
		t.Fatal(err, raw.String())
	}
	return list, err
}

// examined is the same, and people are told each finding too.
func examined(t *testing.T, c *rest.Config) ([]doctor.Finding, error) {
	t.Helper()
	list, err := foundBy(t, c)
	var text bytes.Buffer
	if err2 := cli.Doctor(t.Context(), &text, func() (*rest.Config, error) { return c, nil }, cli.DoctorOptions{Namespace: system}); !errors.Is(err2, err) {
		t.Error(err, err2)
	}
	for _, f := range list {
		if !strings.Contains(text.String(), f.Object) || !strings.Contains(text.String(), strings.ToUpper(string(f.Check))+"\n") {
			t.Errorf("%+v is not told:\n%s", f, &text)
		}
	}
	return list, err
}

// finds fails the test unless there is such a finding.
func finds(t *testing.T, list []doctor.Finding, level doctor.Level, object, message string) {
	t.Helper()
	if !slices.ContainsFunc(list, func(f doctor.Finding) bool {
		return f.Level == level && f.Object == object && strings.Contains(f.Message, message)
	}) {
		t.Errorf("no %s of %q that says %q: %+v", level, object, message, list)
	}
}

// In a cluster without Fairlead that is what is said, and not much else.
func TestDoctorWithoutFairlead(t *testing.T) {
	empty, err := testenv.StartEmpty()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := empty.Stop(); err != nil {
			t.Error(err)
		}
	}()
	list, err := examined(t, empty.Config)
	if !errors.Is(err, cli.ErrProblems) {
		t.Error(err)
	}
	finds(t, list, doctor.Problem, "CustomResourceDefinitions", "there is none of group fairlead.io")
	finds(t, list, doctor.Problem, "Namespace fairlead-system", "there is none")
	finds(t, list, doctor.Problem, "Deployment", "Fairlead has none in namespace fairlead-system")
	finds(t, list, doctor.Problem, "DaemonSet", "Fairlead has none in namespace fairlead-system")
	if n := doctor.Count(list, doctor.NotChecked); n > 0 {
		t.Error("something was not checked:", list)
	}
}

// An API server that cannot be reached, and one that lets nothing be read, are no cluster without problems.
func TestDoctorCannotLook(t *testing.T) {
	prepare(t)
	var out bytes.Buffer
	err := cli.Doctor(t.Context(), &out, func() (*rest.Config, error) { return &rest.Config{Host: "https://127.0.0.1:1"}, nil }, cli.DoctorOptions{Namespace: system})
	if err == nil || errors.Is(err, cli.ErrProblems) || out.Len() > 0 {
		t.Error(err, &out)
	}
	err = cli.Doctor(t.Context(), &out, func() (*rest.Config, error) { return userConfig(t, "nobody"), nil }, cli.DoctorOptions{Namespace: system})
	if !errors.Is(err, cli.ErrBlind) || !strings.Contains(out.String(), "you may not list services") {
		t.Error(err, &out)
	}
}

// What cannot be read for another reason than a right is told, the rest is checked, and it is no cluster without problems.
func TestDoctorReadFails(t *testing.T) {
	installed(t)
	c := rest.CopyConfig(env.Config)
	c.Wrap(func(next http.RoundTripper) http.RoundTripper { return failing{next} })
	list, err := examined(t, c)
	if !errors.Is(err, cli.ErrUnread) {
		t.Error(err)
	}
	finds(t, list, doctor.NotChecked, "Services of type LoadBalancer", "list services: ")
	finds(t, list, doctor.OK, "ConfigMap kube-system/kube-proxy", "")
	if n := doctor.Count(list, doctor.NotChecked); n != 1 {
		t.Error(n, list)
	}
}

// failing refuses to ask for Services.
type failing struct{ next http.RoundTripper }

func (f failing) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/services") {
		return nil, errors.New("connection reset")
	}
	return f.next.RoundTrip(r)
}

func userConfig(t *testing.T, name string) *rest.Config {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := env.UserKubeconfig(name, path); err != nil {
		t.Fatal(err)
	}
	c, err := cli.Config(path, "")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// make an object with its status, which goes when the test ends.
func makeObject(t *testing.T, o client.Object) {
	t.Helper()
	withStatus, ok := o.DeepCopyObject().(client.Object)
	if !ok {
		t.Fatalf("a copy of %T is no object", o)
	}
	if err := kube.Create(t.Context(), o); err != nil {
		t.Fatalf("%T %s: %v", o, o.GetName(), err)
	}
	t.Cleanup(func() {
		if err := kube.Delete(context.Background(), o, client.GracePeriodSeconds(0)); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	})
	withStatus.SetResourceVersion(o.GetResourceVersion())
	withStatus.SetUID(o.GetUID())
	switch o.(type) {
	case *appsv1.Deployment, *appsv1.DaemonSet, *corev1.Pod, *corev1.Node, *v1beta1.Speaker, *corev1.Service:
		if err := kube.Status().Update(t.Context(), withStatus); err != nil {
			t.Fatalf("status of %T %s: %v", o, o.GetName(), err)
		}
	}
}

// fromConfig reads an object of config/.
func fromConfig[T client.Object](t *testing.T, path string, into T) T {
	t.Helper()
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(read(t, filepath.Join(root, "config", path)), into); err != nil {
		t.Fatal(err)
	}
	return into
}

// installed is Fairlead as config/default installs it, on one node. What nodes, Kubernetes' own controllers and Fairlead would write is pretended.
func installed(t *testing.T) {
	t.Helper()
	prepare(t)
	const enforce = "pod-security.kubernetes.io/enforce"
	label := func(value any) {
		raw, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{enforce: value}}})
		if err == nil {
			err = kube.Patch(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: system}}, client.RawPatch("application/merge-patch+json", raw))
		}
		if err != nil {
			t.Error(err)
		}
	}
	label(fromConfig(t, "default/namespace.yaml", &corev1.Namespace{}).Labels[enforce])
	t.Cleanup(func() { label(nil) }) // other tests make pods there
	makeObject(t, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node1", Labels: map[string]string{"kubernetes.io/os": "linux"}},
		Spec:       corev1.NodeSpec{PodCIDR: "10.244.1.0/24", PodCIDRs: []string{"10.244.1.0/24"}},
		Status: corev1.NodeStatus{
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.1"}},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	})
	controller := fromConfig(t, "controller/deployment.yaml", &appsv1.Deployment{})
	controller.Status = appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 2, UpdatedReplicas: 2, ReadyReplicas: 2, AvailableReplicas: 2}
	makeObject(t, controller)
	ds := fromConfig(t, "speaker/daemonset.yaml", &appsv1.DaemonSet{})
	ds.Status = appsv1.DaemonSetStatus{ObservedGeneration: 1, DesiredNumberScheduled: 1, CurrentNumberScheduled: 1, UpdatedNumberScheduled: 1, NumberReady: 1, NumberAvailable: 1}
	makeObject(t, ds)
	for name, labels := range map[string]map[string]string{"fairlead-controller-a": controller.Spec.Template.Labels, "fairlead-speaker-a": ds.Spec.Template.Labels} {
		makeObject(t, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: name, Labels: labels},
			Spec:       corev1.PodSpec{NodeName: "node1", Containers: []corev1.Container{{Name: "x", Image: "fairlead:dev"}}},
			Status: corev1.PodStatus{
				Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
				ContainerStatuses: []corev1.ContainerStatus{{Name: "x", Image: "fairlead:dev", Ready: true, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}}},
			},
		})
	}
	holder, seconds, renewed := "fairlead-controller-a_1", int32(3600), metav1.NowMicro()
	makeObject(t, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "fairlead-controller"},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &renewed},
	})
	makeObject(t, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "fairlead-gossip"}, Data: map[string][]byte{"key": bytes.Repeat([]byte("S"), 32)}})
	makeObject(t, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-proxy"}, Data: map[string]string{"config.conf": "mode: iptables\n"}})
	makeObject(t, &corev1.Pod{ // static, as RKE2 has it
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-proxy-node1"},
		Spec:       corev1.PodSpec{NodeName: "node1", Containers: []corev1.Container{{Name: "kube-proxy", Image: "kube-proxy:v1"}}},
	})
	makeObject(t, &v1beta1.Speaker{
		ObjectMeta: metav1.ObjectMeta{Name: "node1"},
		Status: v1beta1.SpeakerStatus{
			Interfaces: []v1beta1.SpeakerInterface{{Name: "eth0", HardwareAddress: "02:00:00:00:00:01"}},
			Conditions: []metav1.Condition{{Type: v1beta1.SpeakerReady, Status: metav1.ConditionTrue, Reason: v1beta1.ReasonSynced, LastTransitionTime: metav1.Now()}},
		},
	})
	makeObject(t, &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"192.0.2.64/28"}}})
	makeObject(t, &v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Name: "web"}})
}

// With the rights that docs/doctor.md lists all is checked, and an installation that is well has no problem; without that to the Secret, that
// alone is not checked. Nothing is written, and what the Secret has is not told.
func TestDoctor(t *testing.T) {
	installed(t)
	c := userConfig(t, "examiner")
	unbind := bind(t, "examiner")
	list := eventually(t, c, func(list []doctor.Finding) bool { return doctor.Count(list, doctor.NotChecked) == 0 })
	for _, f := range list {
		if f.Level != doctor.OK {
			t.Errorf("%+v", f)
		}
		if strings.Contains(f.Message, "SSSS") {
			t.Errorf("the key is told: %+v", f)
		}
	}
	before := versions(t)
	if _, err := examined(t, c); err != nil {
		t.Error(err)
	}
	for name, version := range versions(t) {
		if before[name] != version {
			t.Error(name, "was written")
		}
	}
	unbind("secrets")
	list = eventually(t, c, func(list []doctor.Finding) bool { return doctor.Count(list, doctor.NotChecked) > 0 })
	finds(t, list, doctor.NotChecked, "Secret fairlead-system/fairlead-gossip", "you may not get secrets in namespace fairlead-system")
	if n := doctor.Count(list, doctor.NotChecked); n != 1 {
		t.Error(n, list)
	}
}

// eventually gives the findings when they are so: the API server learns of rights on its own time.
func eventually(t *testing.T, c *rest.Config, so func([]doctor.Finding) bool) []doctor.Finding {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		list, err := foundBy(t, c)
		if err == nil && so(list) {
			return list
		}
		if time.Now().After(deadline) {
			t.Fatal(err, list)
		}
	}
}

// bind the rights that the page lists to a user. What it gives takes one resource out of them.
func bind(t *testing.T, user string) (without func(resource string)) {
	t.Helper()
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(read(t, filepath.Join(root, "docs", "doctor.md"))), "```yaml\n")
	block, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/doctor.md has no rights")
	}
	var roles []*unstructured.Unstructured
	for _, doc := range strings.Split(block, "\n---\n") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			t.Fatal(err)
		}
		makeObject(t, o)
		roles = append(roles, o)
		ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: o.GetKind(), Name: o.GetName()}
		subjects := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}}
		if o.GetNamespace() == "" {
			makeObject(t, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: o.GetName()}, RoleRef: ref, Subjects: subjects})
		} else {
			makeObject(t, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: o.GetName()}, RoleRef: ref, Subjects: subjects})
		}
	}
	return func(resource string) {
		t.Helper()
		for _, o := range roles {
			rules, _, err := unstructured.NestedSlice(o.Object, "rules")
			if err != nil {
				t.Fatal(err)
			}
			rules = slices.DeleteFunc(rules, func(x any) bool {
				rule, _ := x.(map[string]any)
				list, _, err := unstructured.NestedStringSlice(rule, "resources")
				return err == nil && slices.Contains(list, resource)
			})
			if err := errors.Join(unstructured.SetNestedSlice(o.Object, rules, "rules"), kube.Update(t.Context(), o)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// What is broken around Fairlead's objects is named, with the object.
func TestDoctorBroken(t *testing.T) {
	installed(t)
	for _, edit := range []struct {
		object client.Object
		patch  string
		status bool
	}{
		{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: system}}, `{"metadata":{"labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`, false},
		{&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-proxy"}}, `{"data":{"config.conf":"mode: ipvs\n"}}`, false},
		{&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "fairlead-controller"}}, `{"spec":{"renewTime":"2020-01-01T00:00:00.000000Z"}}`, false},
		{&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "fairlead-gossip"}}, `{"data":{"key":"c2hvcnQ="}}`, false},
		{&v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "web"}}, `{"spec":{"addresses":["192.0.2.0/24","10.96.7.0/24","10.244.0.0/16"]}}`, false},
		{&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: system, Name: "fairlead-speaker-a"}},
			`{"status":{"conditions":[{"type":"Ready","status":"False"}],"containerStatuses":[{"name":"x","image":"fairlead:dev","imageID":"","ready":false,"restartCount":0,"state":{"waiting":{"reason":"ErrImagePull","message":"not found"}}}]}}`, true},
	} {
		patch := client.RawPatch("application/merge-patch+json", []byte(edit.patch))
		var err error
		if edit.status {
			err = kube.Status().Patch(t.Context(), edit.object, patch)
		} else {
			err = kube.Patch(t.Context(), edit.object, patch)
		}
		if err != nil {
			t.Fatalf("%T: %v", edit.object, err)
		}
	}
	makeObject(t, &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "forgotten"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"198.51.100.0/28"}}})
	advertisement := &v1beta1.L2Advertisement{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	if err := kube.Patch(t.Context(), advertisement, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"ipAddressPools":["web"]}}`))); err != nil {
		t.Fatal(err)
	}
	list, err := examined(t, env.Config)
	if !errors.Is(err, cli.ErrProblems) {
		t.Error(err)
	}
	for object, message := range map[string]string{
		"Namespace fairlead-system":                 "pod-security.kubernetes.io/enforce=restricted refuses the speakers",
		"ConfigMap kube-system/kube-proxy":          "kube-proxy runs in mode ipvs without strict ARP",
		"Lease fairlead-system/fairlead-controller": "has not renewed it for",
		"Secret fairlead-system/fairlead-gossip":    "its entry key has 5 bytes",
		"IPAddressPool web":                         "192.0.2.1 of Node node1 (InternalIP), some of 10.244.1.0/24 of the pods of Node node1 (podCIDR), some of 10.96.0.0/16 of cluster IPs (ServiceCIDR)",
		"Pod fairlead-system/fairlead-speaker-a":    "container x has no image fairlead:dev (ErrImagePull: not found)",
		"IPAddressPool forgotten":                   "no L2Advertisement or BGPAdvertisement that is in use selects it",
	} {
		finds(t, list, doctor.Problem, object, message)
	}
	if n := doctor.Count(list, doctor.Problem); n != 7 {
		t.Errorf("%d problems: %+v", n, list)
	}
}
