package chart

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// cluster is the API server, empty of Fairlead, with the release's namespace. Nothing runs there but the API server, so nothing is waited for with Helm, and
// no hook of its is run, which is a Job.
type cluster struct {
	*testing.T
	kubeconfig string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	if err := startOnce(); err != nil {
		t.Fatal(err)
	}
	c := &cluster{t, filepath.Join(t.TempDir(), "kubeconfig")}
	if err := server.Kubeconfig(c.kubeconfig); err != nil {
		t.Fatal(err)
	}
	c.namespace(namespace)
	c.kubectl("label namespace " + namespace + " pod-security.kubernetes.io/enforce-") // of another test
	t.Cleanup(func() {
		c.kubectl("delete secret --namespace=" + namespace + " --selector=owner=helm")
		everything, errs, err := renderText(t, "")
		if err != nil {
			t.Fatalf("%v: %s", err, errs)
		}
		c.serves()
		c.kubectl("delete --ignore-not-found --filename=-", everything)
	})
	return c
}

// namespace that no server of this kind ends, so that it stays.
func (c *cluster) namespace(name string) {
	c.Helper()
	if c.kubectl("get --ignore-not-found --output=name namespace "+name) == "" {
		c.kubectl("create namespace " + name)
	}
}

// serves waits until the API server serves all kinds that it is told of, and has their objects in its memory. A kind that is deleted before that, which
// is when nobody has asked for its objects yet or its CRD was just changed, is sometimes there for five minutes more: the API server cannot list its
// objects at once, tries again within milliseconds, and if it has not heard of its own last write by then, looks at it again only with all others.
func (c *cluster) serves() {
	c.Helper()
	crds := strings.ReplaceAll(c.kubectl("get crd --output=name"), "customresourcedefinition.apiextensions.k8s.io/", "")
	if crds == "" {
		return
	}
	// Not in pieces: the first would come from etcd.
	c.eventually("the API server serves the kinds", "get --chunk-size=0 --all-namespaces "+strings.Join(strings.Fields(crds), ","), "", func(_ string, err error) bool { return err == nil })
}

// eventually waits until kubectl ends with what is wanted.
func (c *cluster) eventually(what, args, stdin string, wanted func(says string, err error) bool) {
	c.Helper()
	var says string
	err := wait.PollUntilContextTimeout(context.WithoutCancel(c.Context()), 50*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) { // a cleanup waits too
		var err error
		_, says, err = tool(c.T, c.kubeconfig, strings.NewReader(stdin), "kubectl", strings.Fields(args)...)
		return wanted(says, err), nil
	})
	if err != nil {
		c.Fatalf("%s: %v: kubectl %s: %s", what, err, args, says)
	}
}

func (c *cluster) kubectl(args string, stdin ...string) string {
	c.Helper()
	out, errs, err := tool(c.T, c.kubeconfig, strings.NewReader(strings.Join(stdin, "\n---\n")), "kubectl", strings.Fields(args)...)
	if err != nil {
		c.Fatalf("kubectl %s: %v: %s%s", args, err, out, errs)
	}
	return out
}

// get a field of an object; nothing if there is no such object or field.
func (c *cluster) get(kind, name, path string) string {
	c.Helper()
	return c.kubectl("get --ignore-not-found " + kind + " " + name + " --namespace=" + namespace + " --output=jsonpath=" + path)
}

// helm runs a command that must succeed.
func (c *cluster) helm(args string) string {
	c.Helper()
	out, errs, err := tool(c.T, c.kubeconfig, nil, "helm", append(strings.Fields(args), "--namespace="+namespace)...)
	if err != nil {
		c.Fatalf("helm %s: %v: %s", args, err, errs)
	}
	return out
}

// fails runs a command that must not, and gives what it says.
func (c *cluster) fails(args string) string {
	c.Helper()
	_, errs, err := tool(c.T, c.kubeconfig, nil, "helm", strings.Fields(args)...)
	if err == nil {
		c.Fatalf("helm %s succeeded", args)
	}
	return errs
}

// is compares a field.
func (c *cluster) is(kind, name, path, want string) {
	c.Helper()
	if got := c.get(kind, name, path); got != want {
		c.Errorf("%s %s has %s %q, want %q", kind, name, path, got, want)
	}
}

const pool = `apiVersion: fairlead.io/v1beta1
kind: IPAddressPool
metadata: {name: loadbalanced}
spec: {addresses: [192.168.100.240-192.168.100.249]}
`

