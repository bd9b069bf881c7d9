package router

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

type bird struct{ Place }

// added stands before what Configure has added to the configuration file.
const added = "\n# Added to what is above:\n"

func (b bird) Programs() []Program {
	args := []string{"-f", "-c", b.Config}
	if b.Sockets != "" {
		args = append(args, "-s", b.socket())
	}
	return []Program{{Name: "bird", Path: "bird", Args: args, Ready: func(ctx context.Context) error {
		_, err := b.Raw(ctx, "show status")
		return err
	}}}
}

func (b bird) socket() string { return filepath.Join(b.Sockets, "bird.ctl") }

// Start has nothing to do: BIRD has read its file.
func (b bird) Start(context.Context) error { return nil }

func (b bird) Replace(ctx context.Context, config []byte) error {
	present, err := b.Read()
	if err != nil {
		return err
	}
	if base, _, _ := bytes.Cut(present, []byte(added)); bytes.Equal(base, config) {
		return nil
	}
	return b.configure(ctx, config)
}

func (b bird) Configure(ctx context.Context, lines ...string) error {
	present, err := b.Read()
	if err != nil {
		return err
	}
	base, _, _ := bytes.Cut(present, []byte(added))
	config := slices.Concat(base, []byte(added), []byte(strings.Join(lines, "\n")), []byte("\n"))
	return b.configure(ctx, config)
}

func (b bird) configure(ctx context.Context, config []byte) error {
	if err := b.Write(config); err != nil {
		return err
	}
	out, err := b.Raw(ctx, "configure")
	if err != nil {
		return err
	}
	if !strings.Contains(out, "Reconfigur") {
		return fmt.Errorf("BIRD refuses its configuration: %s", withoutSecrets(out))
	}
	return nil
}

// Raw takes one command; its words may be one argument or several.
func (b bird) Raw(ctx context.Context, command ...string) (string, error) {
	if b.Sockets != "" {
		command = append([]string{"-s", b.socket()}, command...)
	}
	return b.run(ctx, "birdc", command...)
}

func (b bird) Sessions(ctx context.Context) ([]Session, error) {
	protocols, err := b.Raw(ctx, "show protocols all")
	if err != nil {
		return nil, err
	}
	bfd, err := b.Raw(ctx, "show bfd sessions")
	if err != nil {
		return nil, err
	}
	return birdSessions(protocols, bfd, time.Now())
}

func (b bird) Routes(ctx context.Context) (map[netip.Prefix][]Path, error) {
	sessions, err := b.Sessions(ctx)
	if err != nil {
		return nil, err
	}
	out, err := b.Raw(ctx, "show route all")
	if err != nil {
		return nil, err
	}
	return birdRoutes(out, sessions)
}

// birdTime is how the configuration file says that times are to be written.
const birdTime = time.DateTime

var birdCount = regexp.MustCompile(`^(\d+) imported`)

