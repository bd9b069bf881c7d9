package chart

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// value of values.yaml: one that has a comment. One that has none is a group of others.
type value struct {
	path, meaning, initial string
	node                   *yaml.Node
}

// values reads all of them, in order, and the groups.
func values(t *testing.T) (all []value, groups []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(chartDir(t), "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	var read func(path string, n *yaml.Node)
	read = func(path string, n *yaml.Node) {
		groups = append(groups, strings.TrimSuffix(path, "."))
		for i := 0; i < len(n.Content); i += 2 {
			key, child := n.Content[i], n.Content[i+1]
			switch comment := strings.Join(strings.Fields(strings.ReplaceAll(key.HeadComment, "#", "")), " "); {
			case comment != "":
				all = append(all, value{path + key.Value, comment, flow(t, child), child})
			case child.Kind == yaml.MappingNode:
				read(path+key.Value+".", child)
			default:
				t.Errorf("%s%s has no comment in values.yaml", path, key.Value)
			}
		}
	}
	read("", doc.Content[0])
	if len(all) < 30 {
		t.Fatalf("%d values were found in values.yaml", len(all))
	}
	return all, groups
}

// flow writes a value on one line.
func flow(t *testing.T, n *yaml.Node) string {
	t.Helper()
	var style func(n *yaml.Node) *yaml.Node
	style = func(n *yaml.Node) *yaml.Node {
		out := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value, Style: n.Style}
		if n.Kind != yaml.ScalarNode {
			out.Style = yaml.FlowStyle
		}
		for _, c := range n.Content {
			out.Content = append(out.Content, style(c))
		}
		return out
	}
	text, err := yaml.Marshal(style(n))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(text)), " ")
}