const (
	uid   = "{.metadata.uid}"
	crd   = "ipaddresspools.fairlead.io"
	grace = "{.spec.template.spec.terminationGracePeriodSeconds}"
	rack  = "{.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.rack.type}"
)

// changed is a copy of the chart whose IPAddressPools have a field more.
func changed(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "fairlead")
	if err := os.CopyFS(dir, os.DirFS(chartDir(t))); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "files", "crds", "fairlead.io_ipaddresspools.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, after, found := strings.Cut(string(text), "\n              autoAssign:\n")
	if !found {
		t.Fatalf("no field autoAssign in %s:\n%.3000s", path, text)
	}
	write(t, path, before+"\n              rack:\n                description: where it is\n                type: string\n              autoAssign:\n"+after)
	return dir
}

// knows waits until the API server acts by the CRD that it has: pools have the field of the changed chart, or not. Only then can serves tell.
func (c *cluster) knows(rack bool) {
	c.Helper()
	with := strings.ReplaceAll(strings.ReplaceAll(pool, "spec: {", "spec: {rack: a1, "), "loadbalanced", "other")
	c.eventually("the API server acts by the CRD", "create --dry-run=server --validate=strict --filename=-", with, func(says string, err error) bool {
		return err == nil && rack || !rack && strings.Contains(says, `unknown field "spec.rack"`)
	})
}

// TestRelease goes through a release's life: what is in a newer chart's CRDs reaches the cluster, and what people made stays.
func TestRelease(t *testing.T) {
	c := newCluster(t)
	newer := changed(t)
	notes := c.helm("install fairlead " + chartDir(t))
	for _, words := range []string{"kind: IPAddressPool", "rollout status deployment/fairlead-controller daemonset/fairlead-speaker", "fairlead:dev, which no registry has"} {
		if !strings.Contains(notes, words) {
			t.Errorf("the notes lack %q:\n%s", words, notes)
		}
	}
	c.serves()
	c.kubectl("apply --filename=-", pool)
	pool := c.get("ippool", "loadbalanced", uid)
	c.is("daemonset", "fairlead-speaker", grace, "30")

	// There is one in a cluster.
	c.namespace("other")
	if says := c.fails("install second " + chartDir(t) + " --namespace=other"); !strings.Contains(says, `must equal "second": current value is "fairlead"`) {
		t.Errorf("a second release: %s", says)
	}

	// A newer chart.
	c.is("crd", crd, rack, "")
	if notes := c.helm("upgrade fairlead " + newer + " --set=speaker.drainTime=40s"); strings.Contains(notes, "The next step") {
		t.Errorf("the notes of an upgrade tell what to do after an installation:\n%s", notes)
	}
	c.knows(true)
	c.is("daemonset", "fairlead-speaker", grace, "60")
	c.helm("rollback fairlead 1")
	c.knows(false)
	c.is("daemonset", "fairlead-speaker", grace, "30")
	c.is("ippool", "loadbalanced", uid, pool)

	// The CRDs can be taken out of the release, and back in.
	c.helm("upgrade fairlead " + newer + " --set=crds.install=false")
	c.is("crd", crd, rack, "")
	c.is("ippool", "loadbalanced", uid, pool)
	c.helm("upgrade fairlead " + newer + " --set=crds.install=true") // without any value Helm would take the last ones
	c.knows(true)

	// What is made by people outlives the release, and the next one takes it up.
	if says := c.helm("uninstall fairlead --no-hooks"); !strings.Contains(says, "[CustomResourceDefinition] "+crd) {
		t.Errorf("helm does not say what is kept: %s", says)
	}
	for _, gone := range []string{"deployment fairlead-controller", "daemonset fairlead-speaker", "clusterrole fairlead-controller", "clusterrolebinding fairlead-speaker",
		"role fairlead-speaker", "serviceaccount fairlead-speaker"} {
		kind, name, _ := strings.Cut(gone, " ")
		c.is(kind, name, uid, "")
	}
	c.is("ippool", "loadbalanced", uid, pool)
	c.helm("install fairlead " + chartDir(t))
	c.is("ippool", "loadbalanced", uid, pool)
	c.helm("uninstall fairlead --no-hooks")
	c.knows(false)
	c.helm("install fairlead " + newer)
	c.knows(true)
	c.is("ippool", "loadbalanced", uid, pool)

	// Unless that is asked for.
	c.helm("upgrade fairlead " + newer + " --set=crds.keep=false")
	c.serves()
	c.helm("uninstall fairlead --no-hooks --wait")
	c.is("crd", crd, uid, "")
}

