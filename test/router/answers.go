package router

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var secret = regexp.MustCompile(`(password\s+)\S+`)

// run runs a tool. Its error has what the tool wrote, without passwords.
func (p Place) run(ctx context.Context, name string, args ...string) (string, error) {
	out, problem, err := p.Run(ctx, name, args...)
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, withoutSecrets(out+problem))
	}
	// gobgp does not know the command, and exits as if all were well.
	if strings.HasPrefix(problem, "Error:") {
		return "", fmt.Errorf("%s: %s", name, withoutSecrets(problem))
	}
	return out, nil
}

func withoutSecrets(s string) string {
	return secret.ReplaceAllString(strings.TrimSpace(s), "$1(hidden)")
}

// inOrder puts the best path of each prefix first, the others in the order of their peers, and communities in ascending order.
func inOrder(table map[netip.Prefix][]Path) map[netip.Prefix][]Path {
	for _, paths := range table {
		slices.SortFunc(paths, func(a, b Path) int {
			if a.Best != b.Best {
				if a.Best {
					return -1
				}
				return 1
			}
			return a.Peer.Compare(b.Peer)
		})
		for i := range paths {
			slices.SortFunc(paths[i].Communities, byNumbers)
			slices.SortFunc(paths[i].LargeCommunities, byNumbers)
		}
	}
	return table
}

func sortSessions(sessions []Session) []Session {
	slices.SortFunc(sessions, func(a, b Session) int {
		return cmp.Or(a.Peer.Compare(b.Peer), strings.Compare(a.Name, b.Name))
	})
	return sessions
}

// wellKnown are the names that routers write for communities (IANA, BGP Well-known Communities).
func wellKnown(name string) (string, bool) {
	low, ok := map[string]int{
		"graceful-shutdown": 0, "gshut": 0, "accept-own": 1, "llgr-stale": 6, "no-llgr": 7, "blackhole": 666,
		"no-export": 65281, "no-advertise": 65282, "local-as": 65283, "local-AS": 65283, "no-export-subconfed": 65283, "no-peer": 65284,
	}[name]
	return fmt.Sprintf("65535:%d", low), ok
}

// community is asn:value for a community that a router may call by a name.
func community(s string) string {
	if c, ok := wellKnown(s); ok {
		return c
	}
	return s
}

// byNumbers compares what is written as numbers with colons between them.
func byNumbers(a, b string) int {
	return slices.CompareFunc(strings.Split(a, ":"), strings.Split(b, ":"), func(x, y string) int {
		return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y))
	})
}

func number(s string) (*uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return nil, err
	}
	v := uint32(n)
	return &v, nil
}

// capital makes one word of what routers write as up, Up and UP.
func capital(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + strings.ToLower(s[1:])
}
