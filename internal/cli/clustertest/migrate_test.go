package clustertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/cli"
)

// A plan changes nothing.
func TestMigratePlan(t *testing.T) {
	l := newLive(t)
	l.settled()
	before := l.versions()
	out, err := l.moved(cli.MigrateOptions{})
	if err != nil {
		t.Fatal(err, out)
	}
	for _, want := range []string{"1  remember", "4  start Fairlead's controller", "6  stop MetalLB's speakers: from here on nobody announces", "nothing was changed. --apply does it."} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in the plan:\n%s", want, out)
		}
	}
	l.same(before)
}

// settled waits until what is pretended has come to rest: a turn that began after everything was looked at has changed nothing.
func (l *live) settled() {
	l.Helper()
	deadline := time.Now().Add(time.Minute)
	for last := l.versions(); ; {
		for begun := l.turns.Load(); l.turns.Load() < begun+2; time.Sleep(time.Millisecond) { // the first of these may have begun before
			if time.Now().After(deadline) {
				l.Fatal("what is pretended does not come to rest")
			}
		}
		now := l.versions()
		if maps.Equal(now, last) {
			return
		}
		last = now
	}
}

// same fails the test if something was written since.
func (l *live) same(before map[string]string) {
	l.Helper()
	after := l.versions()
	for _, k := range slices.Sorted(maps.Keys(after)) {
		if before[k] != after[k] {
			l.Errorf("%s was written: version %q, before %q", k, after[k], before[k])
		}
	}
	for k := range before {
		if after[k] == "" {
			l.Errorf("%s is gone", k)
		}
	}
}

// There and back: MetalLB's objects are exactly what they were, no address changes, and when it is done nothing more is.
func TestMigrate(t *testing.T) {
	l := newLive(t)
	specs, addresses := l.specs(), l.addresses()
	there := func(want string) {
		t.Helper()
		out, err := l.moved(cli.MigrateOptions{Apply: true})
		if err != nil || !strings.Contains(out, "4 Services keep the addresses that they had, and 4 are announced") || !strings.Contains(out, want) {
			t.Fatal(err, out)
		}
		l.moved2(cli.MigrateOptions{Apply: true}, "Nothing to do: the move was finished at 2")
		if now := l.addresses(); !maps.Equal(now, addresses) {
			t.Errorf("addresses\n%v, and before\n%v", now, addresses)
		}
		l.edit() // nobody answers for MetalLB's webhook
	}
	back := func(o cli.MigrateOptions) {
		t.Helper()
		o.Apply, o.Back = true, true
		out, err := l.moved(o)
		if err != nil || !strings.Contains(out, "MetalLB is as it was") {
			t.Fatal(err, out)
		}
		l.moved2(o, "Nothing to do: MetalLB is not stopped")
		l.sameSpecs(specs, "after the move back")
		if now := l.addresses(); !maps.Equal(now, addresses) {
			t.Errorf("addresses\n%v, and before\n%v", now, addresses)
		}
		err = kube.Get(t.Context(), client.ObjectKey{Namespace: "fairlead-system", Name: "fairlead-migration"}, &corev1.ConfigMap{})
		if !apierrors.IsNotFound(err) {
			t.Error("the record is still there", err)
		}
	}
	there("[5/8] start Fairlead's speakers\n")
	back(cli.MigrateOptions{})
	// Now there are advertisements, and Fairlead's speakers must not be started before MetalLB's are stopped.
	there("[7/8] start Fairlead's speakers\n")
	back(cli.MigrateOptions{RemoveImported: true})
	if v := versions(t); len(v) > 0 {
		t.Error("imported objects are still there:", v)
	}
	there("[5/8] start Fairlead's speakers\n")
}

// moved2 is a run that finds nothing to do, and writes nothing.
func (l *live) moved2(o cli.MigrateOptions, want string) {
	l.Helper()
	l.settled()
	before := l.versions()
	out, err := l.moved(o)
	if err != nil || !strings.Contains(out, want) {
		l.Error(err, out)
	}
	l.same(before)
}

