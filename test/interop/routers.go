package interop

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/internal/testnet"
)

// Until waits until why is empty, asking time and again; when it is not within the time, the test fails and says why.
func Until(t testing.TB, within time.Duration, what string, why func() string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(within); ; <-tick.C {
		reason := why()
		if reason == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %s", what, within, reason)
		}
	}
}

// daemon is a program that a test starts and kills.
type daemon struct {
	cmd    *exec.Cmd
	output *bytes.Buffer
}

func start(t testing.TB, ns *testnet.Namespace, name string, args ...string) *daemon {
	t.Helper()
	cmd, err := ns.Daemon(t.Context(), name, args...)
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{cmd: cmd, output: &bytes.Buffer{}}
	cmd.Stdout, cmd.Stderr = d.output, d.output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, d.output)
		}
	})
	return d
}

// kill ends the program and what it has started, at once.
func (d *daemon) kill() {
	_ = d.cmd.Process.Kill() // it may have ended by itself
	_ = d.cmd.Wait()
}

// FRR is FRR's zebra and bfdd.
type FRR struct {
	t       testing.TB
	ns      *testnet.Namespace
	dir     string
	daemons []*daemon
}

// NewFRR starts FRR with a configuration for bfdd.
func NewFRR(t testing.TB, ns *testnet.Namespace, config string) *FRR {
	t.Helper()
	dir, err := os.MkdirTemp("", "fairlead-frr-") // not the test's, which FRR's user may not enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	f := &FRR{t: t, ns: ns, dir: dir}
	f.write("zebra.conf", "hostname router\n")
	f.write("bfdd.conf", "hostname router\n"+config)
	own(t, dir, "frr")
	f.Start()
	return f
}

// own gives a folder and what is in it to a user.
func own(t testing.TB, dir, user string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "chown", "-R", user+":", dir).CombinedOutput(); err != nil {
		t.Fatalf("give %s to %s: %v: %s", dir, user, err, out)
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // FRR's user enters it
		t.Fatal(err)
	}
}

func (f *FRR) write(name, content string) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(content), 0o644); err != nil { //nolint:gosec // FRR's user reads it
		f.t.Fatal(err)
	}
}

// Start starts the daemons, with the configuration that they were made with.
func (f *FRR) Start() {
	f.t.Helper()
	for _, name := range []string{"zebra", "bfdd"} {
		args := []string{
			"-f", filepath.Join(f.dir, name+".conf"), "-i", filepath.Join(f.dir, name+".pid"),
			"-z", filepath.Join(f.dir, "zserv.sock"), "--vty_socket", f.dir, "-P", "0",
		}
		if name == "bfdd" {
			args = append(args, "--bfdctl", filepath.Join(f.dir, "bfdd.sock"))
		}
		f.daemons = append(f.daemons, start(f.t, f.ns, "/usr/lib/frr/"+name, args...))
		Until(f.t, 20*time.Second, name+" answers", func() string {
			return text(exec.CommandContext(f.t.Context(), "vtysh", "--vty_socket", f.dir, "-d", name, "-c", "show version").Run())
		})
	}
}

// Kill ends the daemons without a word to anybody.
func (f *FRR) Kill() {
	for _, d := range f.daemons {
		d.kill()
	}
	f.daemons = nil
}

// Configure gives lines of configuration to bfdd.
func (f *FRR) Configure(lines ...string) {
	f.t.Helper()
	f.vtysh(append([]string{"configure terminal", "bfd"}, lines...)...)
}

