// Package clustertest tries what kubectl-fairlead does with a real API server.
package clustertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/cli"
	"fairlead.io/fairlead/internal/metallb"
	"fairlead.io/fairlead/internal/testenv"
)

// What TestMain makes once for all tests.
var (
	env  *testenv.Env
	kube client.Client
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(testenv.Main(m, func(e *testenv.Env) {
		env = e
		scheme := runtime.NewScheme()
		err := errors.Join(clientgoscheme.AddToScheme(scheme), v1beta1.AddToScheme(scheme))
		if err == nil {
			err = e.Install(filepath.Join("testdata", "metallb-crds.yaml"))
		}
		if err == nil {
			kube, err = client.New(e.Config, client.Options{Scheme: scheme})
		}
		if err != nil {
			panic(err)
		}
	}))
}

func config() (*rest.Config, error) { return env.Config, nil }

// imported runs the command.
func imported(t *testing.T, o cli.ImportOptions) (out, report string, err error) {
	t.Helper()
	o.Namespace = "fairlead-system"
	var stdout, stderr bytes.Buffer
	err = cli.ImportMetalLB(t.Context(), nil, &stdout, &stderr, config, o)
	if strings.Contains(stderr.String(), "the API server refuses") {
		t.Errorf("the API server refuses what was imported:\n%s", &stderr)
	}
	return stdout.String(), stderr.String(), err
}

