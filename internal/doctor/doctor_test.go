package doctor_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/controllers"
	"fairlead.io/fairlead/internal/doctor"
	"fairlead.io/fairlead/internal/neighbours"
	"fairlead.io/fairlead/internal/testenv"
	"fairlead.io/fairlead/internal/workload"
	"fairlead.io/fairlead/speaker"
)

const ns = "fairlead-system"

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// cluster in which all is well; each call makes a new one.
func cluster(t *testing.T) *doctor.Input {
	t.Helper()
	controller, ds := manifest(t, "controller/deployment.yaml"), manifest(t, "speaker/daemonset.yaml")
	set(t, controller, map[string]any{"observedGeneration": int64(1), "availableReplicas": int64(2), "updatedReplicas": int64(2)}, "status")
	set(t, ds, map[string]any{"observedGeneration": int64(1), "desiredNumberScheduled": int64(2), "updatedNumberScheduled": int64(2), "numberReady": int64(2)}, "status")
	set(t, controller, int64(1), "metadata", "generation")
	set(t, ds, int64(1), "metadata", "generation")
	var own corev1.Namespace
	decode(t, read(t, "default/namespace.yaml"), &own)
	holder, seconds, renewed := "fairlead-controller-a", int32(10), metav1.NewMicroTime(now.Add(-time.Second))
	proxy := "mode: nftables\n"
	in := &doctor.Input{
		Namespace: ns, Version: "v0.1.0", Now: now, Server: "v1.36.4",
		Lease:        doctor.Part[*coordinationv1.Lease]{Is: &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &renewed}}},
		Gossip:       doctor.Part[map[string]int]{Is: map[string]int{"key": 32}},
		OwnNamespace: doctor.Part[*corev1.Namespace]{Is: &own},
		KubeProxy:    doctor.Part[*string]{Is: &proxy},
		ServiceCIDRs: doctor.Part[[]netip.Prefix]{Is: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}},
		APIServers:   doctor.Part[[]netip.Addr]{Is: []netip.Addr{netip.MustParseAddr("192.0.2.1")}},
	}
	in.Programs.Is = []*unstructured.Unstructured{controller, ds}
	in.Others.Is = slices.Clone(in.Programs.Is)
	for _, name := range []string{"node1", "node2"} {
		in.Pods.Is = append(in.Pods.Is, pod("fairlead-controller-"+name, name, "controller"), pod("fairlead-speaker-"+name, name, "speaker"))
		in.Objects.Is.Speakers = append(in.Objects.Is.Speakers, v1beta1.Speaker{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Status: v1beta1.SpeakerStatus{
				Version: "v0.1.0", Interfaces: []v1beta1.SpeakerInterface{{Name: "eth0"}},
				Conditions: []metav1.Condition{{Type: v1beta1.SpeakerReady, Status: metav1.ConditionTrue}},
			},
		})
	}
	in.Nodes.Is = []corev1.Node{node("node1", "192.0.2.1", "10.244.1.0/24"), node("node2", "192.0.2.2", "10.244.2.0/24")}
	in.Objects.Is.Pools = []v1beta1.IPAddressPool{{
		ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: v1beta1.IPAddressPoolSpec{Addresses: []v1beta1.AddressRange{"192.0.2.64/28"}},
	}}
	in.Objects.Is.L2Advertisements = []v1beta1.L2Advertisement{{ObjectMeta: metav1.ObjectMeta{Name: "web"}}}
	in.Services.Is = []corev1.Service{balancer("web", nil, true)}
	in.Kinds.Is = kinds(t)
	return in
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(root, "config", path))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func decode(t *testing.T, raw []byte, into any) {
	t.Helper()
	if err := yaml.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

// object as the API server's client reads it.
func object(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	o := &unstructured.Unstructured{}
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		err = o.UnmarshalJSON(raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func manifest(t *testing.T, path string) *unstructured.Unstructured {
	t.Helper()
	return object(t, string(read(t, path)))
}

func set(t *testing.T, o *unstructured.Unstructured, value any, path ...string) {
	t.Helper()
	if err := unstructured.SetNestedField(o.Object, value, path...); err != nil {
		t.Fatal(err)
	}
}

// kinds as config/crd has them.
func kinds(t *testing.T) []doctor.Kind {
	t.Helper()
	var out []doctor.Kind
	for _, name := range []string{"ipaddresspools", "l2advertisements", "bgpadvertisements", "bgppeers", "bfdprofiles", "communities", "speakers"} {
		o := manifest(t, "crd/bases/fairlead.io_"+name+".yaml")
		versions, _, err := unstructured.NestedSlice(o.Object, "spec", "versions")
		if err != nil || len(versions) != 1 {
			t.Fatal(name, err, len(versions))
		}
		version, _ := versions[0].(map[string]any)
		schema, has, err := unstructured.NestedMap(version, "schema", "openAPIV3Schema")
		if err != nil || !has {
			t.Fatal(name, err)
		}
		out = append(out, doctor.Kind{Resource: name, Established: true, Schema: schema})
	}
	return out
}

func pod(name, onNode, component string) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ns, Name: name, CreationTimestamp: metav1.NewTime(now.Add(-time.Hour)),
			Labels: map[string]string{"app.kubernetes.io/name": "fairlead", "app.kubernetes.io/component": component},
		},
		Spec: corev1.PodSpec{NodeName: onNode},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
			ContainerStatuses: []corev1.ContainerStatus{{Name: component, Image: "fairlead:dev", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}},
		},
	}
}

func node(name, addr, pods string) corev1.Node {
	return corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/os": "linux"}},
		Spec:       corev1.NodeSpec{PodCIDRs: []string{pods}},
		Status: corev1.NodeStatus{
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: addr}},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
}

func balancer(name string, class *string, told bool) corev1.Service {
	s := corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(now.Add(-time.Hour))},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: class},
	}
	if told {
		s.Status.Conditions = []metav1.Condition{{Type: v1beta1.ConditionAddressAssigned, Status: metav1.ConditionTrue}}
	}
	return s
}

// waiting is the state of a container that waits.
func waiting(reason, message string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		c := &p.Status.ContainerStatuses[0]
		c.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
		p.Status.Conditions[0].Status = corev1.ConditionFalse
	}
}

// What is put right is said to be well, and nothing else is said.
func TestWell(t *testing.T) {
	found := doctor.Examine(cluster(t))
	seen := map[doctor.Check]bool{}
	for _, f := range found {
		if seen[f.Check] = true; f.Level != doctor.OK || f.Object == "" || f.Message == "" {
			t.Errorf("%+v", f)
		}
	}
	if len(seen) != 11 {
		t.Error("not all checks have said something:", seen)
	}
	for _, want := range []string{
		"the 7 kinds of fairlead.io/v1beta1 are established", "2 of 2 replicas are available, image fairlead:dev", "fairlead-controller-a leads",
		"2 of 2 nodes have a speaker", "no other program declares ports 9790/TCP, 9791/TCP, 9792/TCP, 9792/UDP, 9793/UDP", "mode nftables", "it has a key",
		"none has an address of a node", "each is advertised", "1 of type LoadBalancer are Fairlead's", "no condition says",
	} {
		if !slices.ContainsFunc(found, func(f doctor.Finding) bool { return strings.Contains(f.Message, want) }) {
			t.Errorf("nothing says %q", want)
		}
	}
}

