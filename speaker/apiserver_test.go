package speaker

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/service"
	"fairlead.io/fairlead/internal/testenv"
	"fairlead.io/fairlead/l2/announce"
	"fairlead.io/fairlead/l2/membership"
	"fairlead.io/fairlead/l2/netif"
)

const namespace = "fairlead-system"

// patience is how long what must happen may take. What a speaker cannot write it tries again after up to 10 s, for up to 10 s, and other packages'
// tests may keep all processors busy: it is no measure of anything.
const patience = time.Minute

// apiServer is the real one, with Fairlead's CRDs, one for the package.
var apiServer struct {
	config *rest.Config
	pid    int
}

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	os.Exit(withAPIServer(m))
}

func withAPIServer(m *testing.M) int {
	before := children("kube-apiserver")
	env, err := testenv.Start()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	apiServer.config = env.Config
	for pid := range children("kube-apiserver") {
		if !before[pid] {
			apiServer.pid = pid
		}
	}
	code := m.Run()
	if err := env.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// With the API server gone its clients' connections end too, so that none of them has to be left out. That may take a moment.
	for deadline := time.Now().Add(patience); ; {
		err := goleak.Find()
		if err == nil {
			return code
		}
		if time.Now().After(deadline) {
			fmt.Fprintln(os.Stderr, "goroutines that outlive the speakers:", err)
			return 1
		}
	}
}

// children are this process's children that run a program.
func children(program string) map[int]bool {
	found := map[int]bool{}
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return found
	}
	for _, list := range lists {
		raw, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for field := range strings.FieldsSeq(string(raw)) {
			comm, err := os.ReadFile("/proc/" + field + "/comm")
			if pid, e := strconv.Atoi(field); e == nil && err == nil && strings.TrimSpace(string(comm)) == program {
				found[pid] = true
			}
		}
	}
	return found
}

// pauseAPIServer stops the API server's process, as if the control plane were gone, and returns what resumes it.
func pauseAPIServer(t *testing.T) (resume func()) {
	t.Helper()
	if apiServer.pid == 0 {
		t.Fatal("the API server's process was not found")
	}
	if err := syscall.Kill(apiServer.pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	resume = func() {
		once.Do(func() {
			if err := syscall.Kill(apiServer.pid, syscall.SIGCONT); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(resume)
	return resume
}

// cluster is a client, and speakers on nodes of one test.
type cluster struct {
	client.Client
	t        *testing.T
	speakers map[string]*running
}

// running is one speaker with faked interfaces, and what it sends.
type running struct {
	*Speaker
	stop, kill context.CancelFunc
	ended      chan error
	port       *recorder
}

// recorder is a Port that counts what is announced, and on whose network a host outside the cluster may have an address.
type recorder struct {
	mu        sync.Mutex
	announced map[netip.Addr]int
	handler   announce.Handler
	stranger  netip.Addr // that he has; invalid: he has none
}

func (r *recorder) Announce(a netip.Addr) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.announced[a]++
	return nil
}

func (r *recorder) count(a netip.Addr) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.announced[a]
}

// Probe is answered by the stranger.
func (r *recorder) Probe(a netip.Addr) error {
	r.mu.Lock()
	handler, has := r.handler, r.stranger == a
	r.mu.Unlock()
	if has {
		handler.Claimed("eth0", a, netif.MAC{2, 0, 0, 0, 0, 0x66})
	}
	return nil
}

func (r *recorder) setStranger(a netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stranger = a
}

func (*recorder) Join(netip.Addr) error  { return nil }
func (*recorder) Leave(netip.Addr) error { return nil }
func (*recorder) Close() error           { return nil }

// newCluster makes what every test needs; all of it is removed at the end.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(apiServer.config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	k := &cluster{Client: c, t: t, speakers: map[string]*running{}}
	if err := c.Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
	k.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: DefaultGossipSecret},
		Data: map[string][]byte{GossipKey: []byte(strings.Repeat("k", 32))}})
	k.create(&v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "pool"},
		Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"192.168.100.240-192.168.100.249", "fd00:100::240-fd00:100::249"}}})
	return k
}

func (k *cluster) create(o client.Object) {
	k.t.Helper()
	if err := k.Create(context.Background(), o); err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() {
		if err := k.Delete(context.Background(), o, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
			k.t.Error(err)
		}
	})
}

