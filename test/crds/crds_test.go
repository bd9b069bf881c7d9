package crds

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/internal/testenv"
)

var accept = flag.Bool("accept", false, "take the present CRDs as those of a release")

const baseline = "testdata/release.json"

// TestOnlyAdded: whoever wrote an object for the last release can apply it to this one, with the same meaning.
func TestOnlyAdded(t *testing.T) {
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(root, "config", "crd", "bases", "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no CRDs in config/crd/bases: %v", err)
	}
	now := facts{}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(raw, &crd); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		maps.Copy(now, factsOf(t, &crd))
	}
	if *accept {
		raw, err := json.MarshalIndent(now, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(baseline, append(raw, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	raw, err := os.ReadFile(baseline)
	if err != nil {
		t.Fatal(err)
	}
	var before facts
	if err := json.Unmarshal(raw, &before); err != nil {
		t.Fatalf("%s: %v", baseline, err)
	}
	for _, line := range broken(before, now) {
		t.Errorf("%s: the CRDs of the last release had it otherwise, and objects rely on it; take the change back, or add a version of the API", line)
	}
}

// TestBroken: each kind of change is seen, and what only adds is not.
func TestBroken(t *testing.T) {
	const place = "pools.example v1 .spec.mode"
	for _, c := range []struct{ name, was, is, want string }{
		{"type", `"string"`, `"integer"`, `: type was "string", is "integer"`},
		{"enum", `["a","b"]`, `["a"]`, `: these values are refused now: "b"`},
		{"enum", `["a"]`, `["a","b"]`, ""},
		{"enum", `["a"]`, "", ""},
		{"enum", "", `["a"]`, `: only ["a"] are accepted now`},
		{"required", `["a"]`, `["a","b"]`, `: required now: "b"`},
		{"required", `["a","b"]`, `["a"]`, ""},
		{"rules", `["x"]`, `["x","y"]`, `: a rule more: "y"`},
		{"rules", `["x"]`, "", ""},
		{"maxItems", "8", "4", ": maxItems was 8, is 4"},
		{"maxItems", "", "4", ": maxItems was none, is 4"},
		{"maxItems", "8", "16", ""},
		{"maximum", "8", "", ""},
		{"minimum", "1", "2", ": minimum was 1, is 2"},
		{"minimum", "1", "0", ""},
		{"pattern", "", `"^a$"`, `: pattern was none, is "^a$"`},
		{"pattern", `"^a$"`, "", ""},
		{"default", "1", "2", ": default was 1, is 2"},
		{"shortNames", `["ap"]`, `["ap","pool"]`, ""},
		{"scope", `"Cluster"`, `"Namespaced"`, `: scope was "Cluster", is "Namespaced"`},
	} {
		of := func(value string) facts {
			f := facts{place: {}}
			if value != "" {
				f[place][c.name] = value
			}
			return f
		}
		var want []string
		if c.want != "" {
			want = []string{place + c.want}
		}
		if got := broken(of(c.was), of(c.is)); len(got) != len(want) || len(got) > 0 && got[0] != want[0] {
			t.Errorf("%s from %s to %s: %q, want %q", c.name, c.was, c.is, got, want)
		}
	}
	if got := broken(facts{place: {}}, facts{place + "s": {}}); len(got) != 1 || got[0] != place+" was removed" {
		t.Errorf("a field removed: %q", got)
	}
}
