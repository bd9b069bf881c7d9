package e2e

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"testing"

	. "github.com/onsi/gomega"

	"fairlead.io/fairlead/internal/doctor"
)

// testDoctor: kubectl fairlead doctor finds no problem in the lab as it is, names a pool that nobody announces any more, and is content again
// when it is announced. Pools and advertisements are those of this test alone.
func testDoctor(t *testing.T) {
	s := newStanding(t)
	program := s.plugin()
	s.web("web", 3, "")
	s.expose("web", "web")

	content := func() {
		s.Eventually(func(g Gomega) {
			list, status := s.doctor(program)
			g.Expect(problems(list)).To(BeEmpty())
			g.Expect(status).To(BeZero(), "exit status")
			g.Expect(doctor.Count(list, doctor.NotChecked)).To(BeZero(), "an administrator may read all: %+v", list)
		}).Should(Succeed())
	}
	content()
	list, _ := s.doctor(program)
	for _, f := range list {
		t.Logf("%s: %s: %s: %s", f.Check, f.Level, f.Object, f.Message)
	}

	s.remove(advertisement(s.pool.Name))
	s.Eventually(func(g Gomega) {
		list, status := s.doctor(program)
		g.Expect(problems(list)).To(ContainElement(And(
			HaveField("Object", "IPAddressPool "+s.pool.Name),
			HaveField("Message", ContainSubstring("no L2Advertisement or BGPAdvertisement that is in use selects it")))))
		g.Expect(status).To(Equal(3), "exit status")
	}).Should(Succeed())
	s.create(advertisement(s.pool.Name))
	content()
}

// doctor is what kubectl fairlead doctor finds, and its exit status.
func (s *scenario) doctor(program string) ([]doctor.Finding, int) {
	s.Helper()
	cmd := exec.CommandContext(s.ctx, program, "doctor", "-o", "json", "--kubeconfig", theLab.Kubeconfig())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, _ := cmd.Output() // the status is looked at
	var list []doctor.Finding
	s.Expect(json.Unmarshal(out, &list)).To(Succeed(), "%s%s", out, &stderr)
	return list, cmd.ProcessState.ExitCode()
}

func problems(list []doctor.Finding) (out []doctor.Finding) {
	for _, f := range list {
		if f.Level == doctor.Problem {
			out = append(out, f)
		}
	}
	return out
}
