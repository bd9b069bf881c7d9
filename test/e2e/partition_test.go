package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"fairlead.io/fairlead/test/e2e/observe"
	"fairlead.io/fairlead/test/lab"
)

// The ports that speakers talk to each other on, as config/ installs them.
const (
	gossipPort = 9792
	bfdPort    = 9793
)

// whilePartitioned is longer than anything that speakers who miss others wait for before they try again, or trust each other again: 10 s.
const whilePartitioned = 12 * time.Second

// testPartition: speakers that cannot hear each other, on a LAN that works, must not fight: two nodes answer for one address for a
// moment at most, nobody does for a moment at most, its owner changes once at most, and when they hear each other again it is at home.
func testPartition(t *testing.T) {
	s := newStanding(t)
	s.web("web", 3, "")
	first, owner := s.exposeAwayFrom("", "web")
	second, _ := s.exposeAwayFrom(owner, "web")
	addrs := []netip.Addr{addresses(first)[0], addresses(second)[0]}

	for _, tc := range []struct {
		name  string
		ports []uint16
		// deaf reports whether one node does not hear another.
		deaf func(node, other string) bool
	}{
		{"gossip between all nodes", []uint16{gossipPort}, func(string, string) bool { return true }},
		{"gossip to the owner", []uint16{gossipPort}, func(node, _ string) bool { return node == owner }},
		{"gossip from the owner", []uint16{gossipPort}, func(_, other string) bool { return other == owner }},
		{"gossip and BFD between all nodes", []uint16{gossipPort, bfdPort}, func(string, string) bool { return true }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := s.in(t)
			s.fairly(func(seen Gomega) {
				for _, addr := range addrs {
					s.atHome(addr)
				}
				s.allAnnounced(addrs...)
				a := s.ask(addrs...)
				start := time.Now()
				heal := s.deafen(tc.ports, tc.deaf)
				<-time.After(whilePartitioned)
				for _, addr := range addrs {
					a.quiet(seen, addr, start, 1) // of all that time
				}
				heal()
				for _, addr := range addrs {
					s.atHome(addr)
				}
				a.stop()
				for _, addr := range addrs {
					a.quiet(seen, addr, start, 2) // there and home again
					t.Logf("%s, at home on %s: answers: %s; announced by %s", addr, home(addr), observe.Tell(a.spans(addr), start), a.announcers(addr, start))
				}
			})
		})
	}
}

// allAnnounced waits until nobody announces the addresses any more: who has taken one over does so five times, a second apart.
func (s *scenario) allAnnounced(addrs ...netip.Addr) {
	s.Helper()
	a := s.listen(addrs...)
	began := time.Now()
	s.Eventually(func() time.Duration { return time.Since(a.lastAnnouncement(began)) }).Should(BeNumerically(">", 1500*time.Millisecond), "for how long nobody has announced %v", addrs)
	a.stop()
}

// quiet checks that nobody fought over an address so far, that somebody always answered, and that its owner changed no more than so many
// times.
func (a *asker) quiet(g Gomega, addr netip.Addr, start time.Time, changes int) {
	spans := a.spans(addr)
	story := fmt.Sprintf("%s, at home on %s, was answered for by %s, and announced by %s", addr, home(addr), observe.Tell(spans, start), a.announcers(addr, start))
	g.Expect(observe.Doubled(spans)).To(BeNumerically("<=", aMoment), "for how long two nodes answered: %s", story)
	g.Expect(len(observe.Owners(spans))-1).To(BeNumerically("<=", changes), "changes of the owner: %s", story)
	g.Expect(observe.Silent(spans)).To(BeNumerically("<=", aMoment), "for how long nobody answered: %s", story)
	// The others may take the owner for dead when they are parted, and once more while they meet again, and be told better.
	disputes := observe.Disputes(a.announced(addr))
	g.Expect(len(disputes)).To(BeNumerically("<=", 1+changes), "how often others announced it too: %s", story)
	for _, d := range disputes {
		g.Expect(d.To.Sub(d.From)).To(BeNumerically("<=", aMoment), "for how long they announced it one after another: %s", story)
	}
}

// deafen makes nodes drop what those that they are deaf to send to the ports, or from them.
func (s *scenario) deafen(ports []uint16, deaf func(node, other string) bool) (heal func()) {
	s.Helper()
	nodes := theLab.Nodes()
	heal = s.undo(func() {
		s.Helper()
		for _, node := range nodes {
			// Not the test's context, which has ended when what it left is cleaned up.
			s.Expect(node.AcceptPorts(context.Background())).To(Succeed())
		}
	})
	for _, node := range nodes {
		var from []*lab.Host
		for _, other := range nodes {
			if other.Name != node.Name && deaf(node.Name, other.Name) {
				from = append(from, other)
			}
		}
		if len(from) > 0 {
			s.Expect(node.DropPorts(s.ctx, from, ports...)).To(Succeed())
		}
	}
	return heal
}
