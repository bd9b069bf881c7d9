package monitoring

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/controllers"
	"fairlead.io/fairlead/internal/testenv"
	"fairlead.io/fairlead/internal/testnet"
)

const namespace = "fairlead-system"

// The API server and the programs are in a network namespace of their own, and reach each other over loopback.
func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	testnet.Main(m)
}

// design is what the plan of the project promises, and users build upon.
var design = []string{
	"fairlead_build_info gauge {commit,goversion,version}",
	"fairlead_ipam_addresses gauge {family,pool,state}",
	"fairlead_ipam_allocations_total counter {pool,result}",
	"fairlead_ipam_pending_services gauge {}",
	"fairlead_l2_owned_addresses gauge {}",
	"fairlead_l2_requests_received_total counter {protocol}",
	"fairlead_l2_responses_sent_total counter {protocol}",
	"fairlead_l2_gratuitous_sent_total counter {protocol}",
	"fairlead_l2_failovers_total counter {}",
	"fairlead_l2_address_conflicts_total counter {}",
	"fairlead_l2_failover_detection_seconds histogram {}",
	"fairlead_bgp_session_up gauge {peer}",
	"fairlead_bgp_routes_advertised gauge {peer}",
	"fairlead_bgp_updates_total counter {peer}",
	"fairlead_bfd_session_up gauge {peer}",
	"fairlead_config_object_accepted gauge {kind,name}",
}

// All programs are built as make does, with a version.
func TestPrograms(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-ldflags", "-s -w -X fairlead.io/fairlead/internal/version.Version=v0.0.1-test -X fairlead.io/fairlead/internal/version.Commit=0123abc",
		"-o", dir, "fairlead.io/fairlead/cmd/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the programs: %v\n%s", err, out)
	}
	t.Run("Version", func(t *testing.T) { testVersion(t, dir) })
	t.Run("Metrics", func(t *testing.T) { testMetrics(t, dir) })
}

// The programs, with the rights of config/rbac, serve what is documented, all of it and nothing else, and to those alone who may read it.
func testMetrics(t *testing.T, programs string) {
	testnet.Own(t).SetLink("lo", true)
	env, err := testenv.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Error(err)
		}
	})
	ctx := t.Context()
	populate(ctx, t, env)
	reader, err := env.MetricsToken(ctx, namespace, "reader")
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := env.Token(ctx, namespace, "nobody")
	if err != nil {
		t.Fatal(err)
	}
	// The network namespace has no other user, and ports that are given to who wants any are higher.
	addresses := map[string]string{"fairlead-controller": "127.0.0.1:9790", "fairlead-speaker": "127.0.0.1:9791"}
	for program, args := range map[string][]string{
		"fairlead-controller": {"--leader-elect=false"},
		"fairlead-speaker": {"--node-name", "node1", "--gossip-bind-address", "127.0.0.1", "--interfaces-exclude", ".*", "--dataplane-health-url", "",
			"--drain-time", "0s"},
	} {
		start(t, env, filepath.Join(programs, program), append(args, "--metrics-bind-address", addresses[program], "--health-probe-bind-address", "0"))
	}
	documented, err := Documented(moduleRoot(t))
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]bool{}
	for program, addr := range addresses {
		var missing, surplus []string
		within(t, program+" serves what docs/metrics.md says", func() string {
			code, body, err := testenv.Scrape(ctx, addr, reader)
			if code != http.StatusOK {
				return fmt.Sprint(code, body, err)
			}
			have := families(t, body)
			for _, m := range have {
				served[m] = true
			}
			want := map[string]bool{}
			for _, m := range documented[program] {
				want[m.String()] = true
			}
			missing, surplus = nil, nil
			for _, m := range have {
				if !want[m] {
					surplus = append(surplus, m)
				}
				delete(want, m)
			}
			if missing = slices.Sorted(maps.Keys(want)); len(missing)+len(surplus) > 0 {
				return fmt.Sprintf("it does not serve %q, and serves %q, which is not there", missing, surplus)
			}
			return ""
		})
		for who, c := range map[string]struct {
			token string
			code  int
		}{"nobody in particular": {"", 401}, "a token that was made up": {"made-up", 401}, "an account without the right": {nobody, 403}, "a reader": {reader, 200}} {
			code, body, err := testenv.Scrape(ctx, addr, c.token)
			if err != nil || code != c.code || strings.Contains(body, "fairlead_build_info") != (c.code == 200) {
				t.Errorf("%s answers %s with %d, want %d: %v", program, who, code, c.code, err)
			}
		}
		resp, err := http.Get("http://" + addr + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s answers HTTP with %d, %v", program, resp.StatusCode, err)
		}
	}
	for _, m := range design {
		if !served[m] {
			t.Errorf("%s is in the plan, and no program serves it", m)
		}
	}
}

