package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/internal/testnet"
	"fairlead.io/fairlead/test/router"
)

// patience is how long what must happen may take: other packages' tests may keep all processors busy, and routers have timers of their own. It is no
// measure of anything.
const patience = time.Minute

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

// place is where a router runs, with its files and sockets in a folder of its own. Sockets are files, so that the tools need not be in the
// router's namespace.
func place(dir, config string) router.Place {
	return router.Place{
		Config: filepath.Join(dir, config), Sockets: dir,
		Read:  func() ([]byte, error) { return os.ReadFile(filepath.Join(dir, config)) },
		Write: func(content []byte) error { return os.WriteFile(filepath.Join(dir, config), content, 0o600) },
		Run: func(ctx context.Context, name string, args ...string) (string, string, error) {
			var stdout, stderr strings.Builder
			cmd := exec.CommandContext(ctx, name, args...)
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			return stdout.String(), stderr.String(), err
		},
	}
}

// run starts programs one after another, each when the one before it answers.
func run(t testing.TB, ns *testnet.Namespace, programs []router.Program) []*daemon {
	t.Helper()
	var daemons []*daemon
	for _, p := range programs {
		daemons = append(daemons, start(t, ns, p.Path, p.Args...))
		Until(t, patience, p.Name+" answers", func() string { return text(p.Ready(t.Context())) })
	}
	return daemons
}

// FRR is FRR's zebra and bfdd.
type FRR struct {
	t       testing.TB
	ns      *testnet.Namespace
	router  router.Router
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
	f := &FRR{t: t, ns: ns, router: newRouter(t, router.FRR, place(dir, "frr.conf"), config)}
	own(t, dir, "frr")
	f.Start()
	return f
}

// newRouter is a router with a configuration file, before it is started.
func newRouter(t testing.TB, kind router.Kind, p router.Place, config string) router.Router {
	t.Helper()
	r, err := router.New(kind, p)
	if err == nil {
		err = p.Write([]byte(config))
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
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

// Start starts the daemons, with the configuration that they were made with.
func (f *FRR) Start() {
	f.t.Helper()
	programs := slices.DeleteFunc(f.router.Programs(), func(p router.Program) bool { return p.Name == "bgpd" })
	f.daemons = run(f.t, f.ns, programs)
	if err := f.router.Start(f.t.Context()); err != nil {
		f.t.Fatal(err)
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
	if err := f.router.Configure(f.t.Context(), append([]string{"bfd"}, lines...)...); err != nil {
		f.t.Fatal(err)
	}
}

// ask decodes the answer to a command that ends in json.
func (f *FRR) ask(command string, into any) {
	f.t.Helper()
	out, err := f.router.Raw(f.t.Context(), command)
	if err == nil {
		err = json.Unmarshal([]byte(out), into)
	}
	if err != nil {
		f.t.Fatalf("%s: %v: %s", command, err, out)
	}
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
	f.ask("show bfd peers json", &list)
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
	f.ask("show bfd peers counters json", &list)
	sum := 0
	for _, p := range list {
		sum += p.Downs
	}
	return sum
}

// BIRD is BIRD 2.
type BIRD struct {
	t       testing.TB
	ns      *testnet.Namespace
	router  router.Router
	daemons []*daemon
}

// NewBIRD starts BIRD with a protocol bfd of that content.
func NewBIRD(t testing.TB, ns *testnet.Namespace, bfd string) *BIRD {
	t.Helper()
	b := &BIRD{t: t, ns: ns, router: newRouter(t, router.BIRD, place(t.TempDir(), "bird.conf"), birdConfig(bfd))}
	b.Start()
	return b
}

func birdConfig(bfd string) string {
	return "router id 192.0.2.2;\nprotocol device { }\nprotocol bfd {\n" + bfd + "\n}\n"
}

// Start starts BIRD.
func (b *BIRD) Start() {
	b.t.Helper()
	b.daemons = run(b.t, b.ns, b.router.Programs())
}

// Kill ends BIRD without a word to anybody.
func (b *BIRD) Kill() {
	for _, d := range b.daemons {
		d.kill()
	}
}

// Configure gives the protocol another content.
func (b *BIRD) Configure(bfd string) {
	b.t.Helper()
	if err := b.router.Replace(b.t.Context(), []byte(birdConfig(bfd))); err != nil {
		b.t.Fatal(err)
	}
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
	out, err := b.router.Raw(b.t.Context(), "show bfd sessions")
	if err != nil {
		b.t.Fatal(err)
	}
	sessions := map[string]BIRDSession{}
	for line := range strings.Lines(out) {
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
