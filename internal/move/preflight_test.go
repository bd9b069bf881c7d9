package move_test

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/metallb"
	"fairlead.io/fairlead/internal/move"
)

func svc(name string, addrs ...string) corev1.Service {
	s := corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-" + name)},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ClusterIPs: []string{"10.96.0.1"}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}},
	}
	for _, a := range addrs {
		s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a})
	}
	return s
}

// ready is a cluster that nothing is in the way in.
func ready(t *testing.T) *move.Input {
	t.Helper()
	services := []corev1.Service{svc("web", "192.0.2.1")}
	proxy := "mode: nftables\n"
	return &move.Input{
		Namespace: "fairlead-system", KindsInstalled: true, KubeProxy: &proxy,
		MetalLB: []*unstructured.Unstructured{
			object(t, "{apiVersion: apps/v1, kind: Deployment, metadata: {name: controller, namespace: metallb-system, labels: {app: metallb}}, spec: {replicas: 1}}"),
			object(t, "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: speaker, namespace: metallb-system, labels: {app: metallb}}}"),
		},
		Fairlead: []*unstructured.Unstructured{
			object(t, "{apiVersion: apps/v1, kind: Deployment, metadata: {name: fairlead-controller, namespace: fairlead-system}, spec: {replicas: 0}}"),
			object(t, "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: fairlead-speaker, namespace: fairlead-system}}"),
		},
		Imported: &metallb.Result{
			Pools:            []v1beta1.IPAddressPool{{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"192.0.2.0/28"}}}},
			L2Advertisements: []v1beta1.L2Advertisement{{}}, Services: services, Programs: metallb.Programs{Namespace: "metallb-system"},
		},
		Services: services, Namespaces: []corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}},
	}
}

