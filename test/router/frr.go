package router

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

type frr struct{ Place }

// frrFolder is where Debian's package has the programs.
const frrFolder = "/usr/lib/frr"

func (f frr) Programs() []Program {
	var programs []Program
	for _, name := range []string{"zebra", "bgpd", "bfdd"} {
		// No port for its own command line: the socket is for that. An empty file, because the real one is for all programs together.
		args := []string{"-P", "0", "--log", "stdout", "-f", "/dev/null"}
		if f.Sockets != "" {
			args = append(args, "-i", filepath.Join(f.Sockets, name+".pid"), "-z", filepath.Join(f.Sockets, "zserv.api"), "--vty_socket", f.Sockets)
			if name == "bfdd" {
				args = append(args, "--bfdctl", filepath.Join(f.Sockets, "bfdd.sock"))
			}
		}
		programs = append(programs, Program{Name: name, Path: filepath.Join(frrFolder, name), Args: args, Ready: func(ctx context.Context) error {
			_, err := f.vtysh(ctx, "-d", name, "-c", "show version")
			return err
		}})
	}
	return programs
}

func (f frr) Start(ctx context.Context) error {
	_, err := f.vtysh(ctx, "-f", f.Config)
	return err
}

func (f frr) Replace(ctx context.Context, config []byte) error {
	old, err := f.Read()
	if err != nil {
		return err
	}
	// The file is what the router has been told: it follows the router, not the other way round.
	commands := frrDelta(old, config)
	if slices.ContainsFunc(commands, changesNeighbours) {
		// All sessions end in any case; and bgpd 8.4 lets BFD go from a neighbour that it has just known as one of a network.
		return errors.Join(f.Write(config), ErrRestart)
	}
	if len(commands) > 0 {
		if err := f.commands(ctx, commands); err != nil {
			return err
		}
	}
	return f.Write(config)
}

// changesNeighbours is true for a command that says who is a neighbour: by its address or by a network.
func changesNeighbours(command string) bool {
	return strings.Contains(command, " peer-group ")
}

func (f frr) Configure(ctx context.Context, lines ...string) error {
	return f.commands(ctx, append([]string{"configure terminal"}, lines...))
}

func (f frr) commands(ctx context.Context, commands []string) error {
	out, err := f.Raw(ctx, commands...)
	if err != nil {
		return err
	}
	// What is understood and cannot be is no error to the tool.
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "%") {
			return fmt.Errorf("FRR refuses its configuration: %s", withoutSecrets(out))
		}
	}
	return nil
}

// Raw runs several commands one after another.
func (f frr) Raw(ctx context.Context, command ...string) (string, error) {
	var args []string
	for _, c := range command {
		args = append(args, "-c", c)
	}
	return f.vtysh(ctx, args...)
}

func (f frr) vtysh(ctx context.Context, args ...string) (string, error) {
	if f.Sockets != "" {
		args = append([]string{"--vty_socket", f.Sockets}, args...)
	}
	return f.run(ctx, "vtysh", args...)
}

// ask decodes the answer to a command that ends in json.
func (f frr) ask(ctx context.Context, command string, into any) error {
	out, err := f.Raw(ctx, command)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		return fmt.Errorf("read the answer to %q: %w: %.200s", command, err, out)
	}
	return nil
}

type frrSummary map[string]struct {
	Peers map[string]struct {
		ASN      uint32 `json:"remoteAs"`
		State    string `json:"state"`
		Uptime   int64  `json:"peerUptimeMsec"`
		Prefixes int    `json:"pfxRcd"`
	} `json:"peers"`
}

type frrBFD []struct {
	Peer      string `json:"peer"`
	Interface string `json:"interface"`
	Status    string `json:"status"`
}

func (f frr) Sessions(ctx context.Context) ([]Session, error) {
	var summary frrSummary
	if err := f.ask(ctx, "show bgp summary json", &summary); err != nil {
		return nil, err
	}
	var bfd frrBFD
	if err := f.ask(ctx, "show bfd peers json", &bfd); err != nil {
		return nil, err
	}
	return frrSessions(summary, bfd), nil
}

// frrSessions adds up the families of each peer.
func frrSessions(summary frrSummary, bfd frrBFD) []Session {
	found := map[string]Session{}
	for _, family := range summary {
		for name, p := range family.Peers {
			s := found[name]
			s.Name, s.ASN, s.State = name, p.ASN, p.State
			s.Received += p.Prefixes
			if s.Established() {
				s.Uptime = time.Duration(p.Uptime/1000) * time.Second
			}
			if addr, err := netip.ParseAddr(name); err == nil {
				s.Peer = addr
			}
			for _, b := range bfd {
				if b.Peer == name || !s.Peer.IsValid() && b.Interface == name {
					s.BFD = capital(b.Status)
				}
			}
			found[name] = s
		}
	}
	sessions := make([]Session, 0, len(found))
	for _, s := range found {
		sessions = append(sessions, s)
	}
	return sortSessions(sessions)
}

// frrRoutes is the answer to "show bgp FAMILY unicast json detail": for each prefix a heading, which has no peer, and its paths.
type frrRoutes struct {
	Routes map[string][]struct {
		Peer struct {
			ID string `json:"peerId"`
		} `json:"peer"`
		Path struct {
			Segments []struct {
				List []uint32 `json:"list"`
			} `json:"segments"`
		} `json:"aspath"`
		MED       *uint32 `json:"metric"`
		LocalPref *uint32 `json:"locPrf"`
		Best      struct {
			Overall bool `json:"overall"`
		} `json:"bestpath"`
		Community struct {
			String string `json:"string"`
		} `json:"community"`
		Large struct {
			List []string `json:"list"`
		} `json:"largeCommunity"`
		NextHops []struct {
			IP    string `json:"ip"`
			Scope string `json:"scope"`
		} `json:"nexthops"`
	} `json:"routes"`
}

func (f frr) Routes(ctx context.Context) (map[netip.Prefix][]Path, error) {
	table := map[netip.Prefix][]Path{}
	for _, family := range []string{"ipv4", "ipv6"} {
		var answer frrRoutes
		if err := f.ask(ctx, "show bgp "+family+" unicast json detail", &answer); err != nil {
			return nil, err
		}
		if err := answer.read(table); err != nil {
			return nil, fmt.Errorf("read FRR's routes: %w", err)
		}
	}
	return inOrder(table), nil
}

func (r frrRoutes) read(table map[netip.Prefix][]Path) error {
	for text, paths := range r.Routes {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return err
		}
		for _, p := range paths {
			if p.Peer.ID == "" {
				continue
			}
			path := Path{Best: p.Best.Overall, MED: p.MED, LocalPref: p.LocalPref, LargeCommunities: p.Large.List}
			// What came over an interface without addresses has the interface's name here.
			if addr, err := netip.ParseAddr(p.Peer.ID); err == nil {
				path.Peer = addr
			}
			for _, segment := range p.Path.Segments {
				path.ASPath = append(path.ASPath, segment.List...)
			}
			for _, name := range strings.Fields(p.Community.String) {
				path.Communities = append(path.Communities, community(name))
			}
			for _, hop := range p.NextHops {
				if path.NextHop.IsValid() && hop.Scope == "link-local" {
					continue
				}
				if path.NextHop, err = netip.ParseAddr(hop.IP); err != nil {
					return fmt.Errorf("%s: %w", prefix, err)
				}
			}
			table[prefix] = append(table[prefix], path)
		}
	}
	return nil
}
