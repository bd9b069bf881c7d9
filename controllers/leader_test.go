package controllers_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/controllers"
	"fairlead.io/fairlead/internal/testenv"
)

// limitedUser may do what config/rbac allows the controller, and nothing else. The rules are what that is.
func limitedUser(t *testing.T) (kubeconfig string, rules []rbacv1.PolicyRule) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := rbacv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(env.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(root, "config", "rbac", "controller_role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	who := []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: "limited"}}
	for i, doc := range bytes.Split(raw, []byte("\n---\n")) {
		var o, binding client.Object
		role := &rbacv1.ClusterRole{}
		namespaced := &rbacv1.Role{}
		if i == 0 {
			o, binding = role, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "limited"}, Subjects: who,
				RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "fairlead-controller"}}
		} else {
			o, binding = namespaced, &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "limited", Namespace: "fairlead-system"}, Subjects: who,
				RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "fairlead-controller"}}
		}
		if err := yaml.UnmarshalStrict(doc, o); err != nil {
			t.Fatal(err)
		}
		rules = append(append(rules, role.Rules...), namespaced.Rules...)
		for _, x := range []client.Object{o, binding} {
			if err := c.Create(t.Context(), x); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := c.Delete(cleanup(), x); err != nil {
					t.Error(err)
				}
			})
		}
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := env.UserKubeconfig("limited", path); err != nil {
		t.Fatal(err)
	}
	return path, rules
}

// exactlyUsed waits until every right was made use of: the API server logs a request when it has answered it.
func exactlyUsed(t *testing.T, user string, rules []rbacv1.PolicyRule) {
	t.Helper()
	eventually(t, "the controller uses all that config/rbac/controller_role.yaml allows", func() string {
		used, err := env.Used(user)
		if err != nil {
			return err.Error()
		}
		var not []string
		for _, rule := range rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						// An event is patched when it happens again within minutes, which nothing here does.
						if resource == "events" && verb == "patch" {
							continue
						}
						if verb == "list" {
							verb = "watch" // an API server that can streams the list as the beginning of the watch
						}
						if !used[testenv.Use{Verb: verb, Group: group, Resource: resource}] {
							not = append(not, fmt.Sprintf("it does not use %s on %s of group %q", verb, resource, group))
						}
					}
				}
			}
		}
		return strings.Join(not, "; ")
	})
}

// lease of the controllers.
func lease(t *testing.T) *coordinationv1.Lease {
	t.Helper()
	var l coordinationv1.Lease
	if err := admin(t).Get(t.Context(), client.ObjectKey{Namespace: "fairlead-system", Name: "fairlead-controller"}, &l); err != nil {
		t.Fatal(err)
	}
	if l.Spec.HolderIdentity == nil || l.Spec.LeaseDurationSeconds == nil {
		t.Fatalf("the lease is %+v", l.Spec)
	}
	return &l
}

// noLease is there of another test, if it was first, whose leader was killed.
func noLease(t *testing.T) {
	t.Helper()
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "fairlead-system", Name: "fairlead-controller"}}
	if err := client.IgnoreNotFound(admin(t).Delete(t.Context(), l)); err != nil {
		t.Fatal(err)
	}
}

// Two replicas with exactly the rights of config/rbac, all of which they use: the standby takes over at once when the leader is stopped, and soon when it
// is killed, and gives nothing out twice.
func TestTwoReplicas(t *testing.T) {
	ns := namespace(t)
	create(t, newPool("web", "192.168.100.240-192.168.100.249"))
	// The leader makes both anew.
	noLease(t)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "fairlead-system", Name: controllers.GossipSecret}}
	if err := client.IgnoreNotFound(admin(t).Delete(t.Context(), secret)); err != nil {
		t.Fatal(err)
	}
	limited, rules := limitedUser(t)
	advertisement(t, "all", nil)
	routes, peer := bgpAdvertisement("all"), bgpPeer("tor", "192.168.100.1")
	profile, alias := &v1beta1.BFDProfile{ObjectMeta: metav1.ObjectMeta{Name: "fast"}}, &v1beta1.Community{ObjectMeta: metav1.ObjectMeta{Name: "alias"}}
	for _, o := range []client.Object{routes, peer, profile, alias} {
		temporary(t, o)
	}
	replica := func(args ...string) *controller {
		return run(t, append([]string{"--kubeconfig", limited, "--leader-elect=true"}, args...)...)
	}
	a := replica("--metrics-bind-address", "127.0.0.1:0")
	leads(t, a)
	metrics := metricsAddress(t, a)
	nobody, err := env.Token(t.Context(), ns, "nobody")
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "metrics are not for everybody", func() string {
		if code, body, err := testenv.Scrape(t.Context(), metrics, nobody); code != http.StatusForbidden {
			return fmt.Sprint(code, body, err)
		}
		return ""
	})
	b := replica()
	for i := range 3 {
		create(t, newService(ns, fmt.Sprintf("before-%d", i)))
		hasAddress(t, ns, fmt.Sprintf("before-%d", i), fmt.Sprintf("192.168.100.%d", 240+i))
	}
	standsBy(t, b)

	// How long it takes depends on who else uses the processors; what it waits for does not.
	before := lease(t)
	start := time.Now()
	a.stop()
	if now := lease(t); *now.Spec.HolderIdentity == *before.Spec.HolderIdentity {
		t.Error("a leader that was stopped keeps the lease: the standby would wait until it expires")
	}
	leads(t, b)
	t.Logf("taking over from a stopped leader took %s", time.Since(start))
	create(t, newService(ns, "after-stop"))
	hasAddress(t, ns, "after-stop", "192.168.100.243")

	c := replica()
	standsBy(t, c)
	start = time.Now()
	b.kill()
	leads(t, c)
	t.Logf("taking over from a killed leader took %s", time.Since(start))
	if s := *before.Spec.LeaseDurationSeconds; s > 10 {
		t.Errorf("a leader that was killed is respected for %d s, want 10 s at most, and up to 1.7 s until the standby looks again", s)
	}
	create(t, newService(ns, "after-kill"))
	hasAddress(t, ns, "after-kill", "192.168.100.244")
	for i := range 3 {
		hasAddress(t, ns, fmt.Sprintf("before-%d", i), fmt.Sprintf("192.168.100.%d", 240+i))
	}
	unique(t, services(t, ns))
	if err := kube.Delete(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "after-kill"}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pool counts", func() string {
		if p := getPool(t, "web"); p.Status.IPv4.Assigned != 4 || len(p.Finalizers) != 1 {
			return fmt.Sprintf("%+v", p.Status)
		}
		return ""
	})
	accepted(t, "all", metav1.ConditionTrue, v1beta1.ReasonAccepted, "")
	for _, o := range []client.Object{routes, peer, profile, alias} {
		acceptedAs(t, o, v1beta1.ReasonAccepted, "")
	}
	if err := kube.Delete(t.Context(), getPool(t, "web")); err != nil {
		t.Fatal(err)
	}
	poolReady(t, "web", v1beta1.ReasonDeleting) // and it has been asked if its kind goes
	exactlyUsed(t, "limited", rules)
	for _, x := range []*controller{a, b, c} {
		if strings.Contains(x.out.String(), "forbidden") {
			t.Errorf("config/rbac/controller_role.yaml lacks a right:\n%s", x.out)
		}
	}
}