// prepare namespaces, and take everything away that a test before left.
func prepare(t *testing.T) {
	t.Helper()
	for _, name := range []string{"metallb-system", "fairlead-system"} {
		if err := kube.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		admitted(t, name)
		if err := kube.DeleteAllOf(t.Context(), &corev1.Secret{}, client.InNamespace(name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, obj := range []client.Object{&v1beta1.IPAddressPool{}, &v1beta1.L2Advertisement{}, &v1beta1.BGPAdvertisement{}, &v1beta1.BGPPeer{}, &v1beta1.BFDProfile{}, &v1beta1.Community{}} {
		if err := kube.DeleteAllOf(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
}

// admitted waits until the API server takes objects into a namespace. One that was made anew is to it for a while the one of the same name that went.
func admitted(t *testing.T, namespace string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := kube.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "tried"}}, client.DryRunAll)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func input(name string) string {
	return filepath.Join("..", "testdata", "import", name, "in.yaml")
}

// versions of all of Fairlead's objects, and the Secrets beside them.
func versions(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, list := range []client.ObjectList{&v1beta1.IPAddressPoolList{}, &v1beta1.L2AdvertisementList{}, &v1beta1.BGPAdvertisementList{}, &v1beta1.BGPPeerList{},
		&v1beta1.BFDProfileList{}, &v1beta1.CommunityList{}, &corev1.SecretList{}} {
		var options []client.ListOption
		if _, secrets := list.(*corev1.SecretList); secrets {
			options = append(options, client.InNamespace("fairlead-system"))
		}
		if err := kube.List(t.Context(), list, options...); err != nil {
			t.Fatal(err)
		}
		raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(list)
		if err != nil {
			t.Fatal(err)
		}
		u := unstructured.UnstructuredList{}
		u.SetUnstructuredContent(raw)
		for _, o := range u.Items {
			out[fmt.Sprintf("%T %s", list, o.GetName())] = o.GetResourceVersion()
		}
	}
	return out
}

// Every object that is made of the examples is one that the API server accepts, by its own rules; and the second time there is nothing to do.
func TestApplyFiles(t *testing.T) {
	for _, name := range []string{"configmap", "kubespray-2022", "kubespray", "resources", "broken", "services"} {
		t.Run(name, func(t *testing.T) {
			prepare(t)
			o := cli.ImportOptions{Files: []string{input(name)}, Apply: true}
			out, report, err := imported(t, o)
			if err != nil && !errors.Is(err, cli.ErrIncomplete) {
				t.Fatal(err)
			}
			if !strings.Contains(out, " created\n") || strings.Contains(report, "left alone") {
				t.Error(out, report)
			}
			before := versions(t)
			if out, _, err = imported(t, o); err != nil && !errors.Is(err, cli.ErrIncomplete) {
				t.Fatal(err)
			}
			if !strings.HasSuffix(out, "Nothing was written.\n") || strings.Contains(out, "created") || strings.Contains(out, "changed\n") && !strings.Contains(out, "unchanged\n") {
				t.Error(out)
			}
			if after := versions(t); fmt.Sprint(before) != fmt.Sprint(after) {
				t.Errorf("the second time something was written:\n%v\n%v", before, after)
			}
		})
	}
}

// create the objects of a file, as MetalLB's user has them.
func create(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	objects, _, err := metallb.Document(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		u := &unstructured.Unstructured{Object: o}
		if u.GetKind() == "Deployment" || u.GetKind() == "DaemonSet" { // complete them
			set := func(value any, path ...string) {
				if err := unstructured.SetNestedField(u.Object, value, path...); err != nil {
					t.Fatal(err)
				}
			}
			set("metallb", "spec", "selector", "matchLabels", "app")
			set("metallb", "spec", "template", "metadata", "labels", "app")
			containers, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
			first, ok := containers[0].(map[string]any)
			if !ok {
				t.Fatal(containers)
			}
			first["image"] = "metallb:test"
			set(containers, "spec", "template", "spec", "containers")
		}
		if err := kube.Create(t.Context(), u); err != nil {
			t.Fatalf("%s %s: %v", u.GetKind(), u.GetName(), err)
		}
		t.Cleanup(func() {
			if err := kube.Delete(context.WithoutCancel(t.Context()), u); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFromCluster(t *testing.T) {
	prepare(t)
	create(t, input("resources"))
	foreign := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"172.16.0.0/24"}}}
	if err := kube.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}

	// Nothing is written without being asked for.
	before := versions(t)
	out, report, err := imported(t, cli.ImportOptions{})
	if !errors.Is(err, cli.ErrIncomplete) {
		t.Fatal(err)
	}
	if after := versions(t); fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("written without --apply:\n%v\n%v", before, after)
	}
	for _, want := range []string{"IPAddressPool web exists and was not imported", "--lb-class=metallb", "Objects of kind ServiceL2Status: 1", "IPAddressPool metallb-system/web (v1beta1)", "BGPPeer metallb-system/tor-a (v1beta2)"} {
		if !strings.Contains(report, want) {
			t.Errorf("%q is not in the report:\n%s", want, report)
		}
	}
	if !strings.Contains(out, "kind: BGPPeer") || strings.Contains(out, "aHVudGVyMg") || strings.Contains(out, "secret\n") {
		t.Error(out)
	}

	// What is somebody else's stays, all else is written, and the passwords are where the peers look for them.
	out, _, err = imported(t, cli.ImportOptions{Apply: true})
	if !errors.Is(err, cli.ErrIncomplete) {
		t.Fatal(err)
	}
	if !strings.Contains(out, "IPAddressPool web left alone\n") || !strings.Contains(out, "IPAddressPool older created\n") || !strings.Contains(out, "Secret fairlead-system/tor created\n") {
		t.Error(out)
	}
	if err := kube.Get(t.Context(), client.ObjectKeyFromObject(foreign), foreign); err != nil || foreign.Generation != 1 || len(foreign.Labels) > 0 {
		t.Errorf("%v %+v", err, foreign)
	}
	var secret corev1.Secret
	if err := kube.Get(t.Context(), client.ObjectKey{Namespace: "fairlead-system", Name: "tor"}, &secret); err != nil || string(secret.Data["password"]) != "hunter2" {
		t.Error(err)
	}
	before = versions(t)
	if out, _, err = imported(t, cli.ImportOptions{Apply: true}); !errors.Is(err, cli.ErrIncomplete) || !strings.HasSuffix(out, "Nothing was written.\n") {
		t.Error(err, out)
	}
	if after := versions(t); fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("the second time something was written:\n%v\n%v", before, after)
	}

	// What the source changes follows; what somebody changed here stays.
	var pool v1beta1.IPAddressPool
	if err := kube.Get(t.Context(), client.ObjectKey{Name: "older"}, &pool); err != nil {
		t.Fatal(err)
	}
	pool.Spec.Addresses = []v1beta1.AddressRange{"10.7.0.0/25"}
	if err := kube.Update(t.Context(), &pool, client.FieldOwner("somebody")); err != nil {
		t.Fatal(err)
	}
	profile := &unstructured.Unstructured{}
	profile.SetAPIVersion("metallb.io/v1beta1")
	profile.SetKind("BFDProfile")
	profile.SetNamespace("metallb-system")
	profile.SetName("fast")
	if err := kube.Patch(t.Context(), profile, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"receiveInterval":50}}`))); err != nil {
		t.Fatal(err)
	}
	out, report, err = imported(t, cli.ImportOptions{Apply: true})
	if !errors.Is(err, cli.ErrIncomplete) || !strings.Contains(out, "BFDProfile fast changed\n") || !strings.Contains(out, "IPAddressPool older left alone\n") ||
		!strings.Contains(report, "IPAddressPool older was changed by somebody else") {
		t.Error(err, out, report)
	}
	if err := kube.Get(t.Context(), client.ObjectKey{Name: "older"}, &pool); err != nil || pool.Spec.Addresses[0] != "10.7.0.0/25" {
		t.Error(err, pool.Spec)
	}

	// An object of the same name that was imported from elsewhere stays as well.
	file := filepath.Join(t.TempDir(), "other.yaml")
	text := "apiVersion: metallb.io/v1beta1\nkind: BFDProfile\nmetadata: {name: fast, namespace: other}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o := cli.ImportOptions{Files: []string{file}, Apply: true}
	o.MetalLBNamespace = "other"
	if out, report, err = imported(t, o); !errors.Is(err, cli.ErrIncomplete) || !strings.Contains(report, "was imported from BFDProfile metallb-system/fast") {
		t.Error(err, out, report)
	}
}

// What has gone at the source is told of, and deleted only when that is asked for.
func TestLeftOver(t *testing.T) {
	prepare(t)
	create(t, input("resources"))
	extra := func(kind, name, spec string) *unstructured.Unstructured {
		t.Helper()
		o := &unstructured.Unstructured{}
		text := "{apiVersion: metallb.io/v1beta1, kind: " + kind + ", metadata: {name: " + name + ", namespace: metallb-system}, spec: " + spec + "}"
		if err := yaml.Unmarshal([]byte(text), &o.Object); err != nil {
			t.Fatal(err)
		}
		if err := kube.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		return o
	}
	pool := extra("IPAddressPool", "bygone", `{addresses: [10.250.0.0/24]}`)
	advertisement := extra("L2Advertisement", "bygone", `{ipAddressPools: [bygone]}`)
	elsewhere := filepath.Join(t.TempDir(), "other.yaml")
	if err := os.WriteFile(elsewhere, []byte("apiVersion: metallb.io/v1beta1\nkind: BFDProfile\nmetadata: {name: other, namespace: other}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := cli.ImportOptions{Files: []string{elsewhere}, Apply: true}
	o.MetalLBNamespace = "other"
	if out, report, err := imported(t, o); err != nil {
		t.Fatal(err, out, report)
	}
	if out, report, err := imported(t, cli.ImportOptions{Apply: true}); !errors.Is(err, cli.ErrIncomplete) || !strings.Contains(out, "IPAddressPool bygone created\n") || strings.Contains(report, "left over") {
		t.Fatal(err, out, report)
	}
	for _, gone := range []*unstructured.Unstructured{pool, advertisement} {
		if err := kube.Delete(t.Context(), gone); err != nil {
			t.Fatal(err)
		}
	}
	before := versions(t)
	for _, apply := range []bool{false, true} {
		out, report, err := imported(t, cli.ImportOptions{Apply: apply})
		if !errors.Is(err, cli.ErrIncomplete) || !strings.Contains(report, "IPAddressPool metallb-system/bygone:\n  left over: IPAddressPool bygone was imported from it, which has gone: it stays as it is. --apply --prune deletes") ||
			!strings.Contains(report, "L2Advertisement metallb-system/bygone:\n  left over") || !strings.Contains(report, "2 left over") {
			t.Error(err, out, report)
		}
	}
	if after := versions(t); fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("written without --prune:\n%v\n%v", before, after)
	}
	out, report, err := imported(t, cli.ImportOptions{Apply: true, Prune: true})
	if !errors.Is(err, cli.ErrIncomplete) || !strings.Contains(out, "L2Advertisement bygone deleted\nIPAddressPool bygone deleted\n") || strings.Contains(report, "left over") {
		t.Error(err, out, report)
	}
	after := versions(t)
	for name := range before {
		if want := !strings.HasSuffix(name, " bygone"); (after[name] != "") != want {
			t.Errorf("%s: is there: %v, and should be: %v", name, !want, want)
		}
	}
	if out, _, err := imported(t, cli.ImportOptions{Apply: true, Prune: true}); !errors.Is(err, cli.ErrIncomplete) || !strings.HasSuffix(out, "Nothing was written.\n") {
		t.Error(err, out)
	}
}

// Where nothing of MetalLB's is left, pruning would take away what the cluster runs with.
func TestLeftOverAll(t *testing.T) {
	prepare(t)
	if _, report, err := imported(t, cli.ImportOptions{Files: []string{input("kubespray")}, Apply: true}); err != nil && !errors.Is(err, cli.ErrIncomplete) {
		t.Fatal(err, report)
	}
	before := versions(t)
	if out, report, err := imported(t, cli.ImportOptions{Apply: true, Prune: true}); err == nil || !strings.Contains(err.Error(), "--prune would delete all that ever was") || !strings.Contains(report, "left over") {
		t.Error(err, out, report)
	}
	if after := versions(t); fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("something was written:\n%v\n%v", before, after)
	}
}
