package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/test/kubespray"
	"fairlead.io/fairlead/test/lab"
	"fairlead.io/fairlead/test/router"
)

// What a user of 2022 wrote in addons.yml, with the MetalLB addon turned off.
const walkthrough2022 = `
metallb_enabled: false
fairlead_enabled: true
metallb_speaker_enabled: true
metallb_ip_range:
  - "192.168.100.240-192.168.100.249"
metallb_protocol: "layer2"
kube_proxy_strict_arp: true
`

// The same pool in the newer style, advertised by BGP, and no longer announced by layer 2.
const newerWithBGP = `
metallb_enabled: false
fairlead_enabled: true
fairlead_prune: true
metallb_config:
  address_pools:
    loadbalanced:
      ip_range:
        - 192.168.100.240-192.168.100.249
  layer2: []
  layer3:
    communities:
      NO_ADVERTISE: "65535:65282"
      vpn-only: "1234:1"
    metallb_peers:
      tor:
        peer_address: 192.168.100.1
        peer_asn: 64513
        my_asn: 64512
        password: not-to-be-seen
        communities: [vpn-only, "64512:7"]
        address_pool: [loadbalanced]
`

// testKubespray: the Ansible role installs Fairlead from the variables of kubespray's addon, in both ways in, and clients on the nodes'
// network and behind a router reach a Service. It takes the lab's own installation off first, and puts it back.
func testKubespray(t *testing.T) {
	s := inStanding(t)
	p := s.ansible()
	s.uninstall()
	s.Cleanup(func() {
		ended := *s
		ended.ctx = context.Background()
		ended.reinstall()
	})

	// After cluster.yml, from the collection.
	const playbook = "fairlead.kubespray.fairlead"
	s.playbook(p, playbook, walkthrough2022, true)
	s.web("web", 3, "")
	web := s.expose("web", "web")
	addr := addresses(web)[0]
	s.Expect(addr).To(Equal(netip.MustParseAddr("192.168.100.240")))
	s.Eventually(func() (map[string]int, error) { return answeringPods(s.ctx, addr, 3, 60) }).Should(HaveLen(3), "pods that answer at %s", addr)

	// In the addon's place: the same variables mean the same, so that nothing is left to do.
	s.Expect(p.ReplaceAddon(p.Root)).To(Succeed())
	const inPlace = "in-place.yml"
	s.Expect(os.WriteFile(filepath.Join(p.Dir, inPlace), []byte("- {hosts: kube_control_plane, gather_facts: false, roles: [{role: kubernetes-apps/metallb}]}\n"), 0o600)).To(Succeed())
	s.playbook(p, inPlace, strings.Replace(walkthrough2022, "metallb_enabled: false\nfairlead_enabled: true", "metallb_enabled: true", 1), false)

	// By BGP instead, with a password that the router asks for.
	o := &outside{scenario: s, ext: s.host("ext")}
	var err error
	o.tor, err = theLab.Router("tor")
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(o.tor.Apply(s.ctx, router.Settings{Password: "not-to-be-seen"})).To(Succeed())
	s.Cleanup(func() { s.Expect(o.tor.Apply(context.Background(), router.Settings{})).To(Succeed()) })
	s.playbook(p, playbook, newerWithBGP, true)
	o.routed(addr, "node1", "node2", "node3")
	s.Eventually(func() (map[string]int, error) { return answeringPodsTo(s.ctx, o.ext, addr, 3, 60) }).Should(HaveLen(3), "pods that answer at %s", addr)
	s.Eventually(func(g Gomega) {
		routes, err := o.tor.Routes(s.ctx)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(routes[netip.PrefixFrom(addr, 32)]).To(And(HaveLen(3), HaveEach(HaveField("Communities", ConsistOf("1234:1", "64512:7")))))
	}).Should(Succeed())
	s.Expect(apierrors.IsNotFound(cluster.Get(s.ctx, client.ObjectKey{Name: "loadbalanced"}, &v1beta1.L2Advertisement{}))).To(BeTrue(), "the layer-2 advertisement was pruned")
	s.playbook(p, playbook, newerWithBGP, false)
	s.remove(web)
}

// ansibleProject is one whose control-plane host is this machine, with the lab's kubectl.
type ansibleProject struct {
	*kubespray.Project
	Root string
}

func (s *scenario) ansible() *ansibleProject {
	s.Helper()
	root, err := filepath.Abs("../..")
	s.Expect(err).NotTo(HaveOccurred())
	p, err := kubespray.NewProject(s.TempDir())
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(p.InstallCollection(s.ctx, root)).To(Succeed())
	return &ansibleProject{Project: p, Root: root}
}

// playbook runs to its end, and changes something or nothing.
func (s *scenario) playbook(p *ansibleProject, name, vars string, changes bool) {
	s.Helper()
	vars += fmt.Sprintf("fairlead_image_repo: fairlead\nfairlead_image_tag: dev\nbin_dir: %s\nfairlead_kubeconfig: %s\nfairlead_wait_timeout: 2m\n",
		filepath.Join(p.Root, "bin", "tools"), theLab.Kubeconfig())
	s.Expect(os.WriteFile(filepath.Join(p.Dir, "addons.yml"), []byte(vars), 0o600)).To(Succeed())
	result, err := p.Run(s.ctx, name, "-e", "@addons.yml", "--diff")
	s.Expect(err).NotTo(HaveOccurred())
	s.Expect(result.Failed).To(BeZero(), "failed tasks:\n%s", result.Output)
	s.Expect(result.Changed > 0).To(Equal(changes), "tasks that changed something:\n%s", result.Output)
	s.Expect(result.Output).NotTo(ContainSubstring("not-to-be-seen"))
}

// uninstall takes Fairlead off the cluster: the pools while its controller can let go of them, then its programs with their namespace, then
// its kinds.
func (s *scenario) uninstall() {
	s.Helper()
	s.Expect(cluster.DeleteAllOf(s.ctx, &v1beta1.IPAddressPool{})).To(Succeed())
	s.Eventually(func(g Gomega) {
		var pools v1beta1.IPAddressPoolList
		g.Expect(cluster.List(s.ctx, &pools)).To(Succeed())
		g.Expect(pools.Items).To(BeEmpty(), "pools in use")
	}).Should(Succeed())
	s.remove(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: system}})
	for _, kind := range []string{"bfdprofiles", "bgpadvertisements", "bgppeers", "communities", "ipaddresspools", "l2advertisements", "speakers"} {
		crd := &unstructured.Unstructured{}
		crd.SetName(kind + ".fairlead.io")
		crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
		s.remove(crd)
	}
}

// reinstall replaces what the role made by what the lab installs, as other tests expect it; a lab that is taken down next goes as it is.
func (s *scenario) reinstall() {
	s.Helper()
	if !labStays {
		return
	}
	s.uninstall()
	var err error
	theLab, err = lab.Up(s.ctx, labConfig, os.Stderr)
	s.Expect(err).NotTo(HaveOccurred())
}
