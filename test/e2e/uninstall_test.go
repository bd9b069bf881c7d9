package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/test/lab"
)

// testUninstall: Fairlead is taken off the cluster in one order after another, while its pools are in use; nothing hangs and nothing of it is left but what
// the Service shows. Each time it is installed again from nothing, and the Service is reached at the address that it had. One of the times Helm does both.
func testUninstall(t *testing.T) {
	s := inStanding(t)
	s.Cleanup(func() {
		var err error
		theLab, err = lab.Up(context.Background(), labConfig, os.Stderr) // Fairlead is there, whatever became of this
		NewWithT(t).Expect(err).NotTo(HaveOccurred())
	})
	s.web("web", 3, "")
	web := s.service("web", "web")
	s.create(web)

	kustomize := func() { s.apply(labConfig.Kustomization) }
	deleteAll := func() { s.tool("kubectl", "delete", "--ignore-not-found", "-k", labConfig.Kustomization) }
	kinds := func() []string {
		return strings.Fields(s.tool("kubectl", "get", "-k", filepath.Join(labConfig.Root, "config", "crd"), "--ignore-not-found", "-o", "name"))
	}
	for _, way := range []struct {
		name            string
		install, remove func()
	}{
		{"kubectl delete -k", kustomize, deleteAll},
		{"the kinds first", kustomize, func() {
			s.tool("kubectl", append([]string{"delete"}, kinds()...)...)
			deleteAll()
		}},
		{"helm uninstall", s.helmInstall, func() {
			s.tool("helm", "uninstall", "fairlead", "--namespace="+system, "--timeout=90s")
			var pools v1beta1.IPAddressPoolList
			s.Expect(cluster.List(s.ctx, &pools)).To(Succeed())
			s.Expect(pools.Items).To(HaveExactElements(HaveField("Finalizers", BeEmpty())), "the pool is kept, and nothing holds it")
			s.tool("kubectl", append([]string{"delete"}, kinds()...)...)
			s.tool("kubectl", "delete", "namespace", system)
		}},
		{"the programs first", kustomize, func() {
			s.tool("kubectl", "-n", system, "delete", "deployment/"+lab.ControllerDeployment, "daemonset/"+lab.SpeakerDaemonSet)
			s.Eventually(func() (int, error) {
				var pods corev1.PodList
				err := cluster.List(s.ctx, &pods, client.InNamespace(system))
				return len(pods.Items), err
			}).Should(BeZero(), "pods of Fairlead")
			deleteAll()
		}},
	} {
		way.install()
		s.walkthrough(web)
		start := time.Now()
		way.remove()
		t.Logf("%s: removed in %s", way.name, time.Since(start).Round(100*time.Millisecond))
		s.Eventually(s.left).Should(BeEmpty(), "what is left after %s", way.name)
		s.get(s, web)
		s.Expect(addresses(web)).To(HaveLen(1), "the Service keeps what it shows")
	}
	kustomize()
	s.walkthrough(web)
	s.remove(web)
	s.tool("kubectl", "delete", "ipaddresspools.fairlead.io,l2advertisements.fairlead.io", "--all")
}

// walkthrough makes the README's pool and advertisement; the Service is reached at its first address, and the pool is held.
func (s *scenario) walkthrough(web *corev1.Service) {
	s.Helper()
	samples := filepath.Join(labConfig.Root, "config", "samples")
	s.tool("kubectl", "wait", "--for=condition=Established", "--timeout=60s", "crd/ipaddresspools.fairlead.io", "crd/l2advertisements.fairlead.io")
	s.tool("kubectl", "apply", "-f", filepath.Join(samples, "ipaddresspool.yaml"), "-f", filepath.Join(samples, "l2advertisement.yaml"))
	s.announced(web)
	s.Eventually(func() (string, error) { return answeringPod(s.ctx, addresses(web)[0]) }).ShouldNot(BeEmpty())
	s.Expect(addresses(web)[0].String()).To(Equal("192.168.100.240"))
	s.Eventually(func(g Gomega) {
		var pools v1beta1.IPAddressPoolList
		g.Expect(cluster.List(s.ctx, &pools)).To(Succeed())
		g.Expect(pools.Items).To(HaveExactElements(HaveField("Finalizers", ConsistOf(v1beta1.PoolInUseFinalizer))))
	}).Should(Succeed(), "the pool is in use")
}

// helmInstall as docs/helm.md has it, with the speakers of the lab.
func (s *scenario) helmInstall() {
	s.Helper()
	s.tool("kubectl", "create", "namespace", system)
	s.tool("kubectl", "label", "namespace", system, "pod-security.kubernetes.io/enforce=privileged")
	s.tool("helm", "install", "fairlead", filepath.Join(labConfig.Root, "charts", "fairlead"), "--namespace="+system,
		"--set=image.tag=dev,speaker.drainTime=5s,speaker.extraArgs={--l2-failback-delay=3s}")
	s.rolledOut()
}

// left is every object in the cluster that has Fairlead in its name, or in its namespace's or API group's. Not events: Kubernetes itself drops them after an hour.
func (s *scenario) left() []string {
	s.Helper()
	var kinds []string
	for _, kind := range strings.Fields(s.tool("kubectl", "api-resources", "--verbs=list", "-o", "name")) {
		if !strings.HasPrefix(kind, "events") {
			kinds = append(kinds, kind)
		}
	}
	s.Expect(len(kinds)).To(BeNumerically(">", 20))
	var left []string
	for _, line := range strings.Split(s.tool("kubectl", "get", strings.Join(kinds, ","), "--all-namespaces", "--no-headers",
		"-o", "custom-columns=API:.apiVersion,KIND:.kind,NAMESPACE:.metadata.namespace,NAME:.metadata.name,LABEL:.metadata.labels.app\\.kubernetes\\.io/name"), "\n") {
		if strings.Contains(line, "fairlead") {
			left = append(left, line)
		}
	}
	return left
}