// edit one of MetalLB's objects.
func (l *live) edit() {
	l.Helper()
	pool := &unstructured.Unstructured{}
	pool.SetAPIVersion("metallb.io/v1beta1")
	pool.SetKind("IPAddressPool")
	pool.SetNamespace("metallb-system")
	pool.SetName("web")
	for _, patch := range []string{`{"metadata":{"labels":{"edited":"yes"}}}`, `{"metadata":{"labels":null}}`} {
		if err := kube.Patch(l.Context(), pool, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
			l.Error(err)
		}
	}
}

// Prepared, all of Fairlead runs and MetalLB's speakers do too.
func TestMigratePrepare(t *testing.T) {
	l := newLive(t)
	out, err := l.moved(cli.MigrateOptions{Apply: true, Prepare: true})
	if err != nil || !strings.Contains(out, "Prepared: ") || strings.Contains(out, "[6/8]") {
		t.Fatal(err, out)
	}
	var advertisements v1beta1.L2AdvertisementList
	if err := kube.List(t.Context(), &advertisements); err != nil || len(advertisements.Items) > 0 {
		t.Error(err, "Fairlead announces already")
	}
	if specs := l.specs(); strings.Contains(specs["DaemonSet speaker"], "stopped") || !strings.Contains(specs["Deployment controller"], `"replicas":0`) {
		t.Error(specs)
	}
	if out, err := l.moved(cli.MigrateOptions{Apply: true}); err != nil || !strings.Contains(out, "[6/8] stop MetalLB's speakers") {
		t.Error(err, out)
	}
}

// Killed after any write, there and back, the same command goes on.
func TestMigrateKilled(t *testing.T) {
	l := newLive(t)
	specs, addresses := l.specs(), l.addresses()
	for n := 1; ; n++ {
		whole := 0
		for _, o := range []cli.MigrateOptions{{Apply: true}, {Apply: true, Back: true, RemoveImported: true}} {
			c, w := cutOff(n)
			out, err := l.movedBy(t.Context(), c, o)
			if w.left > 0 {
				whole++
			}
			if (err == nil) != (w.left > 0) && !strings.Contains(out, "Nothing to do") && !strings.HasSuffix(out, l.last(o)) {
				t.Fatalf("after %d writes, back %v: %v\n%s", n, o.Back, err, out)
			}
			if out, err := l.moved(o); err != nil {
				t.Fatalf("after %d writes, back %v: %v\n%s", n, o.Back, err, out)
			}
			if now := l.addresses(); !maps.Equal(now, addresses) {
				t.Errorf("after %d writes, back %v: addresses\n%v, and before\n%v", n, o.Back, now, addresses)
			}
		}
		l.sameSpecs(specs, fmt.Sprintf("after %d writes", n))
		if whole == 2 {
			t.Logf("killed after each of %d writes", n-1)
			break
		}
	}
}

// last words of a move.
func (l *live) last(o cli.MigrateOptions) string {
	if o.Back {
		return "goes there again.\n"
	}
	return "--back --apply\n"
}

// Gone back from the middle of a move there.
func TestMigrateBackFromTheMiddle(t *testing.T) {
	l := newLive(t)
	specs := l.specs()
	for n := 3; n <= 9; n += 3 {
		c, _ := cutOff(n)
		if out, err := l.movedBy(t.Context(), c, cli.MigrateOptions{Apply: true}); err == nil || !strings.Contains(err.Error(), "cut off") {
			t.Fatalf("not cut off after %d writes: %v\n%s", n, err, out)
		}
		if out, err := l.moved(cli.MigrateOptions{Apply: true, Back: true, RemoveImported: true}); err != nil {
			t.Fatalf("after %d writes: %v\n%s", n, err, out)
		}
		l.sameSpecs(specs, fmt.Sprintf("after %d writes", n))
	}
}

// Where nobody announces a move goes on, whatever is found.
func TestMigrateDark(t *testing.T) {
	l := newLive(t)
	c, _ := cutOff(9) // MetalLB's speakers and its frr-k8s are stopped, and nothing is advertised
	if out, err := l.movedBy(t.Context(), c, cli.MigrateOptions{Apply: true}); err == nil || !strings.Contains(out, "[6/8]") {
		t.Fatal(err, out)
	}
	l.create("{apiVersion: v1, kind: ConfigMap, metadata: {name: kube-proxy, namespace: kube-system}, data: {config.conf: \"mode: ipvs\\n\"}}")
	wrong := cli.MigrateOptions{Apply: true}
	wrong.MetalLBNamespace = "elsewhere"
	if out, err := l.moved(wrong); !errors.Is(err, cli.ErrNotMoved) || !strings.Contains(out, "PROBLEM  there is no DaemonSet of MetalLB's in namespace elsewhere") {
		t.Error(err, out)
	}
	if out, err := l.moved(cli.MigrateOptions{Apply: true}); err != nil || !strings.Contains(out, "PROBLEM  kube-proxy") || !strings.Contains(out, "4 are announced") {
		t.Error(err, out)
	}
}

