package interop

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fairlead.io/fairlead/internal/testnet"
	"fairlead.io/fairlead/test/router"
)

// BGPRouter is a router that speaks BGP with the host.
type BGPRouter struct {
	t       testing.TB
	ns      *testnet.Namespace
	kind    router.Kind
	place   router.Place
	router  router.Router
	config  BGPConfig
	daemons []*daemon
	own     func() // gives its files to its user
}

// NewBGPRouter makes a router of a kind, which is not yet started.
func NewBGPRouter(t testing.TB, ns *testnet.Namespace, kind router.Kind) *BGPRouter {
	t.Helper()
	dir, err := os.MkdirTemp("", "fairlead-router-") // not the test's, which FRR's user may not enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	r := &BGPRouter{t: t, ns: ns, kind: kind, place: place(dir, kind.FileName()), own: func() {}}
	switch kind {
	case router.FRR:
		r.own = func() { own(t, dir, "frr") }
	case router.GoBGP:
		// It is asked over the network.
		r.place.Run = func(ctx context.Context, name string, args ...string) (string, string, error) {
			var stdout, stderr strings.Builder
			cmd := ns.Command(ctx, name, args...)
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			return stdout.String(), stderr.String(), err
		}
	default:
	}
	if r.router, err = router.New(kind, r.place); err != nil {
		t.Fatal(err)
	}
	return r
}

// Start starts it, or starts it anew, with a configuration.
func (r *BGPRouter) Start(c BGPConfig) {
	r.t.Helper()
	r.StartFile(c, c.render(r.kind))
}

