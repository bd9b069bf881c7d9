//go:build linux

package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestInterruptedUp kills `up` at each stage: `down` then finds everything, and another `up` completes what there is.
func TestInterruptedUp(t *testing.T) {
	tr := newTrial(t)
	elsewhere := machine(t)
	for _, progress := range []string{"", "hosts are up", "router tor runs frr", "the API server answers"} {
		tr.upKilledAt(progress)
		tr.downLeavesNothing()
	}
	tr.upKilledAt("hosts are up")
	tr.up()
	tr.downLeavesNothing()
	tr.run("down") // of nothing
	if after := machine(t); after != elsewhere {
		t.Errorf("the lab has changed the machine.\nbefore:\n%s\nafter:\n%s", elsewhere, after)
	}
}

// machine describes what a lab might touch of the machine outside of its own.
func machine(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, path := range []string{
		"/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/var/log/pods", "/var/log/containers", "/opt/containerd", "/opt/cni",
		"/etc/cni/net.d", "/run/containerd", "/run/frr/zebra.vty", "/run/bird", "/usr/libexec/kubernetes", "/run/xtables.lock",
	} {
		_, err := os.Stat(path)
		fmt.Fprintln(&b, path, err == nil)
	}
	for _, name := range []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/netfilter/nf_conntrack_max"} {
		value, err := os.ReadFile(filepath.Join("/proc/sys", name))
		fmt.Fprintln(&b, name, strings.TrimSpace(string(value)), err == nil)
	}
	groups, err := filepath.Glob("/sys/fs/cgroup/*/k8s.io")
	fmt.Fprintln(&b, groups, err)
	links, err := os.ReadDir("/sys/class/net")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		fmt.Fprintln(&b, l.Name())
	}
	return b.String()
}

const workload = `
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - name: web
    image: fairlead-lab/web:dev
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: v1
kind: Pod
metadata: {name: onhost}
spec:
  hostNetwork: true
  containers:
  - name: web
    image: fairlead-lab/web:dev
    args: ["--listen=:8085"]
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL], add: [NET_RAW]}
`

