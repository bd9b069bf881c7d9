package chart

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	monitors  = "{podMonitor: {enabled: true}, prometheusRule: {enabled: true}}"
	dashboard = "ConfigMap fairlead-dashboard"
)

// TestMonitoring: what the release has for Prometheus and Grafana is what config/prometheus has, and the values change of it what they say.
func TestMonitoring(t *testing.T) {
	config := kustomized(t, "prometheus")
	if len(config) != 5 {
		t.Fatalf("config/prometheus has %d objects, want 5", len(config))
	}
	with := kustomized(t, "default")
	delete(with, "Namespace "+namespace)
	for key, o := range config {
		with[key] = o
	}
	all := ours(t, render(t, monitors, "--no-hooks"))
	same(t, differences(with, all), nil)

	t.Run("dashboard", func(t *testing.T) {
		want, err := os.ReadFile(filepath.Join(root(t), "config", "prometheus", "grafana", "fairlead.json"))
		if err != nil {
			t.Fatal(err)
		}
		rendered := render(t, "dashboard: {enabled: true}")
		data, _, err := unstructured.NestedStringMap(rendered[dashboard].Object, "data")
		if err != nil || len(data) != 1 || data["fairlead.json"] != string(want) {
			t.Errorf("%s has not the dashboard of config/prometheus but (%v) %.200q", dashboard, err, data)
		}
		if got := rendered[dashboard].GetLabels(); got["grafana_dashboard"] != "1" {
			t.Errorf("%s has labels %v, want grafana_dashboard=1", dashboard, got)
		}
		same(t, differences(rendered, render(t, "dashboard: {enabled: true, namespace: monitoring, labels: {grafana_dashboard: null, dashboards: 'yes'}}")), []string{
			dashboard + " metadata.namespace: fairlead-system -> monitoring",
			dashboard + " metadata.labels.grafana_dashboard: 1 -> none", dashboard + " metadata.labels.dashboards: none -> yes"})
	})

	const endpoint = "PodMonitor fairlead spec.podMetricsEndpoints[0]."
	for _, c := range []struct {
		name, from, to string
		want           []string
	}{
		{"labels", monitors, "{podMonitor: {enabled: true, labels: {release: a}}, prometheusRule: {enabled: true, labels: {release: b, team: net}}}", []string{
			"PodMonitor fairlead metadata.labels.release: none -> a",
			"PrometheusRule fairlead metadata.labels.release: none -> b", "PrometheusRule fairlead metadata.labels.team: none -> net"}},
		{"no labels", monitors, "{podMonitor: {enabled: true, labels: null}, prometheusRule: {enabled: true, labels: null}}", nil},
		{"interval", monitors, "{podMonitor: {enabled: true, interval: 1m30s}, prometheusRule: {enabled: true}}", []string{endpoint + "interval: none -> 1m30s"}},
		// Plainly served, no token is sent, and nobody needs one.
		{"plain", "{metrics: {secure: false}}", "{metrics: {secure: false}, podMonitor: {enabled: true}}", []string{"PodMonitor fairlead: none -> there"}},
		// A certificate of one's own is not checked by itself: nobody has said by which authority.
		{"certificate", "{metrics: {certSecret: cert}, podMonitor: {enabled: true}}",
			"{metrics: {certSecret: cert}, podMonitor: {enabled: true, tlsConfig: {serverName: fairlead.test, ca: {configMap: {name: root, key: ca.crt}}}}}", []string{
				endpoint + "tlsConfig.insecureSkipVerify: true -> none", endpoint + "tlsConfig.serverName: none -> fairlead.test",
				endpoint + "tlsConfig.ca.configMap.name: none -> root", endpoint + "tlsConfig.ca.configMap.key: none -> ca.crt"}},
	} {
		t.Run(c.name, func(t *testing.T) { same(t, differences(render(t, c.from), render(t, c.to)), c.want) })
	}
	t.Run("scheme", func(t *testing.T) {
		plain := render(t, "{metrics: {secure: false}, podMonitor: {enabled: true}}")
		same(t, differences(objects{"PodMonitor fairlead": all["PodMonitor fairlead"]}, objects{"PodMonitor fairlead": plain["PodMonitor fairlead"]}), []string{
			endpoint + "scheme: https -> http", endpoint + "tlsConfig.insecureSkipVerify: true -> none", endpoint + "authorization.type: Bearer -> none",
			endpoint + "authorization.credentials.name: fairlead-metrics-token -> none", endpoint + "authorization.credentials.key: token -> none"})
	})
}
