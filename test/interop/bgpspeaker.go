package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/engine"
	"fairlead.io/fairlead/internal/testnet"
	"fairlead.io/fairlead/test/process"
)

// inBGPSpeaker in the environment makes a test program a BGPSpeaker, with the router ID that it is.
const inBGPSpeaker = "FAIRLEAD_TEST_BGP_SPEAKER"

// bgpPeer is a peer with its password, which a bgp.Peer does not tell.
type bgpPeer struct {
	bgp.Peer
	Secret string
}

// bgpRequest to a speaker, one in a line.
type bgpRequest struct {
	Op       string // peers, routes, sessions, advertised, drop, close, cpu
	Peers    []bgpPeer
	Routes   []bgp.Route
	Peer     string
	Reason   string
	Restart  bool
	Sets     []bgp.Attributes // of Many
	Many     int              // routes, beside Routes
	ManyFrom netip.Addr
	ManyTo   []string
}

// bgpAnswer is what a speaker says to a request.
type bgpAnswer struct {
	Resets     []bgp.Reset
	Errors     map[string]string
	Sessions   []bgp.Session
	Advertised []bgp.Advertised
	CPU        time.Duration
	Error      string
}

// speakBGP keeps sessions as it is told.
func speakBGP(routerID string, in io.Reader, out io.Writer) error {
	ctx := context.Background()
	id, err := netip.ParseAddr(routerID)
	if err != nil {
		return err
	}
	log := funcr.New(func(prefix, args string) { fmt.Fprintln(os.Stderr, prefix, args) }, funcr.Options{Verbosity: 1})
	r, err := engine.New(id, log)
	if err != nil {
		return err
	}
	requests, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var q bgpRequest
		if err := requests.Decode(&q); err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		var a bgpAnswer
		switch q.Op {
		case "peers":
			var peers []bgp.Peer
			for i := range q.Peers {
				p := q.Peers[i].Peer
				p.Password = bgp.Password(q.Peers[i].Secret)
				peers = append(peers, p)
			}
			var errs map[string]error
			a.Resets, errs = r.SetPeers(ctx, peers)
			a.Errors = map[string]string{}
			for name, err := range errs {
				a.Errors[name] = err.Error()
			}
		case "routes":
			err = r.SetRoutes(ctx, append(q.Routes, q.many()...))
		case "sessions":
			a.Sessions = r.Sessions()
		case "advertised":
			a.Advertised, err = r.Advertised(ctx, q.Peer)
		case "drop":
			err = r.Drop(ctx, q.Peer, q.Reason)
		case "close":
			err = r.Close(ctx, "the test wants it", q.Restart)
		case "cpu":
			var usage syscall.Rusage
			err = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
			a.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		default:
			err = errors.New("unknown request " + q.Op)
		}
		a.Error = text(err)
		if err := answers.Encode(a); err != nil || q.Op == "close" {
			return err
		}
	}
}

// many are host routes of successive addresses.
func (q *bgpRequest) many() []bgp.Route {
	routes := make([]bgp.Route, q.Many)
	at := q.ManyFrom
	for i := range routes {
		routes[i].Prefix = netip.PrefixFrom(at, at.BitLen())
		for _, p := range q.ManyTo {
			routes[i].To = append(routes[i].To, bgp.Export{Peer: p, Attributes: &q.Sets[i%len(q.Sets)]})
		}
		at = at.Next()
	}
	return routes
}

// BGPSpeaker is a BGP Router in a process and a namespace of its own.
type BGPSpeaker struct {
	t   testing.TB
	cmd *exec.Cmd
	in  *json.Encoder
	out *json.Decoder
	log *bytes.Buffer
}

// NewBGPSpeaker starts a speaker without peers. It is root with no capability but NET_RAW.
func NewBGPSpeaker(t testing.TB, ns *testnet.Namespace, routerID string) *BGPSpeaker {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &BGPSpeaker{t: t, log: &bytes.Buffer{}}
	s.cmd = ns.Command(t.Context(), "setpriv", "--bounding-set=-all,+net_raw", self)
	s.cmd.Env = append(os.Environ(), inBGPSpeaker+"="+routerID)
	s.cmd.Stderr = s.log
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
	s.in, s.out = json.NewEncoder(in), json.NewDecoder(bufio.NewReader(out))
	t.Cleanup(s.Kill)
	return s
}

