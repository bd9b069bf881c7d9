//go:build linux

package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/test/lab/internal/cgroup"
	"fairlead.io/fairlead/test/lab/internal/hostns"
	"fairlead.io/fairlead/test/lab/internal/netns"
)

// A real lab of its own, of one node, is brought up, used, broken in every way, and taken down. It needs root, the
// tools in bin/tools and the images in dist; it runs beside the lab of the end-to-end tests.

const trialName = "flselftest"

// trial is a lab under test, driven by the program like a person would.
type trial struct {
	*testing.T
	cfg Config
	// seen holds all processes of the lab that were ever looked at, by number and time of start.
	seen map[string]string
}

// program is bin/lab, built for these tests alone.
var program string

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "lab-program-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "make a folder for the program:", err)
		return 1
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, "remove the program:", err)
		}
	}()
	program = filepath.Join(dir, "lab")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", program, "./cmd/lab")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the program: %v: %s\n", err, out)
		return 1
	}
	return m.Run()
}

func newTrial(t *testing.T) *trial {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	tr := &trial{T: t, seen: map[string]string{}, cfg: Config{Name: trialName, StateDir: filepath.Join(t.TempDir(), "state"), Root: root}}
	t.Cleanup(func() {
		if out, err := tr.command("down").CombinedOutput(); err != nil {
			t.Errorf("down at the end: %v: %s", err, out)
		}
	})
	return tr
}

// in is the same trial within a subtest.
func (tr *trial) in(t *testing.T) *trial {
	sub := *tr
	sub.T = t
	return &sub
}

func (tr *trial) command(args ...string) *exec.Cmd {
	all := append([]string{"--name=" + tr.cfg.Name, "--state-dir=" + tr.cfg.StateDir, "--root=" + tr.cfg.Root}, args...)
	return exec.Command(program, all...)
}

