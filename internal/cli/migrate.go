package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/internal/metallb"
	"fairlead.io/fairlead/internal/move"
	"fairlead.io/fairlead/internal/workload"
)

// ErrNotMoved is the end of a move that was not begun. What was printed says why.
var ErrNotMoved = errors.New("nothing was changed: what is found as PROBLEM must be seen to first, and so must a LOSS, or be accepted with --accept-incomplete")

// MigrateOptions say which move is made.
type MigrateOptions struct {
	metallb.Options
	// Apply makes the move; without it the plan is printed.
	Apply bool
	// Back goes from Fairlead to MetalLB.
	Back bool
	// Prepare ends before the speakers are stopped that announce.
	Prepare bool
	// AcceptIncomplete goes on in spite of losses.
	AcceptIncomplete bool
	// RemoveImported, with Back, deletes the objects that were imported.
	RemoveImported bool
	// Timeout of each wait.
	Timeout time.Duration
	// Kubeconfig and Context as they were given, for the commands that are printed.
	Kubeconfig, Context string
}

// migrateManager is the field manager of all that a move writes, but for the imported objects.
const migrateManager = "fairlead-migrate"

// MigrateMetalLB moves a live cluster from MetalLB to Fairlead, or back. What is done is decided by what the cluster shows, so that a move
// that was interrupted goes on where it was, and one that is finished changes nothing.
func MigrateMetalLB(ctx context.Context, stdout io.Writer, config func() (*rest.Config, error), o MigrateOptions) error {
	m, err := newMover(stdout, config, o)
	if err != nil {
		return err
	}
	if err := m.mayRead(ctx); err != nil {
		return err
	}
	if err := m.read(ctx); err != nil {
		return err
	}
	if err := m.mayWrite(ctx); err != nil {
		return err
	}
	steps := move.Steps(&m.state)
	if o.Back {
		steps = move.StepsBack(&m.state, o.RemoveImported)
	}
	if move.AllDone(steps) {
		m.say("%s", m.nothingToDo())
		return m.printed()
	}
	findings := m.preflight()
	m.say("Cluster: %s\n", m.host)
	m.printFindings(findings)
	m.printSteps(steps)
	switch {
	case m.blocked(findings, steps):
		return errors.Join(ErrNotMoved, m.printed())
	case !o.Apply:
		m.say("\nThis is the plan; nothing was changed. --apply does it.")
		return m.printed()
	}
	return m.run(ctx, steps)
}

// mover makes a move.
type mover struct {
	out     io.Writer
	host    string // of the API server
	err     error  // the first of printing
	o       MigrateOptions
	client  client.Client
	cluster *importCluster
	// What read found.
	state    move.State
	input    move.Input
	converts converted
	hooks    []programKey
	record   record
	finished string
	// darkSince is when those began to be stopped that announced; zero: in this run they were not.
	darkSince time.Time
}

func newMover(out io.Writer, config func() (*rest.Config, error), o MigrateOptions) (*mover, error) {
	c, err := config()
	if err != nil {
		return nil, err
	}
	c = rest.CopyConfig(c)
	c.QPS = -1 // no limit: what ends that nobody announces must not wait for its turn
	cluster, err := newImportCluster(func() (*rest.Config, error) { return c, nil })
	if err != nil {
		return nil, err
	}
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	cl, err := client.New(c, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", c.Host, err)
	}
	return &mover{out: out, host: c.Host, o: o, cluster: cluster, client: client.WithFieldOwner(cl, migrateManager)}, nil
}

func (m *mover) preflight() []move.Finding {
	if m.o.Back {
		return move.PreflightBack(&m.input)
	}
	return move.Preflight(&m.input)
}

// blocked by what was found. Without the programs that it goes to, and those of MetalLB, nothing can be done. A move that was begun and has
// come to where nobody announces is not, and neither is one of which there is nothing left but to look whether all is well.
func (m *mover) blocked(findings []move.Finding, steps []move.Step) bool {
	announces := m.state.Speakers
	if m.o.Back {
		announces = m.state.OurSpeakers
	}
	if workload.Find(m.input.MetalLB, workload.DaemonSet) == nil || !m.o.Back && workload.Find(m.input.Fairlead, workload.DaemonSet) == nil {
		return true
	}
	if m.state.Remembered && !announces {
		return false
	}
	if m.o.Back && !m.state.Speakers && !m.state.OurSpeakers { // Fairlead is removed, and what was remembered with it
		return false
	}
	if !slices.ContainsFunc(steps, func(s move.Step) bool { return !s.Done && s.ID != move.Verify && s.ID != move.Forget }) {
		return false
	}
	return slices.ContainsFunc(findings, func(f move.Finding) bool {
		return f.Weight == move.Problem || f.Weight == move.Loss && !m.o.AcceptIncomplete
	})
}