// An API server that does not answer for a while is waited for where nobody announces, and not for ever.
func TestMigrateUnanswered(t *testing.T) {
	l := newLive(t)
	const dark = 9 // writes, as above
	for _, forever := range []bool{true, false} {
		o := cli.MigrateOptions{Apply: true}
		requests := 20
		if forever {
			o.Timeout, requests = time.Second, -1
		}
		out, err := l.movedBy(t.Context(), unanswered(dark, requests), o)
		switch {
		case forever && (err == nil || !strings.Contains(err.Error(), "waited 1s: ")):
			t.Fatal(err, out)
		case forever: // from the start
			if out, err := l.moved(cli.MigrateOptions{Apply: true, Back: true, RemoveImported: true}); err != nil {
				t.Fatal(err, out)
			}
		case err != nil || !strings.Contains(out, "[6/8] stop MetalLB's speakers") || !strings.Contains(out, "4 are announced"):
			t.Fatal(err, out)
		}
	}
}

// An interrupt while nobody announces waits until somebody does.
func TestMigrateInterrupted(t *testing.T) {
	l := newLive(t)
	ctx, cancel := context.WithCancel(t.Context())
	l.onWrite = func(out string) {
		if strings.Contains(out, "[6/8]") {
			cancel()
		}
	}
	out, err := l.movedBy(ctx, env.Config, cli.MigrateOptions{Apply: true})
	if !errors.Is(err, context.Canceled) || !strings.Contains(out, "L2Advertisement all created") {
		t.Fatal(err, out)
	}
	l.onWrite = nil
	if out, err := l.moved(cli.MigrateOptions{Apply: true}); err != nil {
		t.Fatal(err, out)
	}
}

// What is in the way is said, and nothing is changed.
func TestMigrateInTheWay(t *testing.T) {
	for name, tc := range map[string]struct {
		arrange func(*live)
		want    string
		// accepted by --accept-incomplete.
		accepted bool
	}{
		"strict ARP": {func(l *live) {
			l.create("{apiVersion: v1, kind: ConfigMap, metadata: {name: kube-proxy, namespace: kube-system}, data: {config.conf: \"mode: ipvs\\nipvs: {strictARP: false}\\n\"}}")
		}, "PROBLEM  kube-proxy runs in mode ipvs without strict ARP", false},
		"address outside": {func(l *live) { l.service("outside", nil, "203.0.113.9") },
			"LOSS     Service default/outside: has no equivalent: status.loadBalancer: it has address 203.0.113.9, which lies in no imported pool", true},
		"class": {func(l *live) {
			l.patch("DaemonSet", "fairlead-speaker", `[{"op":"add","path":"/spec/template/spec/containers/0/args","value":["--load-balancer-class=x.io/y"]}]`)
		}, "PROBLEM  Deployment fairlead-system/fairlead-controller serves Services without a class, and of class \"fairlead.io/fairlead\", and DaemonSet fairlead-system/fairlead-speaker", false},
		"not to be shared": {func(l *live) {
			l.service("other", nil, "192.0.2.3")
		}, "PROBLEM  Service default/other has address 192.0.2.3 and would not keep it", false},
		"pool of somebody else's": {func(l *live) {
			l.create("{apiVersion: fairlead.io/v1beta1, kind: IPAddressPool, metadata: {name: web}, spec: {addresses: [192.0.2.0/28, \"2001:db8::/124\"]}}")
		}, "LOSS     IPAddressPool metallb-system/web: left alone: IPAddressPool web exists and was not imported", true},
		"not installed": {func(l *live) {
			for _, o := range l.objects {
				if o.GetKind() == "DaemonSet" && o.GetNamespace() == "fairlead-system" {
					if err := kube.Delete(l.Context(), o); err != nil {
						l.Fatal(err)
					}
					l.objects = slices.DeleteFunc(l.objects, func(x *unstructured.Unstructured) bool { return x == o })
					break
				}
			}
		}, "PROBLEM  Fairlead is not installed in namespace fairlead-system, or not all of it: install it so that nothing of it runs yet, by kubectl apply --server-side -k config/held", false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLive(t)
			tc.arrange(l)
			l.settled()
			before := l.versions()
			for _, apply := range []bool{false, true} {
				out, err := l.moved(cli.MigrateOptions{Apply: apply})
				if !errors.Is(err, cli.ErrNotMoved) || !strings.Contains(out, tc.want) {
					t.Errorf("%v; %q is not in:\n%s", err, tc.want, out)
				}
			}
			l.same(before)
			if out, err := l.moved(cli.MigrateOptions{AcceptIncomplete: true}); (err == nil) != tc.accepted {
				t.Error(err, out)
			}
		})
	}
}