func TestPreflight(t *testing.T) {
	const (
		daemon  = "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: NAME, namespace: NS, labels: {LABELS}}, spec: {template: {spec: {containers: [{name: c, image: IMAGE, env: [{name: svc_enable, value: \"true\"}]}]}}}}"
		problem = "PROBLEM "
	)
	other := func(name, ns, labels, image string) func(*testing.T, *move.Input) {
		return func(t *testing.T, in *move.Input) {
			in.Others = append(in.Others, object(t, strings.NewReplacer("NAME", name, "NS", ns, "LABELS", labels, "IMAGE", image).Replace(daemon)))
		}
	}
	proxy := func(text string) func(*testing.T, *move.Input) {
		return func(_ *testing.T, in *move.Input) { in.KubeProxy = &text }
	}
	managed := func(metadata string) func(*testing.T, *move.Input) {
		return func(t *testing.T, in *move.Input) {
			in.MetalLB[0] = object(t, "{apiVersion: apps/v1, kind: Deployment, metadata: {name: controller, namespace: metallb-system, "+metadata+"}, spec: {replicas: 1}}")
		}
	}
	for name, tc := range map[string]struct {
		arrange func(*testing.T, *move.Input)
		want    string // empty: nothing
	}{
		"nothing":                       {func(*testing.T, *move.Input) {}, ""},
		"IPVS without strict ARP":       {proxy("mode: ipvs\n"), problem + "kube-proxy runs in mode ipvs without strict ARP"},
		"IPVS with it":                  {proxy("mode: ipvs\nipvs: {strictARP: true}\n"), ""},
		"kube-proxy that nobody reads":  {proxy("mode: [\n"), "NOTE ConfigMap kube-system/kube-proxy cannot be read"},
		"no kube-proxy":                 {func(_ *testing.T, in *move.Input) { in.KubeProxy = nil }, "NOTE there is no ConfigMap kube-proxy"},
		"BGP alone needs no strict ARP": {func(_ *testing.T, in *move.Input) { in.KubeProxy, in.Imported.L2Advertisements = nil, nil }, ""},
		"kube-vip":                      {other("kube-vip-ds", "kube-system", "", "ghcr.io/kube-vip/kube-vip:v0.8"), "NOTE DaemonSet kube-system/kube-vip-ds runs kube-vip for Services"},
		"PureLB":                        {other("lbnodeagent", "purelb", "", "registry.gitlab.com/purelb/purelb/lbnodeagent:v0"), "NOTE DaemonSet purelb/lbnodeagent runs PureLB"},
		"OpenELB":                       {other("openelb-speaker", "openelb-system", "", "kubesphere/openelb-speaker:v0.6"), "NOTE DaemonSet openelb-system/openelb-speaker runs OpenELB"},
		"ServiceLB":                     {other("svclb-web", "kube-system", "", "rancher/klipper-lb:v0.4"), "NOTE DaemonSet kube-system/svclb-web runs the ServiceLB of k3s"},
		"another Fairlead":              {other("fairlead-speaker", "elsewhere", "app.kubernetes.io/name: fairlead", "fairlead:dev"), "NOTE DaemonSet elsewhere/fairlead-speaker runs another Fairlead"},
		"Cilium":                        {func(_ *testing.T, in *move.Input) { in.Cilium = map[string]string{"enable-l2-announcements": "true"} }, "NOTE Cilium is set to announce"},
		"Helm":                          {managed("labels: {app.kubernetes.io/managed-by: Helm}"), "NOTE Deployment metallb-system/controller is managed by Helm"},
		"Argo CD":                       {managed("annotations: {argocd.argoproj.io/tracking-id: x}"), "NOTE Deployment metallb-system/controller is managed by Argo CD"},
		"Flux":                          {managed("labels: {kustomize.toolkit.fluxcd.io/name: x}"), "NOTE Deployment metallb-system/controller is managed by Flux"},
		"OLM":                           {managed("labels: {olm.owner: x}"), "NOTE Deployment metallb-system/controller is managed by OLM"},
		"operator elsewhere": {managed("ownerReferences: [{apiVersion: metallb.io/v1beta1, kind: MetalLB, name: metallb, uid: u}]"),
			"NOTE Deployment metallb-system/controller is managed by the MetalLB operator: it starts the program again"},
		"operator": {func(t *testing.T, in *move.Input) {
			managed("ownerReferences: [{apiVersion: metallb.io/v1beta1, kind: MetalLB, name: metallb, uid: u}]")(t, in)
			in.MetalLB = append(in.MetalLB, object(t, "{apiVersion: apps/v1, kind: Deployment, metadata: {name: metallb-operator-controller-manager, namespace: metallb-system}, spec: {replicas: 1}}"))
		}, "NOTE Deployment metallb-system/controller is managed by the MetalLB operator: that is stopped with the rest"},
		"no MetalLB": {func(_ *testing.T, in *move.Input) { in.MetalLB = nil }, problem + "there is no DaemonSet of MetalLB's in namespace metallb-system"},
		"no kinds":   {func(_ *testing.T, in *move.Input) { in.KindsInstalled = false }, problem + "Fairlead is not installed in namespace fairlead-system"},
		"address outside": {func(_ *testing.T, in *move.Input) {
			in.Services = []corev1.Service{svc("web", "198.51.100.1")}
			in.Imported.Services = in.Services
		}, "LOSS Service shop/web has address 198.51.100.1, which lies in no pool"},
		"address of two": {func(_ *testing.T, in *move.Input) {
			in.Services = append(in.Services, svc("web2", "192.0.2.1"))
			in.Imported.Services = in.Services
		}, problem + "Service shop/web2 has address 192.0.2.1 and would not keep it"},
		"class": {func(_ *testing.T, in *move.Input) {
			class := "metallb"
			in.Services[0].Spec.LoadBalancerClass = &class
		}, problem + "MetalLB serves Service shop/web, and Fairlead would not"},
		"loss": {func(_ *testing.T, in *move.Input) {
			in.Imported.Report.Add("BGPPeer n/p", "").Find(metallb.NoEquivalent, "spec.vrf", "do without")
		}, "LOSS BGPPeer n/p: has no equivalent: spec.vrf: do without"},
		"change of meaning": {func(_ *testing.T, in *move.Input) {
			in.Imported.Report.Add("BGPPeer n/p", "").Find(metallb.Changes, "", "so")
		}, ""},
		"excluded nodes": {func(_ *testing.T, in *move.Input) { in.Imported.Programs.IgnoreExcludeLabel = true }, "NOTE MetalLB runs with --ignore-exclude-lb"},
		"external frr-k8s": {func(_ *testing.T, in *move.Input) {
			in.Imported.Programs.BGP = "frr-k8s-external"
			in.Imported.BGPPeers = []v1beta1.BGPPeer{{}}
		}, problem + "MetalLB has its BGP sessions in a frr-k8s of another namespace"},
		"both controllers": {func(t *testing.T, in *move.Input) {
			in.Fairlead[0] = object(t, "{apiVersion: apps/v1, kind: Deployment, metadata: {name: fairlead-controller, namespace: fairlead-system}, spec: {replicas: 2}}")
		}, "NOTE Deployment fairlead-system/fairlead-controller runs beside MetalLB's"},
	} {
		t.Run(name, func(t *testing.T) {
			in := ready(t)
			tc.arrange(t, in)
			expect(t, move.Preflight(in), tc.want)
		})
	}
}

