package monitoring

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

type ruleFile struct {
	Groups []struct {
		Name  string `json:"name"`
		Rules []rule `json:"rules"`
	} `json:"groups"`
}

// rules of the PrometheusRule, which is their one source.
func rules(t *testing.T) ruleFile {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(moduleRoot(t), "config", "prometheus", "rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var o struct {
		Kind string   `json:"kind"`
		Spec ruleFile `json:"spec"`
	}
	if err := yaml.Unmarshal(raw, &o); err != nil {
		t.Fatal(err)
	}
	if o.Kind != "PrometheusRule" || len(o.Spec.Groups) != 1 || len(o.Spec.Groups[0].Rules) == 0 {
		t.Fatalf("config/prometheus/rules.yaml holds no group of rules: %+v", o)
	}
	return o.Spec
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func writeRules(t *testing.T, path string, f ruleFile) {
	t.Helper()
	raw, err := yaml.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRulesAreRules(t *testing.T) {
	f := rules(t)
	path := filepath.Join(t.TempDir(), "rules.yaml")
	writeRules(t, path, f)
	promtool(t, "check", "rules", path)
	expressions := map[string]string{}
	for _, r := range f.Groups[0].Rules {
		expressions[r.Alert] = r.Expr
	}
	known(t, expressions)
}

// Each alert names what it is about, says what to do, and leads to a section of the docs.
func TestAlertsTellWhatToDo(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(moduleRoot(t), "docs", "monitoring.md"))
	if err != nil {
		t.Fatal(err)
	}
	anchors := Anchors(string(page))
	for _, r := range rules(t).Groups[0].Rules {
		for _, name := range []string{"summary", "description", "runbook"} {
			if r.Annotations[name] == "" {
				t.Errorf("%s has no annotation %s", r.Alert, name)
			}
		}
		link, ok := strings.CutPrefix(r.Annotations["runbook"], "docs/monitoring.md#")
		if !ok || link != strings.ToLower(r.Alert) || !anchors[link] {
			t.Errorf("%s: its runbook %q is no section of docs/monitoring.md", r.Alert, r.Annotations["runbook"])
		}
		if !slices.Contains([]string{"info", "warning", "critical"}, r.Labels["severity"]) {
			t.Errorf("%s has severity %q", r.Alert, r.Labels["severity"])
		}
		if !strings.Contains(string(page), "| ["+r.Alert+"](#"+link+") | "+r.Labels["severity"]+" |") {
			t.Errorf("%s with severity %s is not in the table of docs/monitoring.md", r.Alert, r.Labels["severity"])
		}
	}
}

var label = regexp.MustCompile(`\$labels\.([a-z_]+)`)

// Each alert has its tests, in a file of its name: when it fires, with what summary, and when it does not.
func TestAlerts(t *testing.T) {
	f := rules(t)
	tests := filepath.Join(moduleRoot(t), "test", "monitoring", "testdata", "alerts")
	left := map[string]bool{}
	files, err := filepath.Glob(filepath.Join(tests, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		left[filepath.Base(name)] = true
	}
	dir := t.TempDir()
	long := map[string]string{}
	for i := range f.Groups[0].Rules {
		// promtool compares all annotations; the summary stands for them.
		r := &f.Groups[0].Rules[i]
		long[r.Alert] = r.Annotations["description"]
		r.Annotations = map[string]string{"summary": r.Annotations["summary"]}
	}
	writeRules(t, filepath.Join(dir, "rules.yaml"), f)
	for _, r := range f.Groups[0].Rules {
		t.Run(r.Alert, func(t *testing.T) {
			delete(left, r.Alert+".yaml")
			raw, err := os.ReadFile(filepath.Join(tests, r.Alert+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			var file struct {
				Tests []struct {
					Name   string `json:"name"`
					Alerts []struct {
						Name   string `json:"alertname"`
						Expect []struct {
							Labels map[string]string `json:"exp_labels"`
						} `json:"exp_alerts"`
					} `json:"alert_rule_test"`
				} `json:"tests"`
			}
			if err := yaml.Unmarshal(raw, &file); err != nil {
				t.Fatal(err)
			}
			fires, silent := 0, 0
			for _, test := range file.Tests {
				for _, a := range test.Alerts {
					if a.Name != r.Alert {
						t.Errorf("test %q is of %s", test.Name, a.Name)
					}
					if len(a.Expect) == 0 {
						silent++
					}
					for _, x := range a.Expect {
						fires++
						// What the description says of labels can be said. The node's name depends on how it is scraped; else it is the instance.
						for _, name := range label.FindAllStringSubmatch(strings.ReplaceAll(long[r.Alert], "or $labels.node ", ""), -1) {
							if x.Labels[name[1]] == "" {
								t.Errorf("test %q: the description has label %s, which the alert does not", test.Name, name[1])
							}
						}
					}
				}
			}
			if fires == 0 || silent == 0 {
				t.Errorf("%d tests in which it fires, %d in which it does not", fires, silent)
			}
			path := filepath.Join(dir, r.Alert+".yaml")
			if err := os.WriteFile(path, append([]byte("rule_files: [rules.yaml]\n"), raw...), 0o600); err != nil {
				t.Fatal(err)
			}
			promtool(t, "test", "rules", path)
		})
	}
	for name := range left {
		t.Errorf("testdata/alerts/%s is of no alert", name)
	}
}