// The ports that are looked for are those that the manifest declares, and health, which is not declared.
func TestPortsAreDeclared(t *testing.T) {
	in := cluster(t)
	twin := in.Programs.Is[1].DeepCopy()
	twin.SetName("twin")
	in.Others.Is = append(in.Others.Is, twin)
	var ports []string
	for _, f := range doctor.Examine(in) {
		if f.Check == doctor.CheckPorts {
			_, rest, _ := strings.Cut(f.Message, "port ")
			name, _, _ := strings.Cut(rest, " ")
			ports = append(ports, name)
		}
	}
	slices.Sort(ports)
	if !slices.Equal(ports, []string{"9790/TCP", "9792/TCP", "9792/UDP", "9793/UDP"}) {
		t.Error(ports)
	}
}

func TestNamesOfTheGossip(t *testing.T) {
	ours := []string{doctor.DefaultGossipSecret, doctor.GossipKey}
	if !slices.Equal(ours, []string{controllers.GossipSecret, controllers.GossipSecretKey}) {
		t.Error("the gossip's Secret has other names than for the controller:", ours)
	}
	if ours = append(ours, doctor.PreviousGossipKey); !slices.Equal(ours, []string{speaker.DefaultGossipSecret, speaker.GossipKey, speaker.PreviousGossipKey}) {
		t.Error("the gossip's Secret has other names than for speakers:", ours)
	}
}

// expect exactly these findings beside those that say that something is well, in their order; each is "LEVEL CHECK OBJECT: MESSAGE", whose
// message may be the beginning.
func expect(t *testing.T, in *doctor.Input, want ...string) {
	t.Helper()
	var got []string
	for _, f := range doctor.Examine(in) {
		if f.Level != doctor.OK {
			got = append(got, string(f.Level)+" "+string(f.Check)+" "+f.Object+": "+f.Message)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for i := range got {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("got  %s\nwant %s", got[i], want[i])
		}
	}
}

type change struct {
	arrange func(*testing.T, *doctor.Input)
	want    []string
}

func run(t *testing.T, cases map[string]change) {
	t.Helper()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			in := cluster(t)
			tc.arrange(t, in)
			expect(t, in, tc.want...)
		})
	}
}

func TestKinds(t *testing.T) {
	drop := func(path ...string) func(*testing.T, *doctor.Input) {
		return func(_ *testing.T, in *doctor.Input) { unstructured.RemoveNestedField(in.Kinds.Is[0].Schema, path...) }
	}
	const pools = "problem kinds CustomResourceDefinition ipaddresspools.fairlead.io: "
	run(t, map[string]change{
		"none": {func(_ *testing.T, in *doctor.Input) { in.Kinds.Is = nil }, []string{"problem kinds CustomResourceDefinitions: there is none of group fairlead.io"}},
		"one is missing": {func(_ *testing.T, in *doctor.Input) { in.Kinds.Is = in.Kinds.Is[1:] },
			[]string{pools + "there is none: upgrade the CRDs"}},
		"not established": {func(_ *testing.T, in *doctor.Input) { in.Kinds.Is[0].Established, in.Kinds.Is[0].Why = false, "taken" }, []string{pools + "it is not established: taken"}},
		"being deleted":   {func(_ *testing.T, in *doctor.Input) { in.Kinds.Is[0].Deleting = true }, []string{pools + "it is being deleted, and all its objects with it"}},
		"other version":   {func(_ *testing.T, in *doctor.Input) { in.Kinds.Is[0].Schema = nil }, []string{pools + "version v1beta1 is not served: upgrade the CRDs"}},
		"older":           {drop("properties", "spec", "properties", "excludeAddresses"), []string{pools + "it does not have spec.excludeAddresses, which this plugin knows"}},
		"older, deep inside": {drop("properties", "spec", "properties", "serviceAllocation", "properties", "namespaces"),
			[]string{pools + "it does not have spec.serviceAllocation.namespaces, which this plugin knows"}},
		"newer": {func(t *testing.T, in *doctor.Input) {
			if err := unstructured.SetNestedMap(in.Kinds.Is[0].Schema, map[string]any{"type": "string"}, "properties", "spec", "properties", "novel"); err != nil {
				t.Fatal(err)
			}
		}, []string{"warning kinds CustomResourceDefinition ipaddresspools.fairlead.io: it has spec.novel, which this plugin does not know"}},
		"not to be read": {func(_ *testing.T, in *doctor.Input) {
			in.Kinds, in.Absent = doctor.Part[[]doctor.Kind]{Unread: "you may not list customresourcedefinitions.apiextensions.k8s.io"}, []string{"bgppeers"}
		}, []string{
			"not checked kinds CustomResourceDefinitions: you may not list customresourcedefinitions.apiextensions.k8s.io",
			"problem kinds CustomResourceDefinition bgppeers.fairlead.io: the API server does not serve it",
		}},
		"old server":     {func(_ *testing.T, in *doctor.Input) { in.Server = "v1.30.9" }, []string{"problem kinds API server: it is of Kubernetes v1.30.9, and the kinds' rules need 1.31 or newer"}},
		"strange server": {func(_ *testing.T, in *doctor.Input) { in.Server = "main" }, []string{`warning kinds API server: it says that its version is "main"`}},
	})
}

func TestNamespace(t *testing.T) {
	const own, secret = "namespace Namespace fairlead-system: ", "namespace Secret fairlead-system/fairlead-gossip: "
	enforce := func(level string) func(*testing.T, *doctor.Input) {
		return func(_ *testing.T, in *doctor.Input) {
			in.OwnNamespace.Is.Labels["pod-security.kubernetes.io/enforce"] = level
		}
	}
	run(t, map[string]change{
		"none":       {func(_ *testing.T, in *doctor.Input) { in.OwnNamespace.Is = nil }, []string{"problem " + own + "there is none"}},
		"baseline":   {enforce("baseline"), []string{"problem " + own + "pod-security.kubernetes.io/enforce=baseline refuses the speakers"}},
		"restricted": {enforce("restricted"), []string{"problem " + own + "pod-security.kubernetes.io/enforce=restricted refuses the speakers"}},
		"no label":   {func(_ *testing.T, in *doctor.Input) { in.OwnNamespace.Is.Labels = nil }, nil},
		"going": {func(_ *testing.T, in *doctor.Input) { in.OwnNamespace.Is.Status.Phase = corev1.NamespaceTerminating },
			[]string{"problem " + own + "it is being deleted"}},
		"not to be read": {func(_ *testing.T, in *doctor.Input) {
			in.OwnNamespace = doctor.Part[*corev1.Namespace]{Unread: "you may not get namespaces"}
			in.Gossip = doctor.Part[map[string]int]{Unread: "you may not get secrets in namespace fairlead-system"}
		}, []string{"not checked " + own + "you may not get namespaces", "not checked " + secret + "you may not get secrets in namespace fairlead-system"}},
		"no Secret": {func(_ *testing.T, in *doctor.Input) { in.Gossip.Is = nil }, []string{"problem " + secret + "there is none, and the speakers wait for it: the controller makes it"}},
		"no Secret of another name": {func(t *testing.T, in *doctor.Input) {
			in.Gossip.Is = nil
			arg(t, in.Programs.Is[1], "--gossip-secret=ours")
		}, []string{"problem namespace Secret fairlead-system/ours: there is none, and the speakers wait for it (--gossip-secret)"}},
		"no key":    {func(_ *testing.T, in *doctor.Input) { in.Gossip.Is = map[string]int{"previous": 32} }, []string{"problem " + secret + "it has no entry key"}},
		"short key": {func(_ *testing.T, in *doctor.Input) { in.Gossip.Is["key"] = 15 }, []string{"problem " + secret + "its entry key has 15 bytes, fewer than 16"}},
		"short previous key": {func(_ *testing.T, in *doctor.Input) { in.Gossip.Is["previous"] = 1 },
			[]string{"warning " + secret + "its entry previous has 1 bytes, fewer than 16"}},
	})
}