// run runs the program to a good end and returns its standard output.
func (tr *trial) run(args ...string) string {
	tr.Helper()
	cmd := tr.command(args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		tr.Fatalf("lab %s: %v: %s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

func (tr *trial) up() {
	tr.Helper()
	begin := time.Now()
	path := strings.TrimSpace(tr.run("up", "--nodes=1", "--no-install"))
	tr.Logf("up took %s", time.Since(begin).Round(10*time.Millisecond))
	if want := filepath.Join(tr.cfg.StateDir, "kubeconfig"); path != want {
		tr.Errorf("up printed %q, want %q", path, want)
	}
	tr.run("status")
	tr.remember()
}

// upKilledAt starts up and kills it as soon as its progress says so.
func (tr *trial) upKilledAt(progress string) {
	tr.Helper()
	cmd := tr.command("up", "--nodes=1", "--no-install")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		tr.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tr.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	for progress != "" && lines.Scan() && !strings.Contains(lines.Text(), progress) {
	}
	if progress != "" && !strings.Contains(lines.Text(), progress) {
		tr.Fatalf("up never said %q", progress)
	}
	if err := cmd.Process.Kill(); err != nil {
		tr.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, stderr); err != nil && !errors.Is(err, os.ErrClosed) {
		tr.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		tr.Fatal("up ended before it was killed")
	}
	tr.remember()
}

// remember notes the lab's processes, to look for them when it is down: those on its hosts by their network namespace,
// those of pods by their control group.
func (tr *trial) remember() {
	tr.Helper()
	inits, err := hostns.Inits(tr.cfg.Name)
	if err != nil {
		tr.Fatal(err)
	}
	hosts := map[string]bool{}
	for _, i := range inits {
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", i.PID)); err == nil {
			hosts[ns] = true
		}
	}
	err = eachProcess(func(proc, id string) {
		ns, err := os.Readlink(filepath.Join(proc, "ns", "net"))
		groups, groupErr := os.ReadFile(filepath.Join(proc, "cgroup"))
		if err == nil && hosts[ns] || groupErr == nil && strings.Contains(string(groups), "/"+cgroupOf(tr.cfg.Name)+"/") {
			cmdline, _ := os.ReadFile(filepath.Join(proc, "cmdline")) // only to name it; it may have ended
			tr.seen[id] = strings.ReplaceAll(string(cmdline), "\x00", " ")
		}
	})
	if err != nil {
		tr.Fatal(err)
	}
}

// eachProcess tells processes apart by number and time of start: numbers are given again.
func eachProcess(visit func(proc, id string)) error {
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, proc := range procs {
		stat, err := os.ReadFile(filepath.Join(proc, "stat"))
		if err != nil {
			continue // it has ended
		}
		// The second field is a name in parentheses, with spaces perhaps; the time of start is the 22nd.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		visit(proc, proc+" since "+fields[19])
	}
	return nil
}

func (tr *trial) downLeavesNothing() {
	tr.Helper()
	tr.remember()
	begin := time.Now()
	tr.run("down")
	tr.Logf("down took %s", time.Since(begin).Round(10*time.Millisecond))
	if names, err := netns.List(tr.cfg.Name); err != nil || len(names) > 0 {
		tr.Errorf("network namespaces left: %q, %v", names, err)
	}
	if groups, err := cgroup.List(cgroupOf(tr.cfg.Name)); err != nil || len(groups) > 0 {
		tr.Errorf("control groups left: %q, %v", groups, err)
	}
	if _, err := os.Stat(tr.cfg.StateDir); !errors.Is(err, os.ErrNotExist) {
		tr.Errorf("the folder %s is left: %v", tr.cfg.StateDir, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		tr.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, tr.cfg.Name) || strings.Contains(line, tr.cfg.StateDir) {
			tr.Errorf("mount left: %s", line)
		}
	}
	// What was killed is a zombie until the machine's own init has taken note.
	tr.eventually("the lab's processes to be gone", tr.noProcesses)
}

func (tr *trial) noProcesses() error {
	var left []error
	err := eachProcess(func(_, id string) {
		if name, ok := tr.seen[id]; ok {
			left = append(left, fmt.Errorf("%s is left: %s", id, name))
		}
	})
	return errors.Join(append(left, err)...)
}

func (tr *trial) eventually(what string, ok func() error) {
	tr.Helper()
	ctx, cancel := context.WithTimeout(tr.Context(), time.Minute)
	defer cancel()
	if err := await(ctx, what, func(context.Context) error { return ok() }); err != nil {
		tr.Fatal(err)
	}
}

// TestInterruptedUp kills `up` at each stage: `down` then finds everything, and another `up` completes what there is.
func TestInterruptedUp(t *testing.T) {
	tr := newTrial(t)
	elsewhere := machine(t)
	for _, progress := range []string{"", "hosts are up", "the API server answers"} {
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
		"/etc/cni/net.d", "/run/containerd", "/usr/libexec/kubernetes", "/run/xtables.lock",
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

// reachable asks the web pod from the client through the node's port, over both families.
func (tr *trial) reachable(client, node *Host) {
	tr.Helper()
	http := client.HTTPClient(2 * time.Second)
	for _, addr := range []netip.Addr{node.IPv4, node.IPv6} {
		url := "http://" + netip.AddrPortFrom(addr, 30080).String() + "/"
		tr.eventually(url+" to answer the client", func() error {
			resp, err := http.Get(url)
			if err != nil {
				return err
			}
			body, err := io.ReadAll(resp.Body)
			if err == nil && string(body) != "Hello World!\nweb\n" {
				err = fmt.Errorf("answer %q", body)
			}
			return errors.Join(err, resp.Body.Close())
		})
	}
}

// killSome sends SIGKILL to some programs of the lab: daemons, pods, and now and then a whole host.
func (tr *trial) killSome(rng *rand.Rand) {
	tr.Helper()
	tr.remember()
	inits, err := hostns.Inits(tr.cfg.Name)
	if err != nil {
		tr.Fatal(err)
	}
	victims := []struct{ host, program string }{
		{"cp", "etcd"}, {"cp", apiServerProgram}, {"cp", "kube-controller-manager"}, {"cp", "kube-scheduler"}, {"cp", "lab"},
		{"node1", "containerd"}, {"node1", "kubelet"}, {"node1", "kube-proxy"}, {"node1", "containerd-shim-runc-v2"}, {"node1", "pause"},
		{"node1", "web"}, {"node1", "lab"}, {"client", "lab"},
	}
	rng.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	for _, v := range victims[:1+rng.IntN(4)] {
		pids, err := inits[v.host].Processes(v.program)
		if err != nil {
			if _, gone := os.Stat(fmt.Sprintf("/proc/%d/ns/pid", inits[v.host].PID)); gone == nil {
				tr.Fatal(err)
			}
			continue // the host was an earlier victim
		}
		if _, err := inits[v.host].Signal(v.program, unix.SIGKILL); err != nil {
			tr.Fatal(err)
		}
		tr.Logf("killed %d processes of %s on %s", len(pids), v.program, v.host)
		// A kill is over when the process is: until then it looks like one that runs.
		for _, pid := range pids {
			tr.eventually(v.program+" to end", func() error {
				exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
				if err == nil && strings.Contains(exe, v.program) {
					return fmt.Errorf("process %d still runs %s", pid, exe)
				}
				return nil
			})
		}
	}
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
