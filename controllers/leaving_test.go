package controllers_test

import (
	"fmt"
	"path/filepath"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/controllers"
	"fairlead.io/fairlead/internal/testenv"
)

// held waits until all pools are in use, and held by the finalizer or not.
func held(t *testing.T, c client.Client, want bool) {
	t.Helper()
	eventually(t, fmt.Sprintf("all pools are held: %v", want), func() string {
		var pools v1beta1.IPAddressPoolList
		if err := c.List(t.Context(), &pools); err != nil {
			return err.Error()
		}
		for i := range pools.Items {
			p := &pools.Items[i]
			if p.Status.IPv4.Assigned == 0 || len(p.Finalizers) > 0 != want {
				return fmt.Sprintf("%s has finalizers %q, status %+v", p.Name, p.Finalizers, p.Status)
			}
		}
		return ""
	})
}

// inUse makes three pools, each with a Service.
func inUse(t *testing.T, c client.Client, ns string) {
	t.Helper()
	for i := range 3 {
		name := fmt.Sprintf("pool-%d", i)
		for _, o := range []client.Object{newPool(name, fmt.Sprintf("192.168.100.24%d", i)), newService(ns, name, annotated(v1beta1.AnnotationAddressPool, name))} {
			if err := c.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// own is a namespace for a controller, and the Deployment that could run it there.
func own(t *testing.T) (ns *corev1.Namespace, d *appsv1.Deployment) {
	t.Helper()
	ns = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "own-"}}
	create(t, ns)
	labels := map[string]string{"app": "fairlead"}
	d = &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: controllers.Deployment},
		Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "a"}}},
		}},
	}
	create(t, d)
	return ns, d
}

// Without Fairlead's namespace nobody would be left to take the finalizers off. No pool gets one any more either.
func TestNamespaceGoes(t *testing.T) {
	ns := namespace(t)
	mine, _ := own(t)
	c := run(t, "--namespace", mine.Name)
	inUse(t, kube, ns)
	held(t, kube, true)
	if err := kube.Delete(t.Context(), mine); err != nil { // it stays: nothing ends namespaces here
		t.Fatal(err)
	}
	held(t, kube, false)
	logs(t, c, "namespace "+mine.Name+" is being deleted")
	create(t, newPool("late", "192.168.100.250"))
	create(t, newService(ns, "late", annotated(v1beta1.AnnotationAddressPool, "late")))
	hasAddress(t, ns, "late", "192.168.100.250")
	held(t, kube, false)
	again := run(t, "--namespace", mine.Name)
	leads(t, again)
	held(t, kube, false)
}

// The controller's Deployment is deleted, by itself or by Helm: the pools are let go of while the controller can do so. When there is one again, they are
// held again, and so are new ones; a controller that never had one, outside the cluster, holds its pools.
func TestDeploymentGoes(t *testing.T) {
	ns := namespace(t)
	mine, d := own(t)
	run(t, "--namespace", mine.Name)
	inUse(t, kube, ns)
	held(t, kube, true)
	if err := kube.Delete(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	held(t, kube, false)
	d.ResourceVersion = ""
	create(t, d)
	held(t, kube, true)
	create(t, newService(ns, "more", annotated(v1beta1.AnnotationLoadBalancerIPs, "192.168.100.250")))
	create(t, newPool("more", "192.168.100.250"))
	hasAddress(t, ns, "more", "192.168.100.250")
	eventually(t, "the new pool is held", func() string {
		if p := getPool(t, "more"); len(p.Finalizers) == 0 {
			return fmt.Sprintf("%+v", p.Status)
		}
		return ""
	})
}

// The kind of pools is deleted before Fairlead is: pools in use go with it, one too that was being deleted before. Services keep their addresses.
func TestKindGoes(t *testing.T) {
	e, err := testenv.Start() // of its own, for what becomes of it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Stop(); err != nil {
			t.Error(err)
		}
	})
	config := filepath.Join(t.TempDir(), "kubeconfig")
	if err := e.Kubeconfig(config); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(e.Config, client.Options{Scheme: controllers.NewScheme()})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fairlead-system"}}); err != nil {
		t.Fatal(err)
	}
	program := run(t, "--kubeconfig", config)
	inUse(t, c, "default")
	held(t, c, true)
	if err := c.Delete(t.Context(), newPool("pool-0")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "pool-0 waits for its Service", func() string {
		p := newPool("pool-0")
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
			return err.Error()
		}
		if len(p.Status.Conditions) == 0 || p.Status.Conditions[0].Reason != v1beta1.ReasonDeleting {
			return fmt.Sprintf("%+v", p.Status)
		}
		return ""
	})
	held(t, c, true)
	crd := &unstructured.Unstructured{}
	crd.SetName("ipaddresspools.fairlead.io")
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	if err := c.Delete(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the kind goes", func() string {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(crd), crd); !apierrors.IsNotFound(err) {
			return fmt.Sprint(err)
		}
		return ""
	})
	logs(t, program, "CustomResourceDefinition ipaddresspools.fairlead.io is being deleted")
	var svc corev1.Service
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "pool-1"}, &svc); err != nil || ips(&svc) != "192.168.100.241" {
		t.Errorf("Service pool-1 has %q, %v", ips(&svc), err)
	}
}

// What is left when nothing of Fairlead runs any more: the program itself lets go of the pools, in the end also where their kind is gone.
func TestLetGoOfPools(t *testing.T) {
	ns := namespace(t)
	c := run(t)
	inUse(t, kube, ns)
	held(t, kube, true)
	c.stop()
	once := run(t, "--let-go-of-pools")
	if err := once.cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	held(t, kube, false)

	empty, err := testenv.StartEmpty()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := empty.Stop(); err != nil {
			t.Error(err)
		}
	})
	config := filepath.Join(t.TempDir(), "kubeconfig")
	if err := empty.Kubeconfig(config); err != nil {
		t.Fatal(err)
	}
	if err := run(t, "--kubeconfig", config, "--let-go-of-pools").cmd.Wait(); err != nil {
		t.Error(err)
	}
}