// arg gives the container of a program arguments.
func arg(t *testing.T, o *unstructured.Unstructured, list ...string) {
	t.Helper()
	args := []any{}
	for _, a := range list {
		args = append(args, a)
	}
	container(t, o, "args", args)
}

// image gives the container of a program another image.
func image(t *testing.T, o *unstructured.Unstructured, name string) {
	t.Helper()
	container(t, o, "image", name)
}

// container sets a field of the first container of a program.
func container(t *testing.T, o *unstructured.Unstructured, field string, value any) {
	t.Helper()
	path := []string{"spec", "template", "spec", "containers"}
	list, _, err := unstructured.NestedSlice(o.Object, path...)
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := list[0].(map[string]any); ok {
		c[field] = value
	}
	if err := unstructured.SetNestedSlice(o.Object, list, path...); err != nil {
		t.Fatal(err)
	}
}

func TestController(t *testing.T) {
	const deployment, first, lease = "controller Deployment fairlead-system/fairlead-controller: ", "problem controller Pod fairlead-system/fairlead-controller-node1: ", "controller Lease fairlead-system/fairlead-controller: "
	status := func(field string, n int64) func(*testing.T, *doctor.Input) {
		return func(t *testing.T, in *doctor.Input) { set(t, in.Programs.Is[0], n, "status", field) }
	}
	podIs := func(edit func(*corev1.Pod)) func(*testing.T, *doctor.Input) {
		return func(_ *testing.T, in *doctor.Input) { edit(&in.Pods.Is[0]) }
	}
	terminated := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: "panic:\n  no", FinishedAt: metav1.NewTime(now.Add(-time.Minute))}}
	run(t, map[string]change{
		"none": {func(_ *testing.T, in *doctor.Input) {
			in.Programs.Is, in.Others.Is = in.Programs.Is[1:], in.Others.Is[1:]
		},
			[]string{"problem controller Deployment: Fairlead has none in namespace fairlead-system (label app.kubernetes.io/name=fairlead)"}},
		"in another namespace": {func(_ *testing.T, in *doctor.Input) {
			other := in.Programs.Is[0].DeepCopy()
			other.SetNamespace("elsewhere")
			in.Programs.Is, in.Others.Is = in.Programs.Is[1:], []*unstructured.Unstructured{other}
		}, []string{"problem controller Deployment: Fairlead has none in namespace fairlead-system, and one in elsewhere: name that by --namespace",
			"problem other load balancers Deployment elsewhere/fairlead-controller: it is another Fairlead"}},
		"not to be read": {func(_ *testing.T, in *doctor.Input) {
			in.Programs = doctor.Part[[]*unstructured.Unstructured]{Unread: "you may not list deployments.apps in namespace fairlead-system"}
		}, []string{"not checked controller Deployments of fairlead-system: you may not list deployments.apps", "not checked speakers DaemonSets of fairlead-system: you may not list"}},
		"held":              {func(t *testing.T, in *doctor.Input) { set(t, in.Programs.Is[0], int64(0), "spec", "replicas") }, []string{"problem " + deployment + "it is scaled to nothing"}},
		"none is available": {status("availableReplicas", 0), []string{"problem " + deployment + "none of its 2 replicas is available"}},
		"one is available":  {status("availableReplicas", 1), []string{"warning " + deployment + "1 of 2 replicas are available"}},
		"rolled out":        {status("updatedReplicas", 1), []string{"warning " + deployment + "it is being rolled out: 1 of 2 replicas are new"}},
		"not taken up":      {status("observedGeneration", 0), []string{"warning " + deployment + "nobody has taken up its last change yet"}},
		"other release": {func(t *testing.T, in *doctor.Input) {
			image(t, in.Programs.Is[0], "r.io:5000/fairlead:v0.2.0@sha256:00")
			image(t, in.Programs.Is[1], "r.io:5000/fairlead:v0.2.0@sha256:00")
		}, []string{"warning " + deployment + "its image is r.io:5000/fairlead:v0.2.0@sha256:00, and this plugin is of version v0.1.0", "warning speakers DaemonSet fairlead-system/fairlead-speaker: its image is r.io:5000/fairlead:v0.2.0@sha256:00, and this plugin is of version v0.1.0"}},
		"plugin not stamped": {func(t *testing.T, in *doctor.Input) {
			in.Version = "dev"
			image(t, in.Programs.Is[0], "fairlead:v0.2.0")
			image(t, in.Programs.Is[1], "fairlead:v0.2.0")
		}, nil},
		"no image": {podIs(waiting("ImagePullBackOff", "Back-off pulling image")),
			[]string{first + "container controller has no image fairlead:dev (ImagePullBackOff: Back-off pulling image): push it to a registry that the nodes reach"}},
		"no configuration": {podIs(waiting("CreateContainerConfigError", "secret \"x\" not found")),
			[]string{first + `container controller waits: CreateContainerConfigError: secret "x" not found; kubectl -n fairlead-system describe pod fairlead-controller-node1 says more`}},
		"crash loop": {podIs(func(p *corev1.Pod) {
			waiting("CrashLoopBackOff", "")(p)
			p.Status.ContainerStatuses[0].RestartCount, p.Status.ContainerStatuses[0].LastTerminationState = 7, terminated
		}), []string{first + "container controller does not stay up (CrashLoopBackOff, started 7 times): it last ended with exit code 1 (Error: panic: no); kubectl -n fairlead-system logs fairlead-controller-node1 -c controller --previous"}},
		"out of memory": {podIs(func(p *corev1.Pod) {
			waiting("CrashLoopBackOff", "")(p)
			p.Status.ContainerStatuses[0].LastTerminationState = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}}
		}), []string{first + "container controller does not stay up (CrashLoopBackOff, started 0 times): it last ended with exit code 137 (OOMKilled): raise its memory limit"}},
		"ended": {podIs(func(p *corev1.Pod) { p.Status.ContainerStatuses[0].State = terminated }),
			[]string{first + "container controller has ended: it last ended with exit code 1"}},
		"restarted lately": {podIs(func(p *corev1.Pod) { p.Status.ContainerStatuses[0].LastTerminationState = terminated }),
			[]string{"warning controller Pod fairlead-system/fairlead-controller-node1: container controller runs again, and last ended with exit code 1"}},
		"restarted long ago": {podIs(func(p *corev1.Pod) {
			p.Status.ContainerStatuses[0].LastTerminationState = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, FinishedAt: metav1.NewTime(now.Add(-time.Hour))}}
		}), nil},
		"no node": {podIs(func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/2 nodes are available"}}
		}), []string{first + "it has no node: Unschedulable: 0/2 nodes are available"}},
		"evicted": {func(t *testing.T, in *doctor.Input) {
			in.Pods.Is[0].Status.Phase, in.Pods.Is[0].Status.Reason = corev1.PodFailed, "Evicted"
			set(t, in.Programs.Is[0], int64(1), "status", "availableReplicas")
		}, []string{first + "it has failed: Evicted;", "warning " + deployment + "1 of 2 replicas are available"}},
		"evicted, and another runs": {func(_ *testing.T, in *doctor.Input) {
			for _, phase := range []corev1.PodPhase{corev1.PodFailed, corev1.PodSucceeded} { // as a node that is shut down leaves them
				p := pod("fairlead-controller-old", "node1", "controller")
				p.Status = corev1.PodStatus{Phase: phase, Reason: "Terminated"}
				in.Pods.Is = append(in.Pods.Is, p)
			}
		}, nil},
		"init container": {podIs(func(p *corev1.Pod) {
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "first", State: terminated}}
		}), []string{first + "container first has ended: it last ended with exit code 1"}},
		"not ready lately": {podIs(func(p *corev1.Pod) {
			p.Status.Conditions[0].Status, p.Status.Conditions[0].LastTransitionTime = corev1.ConditionFalse, metav1.NewTime(now.Add(-59*time.Second))
		}), []string{"warning controller Pod fairlead-system/fairlead-controller-node1: it is starting"}},
		"not ready": {podIs(func(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }),
			[]string{first + "it has not been ready for 1h0m0s"}},
		"starting": {podIs(func(p *corev1.Pod) {
			waiting("ContainerCreating", "")(p)
			p.CreationTimestamp = metav1.NewTime(now.Add(-5 * time.Second))
		}), []string{"warning controller Pod fairlead-system/fairlead-controller-node1: it is starting"}},
		"on its way out": {podIs(func(p *corev1.Pod) {
			waiting("CrashLoopBackOff", "")(p)
			gone := metav1.NewTime(now)
			p.DeletionTimestamp = &gone
		}), nil},
		"no Lease": {func(_ *testing.T, in *doctor.Input) { in.Lease.Is = nil }, []string{"problem " + lease + "no controller holds it"}},
		"Lease let go": {func(_ *testing.T, in *doctor.Input) {
			*in.Lease.Is.Spec.HolderIdentity, in.Lease.Is.Spec.RenewTime.Time = "", now.Add(-time.Hour)
		}, []string{"problem " + lease + "no controller holds it"}},
		"Lease just let go": {func(_ *testing.T, in *doctor.Input) { *in.Lease.Is.Spec.HolderIdentity = "" }, []string{"warning " + lease + "the controller that had it has just let it go"}},
		"not renewed":       {func(_ *testing.T, in *doctor.Input) { in.Lease.Is.Spec.RenewTime.Time = now.Add(-time.Hour) }, []string{"problem " + lease + "fairlead-controller-a has it, and has not renewed it for 1h0m0s"}},
		"wrong clock":       {func(_ *testing.T, in *doctor.Input) { in.Lease.Is.Spec.RenewTime.Time = now.Add(time.Hour) }, []string{"warning " + lease + "it is renewed 1h0m0s from now"}},
		"without Lease": {func(t *testing.T, in *doctor.Input) {
			in.Lease.Is = nil
			arg(t, in.Programs.Is[0], "--leader-elect=false")
		}, nil},
		"other Lease": {func(t *testing.T, in *doctor.Input) {
			in.Lease.Is = nil
			arg(t, in.Programs.Is[0], "--leader-elect-lease-name", "mine")
		}, []string{"problem controller Lease fairlead-system/mine: no controller holds it"}},
		"Lease not to be read": {func(_ *testing.T, in *doctor.Input) {
			in.Lease = doctor.Part[*coordinationv1.Lease]{Unread: "you may not get leases"}
		}, []string{"not checked " + lease + "you may not get leases"}},
	})
}