// Kill ends the speaker without a word to anybody but what the kernel says.
func (s *BGPSpeaker) Kill() {
	if s.cmd.ProcessState != nil {
		return
	}
	_ = s.cmd.Process.Kill() // it may have ended by itself
	_ = s.cmd.Wait()
	if s.t.Failed() {
		s.t.Logf("the speaker said:\n%s", s.log)
	}
}

func (s *BGPSpeaker) ask(q bgpRequest) bgpAnswer {
	s.t.Helper()
	var a bgpAnswer
	err := s.in.Encode(q)
	if err == nil {
		err = s.out.Decode(&a)
	}
	if err != nil {
		s.t.Fatalf("%s: the speaker does not answer: %v", q.Op, err)
	}
	if a.Error != "" {
		s.t.Fatalf("%s: %s", q.Op, a.Error)
	}
	return a
}

// SetPeers replaces the peers and gives the resets and errors.
func (s *BGPSpeaker) SetPeers(peers ...bgp.Peer) ([]bgp.Reset, map[string]string) {
	s.t.Helper()
	q := bgpRequest{Op: "peers"}
	for i := range peers {
		q.Peers = append(q.Peers, bgpPeer{peers[i], string(peers[i].Password)})
	}
	a := s.ask(q)
	return a.Resets, a.Errors
}

// Peers replaces the peers, all of which must be good.
func (s *BGPSpeaker) Peers(peers ...bgp.Peer) []bgp.Reset {
	s.t.Helper()
	resets, errs := s.SetPeers(peers...)
	if len(errs) > 0 {
		s.t.Fatalf("peers: %v", errs)
	}
	return resets
}

// Routes replaces routes.
func (s *BGPSpeaker) Routes(routes ...bgp.Route) {
	s.t.Helper()
	s.ask(bgpRequest{Op: "routes", Routes: routes})
}

// Many advertises n host routes from an address on, with sets of attributes in turn.
func (s *BGPSpeaker) Many(n int, from netip.Addr, sets []bgp.Attributes, to ...string) {
	s.t.Helper()
	s.ask(bgpRequest{Op: "routes", Many: n, ManyFrom: from, ManyTo: to, Sets: sets})
}

// Session is a peer's session.
func (s *BGPSpeaker) Session(peer string) bgp.Session {
	s.t.Helper()
	for _, session := range s.ask(bgpRequest{Op: "sessions"}).Sessions {
		if session.Peer == peer {
			return session
		}
	}
	s.t.Fatalf("there is no peer %s", peer)
	return bgp.Session{}
}

// Advertised are the routes that a peer was sent.
func (s *BGPSpeaker) Advertised(peer string) []bgp.Advertised {
	s.t.Helper()
	return s.ask(bgpRequest{Op: "advertised", Peer: peer}).Advertised
}

// Drop ends a session.
func (s *BGPSpeaker) Drop(peer, reason string) {
	s.t.Helper()
	s.ask(bgpRequest{Op: "drop", Peer: peer, Reason: reason})
}

// Close ends all sessions and the speaker.
func (s *BGPSpeaker) Close(restart bool) {
	s.t.Helper()
	s.ask(bgpRequest{Op: "close", Restart: restart})
	if err := s.cmd.Wait(); err != nil {
		s.t.Errorf("the speaker ends with %v:\n%s", err, s.log)
	}
}

// CPU is the processor time that the speaker has used.
func (s *BGPSpeaker) CPU() time.Duration {
	s.t.Helper()
	return s.ask(bgpRequest{Op: "cpu"}).CPU
}

// Memory is what the speaker has of it now, in bytes.
func (s *BGPSpeaker) Memory() int64 {
	s.t.Helper()
	bytes, err := process.Resident(s.cmd.Process.Pid)
	if err != nil {
		s.t.Fatal(err)
	}
	return bytes
}

// Up waits until a session is established for at least the nth time.
func (s *BGPSpeaker) Up(peer string, n uint64) bgp.Session {
	s.t.Helper()
	var session bgp.Session
	Until(s.t, patience, "the session with "+peer+" is established", func() string {
		session = s.Session(peer)
		if session.State == bgp.Established && session.Established >= n {
			return ""
		}
		return fmt.Sprintf("%+v", session)
	})
	return session
}
