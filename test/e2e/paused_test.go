package e2e

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/test/e2e/observe"
)

// testSpeakerPaused: a speaker does not run for a while, like that of a virtual machine that is moved, and then goes on as if nothing had been.
// It must not answer for long for what is another node's by then, nor for what it never owned: while it stood still it has heard from nobody.
func testSpeakerPaused(t *testing.T) {
	s := newScenario(t)
	s.web("web", 3, "")
	addrs := s.onSeveral("web")
	addr, others := addrs[0], addrs[1:]
	owner := home(addr)
	for _, pause := range []time.Duration{time.Second, 3 * time.Second, 30 * time.Second} {
		t.Run(pause.String(), func(t *testing.T) {
			s := s.in(t)
			s.atHome(addr)
			a := s.ask(addrs...)
			comeBack := s.keepAway(owner) // else kubelet would restart it
			start := time.Now()
			s.Expect(s.host(owner).Signal(speakerProgram, unix.SIGSTOP)).To(Succeed())
			goOn := s.undo(func() { s.Expect(s.host(owner).Signal(speakerProgram, unix.SIGCONT)).To(Succeed()) })
			s.Eventually(func() bool { return time.Since(start) >= pause }).WithTimeout(pause + patience).Should(BeTrue())
			goOn()
			comeBack()
			s.atHome(addr)
			a.stop()
			for _, x := range addrs {
				t.Logf("%s, at home on %s, since %s does not run: %s; announced by %v", x, home(x), owner, observe.Tell(a.spans(x), start), a.announcers(x))
			}
			a.quiet(s, addr, start, 2) // there and home again
			for _, x := range others {
				a.quiet(s, x, start, 0)
			}
		})
	}
}