func (l *live) patch(kind, name, patch string) {
	l.Helper()
	for _, o := range l.objects {
		if o.GetKind() == kind && o.GetName() == name {
			if err := kube.Patch(l.Context(), l.now(o), client.RawPatch("application/json-patch+json", []byte(patch))); err != nil {
				l.Fatal(err)
			}
		}
	}
}

// Rights are asked for before anything is read or written.
func TestMigrateRights(t *testing.T) {
	l := newLive(t)
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := env.UserKubeconfig("mover", path); err != nil {
		t.Fatal(err)
	}
	c, err := cli.Config(path, "")
	if err != nil {
		t.Fatal(err)
	}
	l.settled()
	before := l.versions()
	_, err = l.movedBy(t.Context(), c, cli.MigrateOptions{Apply: true})
	if err == nil || !strings.Contains(err.Error(), "you may not do what a move takes: list deployments.apps; list daemonsets.apps; list services") {
		t.Error(err)
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "looker"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"get", "list"}},
		{APIGroups: []string{"fairlead.io"}, Resources: []string{"*"}, Verbs: []string{"create", "patch"}},
	}}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "looker"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "looker"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "mover"}}}
	for _, o := range []client.Object{role, binding} {
		if err := kube.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := kube.Delete(context.Background(), o); err != nil {
				t.Error(err)
			}
		})
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		_, err = l.movedBy(t.Context(), c, cli.MigrateOptions{Apply: true})
		if err != nil && strings.Contains(err.Error(), "you may not do what a move takes: update deployments.apps in namespace metallb-system; update daemonsets.apps in namespace metallb-system") {
			break
		}
		if time.Now().After(deadline) { // the API server learns of rights on its own time
			t.Fatal(err)
		}
	}
	l.same(before)
}

// Fairlead's namespace is deleted while it serves the cluster: the way back works all the same, while the namespace is going and after it.
func TestMigrateBackWithoutNamespace(t *testing.T) {
	l := newLive(t)
	specs, addresses := l.specs(), l.addresses()
	l.service("outside", nil, "203.0.113.9") // MetalLB takes it away, but all others have nobody
	system := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fairlead-system"}}
	for _, tc := range []struct {
		name string
		gone bool
	}{{"going", false}, {"gone", true}} {
		if out, err := l.moved(cli.MigrateOptions{Apply: true, AcceptIncomplete: true}); err != nil {
			t.Fatal(err, out)
		}
		l.deleteNamespace(system, tc.gone)
		out, err := l.moved(cli.MigrateOptions{Apply: true, Back: true, RemoveImported: true})
		if err != nil || !strings.Contains(out, "MetalLB is as it was. Fairlead is not installed in namespace fairlead-system.") || !strings.Contains(out, "there is no namespace fairlead-system to remember them in") ||
			!strings.Contains(out, "LOSS     Service default/outside has address 203.0.113.9, which lies in no pool of MetalLB's") {
			t.Fatal(tc.name, err, out)
		}
		l.sameSpecs(specs, tc.name)
		for name, want := range addresses {
			if now := l.addresses()[name]; now != want {
				t.Errorf("%s: Service %s has %s, and had %s", tc.name, name, now, want)
			}
		}
		l.finalize(system)
		prepare(t)
		l.install()
	}
}
