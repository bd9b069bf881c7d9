package metallb

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

// Object of Kubernetes, as JSON has it.
type Object = map[string]any

// Document reads one document of YAML or JSON: an object, or the objects of a list. It has none if the document is empty. A key that
// stands twice counts the last time, as for kubectl; twice then says so.
func Document(text []byte) (objects []Object, twice error, err error) {
	raw, twice := yaml.YAMLToJSONStrict(text)
	if twice != nil {
		if raw, err = yaml.YAMLToJSON(text); err != nil {
			return nil, nil, fmt.Errorf("parse: %w", err)
		}
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return nil, nil, fmt.Errorf("parse: %w", err)
	}
	if value == nil { // comments, or nothing
		return nil, nil, nil
	}
	object, ok := value.(Object)
	if !ok {
		return nil, nil, fmt.Errorf("parse: it is %s, and no object", typeName(value))
	}
	return flatten(object), twice, nil
}

// flatten a list.
func flatten(o Object) []Object {
	items, ok := o["items"].([]any)
	if !ok {
		return []Object{o}
	}
	var out []Object
	for _, item := range items {
		if x, ok := item.(Object); ok {
			if kind, ok := strings.CutSuffix(text(o, "kind"), "List"); ok && kind != "" && text(x, "kind") == "" {
				x["apiVersion"], x["kind"] = text(o, "apiVersion"), kind // as API servers list them
			}
			out = append(out, flatten(x)...)
		}
	}
	return out
}

// text at a path, or nothing.
func text(o Object, path ...string) string {
	for _, p := range path[:len(path)-1] {
		next, ok := o[p].(Object)
		if !ok {
			return ""
		}
		o = next
	}
	s, ok := o[path[len(path)-1]].(string)
	if !ok {
		return ""
	}
	return s
}

// typeName says what a value is, to somebody who wrote it in YAML.
func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "nothing"
	case string:
		return "a text"
	case bool:
		return "true or false"
	case int64, float64:
		return "a number"
	case []any:
		return "a list"
	}
	return "a mapping"
}
