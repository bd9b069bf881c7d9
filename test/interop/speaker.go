package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bfd/manager"
	"fairlead.io/fairlead/internal/testnet"
)

// inSpeaker in the environment makes a test program a Speaker.
const inSpeaker = "FAIRLEAD_TEST_BFD_SPEAKER"

// Main runs a package's tests, or, in a process that NewSpeaker has started, the speaker.
func Main(m *testing.M) {
	if id := os.Getenv(inBGPSpeaker); id != "" {
		if err := speakBGP(id, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "BGP speaker:", err)
			os.Exit(1)
		}
		return
	}
	if os.Getenv(inSpeaker) == "" {
		os.Exit(m.Run())
	}
	if err := speak(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "BFD speaker:", err)
		os.Exit(1)
	}
}

// request to a speaker, one in a line.
type request struct {
	Op       string // add, change, remove, snapshot, discarded, litter, cpu, close
	Key      manager.Key
	Settings manager.Settings
}

// line that a speaker says: an answer, or an event.
type line struct {
	Event  *Event   `json:",omitempty"`
	Status []Status `json:",omitempty"`
	Error  string   `json:",omitempty"`
	CPU    time.Duration
	// Discarded packets of all sessions and of none, by the reason.
	Discarded map[string]uint64 `json:",omitempty"`
}

// Event is a manager's event.
type Event struct {
	manager.Event
	Problem string
}

// Status is a manager's status of a session.
type Status struct {
	manager.Status
	Problem string
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// speak keeps sessions as it is told.
func speak(in io.Reader, out io.Writer) error {
	m := manager.New()
	events := m.NewEvents()
	var mu sync.Mutex // guards out
	say := func(l line) error {
		mu.Lock()
		defer mu.Unlock()
		return json.NewEncoder(out).Encode(l)
	}
	go func() {
		for e := range events.C() {
			if say(line{Event: &Event{e, text(e.Problem)}}) != nil {
				return // the test has ended
			}
		}
	}()
	requests := json.NewDecoder(in)
	for {
		var r request
		if err := requests.Decode(&r); err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		var answer line
		var err error
		switch r.Op {
		case "add":
			err = m.Add(r.Key, r.Settings, events)
		case "change":
			err = m.Change(r.Key, r.Settings)
		case "remove":
			m.Remove(r.Key)
		case "snapshot":
			for _, s := range m.Snapshot() {
				answer.Status = append(answer.Status, Status{s, text(s.Problem)})
			}
		case "discarded":
			answer.Discarded = map[string]uint64{}
			for reason, n := range m.Discarded() {
				answer.Discarded[reason.String()] = n
			}
		case "litter":
			for range runtime.GOMAXPROCS(0) {
				go litter()
			}
		case "cpu":
			var usage syscall.Rusage
			err = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
			answer.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		case "close":
			err = m.Close(context.Background())
		default:
			err = errors.New("unknown request " + r.Op)
		}
		answer.Error = text(err)
		if err := say(answer); err != nil || r.Op == "close" {
			return err
		}
	}
}

// litter makes garbage as fast as it can, and keeps enough for the collector to have work (some 50 MB, in small pieces).
func litter() {
	kept := make([]*[64]byte, 1<<19)
	for i := 0; ; i++ {
		kept[i%len(kept)] = &[64]byte{byte(i)}
	}
}

// Speaker is a BFD manager in a process and a namespace of its own.
type Speaker struct {
	t       testing.TB
	cmd     *exec.Cmd
	in      *json.Encoder
	answers chan line
	events  chan Event
	untold  map[manager.Key][]Event // that have come and nobody has waited for
}

// NewSpeaker starts a speaker without sessions. It is root with no capability but NET_RAW.
func NewSpeaker(t testing.TB, ns *testnet.Namespace) *Speaker {
	t.Helper()
	s := &Speaker{t: t, answers: make(chan line), events: make(chan Event, 10000), untold: map[manager.Key][]Event{}}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// With the one capability that Fairlead's speaker has.
	s.cmd = ns.Command(t.Context(), "setpriv", "--bounding-set=-all,+net_raw", self)
	s.cmd.Env = append(os.Environ(), inSpeaker+"=1")
	s.cmd.Stderr = os.Stderr
	in, err := s.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.in = json.NewEncoder(in)
	go func() {
		defer close(s.answers)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var l line
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
				t.Errorf("the speaker says %q: %v", lines.Text(), err)
				return
			}
			if l.Event != nil {
				s.events <- *l.Event
			} else {
				s.answers <- l
			}
		}
	}()
	t.Cleanup(s.Kill)
	return s
}

