package gobgp

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/bgp/wire"
)

const (
	// globalASN is the server's own AS number, which nobody sees: each neighbour has its local one. It is reserved (RFC 7607), so
	// that no neighbour is taken for an internal one because of it.
	globalASN = 23456
	// openWithin is the time in which the server takes up a neighbour. It is local work, some 10 ms for 1,000 routes.
	openWithin = 20 * time.Second
	// batch is the number of routes that are given to the server at a time: it does nothing else meanwhile, some 20 ms.
	batch = 500
	// mark is a family that has no routes: its End-of-RIB comes when everything has come that was to be sent before it was asked for.
	mark = packet.RF_IPv4_MC
)

// engine is the GoBGP server: it has the routes, gives each neighbour its attributes by policy, and makes UPDATE messages of them.
// What it never has is a connection to anybody outside: it listens on the loopback interface alone, for the connections that open
// makes, and what it reads there has been written here. It is used by one goroutine at a time.
type engine struct {
	server  *server.BgpServer
	address string // where it listens
	// password of the connections, so that nobody else on this host can make one; empty where the kernel has no TCP MD5.
	password string
	policies map[uint16]*policy // of the open neighbours, by index
	sets     map[uint32]bool    // the tags that there is a community set of
	served   chan struct{}      // closed when the server has ended
}

// newEngine starts a server.
func newEngine(ctx context.Context, routerID netip.Addr, log logr.Logger) (*engine, error) {
	e := &engine{policies: map[uint16]*policy{}, sets: map[uint32]bool{}, served: make(chan struct{})}
	if hasMD5() {
		e.password = rand.Text()
	} else {
		log.Info("The kernel has no TCP MD5 signatures (RFC 2385): BGP sessions with a password cannot be had on this node")
	}
	e.server = server.NewBgpServer(server.LoggerOption(newLogger(log), nil))
	go func() {
		defer close(e.served)
		e.server.Serve()
	}()
	err := e.listen(ctx, routerID)
	if err == nil {
		err = e.assign(ctx)
	}
	if err != nil {
		e.stop()
		return nil, fmt.Errorf("start the BGP engine: %w", err)
	}
	return e, nil
}

// listen starts the server on a port of the loopback interface. It takes a number only, so that one is looked for first, which
// somebody else may have taken meanwhile.
func (e *engine) listen(ctx context.Context, routerID netip.Addr) error {
	var err error
	for range 10 {
		var port int
		if port, err = freePort(ctx); err != nil {
			continue
		}
		err = e.server.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{
			Asn: globalASN, RouterId: routerID.String(), ListenPort: int32(port), ListenAddresses: []string{loopback.String()},
			Families: []uint32{0, 1, 10}, // IPv4 and IPv6 unicast, and the mark
		}})
		if err == nil {
			e.address = netip.AddrPortFrom(loopback, uint16(port)).String()
			return nil
		}
	}
	return err
}

var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

func freePort(ctx context.Context) (int, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", netip.AddrPortFrom(loopback, 0).String())
	if err != nil {
		return 0, fmt.Errorf("look for a free port of the loopback interface: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port //nolint:errcheck // a TCP listener has no other
	return port, l.Close()
}

// neighbour is a router as the server knows it, with what was negotiated.
type neighbour struct {
	index         uint16 // unique, from 1
	localASN, asn uint32
	fourOctet     bool
	ipv4, ipv6    bool
	exportTo
}

// address of the neighbour, on the loopback interface.
func address(index uint16) netip.Addr {
	return netip.AddrFrom4([4]byte{127, 88, byte(index >> 8), byte(index)})
}

// open makes the server take up a neighbour and gives the connection to it, on which UPDATEs with all routes follow, and, at their
// end, End-of-RIB for each family and the mark. When it returns no change of a route goes past the neighbour.
func (e *engine) open(ctx context.Context, n *neighbour, sets []*attrSet) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, openWithin)
	defer cancel()
	if err := e.setPolicy(ctx, n, sets); err != nil {
		return nil, err
	}
	if err := e.server.AddPeer(ctx, &api.AddPeerRequest{Peer: n.config(e.password)}); err != nil {
		return nil, fmt.Errorf("add the neighbour: %w", err)
	}
	conn, err := e.connect(ctx, n)
	if err == nil {
		if err = e.established(ctx, n.index); err == nil {
			return conn, nil
		}
		err = errors.Join(err, conn.Close())
	}
	return nil, errors.Join(err, e.close(n.index))
}

