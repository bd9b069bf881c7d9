package chart

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
)

// shorter are the paths that differences are mostly about.
var shorter = strings.NewReplacer("Deployment fairlead-controller", "controller", "DaemonSet fairlead-speaker", "speaker",
	"spec.template.spec.containers[0].", "container.", "spec.template.spec.", "pod.", "spec.template.metadata.", "pod.metadata.")

// differences between two sets of objects, field by field, in order. What is not there is "none"; an object that only one side has is told as such.
func differences(from, to objects) []string {
	var out []string
	for key := range sets.KeySet(from).Union(sets.KeySet(to)) {
		a, b := map[string]string{"": "there"}, map[string]string{"": "there"}
		switch {
		case from[key] == nil:
			delete(a, "")
		case to[key] == nil:
			delete(b, "")
		default:
			walk("", from[key].Object, a)
			walk("", to[key].Object, b)
		}
		for path := range sets.KeySet(a).Union(sets.KeySet(b)) {
			if a[path] != b[path] {
				out = append(out, strings.TrimSpace(shorter.Replace(key+" "+path))+": "+orNone(a, path)+" -> "+orNone(b, path))
			}
		}
	}
	slices.Sort(out)
	return out
}

func orNone(fields map[string]string, path string) string {
	if value, has := fields[path]; has {
		return value
	}
	return "none"
}

// walk gives the fields of a value, by path, as JSON without quotes.
func walk(path string, x any, out map[string]string) {
	switch x := x.(type) {
	case map[string]any:
		for k, v := range x {
			walk(strings.TrimPrefix(path+"."+k, "."), v, out)
		}
		if len(x) > 0 {
			return
		}
	case []any:
		for i, v := range x {
			walk(fmt.Sprintf("%s[%d]", path, i), v, out)
		}
		if len(x) > 0 {
			return
		}
	}
	text, err := json.Marshal(x)
	if err != nil {
		text = []byte(err.Error())
	}
	out[path] = strings.Trim(string(text), `"`)
}
