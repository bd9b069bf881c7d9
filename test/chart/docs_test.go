package chart

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	tableBegin = "<!-- values: `go test ./test/chart -run Docs -update` writes this from values.yaml -->\n"
	tableEnd   = "<!-- end of values -->\n"
)

// TestExamples: the chart takes the values that docs/helm.md shows.
func TestExamples(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "docs", "helm.md"))
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?ms)^```yaml values\n(.*?)^```$").FindAllStringSubmatch(string(text), -1)
	if len(examples) == 0 {
		t.Error("docs/helm.md shows no values")
	}
	initial := render(t, "")
	for _, e := range examples {
		if len(differences(initial, render(t, e[1]))) == 0 {
			t.Errorf("these values change nothing:\n%s", e[1])
		}
	}
}

// TestDocs: the table in docs/helm.md is what values.yaml says.
func TestDocs(t *testing.T) {
	path := filepath.Join(root(t), "docs", "helm.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(text), tableBegin)
	table, after, ends := strings.Cut(rest, tableEnd)
	if !begins || !ends {
		t.Fatalf("%s has no lines %q and %q", path, tableBegin, tableEnd)
	}
	want := "| value | default | meaning |\n|---|---|---|\n"
	all, _ := values(t)
	for _, v := range all {
		if strings.Contains(v.meaning+v.initial, "|") {
			t.Errorf("%s: a table cannot have | in it", v.path)
		}
		want += "| `" + v.path + "` | `" + v.initial + "` | " + v.meaning + " |\n"
	}
	if *update {
		if err := os.WriteFile(path, []byte(before+tableBegin+want+tableEnd+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if table != want {
		t.Errorf("the table in %s is not what values.yaml says: go test ./test/chart -run Docs -update writes it. It must be\n%s", path, want)
	}
}
