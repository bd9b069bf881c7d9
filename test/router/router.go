// Package router starts, tells and asks real routers: FRR, BIRD and GoBGP, by their own command lines. It makes the same of what
// each of them says, so that one test serves all. It knows nothing of where they run: who starts one gives it a Place.
package router

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Kind is what a router runs.
type Kind string

// The kinds of routers.
const (
	FRR   Kind = "frr"   // zebra, bgpd and bfdd
	BIRD  Kind = "bird"  // BIRD 2
	GoBGP Kind = "gobgp" // gobgpd, which has no forwarding table: it shows routes and forwards nothing
)

// Kinds lists all kinds.
func Kinds() []Kind { return []Kind{FRR, BIRD, GoBGP} }

// ParseKind reads the name of a kind.
func ParseKind(s string) (Kind, error) {
	if k := Kind(s); slices.Contains(Kinds(), k) {
		return k, nil
	}
	return "", fmt.Errorf("no router is called %q: want frr, bird or gobgp", s)
}

// Place is where a router's programs run.
type Place struct {
	// Run runs a command line tool to its end and gives what it wrote. The error does not repeat the arguments, which may hold a password.
	Run func(ctx context.Context, name string, args ...string) (stdout, stderr string, err error)
	// Config is the path of the configuration file, where programs and tools read it; Read and Write are for this process.
	Config string
	Read   func() ([]byte, error)
	Write  func(content []byte) error
	// Sockets is the folder of the programs' sockets and process numbers; empty: where their packages have them.
	Sockets string
}

// Program is one of a router's programs.
type Program struct {
	Name, Path string
	Args       []string
	// Ready says that it answers; else its error says what is missing.
	Ready func(ctx context.Context) error
}

// ErrRestart says that a router takes up another configuration only when it is started again.
var ErrRestart = errors.New("the router takes this up when it is started again")

// Router is a router's programs.
type Router interface {
	// Programs are started one after another, each when the one before it is ready. They stay in the foreground.
	Programs() []Program

	// Start makes programs that have just been started take up the configuration file.
	Start(ctx context.Context) error

	// Replace makes the running router do what another configuration file says, and writes that file. Sessions live on where the router lets
	// them. The error is ErrRestart for a router that has to be started again, which is then up to the caller.
	Replace(ctx context.Context, config []byte) error

	// Configure adds to what the router does, until it is started again or its configuration file replaced. The lines are in the router's
	// own words: FRR's of its configuration mode; BIRD's of its configuration file, in place of those of the call before; those of
	// the program gobgp, a command each.
	Configure(ctx context.Context, lines ...string) error

	// Sessions are the BGP sessions and what is configured without one, in the order of their peers.
	Sessions(ctx context.Context) ([]Session, error)

	// Routes are all routes that peers have sent and the router has accepted, the best path of each first.
	Routes(ctx context.Context) (map[netip.Prefix][]Path, error)

	// Raw gives the router's command line tool a command and returns its answer.
	Raw(ctx context.Context, command ...string) (string, error)
}

// New is a router of a kind at a place.
func New(k Kind, p Place) (Router, error) {
	switch k {
	case FRR:
		return frr{p}, nil
	case BIRD:
		return bird{p}, nil
	case GoBGP:
		return gobgp{p}, nil
	default:
		_, err := ParseKind(string(k))
		return nil, err
	}
}

// Session is a BGP session as the router shows it.
type Session struct {
	// Peer is the other end's address, with the interface as its zone when it is link-local. FRR, told of an interface alone, does not say it.
	Peer netip.Addr
	// Name is what the router calls it: FRR the address or interface, GoBGP the address, BIRD a protocol.
	Name string
	// ASN of the other end; 0 if the router does not say.
	ASN uint32
	// State is the router's word: Established, Active, Connect and so on.
	State string
	// Uptime of an established session, in whole seconds.
	Uptime time.Duration
	// Received counts accepted routes of both families.
	Received int
	// BFD is the state of the BFD session that belongs to it: Up, Down and so on; empty: there is none.
	BFD string
}

// Established reports whether routes can be exchanged.
func (s Session) Established() bool { return s.State == "Established" }

// Path is one way to a prefix.
type Path struct {
	// Peer has sent it; see Session.
	Peer netip.Addr
	// NextHop is the global one where the peer has sent two.
	NextHop netip.Addr
	// Best is the router's choice. With ECMP connections take others too, which are in the kernel's table.
	Best   bool
	ASPath []uint32
	// MED and LocalPref are nil when there is none. Routes of external peers come without LocalPref: BIRD shows its default of 100 for
	// them, FRR and GoBGP show none, but FRR 0 for those with community graceful-shutdown (RFC 8326).
	MED, LocalPref *uint32
	// Communities are asn:value in numbers, well-known ones too; LargeCommunities a:b:c. Both are in ascending order.
	Communities, LargeCommunities []string
}