func TestSpeakers(t *testing.T) {
	const daemonSet, second = "speakers DaemonSet fairlead-system/fairlead-speaker: ", "speakers Node node2: "
	without := func(_ *testing.T, in *doctor.Input) { in.Pods.Is = in.Pods.Is[:3] } // of node2
	silent := func(_ *testing.T, in *doctor.Input) { in.Objects.Is.Speakers = in.Objects.Is.Speakers[:1] }
	both := func(list ...func(*testing.T, *doctor.Input)) func(*testing.T, *doctor.Input) {
		return func(t *testing.T, in *doctor.Input) {
			for _, f := range list {
				f(t, in)
			}
		}
	}
	onNode := func(edit func(*corev1.Node)) func(*testing.T, *doctor.Input) {
		return func(_ *testing.T, in *doctor.Input) { edit(&in.Nodes.Is[1]) }
	}
	taint := func(key string, effect corev1.TaintEffect) func(*testing.T, *doctor.Input) {
		return onNode(func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: key, Value: "v", Effect: effect}} })
	}
	tolerate := func(value, effect string) func(*testing.T, *doctor.Input) {
		return func(t *testing.T, in *doctor.Input) {
			set(t, in.Programs.Is[1], []any{map[string]any{"key": "mine", "operator": "Equal", "value": value, "effect": effect}}, "spec", "template", "spec", "tolerations")
		}
	}
	leaving := func(until time.Time) func(*testing.T, *doctor.Input) {
		return func(_ *testing.T, in *doctor.Input) { in.Pods.Is[3].DeletionTimestamp = new(metav1.NewTime(until)) }
	}
	exclude := func(_ *testing.T, in *doctor.Input) {
		for i := range in.Nodes.Is {
			in.Nodes.Is[i].Labels["node.kubernetes.io/exclude-from-external-load-balancers"] = ""
		}
	}
	run(t, map[string]change{
		"none": {func(_ *testing.T, in *doctor.Input) {
			in.Programs.Is, in.Others.Is = in.Programs.Is[:1], in.Others.Is[:1]
		},
			[]string{"problem speakers DaemonSet: Fairlead has none in namespace fairlead-system"}},
		"held": {func(t *testing.T, in *doctor.Input) {
			set(t, in.Programs.Is[1], map[string]any{workload.StoppedLabel: "true"}, "spec", "template", "spec", "nodeSelector")
		}, []string{"problem " + daemonSet + "it is stopped by the label fairlead.io/stopped"}},
		"rolled out": {func(t *testing.T, in *doctor.Input) {
			set(t, in.Programs.Is[1], int64(1), "status", "updatedNumberScheduled")
		}, []string{"warning " + daemonSet + "it is being rolled out: 1 of 2 pods are new"}},
		"not taken up": {func(t *testing.T, in *doctor.Input) {
			set(t, in.Programs.Is[1], int64(0), "status", "observedGeneration")
		}, []string{"warning " + daemonSet + "nobody has taken up its last change yet"}},
		"no interface yet": {func(_ *testing.T, in *doctor.Input) { in.Objects.Is.Speakers[1].Status = v1beta1.SpeakerStatus{} }, nil},
		"excluded but for Windows": {both(exclude, without, silent, onNode(func(n *corev1.Node) { n.Labels = nil; n.Status.NodeInfo.OperatingSystem = "windows" })),
			[]string{"problem speakers Nodes: each has the label"}},
		"toleration of another value": {both(without, taint("mine", corev1.TaintEffectNoSchedule), tolerate("other", "NoSchedule")),
			[]string{"warning " + second + "no speaker runs there, and nothing is announced from there: there is the taint mine=v:NoSchedule"}},
		"toleration of another effect": {both(without, taint("mine", corev1.TaintEffectNoSchedule), tolerate("v", "NoExecute")),
			[]string{"warning " + second + "no speaker runs there, and nothing is announced from there: there is the taint mine=v:NoSchedule"}},
		"toleration":     {both(without, taint("mine", corev1.TaintEffectNoSchedule), tolerate("v", "NoSchedule")), []string{"problem " + second + "no speaker runs there, and nothing is seen"}},
		"being replaced": {leaving(now.Add(20 * time.Second)), []string{"warning " + second + "a speaker is about to be started there"}},
		"does not end":   {leaving(now.Add(-time.Hour)), []string{"problem speakers Pod fairlead-system/fairlead-speaker-node2: it should have ended by 2026-01-01T11:00:00Z, and keeps another speaker from Node node2"}},
		"new node": {both(without, onNode(func(n *corev1.Node) {
			n.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(-time.Second))
		})),
			[]string{"warning " + second + "a speaker is about to be started there"}},
		"kept away by nothing": {without, []string{"problem " + second + "no speaker runs there, and nothing is seen that keeps it away"}},
		"kept away by a taint": {both(without, taint("mine", corev1.TaintEffectNoExecute)), []string{"warning " + second + "no speaker runs there, and nothing is announced from there: there is the taint mine=v:NoExecute. Add a toleration"}},
		"tolerated taint":      {both(without, taint("node-role.kubernetes.io/control-plane", corev1.TaintEffectNoSchedule)), []string{"problem " + second + "no speaker runs there, and nothing is seen"}},
		"taint of the node":    {both(without, taint("node.kubernetes.io/disk-pressure", corev1.TaintEffectNoSchedule)), []string{"problem " + second + "no speaker runs there, and nothing is seen"}},
		"preference":           {both(without, taint("mine", corev1.TaintEffectPreferNoSchedule)), []string{"problem " + second + "no speaker runs there, and nothing is seen"}},
		"kept away by the selector": {both(without, func(t *testing.T, in *doctor.Input) {
			set(t, in.Programs.Is[1], map[string]any{"edge": "yes", "kubernetes.io/os": "linux"}, "spec", "template", "spec", "nodeSelector")
		}), []string{"warning " + second + "no speaker runs there, and nothing is announced from there: the DaemonSet's nodeSelector asks for edge=yes"}},
		"affinity": {both(without, func(t *testing.T, in *doctor.Input) {
			set(t, in.Programs.Is[1], map[string]any{"nodeAffinity": map[string]any{"requiredDuringSchedulingIgnoredDuringExecution": map[string]any{"nodeSelectorTerms": []any{}}}}, "spec", "template", "spec", "affinity")
		}), []string{"warning " + second + "no speaker runs there, and nothing is announced from there: the DaemonSet has a node affinity"}},
		"pending": {func(_ *testing.T, in *doctor.Input) {
			p := &in.Pods.Is[3]
			p.Spec.NodeName = ""
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"node2"}}}}},
			}}}
			p.Status = corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "no free ports"}}}
		}, []string{"problem speakers Pod fairlead-system/fairlead-speaker-node2: it has no node: Unschedulable: no free ports"}},
		"crash loop": {func(_ *testing.T, in *doctor.Input) { waiting("CrashLoopBackOff", "back-off")(&in.Pods.Is[3]) },
			[]string{"problem speakers Pod fairlead-system/fairlead-speaker-node2: container speaker waits: CrashLoopBackOff: back-off"}},
		"no object":    {silent, []string{"problem " + second + "a speaker runs there, and there is no Speaker object of it"}},
		"node is down": {both(silent, without, onNode(func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown })), []string{"warning " + second + "not ready, so that no speaker was looked for there"}},
		"Windows":      {both(silent, without, onNode(func(n *corev1.Node) { n.Labels["kubernetes.io/os"] = "windows" })), nil},
		"node is gone": {func(_ *testing.T, in *doctor.Input) { in.Nodes.Is, in.Pods.Is = in.Nodes.Is[:1], in.Pods.Is[:3] },
			[]string{"warning speakers Speaker node2: there is no Node of that name any more: kubectl delete speakers.fairlead.io node2"}},
		"nodes not to be read": {func(_ *testing.T, in *doctor.Input) {
			in.Nodes = doctor.Part[[]corev1.Node]{Unread: "you may not list nodes"}
		}, []string{
			"not checked speakers Nodes: you may not list nodes", "not checked addresses Addresses of Nodes: you may not", "not checked advertisements Nodes that advertisements select: you may not"}},
		"all excluded":         {exclude, []string{"problem speakers Nodes: each has the label node.kubernetes.io/exclude-from-external-load-balancers"}},
		"one excluded":         {onNode(func(n *corev1.Node) { n.Labels["node.kubernetes.io/exclude-from-external-load-balancers"] = "" }), nil},
		"exclusion is ignored": {both(exclude, func(t *testing.T, in *doctor.Input) { arg(t, in.Programs.Is[1], "--ignore-exclude-lb") }), nil},
		"versions": {func(_ *testing.T, in *doctor.Input) { in.Objects.Is.Speakers[1].Status.Version = "v0.0.9" },
			[]string{"warning speakers Speakers: they are of different versions (v0.0.9 on node2; v0.1.0 on node1)"}},
		"other version than the plugin": {func(_ *testing.T, in *doctor.Input) { in.Version = "v0.2.0" },
			[]string{"warning speakers Speakers: they are of version v0.1.0, and this plugin is of version v0.2.0"}},
		"images differ": {func(t *testing.T, in *doctor.Input) { image(t, in.Programs.Is[1], "fairlead:old") }, []string{"warning " + daemonSet + "its image is fairlead:old, and the controller's is fairlead:dev"}},
		"classes differ": {func(t *testing.T, in *doctor.Input) { arg(t, in.Programs.Is[1], "--load-balancer-class=x") },
			[]string{"problem " + daemonSet + `it serves Services without a class, and of class "x", and the controller serves Services without a class, and of class "fairlead.io/fairlead"`}},
		"no interface": {func(_ *testing.T, in *doctor.Input) { in.Objects.Is.Speakers[1].Status.Interfaces = nil },
			[]string{"warning speakers Speaker node2: no interface was found"}},
	})
}

