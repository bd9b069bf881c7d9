package chart

import (
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// mistake is a value that must be refused, with a message that has the words beside the place, which is the value's path or within it.
type mistake struct{ path, value, says string }

// TestTypos: a name that no value has is refused, and so is a value of another type; the message says where.
func TestTypos(t *testing.T) {
	all, groups := values(t)
	var typos, types []mistake
	for _, group := range groups {
		typos = append(typos, mistake{strings.TrimPrefix(group+".typo", "."), "1", "'/" + strings.ReplaceAll(group, ".", "/") + "': additional properties 'typo' not allowed"})
	}
	typos[0].says = "'': additional properties 'typo' not allowed" // of all
	for _, v := range all {
		m := mistake{v.path, "{a: b}", "got object, want"}
		switch one := []string{"image.pullPolicy", "speaker.updateStrategy.type", "speaker.gossip.profile"}; {
		case v.node.Kind == yaml.MappingNode:
			m.value, m.says = "[a]", "got array, want object"
		case slices.Contains(one, v.path):
			m.says = "value must be one of"
		}
		m.says = "'/" + strings.ReplaceAll(v.path, ".", "/") + "': " + m.says
		types = append(types, m)
	}
	refusedAll(t, typos)
	refusedAll(t, types)
}

// TestMistakes: what no program would take, or would not mean what it says.
func TestMistakes(t *testing.T) {
	refusedAll(t, []mistake{
		{"image.digest", "sha256:0123", "'/image/digest': 'sha256:0123' does not match"},
		{"image.tag", "'a:b'", "'/image/tag': 'a:b' does not match"},
		{"image.pullPolicy", "always", "'/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'"},
		{"image.pullSecrets", "[regcred]", "'/image/pullSecrets/0': got string, want object"},
		{"loadBalancerClass", "''", "'/loadBalancerClass': minLength"},
		{"logLevel", "warn", "'/logLevel': value must be one of 'debug', 'info', 'error', 'panic'"},
		{"logLevel", "0", "'/logLevel': minimum"},
		{"metrics.port", "0", "'/metrics/port': minimum"},
		{"metrics.port", "65536", "'/metrics/port': maximum"},
		{"metrics.port", "'9790'", "'/metrics/port': got string, want integer"},
		{"metrics.secure", "'false'", "'/metrics/secure': got string, want boolean"},
		{"metrics.certSecret", "Cert", "'/metrics/certSecret': 'Cert' does not match"},
		{"podMonitor.interval", "30", "'/podMonitor/interval': got number, want string"},
		{"podMonitor.interval", "half a minute", "'/podMonitor/interval': 'half a minute' does not match"},
		{"podMonitor.labels", "{release: 1}", "'/podMonitor/labels/release': got number, want string"},
		{"podMonitor.labels", "{app.kubernetes.io/name: other}", "'/podMonitor/labels/app.kubernetes.io~1name': false schema"},
		{"podMonitor.tlsConfig", "{servername: a}", "'/podMonitor/tlsConfig': additional properties 'servername' not allowed"},
		{"podMonitor.tlsConfig", "{ca: {secret: {name: a}}}", "'/podMonitor/tlsConfig/ca/secret': missing property 'key'"},
		{"podMonitor.tlsConfig", "{ca: {file: a}}", "'/podMonitor/tlsConfig/ca': additional properties 'file' not allowed"},
		{"prometheusRule.labels", "{app.kubernetes.io/name: other}", "'/prometheusRule/labels/app.kubernetes.io~1name': false schema"},
		{"dashboard.namespace", "Monitoring", "'/dashboard/namespace': 'Monitoring' does not match"},
		{"dashboard.labels", "{grafana_dashboard: 1}", "'/dashboard/labels/grafana_dashboard': got number, want string"},
		{"controller.replicas", "-1", "'/controller/replicas': minimum"},
		{"controller.resources", "{limit: {memory: 1Gi}}", "'/controller/resources': additional properties 'limit' not allowed"},
		{"controller.podLabels", "{app.kubernetes.io/name: other}", "'/controller/podLabels/app.kubernetes.io~1name': false schema"}, // the Deployment's selector has it
		{"speaker.tolerations", "[{key: a, efect: NoSchedule}]", "'/speaker/tolerations/0': additional properties 'efect' not allowed"},
		{"speaker.tolerations", "[{key: a, operator: exists}]", "'/speaker/tolerations/0/operator': value must be one of"},
		{"speaker.nodeSelector", "{lb: true}", "'/speaker/nodeSelector/lb': got boolean, want string"},
		{"speaker.affinity", "{nodeAfinity: {}}", "'/speaker/affinity': additional properties 'nodeAfinity' not allowed"},
		{"speaker.updateStrategy.type", "Recreate", "'/speaker/updateStrategy/type': value must be one of 'RollingUpdate', 'OnDelete'"},
		{"speaker.updateStrategy.rollingUpdate.maxUnavailable", "0", "'/speaker/updateStrategy/rollingUpdate/maxUnavailable': minimum"},
		{"speaker.drainTime", "10", "'/speaker/drainTime': got number, want string"},
		{"speaker.dataplaneHealthURL", "127.0.0.1:10256", "'/speaker/dataplaneHealthURL': '127.0.0.1:10256' does not match"},
		{"speaker.gossip.profile", "slow", "'/speaker/gossip/profile': value must be one of 'fast', 'lan', 'wan'"},
		{"speaker.bfd.interval", "80", "'/speaker/bfd/interval': got number, want string"},
		{"speaker.bfd.multiplier", "256", "'/speaker/bfd/multiplier': maximum"},
		{"networkPolicy.metricsFrom", "[{podSelectors: {}}]", "'/networkPolicy/metricsFrom/0': additional properties 'podSelectors' not allowed"},
	})
}

// TestTexts: what is wrong with the text of a value is said in words.
func TestTexts(t *testing.T) {
	for _, c := range []struct{ values, says string }{
		{"image: {repository: 'registry.test/fairlead:v1'}", `image.repository "registry.test/fairlead:v1" is no repository: write it without tag and digest`},
		{"image: {repository: 'registry.test:5000/fairlead@sha256:0123'}", "is no repository"},
		{"image: {repository: ''}", `image.repository "" is no repository`},
		{"metrics: {secure: false, certSecret: cert}", "metrics.certSecret has no effect without HTTPS: leave metrics.secure true, or metrics.certSecret empty"},
		{"{metrics: {enabled: false}, podMonitor: {enabled: true}}", "podMonitor.enabled is true and metrics.enabled false: there would be nothing to scrape"},
		{"podMonitor: {enabled: true, tlsConfig: {serverName: a}}", "podMonitor.tlsConfig is for the certificate of metrics.certSecret, which is empty"},
		{"speaker: {drainTime: ''}", `speaker.drainTime "" is no time in minutes and seconds: write 30s, 2m or 1m30s`},
		{"speaker: {drainTime: '10'}", "is no time in minutes"},
		{"speaker: {drainTime: 1h}", "is no time in minutes"},
		{"speaker: {drainTime: 30s1m}", "is no time in minutes"},
		{"speaker: {drainTime: 500ms}", "is no time in minutes"},
		{"speaker: {bfd: {interval: '80'}}", `speaker.bfd.interval "80" is no time: write 80ms or 1s`},
		{"speaker: {extraArgs: [l2-announce-count=3]}", `speaker.extraArgs has "l2-announce-count=3", which is no flag: write each as one word`},
		{"controller: {extraArgs: [--leader-elect-retry-period, 1s]}", `controller.extraArgs has "1s", which is no flag`},
	} {
		if says := refused(t, c.values); !strings.Contains(says, c.says) {
			t.Errorf("%s: want %q in\n%s", c.values, c.says, says)
		}
	}
}

// refusedAll has mistakes refused, as many at a time as can be: a value can be wrong in one way only.
func refusedAll(t *testing.T, list []mistake) {
	t.Helper()
	for len(list) > 0 {
		values, now, later := map[string]any{}, []mistake{}, []mistake{}
		for _, m := range list {
			if set(t, values, m.path, m.value) {
				now = append(now, m)
			} else {
				later = append(later, m)
			}
		}
		text, err := yaml.Marshal(values)
		if err != nil {
			t.Fatal(err)
		}
		says := refused(t, string(text))
		for _, m := range now {
			if !strings.Contains(says, "at "+m.says) {
				t.Errorf("%s: %s: want %q in\n%s", m.path, m.value, m.says, says)
			}
		}
		list = later
	}
}

// set a value, unless it is set.
func set(t *testing.T, values map[string]any, path, text string) bool {
	t.Helper()
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		child, ok := values[name].(map[string]any)
		if !ok {
			child = map[string]any{}
			values[name] = child
		}
		values = child
	}
	last := names[len(names)-1]
	if _, has := values[last]; has {
		return false
	}
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	values[last] = value
	return true
}
