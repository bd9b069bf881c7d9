package e2e

import (
	"fmt"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/test/e2e/observe"
)

const (
	// failbackDelay is the speaker's --l2-failback-delay, as hasty/ has it.
	failbackDelay = 3 * time.Second
	// aMoment is for how long two nodes may answer for one address.
	aMoment = time.Second
)

// testGoesHome: an address returns to its node when that has been back for a while, not before, and no connection is lost by that. The
// node had the others for dead; it must meet them before it answers, and not answer for what is theirs.
func testGoesHome(t *testing.T) {
	s := newStanding(t)
	s.web("one", 1, "node1")
	svc, owner := s.exposeAwayFrom("node1", "one")
	other, othersOwner := s.exposeAwayFrom(owner, "one")
	addr, bystander := addresses(svc)[0], addresses(other)[0]

	s.fairly(func(seen Gomega) {
		s.atHome(bystander)
		mend := s.cutOff(owner)
		s.Eventually(func(g Gomega) {
			macs, err := claims(addr, 200*time.Millisecond)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(macs).To(HaveLen(1), "another node than %s answers for %s", owner, addr)
			s.get(g, svc)
			nodes := announcers(svc)
			g.Expect(nodes).To(HaveLen(1), "the Service says who announces it; Announced says: %s", message(svc, v1beta1.ConditionAnnounced))
			g.Expect(nodes).NotTo(ContainElement(owner))
			g.Expect(mac(s, nodes[0])).To(Equal(macs[0]), "and that is who answers")
		}).Should(Succeed())

		l := s.load(addr, patientTimeout)
		a := s.ask(addr, bystander)
		mended := time.Now()
		mend()
		s.atHome(addr)
		s.nothingLost(l, fmt.Sprintf("%s is back and %s goes home to it", owner, addr))
		a.stop()
		t.Logf("since %s is back: %s: %s; %s: %s", owner, addr, observe.Tell(a.spans(addr), mended), bystander, observe.Tell(a.spans(bystander), mended))
		returned, ok := a.since(addr, owner)
		s.Expect(ok).To(BeTrue(), "%s answers for %s", owner, addr)
		seen.Expect(returned.Sub(mended)).To(BeNumerically(">=", failbackDelay), "when %s answered for %s, after its link was mended", owner, addr)
		seen.Expect(observe.Doubled(a.spans(addr))).To(BeNumerically("<=", aMoment), "for how long two nodes answered for %s", addr)
		seen.Expect(observe.Doubled(a.spans(bystander))).To(BeNumerically("<=", aMoment), "for how long two nodes answered for %s", bystander)
		seen.Expect(observe.Owners(a.spans(bystander))).To(Equal([]string{othersOwner}), "who answered for %s", bystander)
	})
}
