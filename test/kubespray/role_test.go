package kubespray

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.io/fairlead/api/v1beta1"
)

const addonBook = `
- hosts: kube_control_plane
  gather_facts: false
  roles: [{role: kubernetes-apps/metallb, tags: [metallb]}]
`

const pools = `
metallb_config:
  address_pools:
    one: {ip_range: [10.0.0.0/24]}
    two: {ip_range: [10.0.1.0/24]}
  layer2: [one]
  layer3:
    metallb_peers:
      tor: {peer_address: 192.0.2.1, peer_asn: 64513, my_asn: 64512, address_pool: [two], password: not-to-be-seen}
`

const fewerPools = `
metallb_config:
  address_pools:
    one: {ip_range: [10.0.0.0/25]}
  layer2: [one]
`

// run is one of a story: what is run, and what must come of it.
type run struct {
	args            string
	changed, failed bool
	says            []string
}

// TestRole runs the role in the addon's place against an API server alone: nothing runs there, so nothing is waited for. The end-to-end
// tests run it against a cluster.
func TestRole(t *testing.T) {
	t.Parallel()
	c := apiServer(t)
	root, p := project(t)
	kubeconfig := filepath.Join(p.Dir, "kubeconfig")
	if err := server.Kubeconfig(kubeconfig); err != nil {
		t.Fatal(err)
	}
	write(t, p, "book.yml", addonBook)
	write(t, p, "common.yml", fmt.Sprintf("metallb_enabled: true\nfairlead_image_repo: registry.test/fairlead\nfairlead_wait: false\nbin_dir: %s\nfairlead_kubeconfig: %s\n",
		filepath.Join(root, "bin", "tools"), kubeconfig))
	write(t, p, "pools.yml", pools)
	write(t, p, "fewer.yml", fewerPools)
	do := func(t *testing.T, want run) {
		t.Helper()
		result, err := p.Run(t.Context(), "book.yml", append([]string{"-e", "@common.yml"}, strings.Fields(want.args)...)...)
		if err != nil {
			t.Fatal(err)
		}
		output := strings.Join(strings.Fields(result.Output), " ")
		silent := slices.ContainsFunc(want.says, func(words string) bool { return !strings.Contains(output, words) })
		if (result.Changed > 0) != want.changed || (result.Failed > 0) != want.failed || silent {
			t.Fatalf("ansible-playbook %s: want changes: %v, failure: %v, the words %q; got\n%s", want.args, want.changed, want.failed, want.says, result.Output)
		}
		if strings.Contains(result.Output, "not-to-be-seen") || strings.Contains(result.Output, "bm90LXRvLWJlLXNlZW4") {
			t.Errorf("ansible-playbook %s shows the password:\n%s", want.args, result.Output)
		}
	}
	exists := func(o client.Object) bool {
		err := c.Get(t.Context(), client.ObjectKeyFromObject(o), o)
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		return err == nil && o.GetDeletionTimestamp() == nil
	}
	system := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "fairlead-system"}}
	pool := &v1beta1.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "two"}}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: system.Name, Name: "fairlead-bgp-tor"}}

	// Rendering needs no cluster, and leaves no password behind.
	do(t, run{args: "-e @pools.yml -e fairlead_render_only=true -e fairlead_render_dir=" + filepath.Join(p.Dir, "out") + " -e fairlead_kubeconfig=/nowhere", changed: true})
	for _, name := range []string{"fairlead.yaml", "objects.yaml"} {
		info, err := os.Stat(filepath.Join(p.Dir, "out", name))
		if err != nil || info.Mode().Perm() != 0o600 || info.Size() == 0 {
			t.Errorf("rendered file %s: %v, %v", name, info, err)
		}
	}
	rendered := documents(t, filepath.Join(p.Dir, "out", "fairlead.yaml"))
	if own := documents(t, filepath.Join(root, "config", "kubespray", "roles", "fairlead", "files", "fairlead.yaml")); len(rendered) != len(own) {
		t.Errorf("%d manifests are rendered of %d", len(rendered), len(own))
	}

	// MetalLB runs: a run in check mode only warns of it.
	create(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "metallb-system"}})
	speaker := daemonSet(t, c, "metallb-system", "speaker", map[string]string{"app": "metallb", "component": "speaker"})
	do(t, run{args: "-e @pools.yml --tags=metallb --check", changed: true, says: []string{"DaemonSet fairlead-speaker", "WARNING: MetalLB's speakers run in namespace metallb-system"}})
	if exists(system) {
		t.Error("a run in check mode made the namespace")
	}
	// What else it makes of a cluster that it finds is in TestAllowed; here it looks at a real API server.
	proxy := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "kube-proxy"}}
	proxy.Data = map[string]string{"config.conf": "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\nipvs: {strictARP: false}\n"}
	create(t, c, proxy)
	kubeProxy := daemonSet(t, c, "kube-system", "kube-proxy", nil)
	do(t, run{args: "-e @pools.yml -e fairlead_allow_metallb=true -e kube_proxy_mode=iptables", failed: true, says: []string{"WARNING: MetalLB's speakers run", "its ConfigMap in the cluster says so"}})
	if exists(system) {
		t.Error("a run that must go no further made the namespace")
	}
	// MetalLB is stopped, and kube-proxy removed, of which its ConfigMap is left: nothing is in the way any more.
	speaker.Status.DesiredNumberScheduled = 0 // its node selector selects no node
	if err := errors.Join(c.Status().Update(t.Context(), speaker), c.Delete(t.Context(), kubeProxy)); err != nil {
		t.Fatal(err)
	}
	do(t, run{args: "-e @pools.yml --diff -vvv", changed: true})
	if !exists(pool) || !exists(secret) || string(secret.Data["password"]) != "not-to-be-seen" {
		t.Errorf("after the installation: pool %v, password %q", exists(pool), secret.Data["password"])
	}

	// What is no longer meant is named, and stays until that is asked for.
	do(t, run{args: "-e @fewer.yml", changed: true, says: []string{"IPAddressPool/two"}})
	if !exists(pool) {
		t.Error("a pool was deleted without fairlead_prune")
	}
	do(t, run{args: "-e @fewer.yml -e fairlead_prune=true --check", changed: true, says: []string{"Secret/fairlead-bgp-tor"}})
	if !exists(pool) {
		t.Error("a pool was deleted in check mode")
	}
	do(t, run{args: "-e @fewer.yml -e fairlead_prune=true", changed: true})
	if exists(pool) || exists(secret) || exists(&v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: "tor"}}) {
		t.Error("not all was deleted that is no longer meant")
	}
	do(t, run{args: "-e @fewer.yml -e fairlead_prune=true -e metallb_ip_rnage=x", says: []string{"WARNING: metallb_ip_rnage is not known"}})

	// Of what cannot be, it says what to do, and does nothing.
	do(t, run{args: "-e @pools.yml -e metallb_ip_range=10.9.0.0/24", failed: true, says: []string{"metallb_config and metallb_ip_range are two styles of one thing"}})
}

func create(t *testing.T, c client.Client, o client.Object) {
	t.Helper()
	if err := c.Create(t.Context(), o); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

// daemonSet that a cluster with three nodes reports about.
func daemonSet(t *testing.T, c client.Client, namespace, name string, labels map[string]string) *appsv1.DaemonSet {
	t.Helper()
	d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels}}
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
	d.Spec.Template.Labels = d.Spec.Selector.MatchLabels
	d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: "registry.test/c"}}
	create(t, c, d)
	d.Status.DesiredNumberScheduled = 3
	if err := c.Status().Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	return d
}