// Kill ends the speaker without a word to anybody.
func (s *Speaker) Kill() {
	_ = s.cmd.Process.Kill() // it may have ended by itself
	for range s.answers {    // until the pipe is closed, which Wait would close too early
	}
	_ = s.cmd.Wait()
}

func (s *Speaker) ask(r request) line {
	s.t.Helper()
	if err := s.in.Encode(r); err != nil {
		s.t.Fatal(err)
	}
	select {
	case l, ok := <-s.answers:
		if !ok || l.Error != "" {
			s.t.Fatalf("%s %s: %s", r.Op, r.Key, l.Error)
		}
		return l
	case <-time.After(patience):
		s.t.Fatalf("%s %s: no answer", r.Op, r.Key)
		return line{}
	}
}

// Add adds a session.
func (s *Speaker) Add(k manager.Key, settings manager.Settings) {
	s.t.Helper()
	s.ask(request{"add", k, settings})
}

// Change gives a session other settings.
func (s *Speaker) Change(k manager.Key, settings manager.Settings) {
	s.t.Helper()
	s.ask(request{"change", k, settings})
}

// Remove removes a session.
func (s *Speaker) Remove(k manager.Key) {
	s.t.Helper()
	s.ask(request{Op: "remove", Key: k})
}

// Snapshot gives the status of the sessions by their keys.
func (s *Speaker) Snapshot() map[manager.Key]Status {
	s.t.Helper()
	all := map[manager.Key]Status{}
	for _, status := range s.ask(request{Op: "snapshot"}).Status {
		all[status.Key] = status
	}
	return all
}

// Close lets the speaker take leave of its neighbours.
func (s *Speaker) Close() {
	s.t.Helper()
	s.ask(request{Op: "close"})
	s.Kill()
}

// Await waits for the event that a session enters a state, beginning with the events after the one that was awaited last.
func (s *Speaker) Await(k manager.Key, state bfd.State, within time.Duration) Event {
	s.t.Helper()
	timeout := time.After(within)
	for {
		for len(s.untold[k]) > 0 {
			e := s.untold[k][0]
			s.untold[k] = s.untold[k][1:]
			if e.New == state && e.Old != state {
				return e
			}
		}
		select {
		case e := <-s.events:
			s.untold[e.Key] = append(s.untold[e.Key], e)
		case <-timeout:
			s.t.Fatalf("%s is not %s within %s, but %+v", k, state, within, s.Snapshot()[k])
		}
	}
}

// Forget drops the events that have come so far.
func (s *Speaker) Forget() {
	for len(s.events) > 0 {
		<-s.events
	}
	clear(s.untold)
}

// Discarded are the packets that were discarded, by the reason.
func (s *Speaker) Discarded() map[string]uint64 {
	s.t.Helper()
	return s.ask(request{Op: "discarded"}).Discarded
}

// Litter lets another part of the speaker's process use all cores, to make garbage.
func (s *Speaker) Litter() {
	s.t.Helper()
	s.ask(request{Op: "litter"})
}

// CPU is the processor time that the speaker has used.
func (s *Speaker) CPU() time.Duration {
	s.t.Helper()
	return s.ask(request{Op: "cpu"}).CPU
}
