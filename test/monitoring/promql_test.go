package monitoring

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fairlead.io/fairlead/internal/testenv"
)

// use is what bin/tools/promql says of an expression.
type use struct {
	Error  string
	Series []struct {
		Metric string
		Labels []string
		Range  bool
	}
	Labels []string
}

// uses parses expressions as Prometheus does.
func uses(t *testing.T, expressions []string) []use {
	t.Helper()
	in, err := json.Marshal(expressions)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(moduleRoot(t), "bin", "tools", "promql"))
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("bin/tools/promql (make tools builds it): %v", err)
	}
	var list []use
	if err := json.Unmarshal(out, &list); err != nil || len(list) != len(expressions) {
		t.Fatalf("bin/tools/promql says of %d expressions %s: %v", len(expressions), out, err)
	}
	return list
}

// Labels that the scraping adds by what config/prometheus and docs/monitoring.md say, and what is scraped of others than Fairlead.
var (
	targetLabels = []string{"job", "instance", "node"}
	others       = map[string][]string{
		"up":                            nil,
		"process_resident_memory_bytes": nil,
		"process_cpu_seconds_total":     nil,
	}
)

// known fails for an expression that does not parse, or uses a metric or a label that there is not; counters are taken over time.
func known(t *testing.T, expressions map[string]string) {
	t.Helper()
	documented, err := Documented(moduleRoot(t))
	if err != nil {
		t.Fatal(err)
	}
	metrics := map[string]Metric{}
	for name, labels := range others {
		metrics[name] = Metric{Name: name, Labels: labels}
	}
	for _, list := range documented {
		for _, m := range list {
			if m.Type != "histogram" {
				metrics[m.Name] = m
				continue
			}
			metrics[m.Name+"_sum"], metrics[m.Name+"_count"] = m, m
			metrics[m.Name+"_bucket"] = Metric{Name: m.Name, Type: m.Type, Labels: append(slices.Clone(m.Labels), "le")}
		}
	}
	var names, list []string
	for name, expression := range expressions {
		names, list = append(names, name), append(list, expression)
	}
	for i, u := range uses(t, list) {
		if u.Error != "" {
			t.Errorf("%s: %s\n%s", names[i], u.Error, list[i])
			continue
		}
		there := slices.Clone(targetLabels)
		for _, s := range u.Series {
			m, ok := metrics[s.Metric]
			if !ok {
				t.Errorf("%s: there is no metric %q in docs/metrics.md\n%s", names[i], s.Metric, list[i])
				continue
			}
			if cumulative := m.Type == "counter" || m.Type == "histogram"; cumulative && !s.Range {
				t.Errorf("%s: the value of counter %s, which begins anew with the program, says nothing: take rate or increase\n%s", names[i], s.Metric, list[i])
			}
			there = append(there, m.Labels...)
			for _, label := range s.Labels {
				if !slices.Contains(m.Labels, label) && !slices.Contains(targetLabels, label) {
					t.Errorf("%s: %s has no label %s\n%s", names[i], s.Metric, label, list[i])
				}
			}
		}
		for _, label := range u.Labels {
			if !slices.Contains(there, label) {
				t.Errorf("%s: nothing in it has label %s\n%s", names[i], label, list[i])
			}
		}
	}
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// What the checks of the rules and the dashboard stand on finds the mistakes that it is for.
func TestParser(t *testing.T) {
	list := uses(t, []string{`sum by (pool) (rate(a_total{x="1"}[5m])) / on (node) group_left (peer) b`, `sum(`})
	if got := list[0]; got.Error != "" || len(got.Series) != 2 || got.Series[0].Metric != "a_total" || !got.Series[0].Range || got.Series[0].Labels[0] != "x" ||
		got.Series[1].Metric != "b" || got.Series[1].Range || strings.Join(got.Labels, " ") != "node peer pool" {
		t.Errorf("an expression uses %+v", got)
	}
	if list[1].Error == "" {
		t.Error("half an expression parses")
	}
}