// populate the cluster so that there is something for each metric to say.
func populate(ctx context.Context, t *testing.T, env *testenv.Env) {
	t.Helper()
	kube, err := client.New(env.Config, client.Options{Scheme: controllers.NewScheme()})
	if err != nil {
		t.Fatal(err)
	}
	admin, err := client.New(env.Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node1"}}
	objects := []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, node,
		&v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"203.0.113.0/28"}}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}}},
		&v1beta1.BFDProfile{ObjectMeta: metav1.ObjectMeta{Name: "fast"}},
		&v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: "tor"}, Spec: v1beta1.BGPPeerSpec{MyASN: 64512, PeerASN: new(int64(64513)), PeerAddress: "127.0.0.2", BFDProfile: "fast"}},
		&v1beta1.BGPAdvertisement{ObjectMeta: metav1.ObjectMeta{Name: "all"}},
	}
	lost := &v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: "node2"}}
	for _, o := range append(objects, lost) {
		if err := admin.Create(ctx, o); err != nil && kube.Create(ctx, o) != nil {
			t.Fatalf("create %s: %v", o.GetName(), err)
		}
	}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
	node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	if err := admin.Status().Update(ctx, node); err != nil {
		t.Fatal(err)
	}
	lost.Status.GossipAddress = "127.0.0.3:9792"
	if err := kube.Status().Update(ctx, lost); err != nil {
		t.Fatal(err)
	}
	rbac := []string{"service_accounts.yaml", "controller_role.yaml", "speaker_role.yaml", "bindings.yaml"}
	for _, name := range rbac {
		if err := env.Apply(ctx, filepath.Join("config", "rbac", name)); err != nil {
			t.Fatal(err)
		}
	}
}

// start a program as its ServiceAccount, until the test ends.
func start(t *testing.T, env *testenv.Env, program string, args []string) {
	t.Helper()
	token, err := env.Token(t.Context(), namespace, filepath.Base(program))
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := env.TokenKubeconfig(token, kubeconfig); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, append(args, "--kubeconfig", kubeconfig)...)
	out := &output{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", program, out)
		}
	})
}

type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// families of Fairlead's metrics, as docs/metrics.md would have them.
func families(t *testing.T, body string) []string {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	all, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	types := map[dto.MetricType]string{dto.MetricType_GAUGE: "gauge", dto.MetricType_COUNTER: "counter", dto.MetricType_HISTOGRAM: "histogram"}
	var list []string
	for name, f := range all {
		if !strings.HasPrefix(name, "fairlead_") {
			continue
		}
		m := Metric{Name: name, Type: types[f.GetType()]}
		for _, l := range f.GetMetric()[0].GetLabel() {
			m.Labels = append(m.Labels, l.GetName())
		}
		slices.Sort(m.Labels)
		list = append(list, m.String())
		if f.GetHelp() == "" {
			t.Errorf("%s has no help", name)
		}
	}
	slices.Sort(list)
	return list
}

// All three programs tell their version and the commit that they are of.
func testVersion(t *testing.T, programs string) {
	for _, program := range []string{"fairlead-controller", "fairlead-speaker", "kubectl-fairlead"} {
		out, err := exec.Command(filepath.Join(programs, program), "--version").CombinedOutput()
		want := regexp.MustCompile("^" + program + ` (version )?v0\.0\.1-test \(0123abc\) ` + regexp.QuoteMeta(runtime.Version()) + " linux/")
		if err != nil || !want.Match(out) {
			t.Errorf("%s --version: %v, %s", program, err, out)
		}
	}
}

// within a minute the condition says that it misses nothing. What was refused is refused for 10 s more, and a program starts in seconds where nothing
// else runs.
func within(t *testing.T, what string, missing func() string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		m := missing()
		if m == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%s: %s", what, m)
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}
