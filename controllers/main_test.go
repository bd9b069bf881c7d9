package controllers_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/controllers"
	"fairlead.io/fairlead/internal/testenv"
	"fairlead.io/fairlead/test/process"
)

// What TestMain makes once for all tests: the server, a client of it, and the program as users run it.
var (
	env        *testenv.Env
	kube       client.Client
	program    string
	kubeconfig string
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "fairlead-controllers-")
	if err != nil {
		panic(err)
	}
	code := testenv.Main(m, func(e *testenv.Env) {
		env = e
		program, kubeconfig = filepath.Join(dir, "fairlead-controller"), filepath.Join(dir, "kubeconfig")
		if out, err := exec.Command("go", append(append([]string{"build"}, buildArgs()...), "-o", program,
			"fairlead.io/fairlead/cmd/fairlead-controller")...).CombinedOutput(); err != nil {
			panic(fmt.Sprintf("build the controller: %v\n%s", err, out))
		}
		if err := e.Kubeconfig(kubeconfig); err != nil {
			panic(err)
		}
		c := rest.CopyConfig(e.Config)
		c.QPS = -1
		if kube, err = client.New(c, client.Options{Scheme: controllers.NewScheme()}); err != nil {
			panic(err)
		}
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fairlead-system"}}
		if err := kube.Create(context.Background(), ns); err != nil {
			panic(err)
		}
	})
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// controller is a running program.
type controller struct {
	t   testing.TB
	cmd *exec.Cmd
	out *buffer
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// run the program, alone unless it is told to elect a leader, until the test ends.
func run(t testing.TB, args ...string) *controller {
	t.Helper()
	c := &controller{t: t, out: &buffer{}}
	c.cmd = exec.Command(program, append([]string{"--kubeconfig", kubeconfig, "--metrics-bind-address", "0",
		"--health-probe-bind-address", "0", "--leader-elect=false"}, args...)...)
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.kill()
		if strings.Contains(c.out.String(), "DATA RACE") || strings.Contains(c.out.String(), "panic") {
			t.Error("the controller has a data race or panics")
		}
		if t.Failed() {
			t.Logf("controller:\n%s", c.out)
		}
	})
	return c
}

func (c *controller) kill() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Kill() // it may have ended by itself
		_ = c.cmd.Wait()
	}
}

func (c *controller) stop() {
	c.t.Helper()
	if err := c.cmd.Process.Signal(os.Interrupt); err != nil {
		c.t.Fatal(err)
	}
	if err := c.cmd.Wait(); err != nil {
		c.t.Fatalf("the controller ended with %v", err)
	}
}

// logs waits until the program has said something: it says what it did after it did it.
func logs(t testing.TB, c *controller, what string) {
	t.Helper()
	eventually(t, "it says "+strconv.Quote(what), func() string {
		if out := c.out.String(); !strings.Contains(out, what) {
			return "it says: " + out
		}
		return ""
	})
}

// leads waits until the program has taken over what is assigned.
func leads(t testing.TB, c *controller) {
	t.Helper()
	logs(t, c, "Took over what is assigned")
}

// standsBy waits until the program waits for the lease.
func standsBy(t testing.TB, c *controller) {
	t.Helper()
	logs(t, c, "ttempting to acquire leader lease")
}

// metricsAddress is where the program serves its metrics; it was told to take any port.
func metricsAddress(t testing.TB, c *controller) string {
	t.Helper()
	var addr string
	eventually(t, "it serves metrics", func() string {
		list, err := process.Listening(c.cmd.Process.Pid)
		if err != nil || len(list) != 1 {
			return fmt.Sprint("it listens on ", list, err)
		}
		addr = list[0].String()
		return ""
	})
	return addr
}

