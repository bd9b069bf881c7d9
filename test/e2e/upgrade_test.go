package e2e

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"fairlead.io/fairlead/test/lab"
)

// testUpgrade: from the present state to the previous commit's programs and manifests and back, while clients connect over layer 2 and, from
// behind a router, over BGP: no address changes, and no connection is lost.
func testUpgrade(t *testing.T) {
	s := newScenario(t) // with pods of its own, that no connection of another test is known to
	previous, err := built.previous()
	s.Expect(err).NotTo(HaveOccurred())
	o, _ := newOutside(s)
	s.web("web", 3, "")
	web := s.expose("web", "web", dualStack)
	addrs := addresses(web)
	o.routed(addrs[0], "node1", "node2", "node3")

	lan := s.load(addrs[0], patientTimeout)
	routed, err := startLoadOver(o.tor, o.ext, addrs[0], patientTimeout)
	s.Expect(err).NotTo(HaveOccurred())
	s.Cleanup(routed.cancel)
	for _, step := range []struct{ kustomization, image string }{{previous, "fairlead:previous"}, {labConfig.Kustomization, "fairlead:dev"}} {
		start := time.Now()
		s.apply(step.kustomization)
		s.Expect(s.tool("kubectl", "-n", system, "get", "deployment/"+lab.ControllerDeployment, "daemonset/"+lab.SpeakerDaemonSet,
			"-o", "jsonpath={.items[*].spec.template.spec.containers[*].image}")).To(Equal(step.image + " " + step.image))
		t.Logf("rolled out %s in %s", step.image, time.Since(start).Round(time.Second))
		s.announced(web)
		s.Expect(addresses(web)).To(Equal(addrs), "addresses with %s", step.image)
		later := s.expose("after-"+step.image[len("fairlead:"):], "web")
		s.Expect(addresses(later)).NotTo(ContainElement(BeElementOf(addrs)))
	}
	s.atHome(addrs[0])
	s.nothingLost(lan, "back and forth, over layer 2")
	s.nothingLost(routed, "back and forth, over BGP")
}

// tool runs one of bin/tools against the lab's cluster, to its end in time, and gives what it prints.
func (s *scenario) tool(name string, args ...string) string {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(labConfig.Root, "bin", "tools", name), args...)
	home := s.TempDir()
	cmd.Env = []string{"HOME=" + home, "KUBECONFIG=" + theLab.Kubeconfig(), "PATH=" + os.Getenv("PATH")}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	s.Expect(err).NotTo(HaveOccurred(), "%s %v:\n%s%s", name, args, out, &stderr)
	return string(out)
}

// apply a kustomization of Fairlead, and wait until it has been rolled out.
func (s *scenario) apply(kustomization string) {
	s.Helper()
	s.tool("kubectl", "apply", "--server-side", "--force-conflicts", "-k", kustomization)
	s.rolledOut()
}

func (s *scenario) rolledOut() {
	s.Helper()
	for _, o := range []string{"deployment/" + lab.ControllerDeployment, "daemonset/" + lab.SpeakerDaemonSet} {
		s.tool("kubectl", "-n", system, "rollout", "status", "--timeout=115s", o)
	}
}