// TestFromKustomize: a cluster in which config/default was applied goes over to a release without anything being made anew, and back.
func TestFromKustomize(t *testing.T) {
	c := newCluster(t)
	manifests, errs, err := tool(t, os.DevNull, nil, "kustomize", "build", filepath.Join(root(t), "config", "default"))
	if err != nil {
		t.Fatalf("%v: %s", err, errs)
	}
	c.kubectl("apply --server-side --filename=-", manifests)
	c.serves()
	c.kubectl("apply --filename=-", pool)
	all := []string{"crd " + crd, "ippool loadbalanced", "deployment fairlead-controller", "daemonset fairlead-speaker", "clusterrolebinding fairlead-controller", "role fairlead-speaker"}
	before := map[string]string{}
	for _, o := range all {
		kind, name, _ := strings.Cut(o, " ")
		before[o] = c.get(kind, name, uid)
	}
	unchanged := func() {
		t.Helper()
		for _, o := range all {
			kind, name, _ := strings.Cut(o, " ")
			c.is(kind, name, uid, before[o])
		}
	}
	if says := c.fails("install fairlead " + chartDir(t) + " --namespace=" + namespace); !strings.Contains(says, "invalid ownership metadata") {
		t.Errorf("what another tool installed was taken over: %s", says)
	}
	c.helm("install fairlead " + changed(t) + " --take-ownership")
	unchanged()
	c.knows(true)
	c.is("daemonset", "fairlead-speaker", "{.metadata.annotations.meta\\.helm\\.sh/release-name}", "fairlead")
	c.is("daemonset", "fairlead-speaker", "{.metadata.generation}", "1") // so no speaker restarts
	c.helm("upgrade fairlead " + chartDir(t) + " --set=logLevel=debug")
	c.is("daemonset", "fairlead-speaker", "{.spec.template.spec.containers[0].args}", `["--zap-log-level=debug"]`)

	c.kubectl("delete secret --namespace=" + namespace + " --selector=owner=helm,name=fairlead")
	c.kubectl("apply --server-side --force-conflicts --filename=-", manifests)
	unchanged()
	c.knows(false)
}

// TestHeld: after a move from MetalLB, which starts both programs itself, letting go of them by Helm changes nothing any more.
func TestHeld(t *testing.T) {
	c := newCluster(t)
	const replicas, selector, generation = "{.spec.replicas}", "{.spec.template.spec.nodeSelector}", "{.metadata.generation}"
	c.helm("install fairlead " + chartDir(t) + " --set=held=true")
	c.is("deployment", "fairlead-controller", replicas, "0")
	c.is("daemonset", "fairlead-speaker", selector, `{"fairlead.io/stopped":"true","kubernetes.io/os":"linux"}`)
	for _, o := range []struct{ kind, name, patch string }{
		{"deployment", "fairlead-controller", `[{"op":"replace","path":"/spec/replicas","value":2}]`},
		{"daemonset", "fairlead-speaker", `[{"op":"remove","path":"/spec/template/spec/nodeSelector/fairlead.io~1stopped"}]`},
	} {
		c.kubectl("patch " + o.kind + " " + o.name + " --namespace=" + namespace + " --type=json --patch=" + o.patch)
	}
	before := c.get("deployment", "fairlead-controller", generation) + c.get("daemonset", "fairlead-speaker", generation)
	c.helm("upgrade fairlead " + chartDir(t) + " --reset-then-reuse-values --set=held=false")
	c.is("deployment", "fairlead-controller", replicas, "2")
	c.is("daemonset", "fairlead-speaker", selector, `{"kubernetes.io/os":"linux"}`)
	if after := c.get("deployment", "fairlead-controller", generation) + c.get("daemonset", "fairlead-speaker", generation); after != before {
		t.Errorf("the programs are of generations %s, were %s", after, before)
	}
}