// birdSessions reads `show protocols all`: a line for each protocol, and what belongs to it indented.
func birdSessions(protocols, bfd string, now time.Time) ([]Session, error) {
	var sessions []Session
	var current *Session
	for line := range strings.Lines(protocols) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if !strings.HasPrefix(line, " ") {
			current = nil
			if len(words) < 6 || words[1] != "BGP" {
				continue
			}
			since, err := time.ParseInLocation(birdTime, words[4]+" "+words[5], now.Location())
			if err != nil {
				return nil, fmt.Errorf("read BIRD's sessions: the time in %q: %w", line, err)
			}
			sessions = append(sessions, Session{Name: words[0], Uptime: max(0, now.Sub(since).Truncate(time.Second))})
			current = &sessions[len(sessions)-1]
			continue
		}
		key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if value = strings.TrimSpace(value); current == nil || !ok {
			continue
		}
		var err error
		switch key {
		case "BGP state":
			current.State = value
		case "Neighbor address":
			current.Peer, err = netip.ParseAddr(value)
		case "Neighbor AS":
			var n uint64
			n, err = strconv.ParseUint(value, 10, 32)
			current.ASN = uint32(n)
		case "Routes":
			if m := birdCount.FindStringSubmatch(value); m != nil {
				var n int
				n, err = strconv.Atoi(m[1])
				current.Received += n
			}
		}
		if err != nil {
			return nil, fmt.Errorf("read BIRD's sessions: %q: %w", line, err)
		}
	}
	// What only waits for neighbours has no peer itself.
	sessions = slices.DeleteFunc(sessions, func(s Session) bool { return !s.Peer.IsValid() })
	for i := range sessions {
		s := &sessions[i]
		if !s.Established() {
			s.Uptime = 0
		}
		for line := range strings.Lines(bfd) {
			if words := strings.Fields(line); len(words) > 3 && words[0] == s.Peer.WithZone("").String() && (s.Peer.Zone() == "" || s.Peer.Zone() == words[1]) {
				s.BFD = capital(words[2])
			}
		}
	}
	return sortSessions(sessions), nil
}

var (
	birdRoute = regexp.MustCompile(`^(\S*)\s+\S+ \[(\S+) .*?\]( \*)?`)
	birdPair  = regexp.MustCompile(`\((\d+), ?(\d+)(?:, ?(\d+))?\)`)
)

// birdRoutes reads `show route all`: a line for each path, which begins with the prefix if it is the first of that, and what belongs to it
// after a tab.
func birdRoutes(out string, sessions []Session) (map[netip.Prefix][]Path, error) {
	table := map[netip.Prefix][]Path{}
	var prefix netip.Prefix
	var path *Path
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		if attribute, ok := strings.CutPrefix(line, "\t"); ok {
			if path == nil {
				continue
			}
			if err := birdAttribute(path, attribute); err != nil {
				return nil, fmt.Errorf("read BIRD's routes: %s: %q: %w", prefix, line, err)
			}
			continue
		}
		path = nil
		m := birdRoute.FindStringSubmatch(line)
		if m == nil {
			continue // the name of a table, an empty line
		}
		if m[1] != "" {
			var err error
			if prefix, err = netip.ParsePrefix(m[1]); err != nil {
				return nil, fmt.Errorf("read BIRD's routes: %q: %w", line, err)
			}
		}
		i := slices.IndexFunc(sessions, func(s Session) bool { return s.Name == m[2] })
		if i < 0 {
			continue // of another protocol
		}
		table[prefix] = append(table[prefix], Path{Peer: sessions[i].Peer, Best: m[3] != ""})
		path = &table[prefix][len(table[prefix])-1]
	}
	return inOrder(table), nil
}

func birdAttribute(p *Path, line string) error {
	key, value, _ := strings.Cut(line, ": ")
	var err error
	switch key {
	case "BGP.next_hop":
		hops := strings.Fields(value + " .")
		if p.NextHop, err = netip.ParseAddr(hops[0]); err == nil && p.NextHop.IsUnspecified() && len(hops) > 2 {
			p.NextHop, err = netip.ParseAddr(hops[1]) // a link-local one alone
		}
	case "BGP.as_path":
		for word := range strings.FieldsSeq(value) {
			n, parseErr := strconv.ParseUint(word, 10, 32)
			if parseErr != nil {
				return parseErr
			}
			p.ASPath = append(p.ASPath, uint32(n))
		}
	case "BGP.med":
		p.MED, err = number(value)
	case "BGP.local_pref":
		p.LocalPref, err = number(value)
	case "BGP.community", "BGP.large_community":
		for _, m := range birdPair.FindAllStringSubmatch(value, -1) {
			if m[3] == "" {
				p.Communities = append(p.Communities, m[1]+":"+m[2])
			} else {
				p.LargeCommunities = append(p.LargeCommunities, m[1]+":"+m[2]+":"+m[3])
			}
		}
	}
	return err
}