// connect opens a session with the server in the neighbour's name.
func (e *engine) connect(ctx context.Context, n *neighbour) (net.Conn, error) {
	open, err := n.open()
	if err != nil {
		return nil, err
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: address(n.index).AsSlice()}, Control: control(func(fd int) error {
		return setMD5(fd, loopback, e.password)
	})}
	for {
		conn, err := d.DialContext(ctx, "tcp4", e.address)
		if err != nil {
			return nil, fmt.Errorf("connect to the engine: %w", err)
		}
		// It closes connections while it is not yet ready for the neighbour, and opens the session first when it is.
		if err = greet(ctx, conn, open); err == nil {
			return conn, nil
		}
		err = errors.Join(err, conn.Close())
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("open a session with the engine: %w", errors.Join(err, ctx.Err()))
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// open is the neighbour's OPEN to the server. It has no hold time: this connection does not fail, and the router's is watched where
// it is read. It has graceful restart, so that End-of-RIB is sent.
func (n *neighbour) open() ([]byte, error) {
	caps := []packet.ParameterCapabilityInterface{
		packet.NewCapRouteRefresh(), packet.NewCapGracefulRestart(false, false, 0, nil), packet.NewCapMultiProtocol(mark),
	}
	if n.ipv4 {
		caps = append(caps, packet.NewCapMultiProtocol(packet.RF_IPv4_UC))
	}
	if n.ipv6 {
		caps = append(caps, packet.NewCapMultiProtocol(packet.RF_IPv6_UC))
	}
	asn := n.asn
	if n.fourOctet {
		caps = append(caps, packet.NewCapFourOctetASNumber(n.asn))
		asn = min(asn, packet.AS_TRANS)
	}
	m, err := packet.NewBGPOpenMessage(uint16(asn), 0, address(n.index), []packet.OptionParameterInterface{packet.NewOptionParameterCapability(caps)})
	if err != nil {
		return nil, fmt.Errorf("make an OPEN for the engine: %w", err)
	}
	return m.Serialize()
}

func greet(ctx context.Context, conn net.Conn, open []byte) error {
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	m, err := wire.Read(conn, new(wire.Buffer))
	if err != nil {
		return err
	}
	if m.Type() != wire.TypeOpen {
		return fmt.Errorf("the engine begins with %s", m.Type())
	}
	if _, err := conn.Write(append(open, wire.Keepalive()...)); err != nil {
		return err
	}
	return conn.SetDeadline(time.Time{})
}

// askForMark makes the mark come on a neighbour's connection.
func askForMark(conn net.Conn) error {
	b, err := packet.NewBGPRouteRefreshMessage(mark.Afi(), 0, mark.Safi()).Serialize()
	if err == nil {
		_, err = conn.Write(b)
	}
	return err
}

// established waits until the server shows the session as such: from then on it sends the neighbour what changes.
func (e *engine) established(ctx context.Context, index uint16) error {
	for {
		up := false
		err := e.server.ListPeer(ctx, &api.ListPeerRequest{Address: address(index).String()}, func(p *api.Peer) {
			up = p.GetState().GetSessionState() == api.PeerState_SESSION_STATE_ESTABLISHED
		})
		if err != nil || up {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the engine to take up the neighbour: %w", ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

// config is the neighbour for the server.
func (n *neighbour) config(password string) *api.Peer {
	p := &api.Peer{
		Conf:            &api.PeerConf{NeighborAddress: address(n.index).String(), LocalAsn: n.localASN, PeerAsn: n.asn, AuthPassword: password},
		Transport:       &api.Transport{PassiveMode: true},
		GracefulRestart: &api.GracefulRestart{Enabled: true, RestartTime: 1},
	}
	families := []*api.Family{{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_MULTICAST}} // the mark
	if n.ipv4 {
		families = append(families, &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST})
	}
	if n.ipv6 {
		families = append(families, &api.Family{Afi: api.Family_AFI_IP6, Safi: api.Family_SAFI_UNICAST})
	}
	for _, f := range families {
		p.AfiSafis = append(p.AfiSafis, &api.AfiSafi{Config: &api.AfiSafiConfig{Family: f, Enabled: true}})
	}
	return p
}

// close forgets a neighbour. Nothing may be waiting to be sent to it: the server would not free it, nor the goroutine that it has for
// it.
func (e *engine) close(index uint16) error {
	ctx := context.Background() // local work that must be done
	err := e.server.DeletePeer(ctx, &api.DeletePeerRequest{Address: address(index).String()})
	return errors.Join(err, e.dropPolicy(ctx, index))
}

// resend makes the server send all routes to a neighbour again, as its policy is now, and withdraw those that it has no more.
func (e *engine) resend(ctx context.Context, index uint16) error {
	return e.server.ResetPeer(ctx, &api.ResetPeerRequest{
		Address: address(index).String(), Soft: true, Direction: api.ResetPeerRequest_DIRECTION_OUT,
	})
}

// path is a route with the tags of all its exports.
type path struct {
	prefix netip.Prefix
	tags   []uint32
}

// The next hops of the routes in the server's table. No neighbour sees them (they are for documentation: RFC 5737, RFC 3849);
// unspecified ones it would replace by its own address on the loopback interface.
var (
	placeholder4 = netip.MustParseAddr("192.0.2.0")
	placeholder6 = netip.MustParseAddr("2001:db8::")
)

// native is the route for the server. Its communities are the tags and nothing else. Its local preference is 0, because a policy
// can set any other.
func (p path) native() (*apiutil.Path, error) {
	nlri, err := packet.NewIPAddrPrefix(p.prefix)
	if err != nil {
		return nil, fmt.Errorf("prefix %s: %w", p.prefix, err)
	}
	out := &apiutil.Path{Family: packet.RF_IPv4_UC, Nlri: nlri}
	var nextHop packet.PathAttributeInterface
	if p.prefix.Addr().Is4() {
		nextHop, err = packet.NewPathAttributeNextHop(placeholder4)
	} else {
		out.Family = packet.RF_IPv6_UC
		nextHop, err = packet.NewPathAttributeMpReachNLRI(out.Family, []packet.PathNLRI{{NLRI: nlri}}, placeholder6)
	}
	if err != nil {
		return nil, fmt.Errorf("prefix %s: %w", p.prefix, err)
	}
	out.Attrs = []packet.PathAttributeInterface{
		packet.NewPathAttributeOrigin(packet.BGP_ORIGIN_ATTR_TYPE_IGP), nextHop, packet.NewPathAttributeLocalPref(0),
		packet.NewPathAttributeCommunities(p.tags),
	}
	return out, nil
}

// update adds or replaces the routes that have tags, and deletes those that have none.
func (e *engine) update(paths []path) error {
	var add, remove []*apiutil.Path
	for _, p := range paths {
		native, err := p.native()
		if err != nil {
			return err
		}
		if len(p.tags) > 0 {
			add = append(add, native)
		} else {
			remove = append(remove, native)
		}
	}
	for part := range slices.Chunk(remove, batch) {
		if err := e.server.DeletePath(apiutil.DeletePathRequest{Paths: part}); err != nil {
			return fmt.Errorf("delete routes from the engine: %w", err)
		}
	}
	for part := range slices.Chunk(add, batch) {
		if _, err := e.server.AddPath(apiutil.AddPathRequest{Paths: part}); err != nil {
			return fmt.Errorf("add routes to the engine: %w", err)
		}
	}
	return nil
}

// stop ends the server, which has no open neighbour.
func (e *engine) stop() {
	e.server.Stop()
	<-e.served
}

// hasMD5 reports whether the kernel has TCP MD5 signatures; one in FIPS mode has not.
func hasMD5() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return setMD5(fd, loopback, "probe") == nil
}
