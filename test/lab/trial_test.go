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

// upKilledAt starts up, of a lab with a router, and kills it as soon as its progress says so.
func (tr *trial) upKilledAt(progress string) {
	tr.Helper()
	cmd := tr.command("up", "--nodes=1", "--no-install", "--routers=frr")
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
	if names, err := namespaces(tr.cfg.Name); err != nil || len(names) > 0 {
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