func TestPorts(t *testing.T) {
	program := func(spec string) func(*testing.T, *doctor.Input) {
		return func(t *testing.T, in *doctor.Input) {
			in.Others.Is = append(in.Others.Is, object(t, "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: other, namespace: sys}, spec: {template: {spec: "+spec+"}}}"))
		}
	}
	run(t, map[string]change{
		"host network": {program("{hostNetwork: true, containers: [{name: c, ports: [{containerPort: 9792, protocol: UDP}]}]}"),
			[]string{"warning ports DaemonSet sys/other: it takes port 9792/UDP of its nodes, which the speakers take (--gossip-port)"}},
		"host port": {program("{containers: [{name: c, ports: [{containerPort: 80, hostPort: 9790}]}]}"), []string{"warning ports DaemonSet sys/other: it takes port 9790/TCP of its nodes, which the speakers take (--metrics-bind-address)"}},
		"static pod": {func(t *testing.T, in *doctor.Input) {
			in.Others.Is = append(in.Others.Is, object(t, "{apiVersion: v1, kind: Pod, metadata: {name: proxy-node1, namespace: kube-system, ownerReferences: [{apiVersion: v1, kind: Node, name: node1, uid: u}]}, spec: {hostNetwork: true, containers: [{name: c, ports: [{containerPort: 9792}]}]}}"))
		}, []string{"warning ports Pod kube-system/proxy-node1: it takes port 9792/TCP"}},
		"pod of a program": {func(t *testing.T, in *doctor.Input) {
			in.Others.Is = append(in.Others.Is, object(t, "{apiVersion: v1, kind: Pod, metadata: {name: proxy-x, namespace: kube-system, ownerReferences: [{apiVersion: apps/v1, kind: DaemonSet, name: proxy, uid: u}]}, spec: {hostNetwork: true, containers: [{name: c, ports: [{containerPort: 9792}]}]}}"))
		}, nil},
		"own network":    {program("{containers: [{name: c, ports: [{containerPort: 9792}]}]}"), nil},
		"other protocol": {program("{hostNetwork: true, containers: [{name: c, ports: [{containerPort: 9793}]}]}"), nil},
		"stopped":        {program("{nodeSelector: {fairlead.io/stopped: \"true\"}, hostNetwork: true, containers: [{name: c, ports: [{containerPort: 9792}]}]}"), nil},
		"ours are others": {func(t *testing.T, in *doctor.Input) {
			arg(t, in.Programs.Is[1], "--gossip-port=1234", "--metrics-bind-address=0", "--health-probe-bind-address=[::1]:99")
			program("{hostNetwork: true, containers: [{name: c, ports: [{containerPort: 9792}, {containerPort: 9790}, {containerPort: 99}]}]}")(t, in)
		}, []string{"warning ports DaemonSet sys/other: it takes port 99/TCP"}},
		"not to be read": {func(_ *testing.T, in *doctor.Input) {
			in.Others = doctor.Part[[]*unstructured.Unstructured]{Unread: "you may not list daemonsets.apps"}
		}, []string{
			"not checked ports Ports of other programs: you may not list daemonsets.apps", "not checked other load balancers Programs of other namespaces: you may not"}},
	})
}