// admin is a client for the kinds that the controller does not read.
func admin(t testing.TB) client.Client {
	t.Helper()
	c, err := client.New(env.Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// cpu time that the program has used.
func (c *controller) cpu(tb testing.TB) time.Duration {
	tb.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
	if err != nil {
		tb.Fatal(err)
	}
	// After the name in parentheses come state and, as 12th and 13th, user and system time in ticks of 10 ms.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err := errors.Join(err1, err2); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// memory that the program has resident, in bytes.
func (c *controller) memory(tb testing.TB) int {
	tb.Helper()
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", c.cmd.Process.Pid))
	if err != nil {
		tb.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(statm))[1])
	if err != nil {
		tb.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// eventually waits for a condition, which says what it still misses. How fast something is, it does not tell: a standby takes over 12 s after its leader
// was killed, and that is where nothing else keeps the processors busy.
func eventually(t testing.TB, what string, f func() string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		missing := f()
		if missing == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s", what, missing)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func create(t testing.TB, o client.Object) {
	t.Helper()
	if err := kube.Create(t.Context(), o); err != nil {
		t.Fatalf("create %s: %v", o.GetName(), err)
	}
}

// namespace for one test, and the end of everything in it and of all pools when the test ends.
func namespace(t testing.TB) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "t-"}}
	create(t, ns)
	t.Cleanup(func() {
		removeServices(t, ns.Name)
		removePools(t)
	})
	return ns.Name
}

// removeServices of a namespace, some at a time: thousands in one request take a busy API server longer than it gives one.
func removeServices(t testing.TB, ns string) {
	t.Helper()
	const some = 200
	for range len(services(t, ns))/some + 1 {
		o := &client.DeleteAllOfOptions{ListOptions: client.ListOptions{Namespace: ns, Limit: some}}
		if err := kube.DeleteAllOf(context.Background(), &corev1.Service{}, o); err != nil {
			t.Error(err)
		}
	}
}

// removePools whether they are in use or not.
func removePools(t testing.TB) {
	t.Helper()
	ctx := context.Background()
	var pools v1beta1.IPAddressPoolList
	if err := kube.List(ctx, &pools); err != nil {
		t.Error(err)
	}
	for i := range pools.Items {
		p := &pools.Items[i]
		// In this order: a pool that is not being deleted gets its finalizer back at once.
		if err := kube.Delete(ctx, p); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
		if err := kube.Patch(ctx, p, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`))); client.IgnoreNotFound(err) != nil {
			t.Error(err)
		}
	}
}

func services(t testing.TB, ns string) []corev1.Service {
	t.Helper()
	var list corev1.ServiceList
	if err := kube.List(context.Background(), &list, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func newPool(name string, addresses ...string) *v1beta1.IPAddressPool {
	p := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, a := range addresses {
		p.Spec.Addresses = append(p.Spec.Addresses, v1beta1.AddressRange(a))
	}
	return p
}

func newService(ns, name string, change ...func(*corev1.Service)) *corev1.Service {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Annotations: map[string]string{}},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Selector: map[string]string{"app": "web"},
			Ports: []corev1.ServicePort{{Port: 80}}},
	}
	for _, c := range change {
		c(svc)
	}
	return svc
}

func annotated(key, value string) func(*corev1.Service) {
	return func(svc *corev1.Service) { svc.Annotations[key] = value }
}

func get(t testing.TB, ns, name string) *corev1.Service {
	t.Helper()
	var svc corev1.Service
	if err := kube.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: name}, &svc); err != nil {
		t.Fatal(err)
	}
	return &svc
}

func getPool(t testing.TB, name string) *v1beta1.IPAddressPool {
	t.Helper()
	var p v1beta1.IPAddressPool
	if err := kube.Get(t.Context(), client.ObjectKey{Name: name}, &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

func ips(svc *corev1.Service) string {
	var list []string
	for _, i := range svc.Status.LoadBalancer.Ingress {
		list = append(list, i.IP)
	}
	return strings.Join(list, " ")
}

func condition(svc *corev1.Service, kind string) metav1.Condition {
	if c := meta.FindStatusCondition(svc.Status.Conditions, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}

// hasAddress waits until the Service shows the addresses.
func hasAddress(t *testing.T, ns, name, want string) *corev1.Service {
	t.Helper()
	var svc *corev1.Service
	eventually(t, name+" gets "+want, func() string {
		svc = get(t, ns, name)
		if got := ips(svc); got != want {
			return fmt.Sprintf("it has %q, %+v", got, condition(svc, v1beta1.ConditionAddressAssigned))
		}
		return ""
	})
	return svc
}

// pending waits until the Service shows why it is given nothing.
func pending(t *testing.T, ns, name, reason, message string) *corev1.Service {
	t.Helper()
	var svc *corev1.Service
	eventually(t, name+" waits for "+reason, func() string {
		svc = get(t, ns, name)
		c := condition(svc, v1beta1.ConditionAddressAssigned)
		if c.Reason != reason || !strings.Contains(c.Message, message) || c.Status != metav1.ConditionFalse {
			return fmt.Sprintf("%+v", c)
		}
		return ""
	})
	return svc
}

func poolReady(t *testing.T, name, reason string) *v1beta1.IPAddressPool {
	t.Helper()
	var p *v1beta1.IPAddressPool
	eventually(t, "pool "+name+" is "+reason, func() string {
		p = getPool(t, name)
		c := meta.FindStatusCondition(p.Status.Conditions, v1beta1.ConditionReady)
		if c == nil || c.Reason != reason {
			return fmt.Sprintf("%+v", p.Status)
		}
		return ""
	})
	return p
}

// unique fails where two Services show one address.
func unique(t testing.TB, list []corev1.Service) {
	t.Helper()
	owner := map[string]string{}
	for i := range list {
		for _, ip := range strings.Fields(ips(&list[i])) {
			if other, ok := owner[ip]; ok {
				t.Fatalf("%s is given to %s and %s", ip, other, list[i].Name)
			}
			owner[ip] = list[i].Name
		}
	}
}

func update(t *testing.T, ns, name string, change func(*corev1.Service)) {
	t.Helper()
	for {
		svc := get(t, ns, name)
		change(svc)
		err := kube.Update(t.Context(), svc)
		if err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			t.Fatal(err)
		}
	}
}

func names(list []corev1.Service, which func(*corev1.Service) bool) []string {
	var out []string
	for i := range list {
		if which(&list[i]) {
			out = append(out, list[i].Name)
		}
	}
	slices.Sort(out)
	return out
}

// cleanup is the context of what runs after the test's own has ended.
func cleanup() context.Context { return context.Background() }