// TestNotes: what is said beside the next step depends on the cluster.
func TestNotes(t *testing.T) {
	c := newCluster(t)
	const security, strict = "label namespace " + namespace + " pod-security", "strictARP: true"
	notes := func(values string) string {
		return c.helm("install fairlead " + chartDir(t) + " --dry-run=server --set=" + values)
	}
	says := func(values string, words string, want bool) {
		t.Helper()
		if got := notes(values); strings.Contains(got, words) != want {
			t.Errorf("the notes have %q: %v, want %v:\n%s", words, !want, want, got)
		}
	}
	proxy := func(config string) {
		t.Helper()
		c.kubectl("apply --filename=-", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kube-proxy, namespace: kube-system}\ndata:\n  config.conf: |\n    kind: KubeProxyConfiguration\n    "+config)
	}
	t.Cleanup(func() { c.kubectl("delete --ignore-not-found --namespace=kube-system configmap kube-proxy") })
	says("", security, true)
	says("", strict, true) // nobody knows
	proxy("mode: ipvs")
	says("", strict, true)
	proxy("{mode: ipvs, ipvs: {strictARP: true}}")
	says("", strict, false)
	proxy("mode: nftables")
	says("", strict, false)
	proxy("{mode: '', ipvs: null}")
	says("", strict, false)
	c.kubectl("label namespace " + namespace + " pod-security.kubernetes.io/enforce=privileged")
	says("", security, false)
	says("image.repository=registry.test/fairlead", "which no registry has", false)
	says("held=true", "kubectl fairlead migrate metallb", true)
	says("held=true", "The next step: say", false)

	if says := c.fails("install fairlead " + chartDir(t) + " --namespace=" + namespace + " --dry-run=server --set=podMonitor.enabled=true"); !strings.Contains(says, `no matches for kind "PodMonitor"`) {
		t.Errorf("without the Prometheus Operator: %s", says)
	}
	c.kubectl("apply --server-side --filename=-", operator)
	t.Cleanup(func() {
		c.serves()
		c.kubectl("delete --filename=-", operator)
	})
	c.serves()
	const plain, selected = "everybody who reaches port 7472 of a node", "See that your Prometheus selects"
	says("metrics.port=7472", plain, false)
	says("metrics.port=7472,metrics.secure=false", plain, true)
	says("metrics.port=7472,metrics.secure=false,metrics.enabled=false", plain, false)
	says("dashboard.enabled=true", selected, false)
	says("podMonitor.enabled=true", selected, true)
	says("prometheusRule.enabled=true", selected, true)
}

// operator is what the server must know of the Prometheus Operator for Helm to look at a release: that there are these kinds.
var operator = kindOf("podmonitors", "PodMonitor") + "---\n" + kindOf("prometheusrules", "PrometheusRule")

func kindOf(plural, kind string) string {
	return `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ` + plural + `.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {plural: ` + plural + `, kind: ` + kind + `}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
`
}

// TestAccepted has the API server look at all that many values render, without writing it; it refuses fields that it does not know.
func TestAccepted(t *testing.T) {
	c := newCluster(t)
	for _, values := range []string{
		"",
		"namespace: {create: true}",
		"{held: true, crds: {keep: false}}",
		"{networkPolicy: {enabled: true}, metrics: {enabled: false}}",
		"networkPolicy: {enabled: true, metricsFrom: [{namespaceSelector: {matchLabels: {a: b}}}, {ipBlock: {cidr: 10.0.0.0/8}}]}",
		`
image: {repository: 'registry.test:5000/fairlead', digest: 'sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef', pullSecrets: [{name: a}]}
logLevel: 3
metrics: {port: 7472}
controller:
  tolerations: [{operator: Exists}, {key: a, operator: Exists, effect: NoExecute, tolerationSeconds: 30}]
  affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {a: b}}}]}}
  podLabels: {team: net}
  resources: {requests: {cpu: 1}, limits: {memory: 1Gi}}
speaker:
  nodeSelector: {lb: 'true'}
  priorityClassName: ''
  updateStrategy: {type: OnDelete}
  interfacesExclude: ''
  dataplaneHealthURL: ''
  drainTime: 1m
  gossip: {port: 7946, profile: wan}
  bfd: {port: 7947, interval: '0'}
  extraArgs: [--l2-announce-count=3]
`,
		"{metrics: {certSecret: cert}, dashboard: {enabled: true}}",
		"speaker: {updateStrategy: {rollingUpdate: {maxUnavailable: 10%}}, affinity: {nodeAffinity: {}}}",
	} {
		out, errs, err := renderText(t, values)
		if err != nil {
			t.Fatalf("%v: %s", err, errs)
		}
		c.kubectl("apply --server-side --dry-run=server --validate=strict --filename=-", out)
		if out, errs, err := tool(t, os.DevNull, strings.NewReader(values), "helm", "lint", "--strict", "--values=-", chartDir(t)); err != nil || !strings.Contains(out, "0 chart(s) failed") || strings.Contains(out, "[WARNING]") {
			t.Errorf("helm lint: %v: %s%s", err, out, errs)
		}
	}
}