func TestKubeProxy(t *testing.T) {
	proxy := func(text string) func(*testing.T, *doctor.Input) {
		return func(_ *testing.T, in *doctor.Input) { in.KubeProxy.Is = &text }
	}
	runs := func(status string, then func(*testing.T, *doctor.Input)) func(*testing.T, *doctor.Input) {
		return func(t *testing.T, in *doctor.Input) {
			in.Others.Is = append(in.Others.Is, object(t, "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: kube-proxy, namespace: kube-system}"+status+"}"))
			then(t, in)
		}
	}
	ipvs := runs("", proxy("mode: ipvs\n"))
	bgp := func(in *doctor.Input) {
		in.Objects.Is.L2Advertisements, in.Objects.Is.BGPAdvertisements = nil, []v1beta1.BGPAdvertisement{{ObjectMeta: metav1.ObjectMeta{Name: "web"}}}
		in.Objects.Is.BGPPeers = []v1beta1.BGPPeer{peer("tor")}
	}
	const name = "kube-proxy ConfigMap kube-system/kube-proxy: "
	run(t, map[string]change{
		"IPVS, replaced":  {proxy("mode: ipvs\n"), nil},
		"IPVS on no node": {runs(", status: {desiredNumberScheduled: 0}", proxy("mode: ipvs\n")), nil},
		"IPVS on nodes":   {runs(", status: {desiredNumberScheduled: 3}", proxy("mode: ipvs\n")), []string{"problem " + name + "kube-proxy runs in mode ipvs without strict ARP"}},
		"programs not to be read": {func(t *testing.T, in *doctor.Input) {
			proxy("mode: ipvs\n")(t, in)
			in.Others = doctor.Part[[]*unstructured.Unstructured]{Unread: "you may not list daemonsets.apps"}
		}, []string{"not checked ports", "problem " + name + "kube-proxy runs in mode ipvs without strict ARP", "not checked other load balancers"}},
		"IPVS without strict ARP": {ipvs, []string{"problem " + name + "kube-proxy runs in mode ipvs without strict ARP"}},
		"the same with BGP":       {func(t *testing.T, in *doctor.Input) { ipvs(t, in); bgp(in) }, []string{"warning " + name + "mode ipvs without strict ARP, which layer 2 needs"}},
		"IPVS with it":            {proxy("mode: ipvs\nipvs: {strictARP: true}\n"), nil},
		"usual mode":              {proxy("mode: \"\"\n"), nil},
		"another's ConfigMap":     {proxy(""), []string{"warning " + name + "it has no entry config.conf, so that kube-proxy's mode is not known"}},
		"not to be understood":    {proxy("mode: [\n"), []string{"warning " + name + "it cannot be read ("}},
		"none":                    {func(_ *testing.T, in *doctor.Input) { in.KubeProxy.Is = nil }, []string{"warning " + name + "there is none, so that kube-proxy's mode is not known"}},
		"none with BGP":           {func(_ *testing.T, in *doctor.Input) { in.KubeProxy.Is = nil; bgp(in) }, nil},
		"not to be read": {func(_ *testing.T, in *doctor.Input) {
			in.KubeProxy = doctor.Part[*string]{Unread: "you may not get configmaps in namespace kube-system"}
		},
			[]string{"not checked " + name + "you may not get configmaps in namespace kube-system"}},
		"Cilium replaces it": {func(t *testing.T, in *doctor.Input) {
			proxy("mode: ipvs\n")(t, in)
			in.Cilium.Is = neighbours.Cilium{"kube-proxy-replacement": "true"}
		}, nil},
		"Cilium and kube-proxy run": {func(t *testing.T, in *doctor.Input) {
			proxy("mode: ipvs\n")(t, in)
			in.Cilium.Is = neighbours.Cilium{"kube-proxy-replacement": "true"}
			in.Others.Is = append(in.Others.Is, object(t, "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: kube-proxy, namespace: kube-system}}"))
		}, []string{"problem " + name + "kube-proxy runs in mode ipvs without strict ARP"}},
	})
}

