package monitoring

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type panel struct {
	ID         int
	Type       string
	Title      string
	Datasource struct{ UID string }
	Targets    []struct{ Expr, RefID string }
	Panels     []panel
}

// The dashboard asks for what there is, of the data source that is chosen.
func TestDashboard(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(moduleRoot(t), "config", "prometheus", "grafana", "fairlead.json"))
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		UID        string
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
		Panels []panel
	}
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	variables, expressions := map[string]string{}, map[string]string{}
	for _, v := range d.Templating.List {
		variables[v.Name] = v.Type
		if v.Type != "query" {
			continue
		}
		metric, label, ok := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(v.Definition, "label_values("), ")"), ", ")
		if !ok {
			t.Errorf("variable %s is %q", v.Name, v.Definition)
		}
		expressions["variable "+v.Name] = fmt.Sprintf("count by (%s) (%s)", label, metric)
	}
	if d.UID == "" || variables["datasource"] != "datasource" {
		t.Errorf("the dashboard has uid %q and variables %v", d.UID, variables)
	}
	ids := map[int]bool{}
	var collect func([]panel)
	collect = func(list []panel) {
		for _, p := range list {
			if ids[p.ID] {
				t.Errorf("panel %q: there is another of id %d", p.Title, p.ID)
			}
			ids[p.ID] = true
			collect(p.Panels)
			if p.Type == "row" {
				continue
			}
			if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
				t.Errorf("panel %q has data source %q and %d queries", p.Title, p.Datasource.UID, len(p.Targets))
			}
			for _, x := range p.Targets {
				// What Grafana puts in.
				expression := strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h", "$node", ".*").Replace(x.Expr)
				if strings.Contains(expression, "$") {
					t.Errorf("panel %q: a variable that the dashboard does not have: %s", p.Title, x.Expr)
				}
				expressions[fmt.Sprintf("panel %q, query %s", p.Title, x.RefID)] = expression
			}
		}
	}
	collect(d.Panels)
	known(t, expressions)
}
