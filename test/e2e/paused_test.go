package e2e

import (
	"net/netip"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/test/e2e/observe"
)

// testSpeakerPaused: a speaker does not run for a while, like that of a virtual machine that is moved, and then goes on as if nothing had been.
// It must not answer for long for what is another node's by then, nor for what it never owned: while it stood still it has heard from nobody.
// And what was taken over meanwhile comes home when it has been well for a while, and not before.
func testSpeakerPaused(t *testing.T) {
	s := newStanding(t)
	s.web("web", 3, "")
	addrs := s.onSeveral("web")
	for _, tc := range []struct {
		pause time.Duration
		// settles: the speaker has stood still for so long that it has to settle anew; else the others give its addresses back when they hear it.
		settles bool
	}{
		{time.Second, false},
		{3 * time.Second, true},
		{17 * time.Second, true}, // and for longer than anything is remembered of it, or waited for: the gossip's members tell each other all after 15 s
	} {
		t.Run(tc.pause.String(), func(t *testing.T) {
			s := s.in(t)
			s.fairly(func(seen Gomega) { s.paused(seen, addrs, tc.pause, tc.settles) })
		})
	}
}

// paused has the speaker that the first of the addresses is at home on not run for a while; settles: it has to settle anew.
func (s *scenario) paused(seen Gomega, addrs []netip.Addr, pause time.Duration, settles bool) {
	s.Helper()
	addr, others := addrs[0], addrs[1:]
	owner := s.atHome(addr)
	a := s.ask(addrs...)
	comeBack := s.keepAway(owner) // else kubelet would restart it
	start := time.Now()
	s.Expect(s.host(owner).Signal(speakerProgram, unix.SIGSTOP)).To(Succeed())
	goOn := s.undo(func() { s.Expect(s.host(owner).Signal(speakerProgram, unix.SIGCONT)).To(Succeed()) })
	<-time.After(pause)
	went := time.Now()
	goOn()
	comeBack()
	s.atHome(addr)
	a.stop()
	for _, x := range addrs {
		s.Logf("%s, at home on %s, since %s does not run: %s; announced by %s", x, home(x), owner, observe.Tell(a.spans(x), start), a.announcers(x, start))
	}
	a.quiet(seen, addr, start, 2) // there and home again
	spans := a.spans(addr)
	last := spans[len(spans)-1] // before it there may be one with answers to what was asked while it stood still
	seen.Expect(last.Who).To(Equal(owner), "who answers for %s in the end: %s", addr, observe.Tell(spans, start))
	if settles {
		seen.Expect(last.From.Sub(went)).To(BeNumerically(">=", failbackDelay), "when %s answered for %s for good, after it went on: %s", owner, addr, observe.Tell(spans, start))
	}
	for _, x := range others {
		a.quiet(seen, x, start, 0)
	}
}