func TestOthers(t *testing.T) {
	other := func(name, ns, container string) func(*testing.T, *doctor.Input) {
		return func(t *testing.T, in *doctor.Input) {
			in.Others.Is = append(in.Others.Is, object(t, "{apiVersion: apps/v1, kind: DaemonSet, metadata: {name: "+name+", namespace: "+ns+", labels: {app: "+name+"}}, spec: {template: {spec: {containers: [{name: c, "+container+"}]}}}}"))
		}
	}
	ours := func(then func(*testing.T, *doctor.Input), args ...string) func(*testing.T, *doctor.Input) {
		return func(t *testing.T, in *doctor.Input) {
			then(t, in)
			arg(t, in.Programs.Is[0], args...)
			arg(t, in.Programs.Is[1], args...)
		}
	}
	metallb := other("metallb", "metallb-system", "image: quay.io/metallb/speaker:v0")
	ofClass := other("metallb", "metallb-system", "image: quay.io/metallb/speaker:v0, args: [--lb-class=theirs]")
	klipper := other("svclb-web", "kube-system", "image: rancher/klipper-lb:v0")
	const mlb = "problem other load balancers DaemonSet metallb-system/metallb: "
	run(t, map[string]change{
		"MetalLB":                 {metallb, []string{mlb + "MetalLB runs and serves Services without a class, which Fairlead serves too"}},
		"MetalLB of a class":      {ofClass, nil},
		"MetalLB of our class":    {ours(ofClass, "--load-balancer-class=theirs"), []string{mlb + `MetalLB runs and serves Services of class "theirs" alone, which Fairlead serves too`}},
		"MetalLB, and ours alone": {ours(metallb, "--require-load-balancer-class"), nil},
		"MetalLB is stopped": {func(t *testing.T, in *doctor.Input) {
			metallb(t, in)
			set(t, in.Others.Is[2], map[string]any{workload.StoppedLabel: "true"}, "spec", "template", "spec", "nodeSelector")
		}, nil},
		"kube-vip":              {other("kube-vip", "kube-system", "image: ghcr.io/kube-vip/kube-vip:v0, env: [{name: svc_enable, value: \"true\"}]"), []string{"warning other load balancers DaemonSet kube-system/kube-vip: it runs kube-vip for Services: see that"}},
		"kube-vip by class":     {other("kube-vip", "kube-system", "image: ghcr.io/kube-vip/kube-vip:v0, env: [{name: svc_enable, value: \"true\"}, {name: lb_class_only, value: \"true\"}]"), nil},
		"kube-vip for the API":  {other("kube-vip", "kube-system", "image: ghcr.io/kube-vip/kube-vip:v0, env: [{name: svc_enable, value: \"false\"}]"), nil},
		"ServiceLB":             {klipper, []string{"problem other load balancers DaemonSet kube-system/svclb-web: it runs the ServiceLB of k3s, and serves what Fairlead serves: it serves every Service without a class: start k3s with --disable=servicelb"}},
		"ServiceLB, ours alone": {ours(klipper, "--require-load-balancer-class"), nil},
		"PureLB":                {other("lbnodeagent", "purelb", "image: registry.gitlab.com/purelb/purelb/lbnodeagent:v0"), []string{"warning other load balancers DaemonSet purelb/lbnodeagent: it runs PureLB: see that"}},
		"OpenELB":               {other("openelb", "openelb", "image: kubesphere/openelb:v0"), []string{"warning other load balancers DaemonSet openelb/openelb: it runs OpenELB: see that"}},
		"an exporter":           {other("node-exporter", "monitoring", "image: quay.io/prometheus/node-exporter:v1"), nil},
		"OpenELB of old":        {other("porter", "porter-system", "image: kubesphere/porter:v0"), []string{"warning other load balancers DaemonSet porter-system/porter: it runs OpenELB: see that"}},
		"Cilium": {func(_ *testing.T, in *doctor.Input) {
			in.Cilium.Is = neighbours.Cilium{"enable-bgp-control-plane": "true"}
		}, []string{"warning other load balancers ConfigMap kube-system/cilium-config: Cilium is set to announce"}},
		"Cilium not to be read": {func(_ *testing.T, in *doctor.Input) {
			in.Cilium = doctor.Part[neighbours.Cilium]{Unread: "you may not get configmaps"}
		}, []string{"not checked other load balancers ConfigMap kube-system/cilium-config: you may not get configmaps"}},
	})
}

func TestAddresses(t *testing.T) {
	pool := func(ranges ...v1beta1.AddressRange) func(*testing.T, *doctor.Input) {
		return func(_ *testing.T, in *doctor.Input) { in.Objects.Is.Pools[0].Spec.Addresses = ranges }
	}
	const uses = "problem addresses IPAddressPool web: it has addresses that the cluster uses: "
	run(t, map[string]change{
		"of nodes": {pool("192.0.2.0/24"), []string{uses + "192.0.2.1 of Node node1 (InternalIP), 192.0.2.2 of Node node2 (InternalIP). Take them out"}},
		"left out": {func(t *testing.T, in *doctor.Input) {
			pool("192.0.2.0/24")(t, in)
			in.Objects.Is.Pools[0].Spec.ExcludeAddresses = []v1beta1.AddressRange{"192.0.2.0-192.0.2.9"}
		}, nil},
		"of a node outside": {func(_ *testing.T, in *doctor.Input) {
			in.Nodes.Is[0].Status.Addresses = append(in.Nodes.Is[0].Status.Addresses, corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: "192.0.2.70"})
		}, []string{uses + "192.0.2.70 of Node node1 (ExternalIP)"}},
		"of pods": {pool("10.244.2.200-10.244.2.210"), []string{uses + "some of 10.244.2.0/24 of the pods of Node node2 (podCIDR)"}},
		"of pods, by the older field": {func(t *testing.T, in *doctor.Input) {
			pool("10.244.2.200-10.244.2.210")(t, in)
			in.Nodes.Is[1].Spec = corev1.NodeSpec{PodCIDR: "10.244.2.0/24"}
		}, []string{uses + "some of 10.244.2.0/24 of the pods of Node node2 (podCIDR)"}},
		"of cluster IPs": {pool("10.96.255.0/24"), []string{uses + "some of 10.96.0.0/16 of cluster IPs (ServiceCIDR)"}},
		"of Services, on an old API server": {func(t *testing.T, in *doctor.Input) {
			pool("10.96.255.0/24", "fd00::/120")(t, in)
			in.ServiceCIDRs.Is = nil
			in.Services.Is[0].Spec.ClusterIPs = []string{"10.96.255.7", "fd00::7"}
			in.Services.Is = append(in.Services.Is, balancer("headless", nil, true))
			in.Services.Is[1].Spec.ClusterIPs = []string{corev1.ClusterIPNone}
		}, []string{uses + "10.96.255.7 of Service shop/web (clusterIP), fd00::7 of Service shop/web (clusterIP). Take them out"}},
		"IPv6": {func(t *testing.T, in *doctor.Input) {
			pool("192.0.2.64/28", "fd00:1::/64")(t, in)
			in.Nodes.Is[1].Spec.PodCIDRs = append(in.Nodes.Is[1].Spec.PodCIDRs, "fd00:1::8:0/112")
			in.Nodes.Is[1].Status.Addresses = append(in.Nodes.Is[1].Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: "fd00:1::2"})
		}, []string{uses + "fd00:1::2 of Node node2 (InternalIP), some of fd00:1::8:0/112 of the pods of Node node2 (podCIDR)"}},
		"of an API server": {func(t *testing.T, in *doctor.Input) {
			in.APIServers.Is = []netip.Addr{netip.MustParseAddr("192.0.2.65")}
		}, []string{uses + "192.0.2.65 of an API server"}},
		"not to be read": {func(_ *testing.T, in *doctor.Input) {
			in.ServiceCIDRs = doctor.Part[[]netip.Prefix]{Unread: "you may not list servicecidrs.networking.k8s.io"}
			in.APIServers = doctor.Part[[]netip.Addr]{Unread: "you may not list endpointslices.discovery.k8s.io in namespace default"}
		}, []string{"not checked addresses ServiceCIDRs: you may not list servicecidrs", "not checked addresses Addresses of API servers: you may not"}},
	})
}

// What an API server is too old to tell is not said to be well.
func TestUnknownClusterIPs(t *testing.T) {
	in := cluster(t)
	in.ServiceCIDRs.Is = nil
	if !slices.ContainsFunc(doctor.Examine(in), func(f doctor.Finding) bool {
		return f.Check == doctor.CheckAddresses && f.Level == doctor.OK && strings.Contains(f.Message, "the range of cluster IPs this API server does not tell")
	}) {
		t.Error("it is not said that the range of cluster IPs is not known")
	}
}