// node makes a Node.
func (k *cluster) node(name string) *corev1.Node {
	k.t.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/hostname": name}}}
	k.create(n)
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
	if err := k.Status().Update(context.Background(), n); err != nil {
		k.t.Fatal(err)
	}
	return n
}

// service makes a Service of type LoadBalancer with addresses and endpoints on the named nodes.
func (k *cluster) service(name string, addrs, nodes []string, change ...func(*corev1.Service)) *corev1.Service {
	k.t.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}}}
	for _, f := range change {
		f(s)
	}
	k.create(s)
	for _, a := range addrs {
		s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a})
	}
	if err := k.Status().Update(context.Background(), s); err != nil {
		k.t.Fatal(err)
	}
	k.endpoints(name, nodes)
	return s
}

// endpoints makes, or replaces, the endpoints of a Service.
func (k *cluster) endpoints(name string, nodes []string) {
	k.t.Helper()
	for _, f := range []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6} {
		s := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name + strings.ToLower(string(f)),
			Labels: map[string]string{discoveryv1.LabelServiceName: name}}, AddressType: f}
		for i, n := range nodes {
			a := fmt.Sprintf("10.1.0.%d", i+1)
			if f == discoveryv1.AddressTypeIPv6 {
				a = fmt.Sprintf("fd01::%d", i+1)
			}
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a}, NodeName: &n})
		}
		if err := k.Delete(context.Background(), s.DeepCopy()); client.IgnoreNotFound(err) != nil {
			k.t.Fatal(err)
		}
		k.create(s)
	}
}

// speaker runs a speaker for a Node.
func (k *cluster) speaker(name string, change ...func(*Options)) *running {
	k.t.Helper()
	opts := Options{
		NodeName: name, Namespace: namespace, Class: service.Class{Name: v1beta1.DefaultLoadBalancerClass},
		GossipSecret: DefaultGossipSecret, DrainTime: patience,
		GossipProfile: membership.LAN, // with Fast, who gets no processor for a moment is dead
		Interfaces:    []netif.Interface{{Name: "eth0", Index: 1, MAC: netif.MAC{2, 0, 0, 0, 0, byte(len(k.speakers) + 1)}}},
		Registerer:    prometheus.NewRegistry(), Log: logr.Discard(),
	}
	r := &running{port: &recorder{announced: map[netip.Addr]int{}}, ended: make(chan error, 1)}
	opts.Announce.HandOver = 500 * time.Millisecond
	opts.Announce.Open = func(_ netif.Interface, h announce.Handler) (announce.Port, error) {
		r.port.mu.Lock()
		defer r.port.mu.Unlock()
		r.port.handler = h
		return r.port, nil
	}
	for _, f := range change {
		f(&opts)
	}
	mo, err := ManagerOptions(context.Background(), apiServer.config, &opts)
	if err != nil {
		k.t.Fatal(err)
	}
	mo.Metrics = metricsserver.Options{BindAddress: "0"}
	mgr, err := ctrl.NewManager(apiServer.config, mo)
	if err != nil {
		k.t.Fatal(err)
	}
	if r.Speaker, err = New(mgr, opts); err != nil {
		k.t.Fatal(err)
	}
	ctx, kill := context.WithCancel(context.Background())
	stop, cancel := context.WithCancel(ctx)
	r.stop, r.kill = cancel, kill
	go func() { r.ended <- r.run(ctx, stop) }()
	k.speakers[name] = r
	k.t.Cleanup(func() {
		kill()
		select {
		case err := <-r.ended:
			if err != nil {
				k.t.Error(err)
			}
		case <-time.After(patience):
			k.t.Errorf("speaker %s does not end", name)
		}
		sp := &v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := k.Delete(context.Background(), sp); client.IgnoreNotFound(err) != nil {
			k.t.Error(err)
		}
	})
	return r
}

// owners are the speakers that own an address.
func (k *cluster) owners(addr string) string {
	var names []string
	for name, r := range k.speakers {
		for _, o := range r.announcer.Owned() {
			if o.Addr == netip.MustParseAddr(addr) {
				names = append(names, name)
			}
		}
	}
	return strings.Join(names, ",")
}

// eventually waits until a condition holds.
func (k *cluster) eventually(what string, ok func() bool) {
	k.t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for deadline := time.After(patience); !ok(); {
		select {
		case <-deadline:
			k.t.Fatalf("not so within %s: %s", patience, what)
		case <-look.C:
		}
	}
}