// run the steps, and say of each what it does.
func (m *mover) run(ctx context.Context, steps []move.Step) error {
	do := m.stepsThere()
	if m.o.Back {
		do = m.stepsBack()
	}
	m.say("")
	for i, s := range steps {
		if m.o.Prepare && (s.ID == move.StopSpeakers || s.ID == move.StopOurSpeakers) {
			m.say("\nPrepared: what announced goes on announcing. The same command without --prepare does the rest.\n%s", m.wayOut())
			return m.printed()
		}
		m.say("[%d/%d] %s", i+1, len(steps), s.Title)
		ctx := ctx
		if s.ID.Dark() {
			ctx = context.WithoutCancel(ctx) // while nobody announces an interrupt waits; each wait has its time all the same
		}
		if err := do[s.ID](ctx); err != nil {
			return fmt.Errorf("%s: %w.\nThe same command goes on from here. %s", s.Title, err, m.wayOut())
		}
	}
	switch {
	case m.o.Back && len(m.input.Fairlead) == 0:
		m.say("\nMetalLB is as it was. Fairlead is not installed in namespace %s.", m.o.Namespace)
	case m.o.Back:
		m.say("\nMetalLB is as it was. Fairlead is stopped; kubectl fairlead migrate metallb%s goes there again.", m.flags())
	default:
		m.say("\n%s", m.wayOut())
	}
	return m.printed()
}

func (m *mover) wayOut() string {
	if m.o.Back {
		return "The way back to Fairlead: kubectl fairlead migrate metallb --apply" + m.flags()
	}
	return "The way back: kubectl fairlead migrate metallb --back --apply" + m.flags()
}

// flags that name another cluster or other namespaces than the usual ones: a command that is printed is run as it stands.
func (m *mover) flags() string {
	var s string
	if m.o.Kubeconfig != "" {
		s += " --kubeconfig=" + shellWord(m.o.Kubeconfig)
	}
	if m.o.Context != "" {
		s += " --context=" + shellWord(m.o.Context)
	}
	if m.o.MetalLBNamespace != "" {
		s += " --metallb-namespace=" + m.o.MetalLBNamespace
	}
	if m.o.Namespace != "fairlead-system" {
		s += " --namespace=" + m.o.Namespace
	}
	return s
}

// shellWord quotes what a shell would not take as one word.
func shellWord(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:@") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func (m *mover) nothingToDo() string {
	if m.o.Back {
		return "Nothing to do: MetalLB is not stopped, and Fairlead does not run."
	}
	return "Nothing to do: the move was finished at " + m.finished + ". " + m.wayOut()
}

func (m *mover) printFindings(findings []move.Finding) {
	m.say("Found:")
	if len(findings) == 0 {
		m.say("  nothing that is in the way")
	}
	for _, f := range findings {
		m.say("  %-7s  %s", f.Weight, f.Text)
	}
}

func (m *mover) printSteps(steps []move.Step) {
	m.say("\nSteps:")
	for i, s := range steps {
		line := fmt.Sprintf("  %d  %s", i+1, s.Title)
		if s.Done {
			line += " (done)"
		}
		if s.Why != "" {
			line += ": " + s.Why
		}
		m.say("%s", line)
	}
}

// say a line.
func (m *mover) say(format string, args ...any) {
	if m.err == nil {
		_, m.err = fmt.Fprintf(m.out, format+"\n", args...)
	}
}

// did says what was done in a step.
func (m *mover) did(format string, args ...any) {
	m.say("      "+strings.ReplaceAll(format, "\n", "\n      "), args...)
}

func (m *mover) printed() error {
	if m.err != nil {
		return fmt.Errorf("print the move: %w", m.err)
	}
	return nil
}