func peer(name string) v1beta1.BGPPeer {
	asn := int64(64512)
	return v1beta1.BGPPeer{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1beta1.BGPPeerSpec{MyASN: asn, PeerASN: &asn, PeerAddress: "192.0.2.254"}}
}

func TestAdvertisements(t *testing.T) {
	l2 := func(edit func(*v1beta1.L2AdvertisementSpec)) func(*testing.T, *doctor.Input) {
		return func(_ *testing.T, in *doctor.Input) { edit(&in.Objects.Is.L2Advertisements[0].Spec) }
	}
	route := func(in *doctor.Input, edit func(*v1beta1.BGPAdvertisementSpec)) {
		a := v1beta1.BGPAdvertisement{ObjectMeta: metav1.ObjectMeta{Name: "routes"}}
		edit(&a.Spec)
		in.Objects.Is.L2Advertisements, in.Objects.Is.BGPAdvertisements = nil, []v1beta1.BGPAdvertisement{a}
	}
	edge := []metav1.LabelSelector{{MatchLabels: map[string]string{"edge": "yes"}}}
	const pool = "problem advertisements IPAddressPool web: "
	const unsaid, dead = pool + "no L2Advertisement or BGPAdvertisement that is in use selects it", pool + "the advertisements that select it lead nowhere"
	run(t, map[string]change{
		"nothing": {func(_ *testing.T, in *doctor.Input) { in.Objects.Is.Pools, in.Objects.Is.L2Advertisements = nil, nil },
			[]string{"warning advertisements IPAddressPools: nothing is configured"}},
		"no pool":               {func(_ *testing.T, in *doctor.Input) { in.Objects.Is.Pools = nil }, []string{"warning advertisements IPAddressPools: there is none, so that no Service is given an address"}},
		"no advertisement":      {func(_ *testing.T, in *doctor.Input) { in.Objects.Is.L2Advertisements = nil }, []string{unsaid}},
		"refused advertisement": {l2(func(s *v1beta1.L2AdvertisementSpec) { s.Interfaces = []string{"eth["} }), []string{unsaid}},
		"other pool":            {l2(func(s *v1beta1.L2AdvertisementSpec) { s.IPAddressPools = []string{"wbe"} }), []string{unsaid, "warning advertisements L2Advertisement web: it selects none of the IPAddressPools"}},
		"other nodes":           {l2(func(s *v1beta1.L2AdvertisementSpec) { s.NodeSelectors = edge }), []string{"warning advertisements L2Advertisement web: its spec.nodeSelectors select no node", dead}},
		"other interfaces":      {l2(func(s *v1beta1.L2AdvertisementSpec) { s.Interfaces = []string{"bond*"} }), []string{"warning advertisements L2Advertisement web: no node has an interface", dead}},
		"interfaces":            {l2(func(s *v1beta1.L2AdvertisementSpec) { s.Interfaces = []string{"eth*"} }), nil},
		"pool on its way out": {func(_ *testing.T, in *doctor.Input) {
			gone := metav1.NewTime(now)
			in.Objects.Is.L2Advertisements, in.Objects.Is.Pools[0].DeletionTimestamp = nil, &gone
		}, nil},
		"BGP": {func(_ *testing.T, in *doctor.Input) {
			route(in, func(s *v1beta1.BGPAdvertisementSpec) { s.Peers = []string{"tor"} })
			in.Objects.Is.BGPPeers = []v1beta1.BGPPeer{peer("tor")}
		}, nil},
		"no peer": {func(_ *testing.T, in *doctor.Input) { route(in, func(*v1beta1.BGPAdvertisementSpec) {}) },
			[]string{"warning advertisements BGPAdvertisement routes: there is no BGPPeer in use that it could be advertised to", dead}},
		"other peer": {func(_ *testing.T, in *doctor.Input) {
			route(in, func(s *v1beta1.BGPAdvertisementSpec) { s.Peers = []string{"rot"} })
			in.Objects.Is.BGPPeers = []v1beta1.BGPPeer{peer("tor")}
		}, []string{"warning advertisements BGPAdvertisement routes: there is no BGPPeer in use that it could be advertised to", dead}},
		"peers alone": {func(_ *testing.T, in *doctor.Input) { in.Objects.Is.BGPPeers = []v1beta1.BGPPeer{peer("tor")} },
			[]string{"warning advertisements BGPPeers: there is no BGPAdvertisement"}},
	})
}

func TestServices(t *testing.T) {
	theirs := "theirs"
	add := func(list ...corev1.Service) func(*testing.T, *doctor.Input) {
		return func(_ *testing.T, in *doctor.Input) { in.Services.Is = append(in.Services.Is, list...) }
	}
	fresh := balancer("fresh", nil, false)
	fresh.CreationTimestamp = metav1.NewTime(now.Add(-time.Second))
	run(t, map[string]change{
		"not looked at": {add(balancer("cart", nil, false)), []string{"problem services Service shop/cart: the controller runs, and has said nothing of it"}},
		"nobody looks": {func(t *testing.T, in *doctor.Input) {
			add(balancer("cart", nil, false))(t, in)
			set(t, in.Programs.Is[0], int64(0), "status", "availableReplicas")
		}, []string{"problem controller Deployment fairlead-system/fairlead-controller: none of its 2", "problem services Service shop/cart: nobody gives out addresses"}},
		"just made": {add(fresh), nil},
		"theirs":    {add(balancer("cart", &theirs, false)), nil},
		"not to be read": {func(_ *testing.T, in *doctor.Input) {
			in.Services = doctor.Part[[]corev1.Service]{Unread: "you may not list services"}
		}, []string{"not checked services Services of type LoadBalancer: you may not list services"}},
	})
	in := cluster(t)
	for range 12 {
		add(balancer("cart", &theirs, false))(t, in)
	}
	want := `12 of type LoadBalancer are not Fairlead's, which serves Services without a class, and of class "fairlead.io/fairlead": shop/cart (class theirs), `
	if !slices.ContainsFunc(doctor.Examine(in), func(f doctor.Finding) bool {
		return f.Level == doctor.OK && strings.HasPrefix(f.Message, want) && strings.HasSuffix(f.Message, " and 2 more")
	}) {
		t.Errorf("nothing says %q", want)
	}
}

func TestStatus(t *testing.T) {
	run(t, map[string]change{
		"attention": {func(_ *testing.T, in *doctor.Input) {
			in.Attention = []doctor.Statement{{Object: "pool web", Says: "Conflict: it overlaps"}}
		},
			[]string{"problem status pool web: Conflict: it overlaps"}},
		"not to be read": {func(_ *testing.T, in *doctor.Input) {
			in.Objects = doctor.Part[doctor.Objects]{Unread: "you may not list speakers.fairlead.io"}
		}, []string{
			"not checked addresses IPAddressPools: you may not list speakers.fairlead.io", "not checked advertisements Fairlead's objects: you may not", "not checked status Fairlead's objects: you may not"}},
		"no kinds": {func(_ *testing.T, in *doctor.Input) {
			in.Kinds.Is, in.Objects.Is = nil, doctor.Objects{}
			in.Absent = []string{"ipaddresspools", "l2advertisements", "bgpadvertisements", "bgppeers", "bfdprofiles", "communities", "speakers"}
		}, []string{"problem kinds CustomResourceDefinitions: there is none of group fairlead.io"}},
	})
}