// StartFile starts it with a configuration file of one's own. Of c it takes what the file has too.
func (r *BGPRouter) StartFile(c BGPConfig, file string) {
	r.t.Helper()
	r.Kill()
	r.config = c
	if err := r.place.Write([]byte(file)); err != nil {
		r.t.Fatal(err)
	}
	r.own()
	programs := r.router.Programs()
	for i := range programs {
		if programs[i].Name == "bgpd" {
			programs[i].Args = append(programs[i].Args, "-p", fmt.Sprint(c.Port))
		}
	}
	r.daemons = run(r.t, r.ns, programs)
	if err := r.router.Start(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

// Kill ends it without a word to anybody but what the kernel says.
func (r *BGPRouter) Kill() {
	for _, d := range slices.Backward(r.daemons) {
		d.kill()
	}
	r.daemons = nil
}

// SetPassword changes the password. gobgpd does not give its listening socket another one for a neighbour that it has: it is started
// again.
func (r *BGPRouter) SetPassword(password string) {
	r.t.Helper()
	c := r.config
	c.Password = password
	var err error
	switch r.kind {
	case router.FRR:
		err = r.router.Configure(r.t.Context(), fmt.Sprintf("router bgp %d", c.ASN), fmt.Sprintf("neighbor %s password %s", c.neighbour(), password))
	case router.BIRD:
		err = r.router.Replace(r.t.Context(), []byte(c.render(r.kind)))
	default:
		r.Start(c)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.config = c
}

// answer asks until the router answers: its tool gives up after a second or two, in which it may have had no processor.
func answer[T any](r *BGPRouter, ask func(context.Context) (T, error)) (out T) {
	r.t.Helper()
	Until(r.t, patience, "the router answers", func() string {
		var err error
		out, err = ask(r.t.Context())
		return text(err)
	})
	return out
}

func (r *BGPRouter) raw(command ...string) string {
	r.t.Helper()
	return answer(r, func(ctx context.Context) (string, error) { return r.router.Raw(ctx, command...) })
}

func (r *BGPRouter) json(into any, command ...string) {
	r.t.Helper()
	if out := r.raw(command...); json.Unmarshal([]byte(out), into) != nil {
		r.t.Fatalf("%q says %s", command, out)
	}
}

// session with the host; false: the router shows none.
func (r *BGPRouter) session() (router.Session, bool) {
	r.t.Helper()
	all := answer(r, r.router.Sessions)
	i := slices.IndexFunc(all, func(s router.Session) bool { return s.Established() })
	if i < 0 {
		return router.Session{}, false
	}
	return all[i], true
}

// Up says why there is no session with the host; empty: there is one.
func (r *BGPRouter) Up() string {
	r.t.Helper()
	if _, ok := r.session(); !ok {
		return "the router shows no established session"
	}
	return ""
}

// Down says why the session with the host has not ended; empty: it has.
func (r *BGPRouter) Down() string {
	r.t.Helper()
	if s, ok := r.session(); ok {
		return fmt.Sprintf("the router shows %+v", s)
	}
	return ""
}

// Received is the number of routes from the host.
func (r *BGPRouter) Received() int {
	r.t.Helper()
	s, _ := r.session()
	return s.Received
}

// Route gives the route to a prefix.
func (r *BGPRouter) Route(prefix string) (router.Path, bool) {
	r.t.Helper()
	all := answer(r, r.router.Routes)
	paths := all[netip.MustParsePrefix(prefix)]
	if len(paths) == 0 {
		return router.Path{}, false
	}
	return paths[0], true
}

// BGPDetails are what a router shows of an established session beside what all show alike.
type BGPDetails struct {
	Ups  int // how often it was established; -1: the router does not count
	Hold int // seconds, as negotiated
	// Restart is the time in seconds that the host announced for graceful restart; -1: none.
	Restart int
}

var (
	birdHold    = regexp.MustCompile(`Hold timer:\s+[0-9.]+/([0-9]+)`)
	birdRestart = regexp.MustCompile(`(?s)Neighbor capabilities.*?Restart time: ([0-9]+)`)
)

// Details of the session.
func (r *BGPRouter) Details() BGPDetails {
	r.t.Helper()
	d := BGPDetails{Ups: -1, Restart: -1}
	switch r.kind {
	case router.FRR:
		var all map[string]frrNeighbour
		r.json(&all, "show bgp neighbors "+r.config.neighbour()+" json")
		n := all[r.config.neighbour()]
		d.Ups, d.Hold = n.Established, n.Hold/1000
		if n.Restart.Mode == "Restart" || n.Restart.Mode == "Helper" {
			d.Restart = n.Restart.Timers.Received
		}
	case router.BIRD:
		out := r.raw("show protocols all")
		for expression, into := range map[*regexp.Regexp]*int{birdHold: &d.Hold, birdRestart: &d.Restart} {
			if m := expression.FindStringSubmatch(out); m != nil {
				*into, _ = strconv.Atoi(m[1]) // digits
			}
		}
	default:
		var n gobgpNeighbour
		r.json(&n, "neighbor", r.config.Host.String(), "-j")
		d.Hold = n.Timers.State.Hold
		for _, c := range n.State.Remote {
			if strings.HasSuffix(c.Type, ".GracefulRestartCapability") {
				d.Restart = restartTime(c.Value)
			}
		}
	}
	return d
}

type frrNeighbour struct {
	Established int `json:"connectionsEstablished"`
	Hold        int `json:"bgpTimerHoldTimeMsecs"`
	Restart     struct {
		Mode   string `json:"remoteGrMode"`
		Timers struct {
			Received int `json:"receivedRestartTimer"`
		} `json:"timers"`
	} `json:"gracefulRestartInfo"`
}

type gobgpNeighbour struct {
	State struct {
		Remote []struct {
			Type  string `json:"type_url"`
			Value []byte `json:"value"`
		} `json:"remote_cap"`
	} `json:"state"`
	Timers struct {
		State struct {
			Hold int `json:"negotiated_hold_time"`
		} `json:"state"`
	} `json:"timers"`
}

// restartTime reads field 2 of a message of varints in the protocol buffers' form, which is 0 when it is not there.
func restartTime(b []byte) int {
	for len(b) > 1 {
		value, n := binary.Uvarint(b[1:])
		if n <= 0 || b[0]&7 != 0 {
			break
		}
		if b[0]>>3 == 2 {
			return int(value)
		}
		b = b[1+n:]
	}
	return 0
}
