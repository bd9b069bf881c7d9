package bench

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/testenv"
	"fairlead.io/fairlead/internal/testnet"
	"fairlead.io/fairlead/test/interop"
	"fairlead.io/fairlead/test/process"
	"fairlead.io/fairlead/test/router"
)

const (
	namespace           = "fairlead-system"
	node                = "node1"
	hostASN, routersASN = 64512, 64513
)

// cluster is an API server, a node with a cable to a router of each make, and the controller.
type cluster struct {
	testing.TB
	client.Client
	root, kubeconfig string
	node             *testnet.Namespace
	routers          []*interop.BGPRouter
	wires            []*wire
	controller       int // its process
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{TB: t, node: testnet.Own(t), kubeconfig: filepath.Join(t.TempDir(), "kubeconfig")}
	c.node.SetLink("lo", true)
	env, err := testenv.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	if c.root, err = testenv.Root(); err != nil {
		t.Fatal(err)
	}
	if err := env.Kubeconfig(c.kubeconfig); err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := v1beta1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	config := rest.CopyConfig(env.Config)
	config.QPS = -1
	if c.Client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	c.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	c.create(&v1beta1.IPAddressPool{
		ObjectMeta: metav1.ObjectMeta{Name: "many"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"10.0.0.0/14"}},
	})
	c.create(&v1beta1.BGPAdvertisement{ObjectMeta: metav1.ObjectMeta{Name: "many"}})
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}
	c.create(n)
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.1.1"}}
	if err := c.Status().Update(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	for i, kind := range router.Kinds() {
		c.addRouter(i+1, kind)
	}
	c.peer("hole", "192.0.1.99") // nobody answers there, not even to ARP
	c.controller = c.start("fairlead-controller", "--namespace", namespace, "--leader-elect=false", "--metrics-bind-address=0", "--health-probe-bind-address=0")
	return c
}

func (c *cluster) addRouter(i int, kind router.Kind) {
	c.Helper()
	ns, ifname := testnet.New(c), fmt.Sprintf("eth%d", i)
	testnet.Connect(c.node, ifname, ns, "eth0")
	host, address := fmt.Sprintf("192.0.%d.1", i), fmt.Sprintf("192.0.%d.2", i)
	c.node.AddAddress(ifname, host+"/24")
	ns.AddAddress("eth0", address+"/24")
	r := interop.NewBGPRouter(c, ns, kind)
	r.Start(interop.BGPConfig{
		ASN: routersASN, HostASN: hostASN, RouterID: address, Host: netip.MustParseAddr(host), Port: 179, Hold: 90, IPv4: true,
	})
	c.routers = append(c.routers, r)
	c.wires = append(c.wires, newWire(c, ns))
	c.peer(string(kind), address)
}

func (c *cluster) peer(name, address string) {
	c.Helper()
	asn := int64(routersASN)
	c.create(&v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.BGPPeerSpec{
		MyASN: hostASN, PeerASN: &asn, PeerAddress: address, AddressFamilies: []v1beta1.AddressFamily{v1beta1.AddressFamilyIPv4},
	}})
}

func (c *cluster) create(obj client.Object) {
	c.Helper()
	if err := c.Create(c.Context(), obj); err != nil {
		c.Fatal(err)
	}
}

// start runs a program as it is built, and kills it when the test ends.
func (c *cluster) start(program string, args ...string) (pid int) {
	c.Helper()
	cmd := c.node.Command(context.Background(), filepath.Join(c.root, "bin", program), append(args, "--kubeconfig", c.kubeconfig)...)
	cmd.Env = append(os.Environ(), "NODE_NAME="+node)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()
		if c.Failed() {
			c.Logf("%s said:\n%s", program, &said)
		}
	})
	return cmd.Process.Pid
}

// service makes a Service with a ready endpoint.
func (c *cluster) service(name string) error {
	ready := true
	err := c.Create(c.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.244.0.2"}, NodeName: new(node), Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	})
	if err != nil {
		return err
	}
	return c.Create(c.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}},
			AllocateLoadBalancerNodePorts: new(false), // there are not as many node ports as that
		},
	})
}