// TestValues: each value changes exactly what it says.
func TestValues(t *testing.T) {
	both := func(lines ...string) (out []string) {
		for _, l := range lines {
			out = append(out, "controller "+l, "speaker "+l)
		}
		return out
	}
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	crds := func(change string) (out []string) {
		for _, name := range []string{"bfdprofiles", "bgpadvertisements", "bgppeers", "communities", "ipaddresspools", "l2advertisements", "speakers"} {
			out = append(out, "CustomResourceDefinition "+name+".fairlead.io"+change)
		}
		return out
	}
	reader := []string{"ServiceAccount fairlead-metrics: none -> there", "Secret fairlead-metrics-token: none -> there", "ClusterRoleBinding fairlead-metrics: none -> there"}
	type valueCase struct {
		value, values string
		want          []string
	}
	cases := []valueCase{
		{"image.repository", "image: {repository: 'registry.test:5000/net/fairlead'}", both("container.image: fairlead:dev -> registry.test:5000/net/fairlead:dev")},
		{"image.tag", "image: {tag: v1.2.3}", both("container.image: fairlead:dev -> fairlead:v1.2.3")},
		{"image.digest", "image: {tag: v1.2.3, digest: '" + digest + "'}", both("container.image: fairlead:dev -> fairlead@" + digest)},
		{"image.pullPolicy", "image: {pullPolicy: Always}", both("container.imagePullPolicy: IfNotPresent -> Always")},
		{"image.pullSecrets", "image: {pullSecrets: [{name: a}, {name: b}]}", both("pod.imagePullSecrets[0].name: none -> a", "pod.imagePullSecrets[1].name: none -> b")},
		{"loadBalancerClass", "loadBalancerClass: example.com/lb", both("container.args[0]: none -> --load-balancer-class=example.com/lb")},
		{"requireLoadBalancerClass", "requireLoadBalancerClass: true", both("container.args[0]: none -> --require-load-balancer-class=true")},
		{"logLevel", "logLevel: debug", both("container.args[0]: none -> --zap-log-level=debug")},
		{"logLevel", "logLevel: 5", both("container.args[0]: none -> --zap-log-level=5")},
		{"held", "held: true", []string{"controller spec.replicas: 2 -> 0", "speaker pod.nodeSelector.fairlead.io/stopped: none -> true"}},
		{"metrics.enabled", "metrics: {enabled: false}", []string{
			"controller container.args[0]: none -> --metrics-bind-address=0",
			"controller container.ports[0].containerPort: 9790 -> 9791", "controller container.ports[0].name: metrics -> health",
			"controller container.ports[1].containerPort: 9791 -> none", "controller container.ports[1].name: health -> none", "controller container.ports[1].protocol: TCP -> none",
			"speaker container.args[0]: none -> --metrics-bind-address=0",
			"speaker container.ports[0].containerPort: 9790 -> 9792", "speaker container.ports[0].name: metrics -> gossip-tcp",
			"speaker container.ports[1].name: gossip-tcp -> gossip-udp", "speaker container.ports[1].protocol: TCP -> UDP",
			"speaker container.ports[2].containerPort: 9792 -> 9793", "speaker container.ports[2].name: gossip-udp -> bfd",
			"speaker container.ports[3].containerPort: 9793 -> none", "speaker container.ports[3].name: bfd -> none", "speaker container.ports[3].protocol: UDP -> none",
		}},
		{"metrics.port", "metrics: {port: 7472}", both("container.args[0]: none -> --metrics-bind-address=:7472", "container.ports[0].containerPort: 9790 -> 7472")},
		{"metrics.secure", "metrics: {secure: false}", both("container.args[0]: none -> --metrics-secure=false")},
		{"metrics.certSecret", "metrics: {certSecret: cert}", both("container.args[0]: none -> --metrics-cert-dir=/etc/fairlead/metrics",
			"container.volumeMounts[0].name: none -> metrics-certificate", "container.volumeMounts[0].mountPath: none -> /etc/fairlead/metrics", "container.volumeMounts[0].readOnly: none -> true",
			"pod.volumes[0].name: none -> metrics-certificate", "pod.volumes[0].secret.secretName: none -> cert")},
		{"podMonitor.enabled", "podMonitor: {enabled: true}", append(reader, "PodMonitor fairlead: none -> there")},
		{"podMonitor.labels", "podMonitor: {labels: {a: b}}", nil}, // of these see TestMonitoring
		{"podMonitor.interval", "podMonitor: {interval: 30s}", nil},
		{"podMonitor.tlsConfig", "podMonitor: {tlsConfig: {serverName: a}}", nil},
		{"prometheusRule.enabled", "prometheusRule: {enabled: true}", []string{"PrometheusRule fairlead: none -> there"}},
		{"prometheusRule.labels", "prometheusRule: {labels: {a: b}}", nil},
		{"dashboard.enabled", "dashboard: {enabled: true}", []string{"ConfigMap fairlead-dashboard: none -> there"}},
		{"dashboard.namespace", "dashboard: {namespace: monitoring}", nil},
		{"dashboard.labels", "dashboard: {labels: {a: b}}", nil},
		{"health.port", "health: {port: 7473}", []string{
			"controller container.args[0]: none -> --health-probe-bind-address=:7473", "controller container.ports[1].containerPort: 9791 -> 7473",
			"speaker container.args[0]: none -> --health-probe-bind-address=127.0.0.1:7473",
			"speaker container.livenessProbe.httpGet.port: 9791 -> 7473", "speaker container.readinessProbe.httpGet.port: 9791 -> 7473",
		}},
		{"controller.replicas", "controller: {replicas: 3}", []string{"controller spec.replicas: 2 -> 3"}},
		{"controller.resources", "controller: {resources: {requests: {cpu: 1}, limits: {memory: 1Gi, cpu: 1.5}}}", []string{
			"controller container.resources.limits.cpu: none -> 1.5", "controller container.resources.limits.memory: 256Mi -> 1Gi", "controller container.resources.requests.cpu: 20m -> 1"}},
		{"controller.nodeSelector", "controller: {nodeSelector: {lb: 'true', kubernetes.io/os: null}}", []string{
			"controller pod.nodeSelector.kubernetes.io/os: linux -> none", "controller pod.nodeSelector.lb: none -> true"}},
		{"controller.tolerations", "controller: {tolerations: [{operator: Exists}]}", []string{
			"controller pod.tolerations[0].effect: NoSchedule -> none", "controller pod.tolerations[0].key: node-role.kubernetes.io/control-plane -> none"}},
		{"controller.affinity", "controller: {affinity: {podAntiAffinity: {}}}", []string{"controller pod.affinity.podAntiAffinity: none -> {}"}},
		{"controller.priorityClassName", "controller: {priorityClassName: ''}", []string{"controller pod.priorityClassName: system-cluster-critical -> none"}},
		{"controller.podLabels", "controller: {podLabels: {team: net}}", []string{"controller pod.metadata.labels.team: none -> net"}},
		{"controller.podAnnotations", "controller: {podAnnotations: {note: '1'}}", []string{"controller pod.metadata.annotations.note: none -> 1"}},
		{"controller.extraArgs", "controller: {extraArgs: [--leader-elect-lease-duration=15s, --zap-devel]}", []string{
			"controller container.args[0]: none -> --leader-elect-lease-duration=15s", "controller container.args[1]: none -> --zap-devel"}},
		{"speaker.resources", "speaker: {resources: {requests: null, limits: {memory: null, cpu: 100m}}}", []string{
			"speaker container.resources.limits.cpu: none -> 100m", "speaker container.resources.limits.memory: 256Mi -> none",
			"speaker container.resources.requests.cpu: 20m -> none", "speaker container.resources.requests.memory: 48Mi -> none"}},
		{"speaker.nodeSelector", "speaker: {nodeSelector: null}", []string{"speaker pod.nodeSelector.kubernetes.io/os: linux -> none"}},
		{"speaker.tolerations", "speaker: {tolerations: []}", []string{"speaker pod.tolerations[0].effect: NoSchedule -> none",
			"speaker pod.tolerations[0].key: node-role.kubernetes.io/control-plane -> none", "speaker pod.tolerations[0].operator: Exists -> none"}},
		{"speaker.affinity", "speaker: {affinity: {nodeAffinity: {}}}", []string{"speaker pod.affinity.nodeAffinity: none -> {}"}},
		{"speaker.priorityClassName", "speaker: {priorityClassName: high}", []string{"speaker pod.priorityClassName: system-node-critical -> high"}},
		{"speaker.podLabels", "speaker: {podLabels: {team: net}}", []string{"speaker pod.metadata.labels.team: none -> net"}},
		{"speaker.podAnnotations", "speaker: {podAnnotations: {note: '1'}}", []string{"speaker pod.metadata.annotations.note: none -> 1"}},
		{"speaker.updateStrategy.type", "speaker: {updateStrategy: {type: OnDelete}}", []string{
			"speaker spec.updateStrategy.rollingUpdate.maxUnavailable: 1 -> none", "speaker spec.updateStrategy.type: RollingUpdate -> OnDelete"}},
		{"speaker.updateStrategy.rollingUpdate.maxUnavailable", "speaker: {updateStrategy: {rollingUpdate: {maxUnavailable: 10%}}}",
			[]string{"speaker spec.updateStrategy.rollingUpdate.maxUnavailable: 1 -> 10%"}},
		{"speaker.interfacesExclude", "speaker: {interfacesExclude: '^(lo|cali.*)$'}", []string{"speaker container.args[0]: none -> --interfaces-exclude=^(lo|cali.*)$"}},
		{"speaker.interfacesExclude", "speaker: {interfacesExclude: ''}", []string{"speaker container.args[0]: none -> --interfaces-exclude="}},
		{"speaker.interfacesExclude", "speaker: {interfacesExclude: null}", nil},
		{"speaker.ignoreExcludeLB", "speaker: {ignoreExcludeLB: true}", []string{"speaker container.args[0]: none -> --ignore-exclude-lb=true"}},
		{"speaker.dataplaneHealthURL", "speaker: {dataplaneHealthURL: ''}", []string{"speaker container.args[0]: none -> --dataplane-health-url="}},
		// The pods' time to end follows.
		{"speaker.drainTime", "speaker: {drainTime: 1m30s}", []string{"speaker container.args[0]: none -> --drain-time=1m30s", "speaker pod.terminationGracePeriodSeconds: 30 -> 110"}},
		{"speaker.drainTime", "speaker: {drainTime: 2m}", []string{"speaker container.args[0]: none -> --drain-time=2m", "speaker pod.terminationGracePeriodSeconds: 30 -> 140"}},
		{"speaker.drainTime", "speaker: {drainTime: 08s}", []string{"speaker container.args[0]: none -> --drain-time=08s", "speaker pod.terminationGracePeriodSeconds: 30 -> 28"}},
		{"speaker.drainTime", "speaker: {drainTime: 0s}", []string{"speaker container.args[0]: none -> --drain-time=0s", "speaker pod.terminationGracePeriodSeconds: 30 -> 20"}},
		{"speaker.gossip.profile", "speaker: {gossip: {profile: lan}}", []string{"speaker container.args[0]: none -> --gossip-profile=lan"}},
		{"speaker.gossip.port", "speaker: {gossip: {port: 7946}}", []string{"speaker container.args[0]: none -> --gossip-port=7946",
			"speaker container.ports[1].containerPort: 9792 -> 7946", "speaker container.ports[2].containerPort: 9792 -> 7946"}},
		{"speaker.bfd.port", "speaker: {bfd: {port: 7947}}", []string{"speaker container.args[0]: none -> --l2-bfd-port=7947", "speaker container.ports[3].containerPort: 9793 -> 7947"}},
		{"speaker.bfd.interval", "speaker: {bfd: {interval: '0'}}", []string{"speaker container.args[0]: none -> --l2-bfd-interval=0"}},
		{"speaker.bfd.multiplier", "speaker: {bfd: {multiplier: 5}}", []string{"speaker container.args[0]: none -> --l2-bfd-multiplier=5"}},
		{"speaker.extraArgs", "speaker: {ignoreExcludeLB: true, extraArgs: [--l2-announce-count=3, -gossip-bind-address=::1]}", []string{
			"speaker container.args[0]: none -> --ignore-exclude-lb=true", "speaker container.args[1]: none -> --l2-announce-count=3", "speaker container.args[2]: none -> -gossip-bind-address=::1"}},
		{"networkPolicy.enabled", "networkPolicy: {enabled: true}", []string{"NetworkPolicy fairlead-controller: none -> there"}},
		{"networkPolicy.metricsFrom", "networkPolicy: {metricsFrom: [{podSelector: {}}]}", nil}, // see below

		{"crds.install", "crds: {install: false}", crds(": there -> none")},
		{"crds.keep", "crds: {keep: false}", crds(" metadata.annotations.helm.sh/resource-policy: keep -> none")},
		{"namespace.create", "namespace: {create: true}", []string{"Namespace fairlead-system: none -> there"}},
		{"namespace.labels", "namespace: {labels: {team: net}}", nil}, // see below
		// Together, in the order of the values.
		{"", "{loadBalancerClass: a/b, requireLoadBalancerClass: true, controller: {extraArgs: [--zap-devel]}}", []string{
			"controller container.args[0]: none -> --load-balancer-class=a/b", "controller container.args[1]: none -> --require-load-balancer-class=true",
			"controller container.args[2]: none -> --zap-devel",
			"speaker container.args[0]: none -> --load-balancer-class=a/b", "speaker container.args[1]: none -> --require-load-balancer-class=true"}},
	}
	initial := render(t, "", "--no-hooks")
	for _, c := range cases {
		t.Run(c.values, func(t *testing.T) { same(t, differences(initial, render(t, c.values, "--no-hooks")), c.want) })
	}

	// What needs another value to be seen.
	t.Run("namespace.labels", func(t *testing.T) {
		same(t, differences(render(t, "namespace: {create: true}"), render(t, "namespace: {create: true, labels: {team: net, pod-security.kubernetes.io/warn: null}}")), []string{
			"Namespace fairlead-system metadata.labels.pod-security.kubernetes.io/warn: privileged -> none", "Namespace fairlead-system metadata.labels.team: none -> net"})
	})
	t.Run("networkPolicy", func(t *testing.T) {
		enabled := render(t, "networkPolicy: {enabled: true}")
		same(t, differences(enabled, render(t, "networkPolicy: {enabled: true, metricsFrom: [{namespaceSelector: {matchLabels: {a: b}}}, {podSelector: {}}]}")), []string{
			"NetworkPolicy fairlead-controller spec.ingress[0].from[0].namespaceSelector.matchLabels.a: none -> b",
			"NetworkPolicy fairlead-controller spec.ingress[0].from[1].podSelector: none -> {}"})
		closed := render(t, "{networkPolicy: {enabled: true}, metrics: {enabled: false}}")["NetworkPolicy fairlead-controller"]
		same(t, differences(objects{"policy": enabled["NetworkPolicy fairlead-controller"]}, objects{"policy": closed}), []string{
			"policy spec.ingress[0].ports[0].port: metrics -> none", "policy spec.ingress[0].ports[0].protocol: TCP -> none"})
		// It names the port, and so follows its number.
		same(t, differences(enabled, render(t, "{networkPolicy: {enabled: true}, metrics: {port: 7472}}")),
			both("container.args[0]: none -> --metrics-bind-address=:7472", "container.ports[0].containerPort: 9790 -> 7472"))
		// It covers the Deployment's pods.
		covered, _, err := unstructured.NestedStringMap(enabled["NetworkPolicy fairlead-controller"].Object, "spec", "podSelector", "matchLabels")
		if err != nil {
			t.Fatal(err)
		}
		pods, _, err := unstructured.NestedStringMap(enabled["Deployment fairlead-controller"].Object, "spec", "selector", "matchLabels")
		if err != nil || len(pods) == 0 || !maps.Equal(covered, pods) {
			t.Errorf("the policy is for pods with %v, and the Deployment's have %v (%v)", covered, pods, err)
		}
	})

	all, _ := values(t)
	for _, v := range all {
		if !slices.ContainsFunc(cases, func(c valueCase) bool { return c.value == v.path }) {
			t.Errorf("no case changes %s", v.path)
		}
	}
}