// TestLab uses one lab for all that it can do, then breaks it at random.
func TestLab(t *testing.T) {
	tr := newTrial(t)
	tr.up()
	tr.up() // changes nothing
	if out, err := tr.command("up", "--nodes=2", "--no-install").CombinedOutput(); err == nil || !strings.Contains(string(out), "lab down` first") {
		t.Errorf("up with another number of nodes: %v: %s", err, out)
	}
	l, err := Open(Config{Name: tr.cfg.Name, StateDir: tr.cfg.StateDir})
	if err != nil {
		t.Fatal(err)
	}
	node, err := l.Host("node1")
	if err != nil {
		t.Fatal(err)
	}
	client, err := l.Host("client")
	if err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(t.TempDir(), "workload.yaml")
	if err := os.WriteFile(manifest, []byte(workload), 0o644); err != nil {
		t.Fatal(err)
	}
	tr.run("kubectl", "apply", "-f", manifest)
	tr.run("kubectl", "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
	tr.reachable(client, node)

	t.Run("kubectl logs and exec", func(t *testing.T) {
		tr := tr.in(t)
		if out := tr.run("kubectl", "logs", "onhost"); !strings.Contains(out, "listens on :8085") {
			t.Errorf("logs: %q", out)
		}
		// The image holds one program: that it runs and fails on a flag it does not know is proof enough.
		out, err := tr.command("kubectl", "exec", "web", "--", "/web", "--no-such-flag").CombinedOutput()
		if err == nil || !strings.Contains(string(out), "no-such-flag") {
			t.Errorf("exec: %v: %s", err, out)
		}
	})
	t.Run("exec", func(t *testing.T) { testExec(t, tr.in(t), node) })
	t.Run("link fault", func(t *testing.T) { testLinkFault(t, tr.in(t), client, node) })
	t.Run("port fault", func(t *testing.T) { testPortFault(t, tr.in(t), client, node) })
	t.Run("API server fault", func(t *testing.T) { testAPIServerFault(t, tr.in(t), l) })
	t.Run("speaker fault", func(t *testing.T) { testSpeakerFault(t, tr.in(t), node) })
	t.Run("pod killed", func(t *testing.T) {
		tr := tr.in(t)
		before, err := node.Processes("web")
		if err != nil || len(before) != 2 {
			t.Fatalf("processes of web: %v, %v, want 2", before, err)
		}
		if err := node.Signal("web", unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		tr.eventually("both pods to be back", func() error {
			now, err := node.Processes("web")
			if err == nil && (len(now) != 2 || now[0] == before[0]) {
				err = fmt.Errorf("processes %v, before %v", now, before)
			}
			return err
		})
		tr.reachable(client, node)
	})
	t.Run("random kills", func(t *testing.T) {
		tr := tr.in(t)
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		rng := rand.New(rand.NewPCG(seed, 0))
		for range 3 {
			tr.killSome(rng)
			tr.up()
			tr.reachable(client, node)
		}
		// What is stopped must end too.
		if err := l.controlPlane().Signal(apiServerProgram, unix.SIGSTOP); err != nil {
			t.Error(err)
		}
		if err := node.Signal("containerd", unix.SIGSTOP); err != nil {
			t.Error(err)
		}
		tr.killSome(rng)
	})
	tr.downLeavesNothing()
}

func testExec(t *testing.T, tr *trial, node *Host) {
	cmd := tr.command("exec", "node1", "--", "sh", "-c", "cat; hostname; echo problem >&2; exit 7")
	cmd.Stdin = strings.NewReader("input\n")
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState.ExitCode() != 7 || stdout.String() != "input\nnode1\n" || stderr.String() != "problem\n" {
		t.Errorf("exec: %v, %q, %q", err, stdout.String(), stderr.String())
	}
	result, err := node.Exec(t.Context(), "sh", "-c", "echo out; echo err >&2; exit 3")
	if err == nil || result != (Result{Stdout: "out\n", Stderr: "err\n", Code: 3}) {
		t.Errorf("Exec = %+v, %v", result, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := node.Exec(ctx, "sh", "-c", "sleep 60 | cat"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Exec past its time: %v", err)
	}
	var link string
	err = node.Do(func() error {
		raw, err := os.ReadFile("/proc/thread-self/net/dev")
		link = string(raw)
		return err
	})
	if err != nil || !strings.Contains(link, node.Interface()) {
		t.Errorf("Do sees %q, %v", link, err)
	}
	if _, err := node.Dial(t.Context(), "tcp", "localhost:80"); err == nil {
		t.Error("Dial took a name")
	}
}

func testLinkFault(t *testing.T, tr *trial, client, node *Host) {
	carrier := func() string {
		result, err := node.Exec(t.Context(), "cat", "/sys/class/net/eth0/carrier")
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(result.Stdout)
	}
	tr.run("fault", "node1", "link-down")
	if got := carrier(); got != "0" {
		t.Errorf("carrier of the cut link is %q", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if conn, err := client.Dial(ctx, "tcp", netip.AddrPortFrom(node.IPv4, 10250).String()); err == nil {
		t.Errorf("connected over the cut link: %v", conn.Close())
	}
	tr.run("fault", "node1", "link-up")
	tr.eventually("the carrier", func() error {
		if got := carrier(); got != "1" {
			return fmt.Errorf("carrier is %q", got)
		}
		return nil
	})
	tr.reachable(client, node)
}

func testPortFault(t *testing.T, tr *trial, client, node *Host) {
	connect := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		conn, err := client.Dial(ctx, "tcp", netip.AddrPortFrom(node.IPv4, 10250).String())
		if err == nil {
			err = conn.Close()
		}
		return err
	}
	for _, tc := range []struct{ on, from *Host }{{node, client}, {client, node}} {
		for range 2 { // the second time changes nothing
			if err := tc.on.DropPorts(t.Context(), []*Host{tc.from}, 10250, 10251); err != nil {
				t.Fatal(err)
			}
		}
		var timeout net.Error
		if err := connect(); !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("connect to a port whose packets %s drops: %v, want no answer", tc.on.Name, err)
		}
		if err := tc.on.AcceptPorts(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := tc.on.DropPorts(t.Context(), []*Host{tc.on}, 10250); err != nil { // nobody else
			t.Fatal(err)
		}
		tr.eventually("the port to answer again", connect)
		for range 2 {
			if err := tc.on.AcceptPorts(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

func testAPIServerFault(t *testing.T, tr *trial, l *Lab) {
	if out, err := tr.command("fault", "node1", "pause-apiserver").CombinedOutput(); err == nil || !strings.Contains(string(out), "runs on cp") {
		t.Errorf("pausing the API server of a node: %v: %s", err, out)
	}
	tr.run("fault", "cp", "pause-apiserver")
	if out, err := tr.command("kubectl", "get", "--raw=/readyz", "--request-timeout=500ms").CombinedOutput(); err == nil {
		t.Errorf("the paused API server answers: %s", out)
	}
	tr.run("fault", "cp", "resume-apiserver")
	tr.eventually("the resumed API server", func() error {
		out, err := tr.command("kubectl", "get", "--raw=/readyz", "--request-timeout=5s").CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	cfg, err := l.RESTConfig()
	if err != nil || cfg.BearerToken == "" || len(cfg.CAData) == 0 {
		t.Errorf("RESTConfig = %+v, %v", cfg, err)
	}
}

// testSpeakerFault runs any program under the speaker's name, outside of a pod.
func testSpeakerFault(t *testing.T, tr *trial, node *Host) {
	if out, err := tr.command("fault", "node1", "kill-speaker").CombinedOutput(); err == nil || !strings.Contains(string(out), "does not run on node1") {
		t.Errorf("fault without a speaker: %v: %s", err, out)
	}
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(sleep)
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), speakerProgram)
	if err := os.WriteFile(program, content, 0o755); err != nil {
		t.Fatal(err)
	}
	for fault, want := range map[string]string{"kill-speaker": "killed", "stop-speaker": "terminated"} {
		cmd := exec.Command(program, "60")
		if err := node.Start(cmd); err != nil {
			t.Fatal(err)
		}
		tr.run("fault", "node1", fault)
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("after %s the speaker ended with %v, want %s", fault, err, want)
		}
	}
}
