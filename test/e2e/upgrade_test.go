package e2e

import (
	"bytes"
	"context"
	"fmt"
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
	s := newScenario(t)
	previous := s.previous()
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

// previous builds the previous commit's programs, gives the nodes their image, and returns the kustomization that installs it. Where a checkout
// has no history, or git does not trust it, or the lab's kustomization was not there yet, the present state takes the place of the previous
// one: all pods are replaced all the same.
func (s *scenario) previous() string {
	s.Helper()
	dir := s.TempDir()
	root := labConfig.Root
	run := func(in string, env []string, name string, args ...string) {
		s.Helper()
		cmd := exec.CommandContext(s.ctx, name, args...)
		cmd.Dir, cmd.Env = in, append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		s.Expect(err).NotTo(HaveOccurred(), "%s %v, for an upgrade from the previous commit:\n%s", name, args, out)
	}
	of, err := filepath.Rel(root, labConfig.Kustomization)
	s.Expect(err).NotTo(HaveOccurred())
	archive := filepath.Join(dir, "previous.tar")
	if out, err := exec.CommandContext(s.ctx, "git", "-C", root, "rev-parse", "--verify", "HEAD~1:"+filepath.ToSlash(of)).CombinedOutput(); err == nil {
		run(root, nil, "git", "archive", "--output", archive, "HEAD~1")
	} else {
		s.Logf("no previous commit to upgrade from, but the present state: %s", bytes.TrimSpace(out))
		run(root, nil, "tar", "-cf", archive, "--exclude=./bin", "--exclude=./dist", "--exclude=./.git", ".")
	}
	run(dir, nil, "tar", "-xf", archive)
	programs := []string{lab.ControllerDeployment, lab.SpeakerDaemonSet}
	image := []string{"--output", filepath.Join(dir, "image.tar"), "--reference", "fairlead:previous", "--user", "65532:65532", "--entrypoint", "/" + programs[0]}
	for _, p := range programs {
		run(dir, []string{"CGO_ENABLED=0", "GOFLAGS=-trimpath -buildvcs=false"}, "go", "build", "-ldflags", "-s -w", "-o", filepath.Join(dir, p), "./cmd/"+p)
		image = append(image, "--file", filepath.Join(dir, p)+":/"+p)
	}
	run(dir, nil, filepath.Join(root, "bin", "tools", "mkimage"), image...)
	s.Expect(theLab.LoadImage(s.ctx, filepath.Join(dir, "image.tar"))).To(Succeed())

	kustomization := filepath.Join(dir, of, "..", "previous")
	s.Expect(os.MkdirAll(kustomization, 0o755)).To(Succeed())
	text := fmt.Sprintf("resources: [../%s]\nimages: [{name: fairlead, newTag: previous}]\n", filepath.Base(of))
	s.Expect(os.WriteFile(filepath.Join(kustomization, "kustomization.yaml"), []byte(text), 0o600)).To(Succeed())
	return kustomization
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