// services makes n of them and waits until all have addresses.
func (c *cluster) services(n int) {
	c.Helper()
	numbers := make(chan int)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range numbers {
				if err := c.service(fmt.Sprintf("s-%d", i)); err != nil {
					c.Error(err)
				}
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	wg.Wait()
	interop.Until(c, 5*time.Minute, fmt.Sprintf("%d Services have addresses", n), func() string {
		var pool v1beta1.IPAddressPool
		if err := c.Get(c.Context(), client.ObjectKey{Name: "many"}, &pool); err != nil {
			return err.Error()
		}
		if pool.Status.IPv4.Assigned != int64(n) {
			return fmt.Sprintf("%d have", pool.Status.IPv4.Assigned)
		}
		return ""
	})
}

// received waits until each router, asked by its own tool, has that many routes.
func (c *cluster) received(n int) {
	c.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(2 * time.Minute)
	for _, r := range c.routers { // one after another: asking costs processor time too
		for got := r.Received(); got != n; got = r.Received() {
			if time.Now().After(deadline) {
				c.Fatalf("a router has %d routes, want %d", got, n)
			}
			<-tick.C
		}
	}
}

// address waits until a Service has one.
func (c *cluster) address(name string) netip.Addr {
	c.Helper()
	var svc corev1.Service
	interop.Until(c, time.Minute, "Service "+name+" has an address", func() string {
		if err := c.Get(c.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &svc); err != nil {
			return err.Error()
		}
		if len(svc.Status.LoadBalancer.Ingress) == 0 {
			return "it has none"
		}
		return ""
	})
	return netip.MustParseAddr(svc.Status.LoadBalancer.Ingress[0].IP)
}

// wire is what a router's cable brings of BGP.
type wire struct {
	mu     sync.Mutex
	frames []arrival
}

type arrival struct {
	at   time.Time
	data []byte
}

func newWire(t testing.TB, ns *testnet.Namespace) *wire {
	t.Helper()
	w := &wire{}
	var conn *packet.Conn
	ns.Do(func() error {
		// IPv4 without options, TCP, to port 179 or from it, all of it.
		filter, err := bpf.Assemble([]bpf.Instruction{
			bpf.LoadAbsolute{Off: 23, Size: 1}, bpf.JumpIf{Val: 6, SkipFalse: 5},
			bpf.LoadAbsolute{Off: 34, Size: 2}, bpf.JumpIf{Val: 179, SkipTrue: 2},
			bpf.LoadAbsolute{Off: 36, Size: 2}, bpf.JumpIf{Val: 179, SkipFalse: 1},
			bpf.RetConstant{Val: 1 << 16}, bpf.RetConstant{Val: 0},
		})
		if err != nil {
			return err
		}
		eth0, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, err = packet.Listen(eth0, packet.Raw, 0x0800, &packet.Config{Filter: filter})
		return err
	})
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		for buf := make([]byte, 1<<16); ; {
			n, _, err := conn.ReadFrom(buf)
			if err != nil {
				return // closed
			}
			now := time.Now()
			w.mu.Lock()
			w.frames = append(w.frames, arrival{now, slices.Clone(buf[:n])})
			w.mu.Unlock()
		}
	}()
	return w
}

// forget what has come.
func (w *wire) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frames = nil
}

// brought says when a host route came, as it is written in an UPDATE (RFC 4271, 4.3); zero: it did not.
func (w *wire) brought(addr netip.Addr) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := addr.As4()
	nlri := append([]byte{32}, b[:]...)
	for _, f := range w.frames {
		if bytes.Contains(f.data, nlri) {
			return f.at
		}
	}
	return time.Time{}
}

// atRest is when the programs have returned what only their start took.
const atRest = 15 * time.Second

