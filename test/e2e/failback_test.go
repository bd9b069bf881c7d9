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
	failbackDelay = 4 * time.Second
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

	mend := s.cutOff(owner)
	var macs []string
	s.Eventually(func() (_ []string, err error) { macs, err = claims(addr, 200*time.Millisecond); return macs, err }).
		Should(HaveLen(1), "another node than %s answers for %s", owner, addr)
	s.Eventually(func(g Gomega) {
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
	s.Expect(returned.Sub(mended)).To(BeNumerically(">=", failbackDelay), "when %s answered for %s, after its link was mended", owner, addr)
	s.Expect(observe.Doubled(a.spans(addr))).To(BeNumerically("<=", aMoment), "for how long two nodes answered for %s", addr)
	s.Expect(observe.Doubled(a.spans(bystander))).To(BeNumerically("<=", aMoment), "for how long two nodes answered for %s", bystander)
	s.Expect(observe.Owners(a.spans(bystander))).To(Equal([]string{othersOwner}), "who answered for %s", bystander)
}