func expect(t *testing.T, found []move.Finding, want string) {
	t.Helper()
	var said []string
	for _, f := range found {
		said = append(said, string(f.Weight)+" "+f.Text)
	}
	text := strings.Join(said, "\n")
	if len(said) > 1 || (want == "") != (text == "") || !strings.HasPrefix(text, want) {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

func TestPreflightBack(t *testing.T) {
	for name, tc := range map[string]struct {
		arrange func(*testing.T, *move.Input)
		want    string
	}{
		"nothing":         {func(*testing.T, *move.Input) {}, ""},
		"no MetalLB":      {func(_ *testing.T, in *move.Input) { in.MetalLB = nil }, "PROBLEM there is no DaemonSet of MetalLB's in namespace metallb-system to go back to"},
		"address outside": {func(_ *testing.T, in *move.Input) { in.Services[0] = svc("web", "198.51.100.1") }, "LOSS Service shop/web has address 198.51.100.1, which lies in no pool of MetalLB's"},
		"new Service":     {func(_ *testing.T, in *move.Input) { in.Services = append(in.Services, svc("new", "192.0.2.2")) }, "LOSS MetalLB does not serve Service shop/new"},
		"stopped by hand": {func(t *testing.T, in *move.Input) {
			in.MetalLB[0] = object(t, "{apiVersion: apps/v1, kind: Deployment, metadata: {name: controller, namespace: metallb-system}, spec: {replicas: 0}}")
		}, "NOTE Deployment metallb-system/controller was scaled to nothing before the move"},
	} {
		t.Run(name, func(t *testing.T) {
			in := ready(t)
			tc.arrange(t, in)
			expect(t, move.PreflightBack(in), tc.want)
		})
	}
}

func TestRecord(t *testing.T) {
	list := []corev1.Service{svc("web", "192.0.2.1", "2001:db8::1"), svc("none"), svc("a", "192.0.2.2"), svc("gone", "192.0.2.3"), svc("inside", "192.0.2.4"), svc("renewed", "192.0.2.5")}
	r, err := move.ParseRecord(move.RecordOf(list).Text())
	if err != nil || len(r) != 5 || r[4].Name != "web" || len(r[4].Addresses) != 2 || r[4].Addresses[1] != netip.MustParseAddr("2001:db8::1") {
		t.Fatal(err, r)
	}
	if changed := r.Changed(list); len(changed) > 0 {
		t.Error(changed)
	}
	renewed := svc("renewed", "192.0.2.9")
	renewed.UID = "another"
	inside := svc("inside")
	inside.Spec.Type = corev1.ServiceTypeClusterIP
	now := []corev1.Service{svc("web", "2001:db8::1", "192.0.2.1"), svc("a", "192.0.2.7"), svc("new", "192.0.2.8"), inside, renewed}
	if changed := r.Changed(now); len(changed) != 1 || changed[0] != "Service shop/a had 192.0.2.2 and has 192.0.2.7" {
		t.Error(changed)
	}
	for _, text := range []string{"shop/web uid", "shop/web uid 192.0.2.1,x", "a b c d"} {
		if _, err := move.ParseRecord(text); err == nil {
			t.Errorf("%q is taken for a record", text)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add("shop/web uid 192.0.2.1,2001:db8::1\n")
	f.Add("x")
	f.Fuzz(func(t *testing.T, text string) {
		r, err := move.ParseRecord(text)
		if err != nil {
			return
		}
		again, err := move.ParseRecord(r.Text())
		if err != nil || again.Text() != r.Text() {
			t.Errorf("%v: %q is read as %q", err, r.Text(), again.Text())
		}
	})
}

// Of the two who announce one is stopped before the other is started.
func TestSteps(t *testing.T) {
	at := func(steps []move.Step, id move.ID) int {
		for i, s := range steps {
			if s.ID == id {
				return i
			}
		}
		return -1
	}
	warm := move.Steps(&move.State{Quiet: true, Announcing: true, Controllers: true, Speakers: true, Webhooks: true})
	if !(at(warm, move.StartSpeakers) < at(warm, move.StopSpeakers) && at(warm, move.StopSpeakers)+1 == at(warm, move.ImportAnnouncing)) {
		t.Error(warm)
	}
	cold := move.Steps(&move.State{Announces: true, Controllers: true, Speakers: true, Webhooks: true})
	if at(cold, move.StopSpeakers)+1 != at(cold, move.StartSpeakers) || at(cold, move.ImportAnnouncing) > at(cold, move.StopControllers) {
		t.Error(cold)
	}
	back := move.StepsBack(&move.State{OurController: true, OurSpeakers: true, Kept: true}, true)
	if !(at(back, move.StopController) < at(back, move.StartControllers) && at(back, move.StopOurSpeakers)+1 == at(back, move.StartTheirs)) {
		t.Error(back)
	}
	if !move.AllDone(move.Steps(&move.State{Remembered: true, Finished: true, OurController: true, OurSpeakers: true, Announces: true, Kept: true})) {
		t.Error("a finished move has something left")
	}
	if !move.AllDone(move.StepsBack(&move.State{Controllers: true, Speakers: true, Webhooks: true}, false)) {
		t.Error("a finished move back has something left")
	}
}