// figures of many Services.
type figures struct {
	all time.Duration // from the speaker's start until all routes are at all routers
	// Of each Service more: how long the API server took to make it, which grows with the number of Services (it counts all their cluster
	// addresses each time), and how long from then on until its route was at all routers, with the controller's part; sorted.
	made, one []time.Duration
	cpu       time.Duration // the speaker's, until all routes are there
	// memory of speaker and controller at rest, MiB.
	memory func() (speaker, controller float64)
}

// advertise starts a speaker in a cluster with n Services, and then makes more, one after another.
func advertise(t testing.TB, n, more int) (f figures) {
	t.Helper()
	c := newCluster(t)
	c.services(n)
	began := time.Now()
	speaker := c.start("fairlead-speaker", "--namespace", namespace, "--metrics-bind-address=0", "--health-probe-bind-address=0", "--dataplane-health-url=")
	c.received(n)
	f.all, f.cpu = time.Since(began), c.cpu(speaker)
	for i := range more {
		for _, w := range c.wires {
			w.forget()
		}
		name := fmt.Sprintf("more-%d", i)
		began := time.Now()
		if err := c.service(name); err != nil {
			t.Fatal(err)
		}
		made := time.Now()
		f.made = append(f.made, made.Sub(began))
		addr := c.address(name)
		var last time.Time
		interop.Until(t, time.Minute, fmt.Sprintf("the route to %s is at all routers", addr), func() string {
			for i, w := range c.wires {
				at := w.brought(addr)
				if at.IsZero() {
					return fmt.Sprintf("it is not at router %d", i+1)
				}
				if at.After(last) {
					last = at
				}
			}
			return ""
		})
		f.one = append(f.one, last.Sub(made))
	}
	slices.Sort(f.made)
	slices.Sort(f.one)
	c.received(n + more)
	f.memory = func() (float64, float64) {
		<-time.After(time.Until(began.Add(atRest)))
		return c.resident(speaker), c.resident(c.controller)
	}
	for i, r := range c.routers {
		if ups := r.Details().Ups; ups > 1 {
			t.Errorf("router %d had its session established %d times, want once", i+1, ups)
		}
	}
	return f
}

// TestServices: the routes of Services come to routers of three makes although a fourth never answers, and so does each one more.
func TestServices(t *testing.T) {
	f := advertise(t, 200, 20)
	t.Logf("at all routers after %s, one more after %s, at most %s", f.all.Round(time.Millisecond), f.one[len(f.one)/2].Round(time.Millisecond), f.one[len(f.one)-1].Round(time.Millisecond))
}

// BenchmarkServices is how long the routes of many Services take from the speaker's start to three routers, and that of each one more from
// when the API server has made it, with the controller's part.
func BenchmarkServices(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			for b.Loop() {
				f := advertise(b, n, 200)
				b.ReportMetric(f.all.Seconds(), "s-to-all-routers")
				b.ReportMetric(f.one[len(f.one)/2].Seconds()*1000, "ms-one-more-median")
				b.ReportMetric(f.one[len(f.one)*99/100].Seconds()*1000, "ms-one-more-p99")
				b.ReportMetric(f.made[len(f.made)/2].Seconds()*1000, "ms-to-make-median")
				b.ReportMetric(f.made[len(f.made)*99/100].Seconds()*1000, "ms-to-make-p99")
				b.ReportMetric(f.cpu.Seconds(), "cpu-s")
				speaker, controller := f.memory()
				b.ReportMetric(speaker, "MiB-speaker")
				b.ReportMetric(controller, "MiB-controller")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// cpu time of a process.
func (c *cluster) cpu(pid int) time.Duration {
	c.Helper()
	used, err := process.CPU(pid)
	if err != nil {
		c.Fatal(err)
	}
	return used
}

// resident memory of a process, in MiB.
func (c *cluster) resident(pid int) float64 {
	c.Helper()
	bytes, err := process.Resident(pid)
	if err != nil {
		c.Fatal(err)
	}
	return float64(bytes) / (1 << 20)
}
