package router

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// gobgp is gobgpd, asked through its API on the loopback address of its network namespace, which is where Run must run the tool.
type gobgp struct{ Place }

func (g gobgp) Programs() []Program {
	args := []string{"-f", g.Config, "--api-hosts", "127.0.0.1:50051", "--pprof-disable", "--log-plain"}
	return []Program{{Name: "gobgpd", Path: "gobgpd", Args: args, Ready: func(ctx context.Context) error {
		_, err := g.Raw(ctx, "global")
		return err
	}}}
}

// Start has nothing to do: gobgpd has read its file.
func (g gobgp) Start(context.Context) error { return nil }

// Replace: gobgpd reads its file again when it is told to, and leaves much of it out, such as passwords of neighbours that come from a network.
func (g gobgp) Replace(_ context.Context, config []byte) error {
	present, err := g.Read()
	if err != nil || bytes.Equal(present, config) {
		return err
	}
	if err := g.Write(config); err != nil {
		return err
	}
	return ErrRestart
}

func (g gobgp) Configure(ctx context.Context, lines ...string) error {
	for _, line := range lines {
		if _, err := g.Raw(ctx, strings.Fields(line)...); err != nil {
			return err
		}
	}
	return nil
}

// Raw runs one command; each of its words is an argument.
func (g gobgp) Raw(ctx context.Context, command ...string) (string, error) {
	return g.run(ctx, "gobgp", command...)
}

// gobgpPeer is what of a neighbour is read. States are numbers.
type gobgpPeer struct {
	State struct {
		Address string `json:"neighbor_address"`
		ASN     uint32 `json:"peer_asn"`
		State   int    `json:"session_state"`
	} `json:"state"`
	Timers struct {
		State struct {
			Uptime struct {
				Seconds int64 `json:"seconds"`
			} `json:"uptime"`
		} `json:"state"`
	} `json:"timers"`
	Families []struct {
		State struct {
			Accepted int `json:"accepted"`
		} `json:"state"`
	} `json:"afi_safis"`
}

func (g gobgp) Sessions(ctx context.Context) ([]Session, error) {
	out, err := g.Raw(ctx, "neighbor", "--json")
	if err != nil {
		return nil, err
	}
	return gobgpSessions(out, time.Now())
}

func gobgpSessions(out string, now time.Time) ([]Session, error) {
	var peers []gobgpPeer
	if err := json.Unmarshal([]byte(out), &peers); err != nil {
		return nil, fmt.Errorf("read gobgpd's neighbours: %w", err) // not what it says, which has passwords in it
	}
	states := []string{"Unknown", "Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"}
	var sessions []Session
	for _, p := range peers {
		peer, err := netip.ParseAddr(p.State.Address)
		if err != nil || p.State.State < 0 || p.State.State >= len(states) {
			return nil, fmt.Errorf("read gobgpd's neighbours: one has address %q and state %d", p.State.Address, p.State.State)
		}
		s := Session{Peer: peer, Name: p.State.Address, ASN: p.State.ASN, State: states[p.State.State]}
		for _, f := range p.Families {
			s.Received += f.State.Accepted
		}
		if s.Established() {
			s.Uptime = max(0, now.Sub(time.Unix(p.Timers.State.Uptime.Seconds, 0)).Truncate(time.Second))
		}
		sessions = append(sessions, s)
	}
	return sortSessions(sessions), nil
}

func (g gobgp) Routes(ctx context.Context) (map[netip.Prefix][]Path, error) {
	table := map[netip.Prefix][]Path{}
	for _, family := range []string{"ipv4", "ipv6"} {
		out, err := g.Raw(ctx, "global", "rib", "-a", family, "--json")
		if err != nil {
			return nil, err
		}
		if err := gobgpRoutes(out, table); err != nil {
			return nil, err
		}
	}
	return inOrder(table), nil
}

type gobgpPath struct {
	Best       bool   `json:"best"`
	Peer       string `json:"neighbor-ip"`
	Attributes []struct {
		Type    int             `json:"type"`
		NextHop string          `json:"nexthop"`
		Metric  uint32          `json:"metric"`
		Value   json.RawMessage `json:"value"`
		ASPaths []struct {
			ASNs []uint32 `json:"asns"`
		} `json:"as_paths"`
		Communities []uint32 `json:"communities"`
	} `json:"attrs"`
}

// Path attributes (IANA, BGP Path Attributes).
const (
	attrASPath         = 2
	attrNextHop        = 3
	attrMED            = 4
	attrLocalPref      = 5
	attrCommunities    = 8
	attrMPReach        = 14
	attrLargeCommunity = 32
)

func gobgpRoutes(out string, table map[netip.Prefix][]Path) error {
	var rib map[string][]gobgpPath
	if err := json.Unmarshal([]byte(out), &rib); err != nil {
		return fmt.Errorf("read gobgpd's routes: %w: %.200s", err, out)
	}
	for text, paths := range rib {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("read gobgpd's routes: %w", err)
		}
		for _, p := range paths {
			path, err := p.read()
			if err != nil {
				return fmt.Errorf("read gobgpd's routes: %s: %w", prefix, err)
			}
			table[prefix] = append(table[prefix], path)
		}
	}
	return nil
}

func (p gobgpPath) read() (Path, error) {
	path := Path{Best: p.Best}
	var err error
	if path.Peer, err = netip.ParseAddr(p.Peer); err != nil {
		return path, err
	}
	for _, a := range p.Attributes {
		switch a.Type {
		case attrASPath:
			for _, segment := range a.ASPaths {
				path.ASPath = append(path.ASPath, segment.ASNs...)
			}
		case attrNextHop, attrMPReach:
			path.NextHop, err = netip.ParseAddr(a.NextHop)
		case attrMED:
			path.MED = &a.Metric
		case attrLocalPref:
			var v uint32
			err = json.Unmarshal(a.Value, &v)
			path.LocalPref = &v
		case attrCommunities:
			for _, c := range a.Communities {
				path.Communities = append(path.Communities, fmt.Sprintf("%d:%d", c>>16, c&0xffff))
			}
		case attrLargeCommunity:
			var list []struct{ ASN, LocalData1, LocalData2 uint32 }
			err = json.Unmarshal(a.Value, &list)
			for _, c := range list {
				path.LargeCommunities = append(path.LargeCommunities, fmt.Sprintf("%d:%d:%d", c.ASN, c.LocalData1, c.LocalData2))
			}
		}
		if err != nil {
			return path, fmt.Errorf("attribute %d: %w", a.Type, err)
		}
	}
	return path, nil
}