func (f *FRR) vtysh(commands ...string) []byte {
	f.t.Helper()
	args := []string{"--vty_socket", f.dir, "-d", "bfdd"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	out, err := exec.CommandContext(f.t.Context(), "vtysh", args...).CombinedOutput()
	if err != nil {
		f.t.Fatalf("vtysh %q: %v: %s", commands, err, out)
	}
	return out
}

// FRRPeer is what bfdd says of a session.
type FRRPeer struct {
	Peer             string `json:"peer"`
	Status           string `json:"status"`
	Uptime           int    `json:"uptime"` // seconds
	Diagnostic       string `json:"diagnostic"`
	RemoteDiagnostic string `json:"remote-diagnostic"`
	// What the other end has announced, in milliseconds.
	RemoteReceive    int `json:"remote-receive-interval"`
	RemoteTransmit   int `json:"remote-transmit-interval"`
	RemoteDetectMult int `json:"remote-detect-multiplier"`
}

// Peers are bfdd's sessions by the address of the other end.
func (f *FRR) Peers() map[string]FRRPeer {
	f.t.Helper()
	var list []FRRPeer
	if out := f.vtysh("show bfd peers json"); json.Unmarshal(out, &list) != nil {
		f.t.Fatalf("bfdd says %s", out)
	}
	peers := map[string]FRRPeer{}
	for _, p := range list {
		peers[p.Peer] = p
	}
	return peers
}

// SessionDowns is how often bfdd has lost its sessions, all together.
func (f *FRR) SessionDowns() int {
	f.t.Helper()
	var list []struct {
		Downs int `json:"session-down"`
	}
	if out := f.vtysh("show bfd peers counters json"); json.Unmarshal(out, &list) != nil {
		f.t.Fatalf("bfdd says %s", out)
	}
	sum := 0
	for _, p := range list {
		sum += p.Downs
	}
	return sum
}

// BIRD is BIRD 2.
type BIRD struct {
	t      testing.TB
	ns     *testnet.Namespace
	dir    string
	daemon *daemon
}

// NewBIRD starts BIRD with a protocol bfd of that content.
func NewBIRD(t testing.TB, ns *testnet.Namespace, bfd string) *BIRD {
	t.Helper()
	b := &BIRD{t: t, ns: ns, dir: t.TempDir()}
	b.write(bfd)
	b.Start()
	return b
}

func (b *BIRD) write(bfd string) {
	b.t.Helper()
	config := "router id 192.0.2.2;\nprotocol device { }\nprotocol bfd {\n" + bfd + "\n}\n"
	if err := os.WriteFile(filepath.Join(b.dir, "bird.conf"), []byte(config), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// Start starts BIRD.
func (b *BIRD) Start() {
	b.t.Helper()
	b.daemon = start(b.t, b.ns, "bird", "-f", "-c", filepath.Join(b.dir, "bird.conf"), "-s", filepath.Join(b.dir, "bird.ctl"))
	Until(b.t, 20*time.Second, "BIRD answers", func() string {
		return text(exec.CommandContext(b.t.Context(), "birdc", "-s", filepath.Join(b.dir, "bird.ctl"), "show", "status").Run())
	})
}

// Kill ends BIRD without a word to anybody.
func (b *BIRD) Kill() { b.daemon.kill() }

// Configure gives the protocol another content.
func (b *BIRD) Configure(bfd string) {
	b.t.Helper()
	b.write(bfd)
	if out := b.birdc("configure"); !strings.Contains(out, "Reconfigur") {
		b.t.Fatalf("BIRD says %s", out)
	}
}

func (b *BIRD) birdc(command ...string) string {
	b.t.Helper()
	out, err := exec.CommandContext(b.t.Context(), "birdc", append([]string{"-s", filepath.Join(b.dir, "bird.ctl")}, command...)...).CombinedOutput()
	if err != nil {
		b.t.Fatalf("birdc %q: %v: %s", command, err, out)
	}
	return string(out)
}

// BIRDSession is what BIRD says of a session.
type BIRDSession struct {
	State string
	Since time.Time // the time of day, on no day
	// Interval between its packets, and Timeout, its detection time.
	Interval, Timeout time.Duration
}

// Sessions are BIRD's sessions by the address of the other end.
func (b *BIRD) Sessions() map[string]BIRDSession {
	b.t.Helper()
	seconds := func(s string) time.Duration {
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			b.t.Fatal(err)
		}
		return time.Duration(f*1000+0.5) * time.Millisecond
	}
	sessions := map[string]BIRDSession{}
	for line := range strings.Lines(b.birdc("show", "bfd", "sessions")) {
		if f := strings.Fields(line); len(f) == 6 && strings.ContainsAny(f[0], ".:") && f[0] != "IP" {
			since, err := time.Parse("15:04:05.000", f[3])
			if err != nil {
				b.t.Fatal(err)
			}
			sessions[f[0]] = BIRDSession{f[2], since, seconds(f[4]), seconds(f[5])}
		}
	}
	return sessions
}
