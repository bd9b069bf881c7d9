package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// definition is what is read of a CustomResourceDefinition.
type definition struct {
	Spec struct {
		Group string `json:"group"`
		Scope string `json:"scope"`
		Names struct {
			Kind       string   `json:"kind"`
			Plural     string   `json:"plural"`
			ShortNames []string `json:"shortNames"`
		} `json:"names"`
		Versions []struct {
			Name   string `json:"name"`
			Schema struct {
				Root schema `json:"openAPIV3Schema"`
			} `json:"schema"`
			Columns []struct {
				Name     string `json:"name"`
				Priority int    `json:"priority"`
			} `json:"additionalPrinterColumns"`
		} `json:"versions"`
	} `json:"spec"`
}

// schema of a field.
type schema struct {
	Description string             `json:"description"`
	Type        string             `json:"type"`
	Format      string             `json:"format"`
	Default     any                `json:"default"`
	Enum        []any              `json:"enum"`
	Minimum     *int64             `json:"minimum"`
	Maximum     *int64             `json:"maximum"`
	MinLength   *int64             `json:"minLength"`
	MaxLength   *int64             `json:"maxLength"`
	MinItems    *int64             `json:"minItems"`
	MaxItems    *int64             `json:"maxItems"`
	Pattern     string             `json:"pattern"`
	ListType    string             `json:"x-kubernetes-list-type"`
	ListKeys    []string           `json:"x-kubernetes-list-map-keys"`
	Rules       []rule             `json:"x-kubernetes-validations"`
	Required    []string           `json:"required"`
	Properties  map[string]*schema `json:"properties"`
	Items       *schema            `json:"items"`
}

type rule struct {
	Message    string `json:"message"`
	Expression string `json:"messageExpression"`
}

func apiPage(context.Context) (string, error) {
	const folder = "config/crd/bases"
	files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(files) == 0 {
		return "", fmt.Errorf("find the CRDs in %s (%d found): %w", folder, len(files), err)
	}
	var kinds []definition
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("read a CRD: %w", err)
		}
		var d definition
		if err := yaml.Unmarshal(raw, &d); err != nil {
			return "", fmt.Errorf("read %s: %w", name, err)
		}
		if len(d.Spec.Versions) != 1 {
			return "", fmt.Errorf("%s has %d versions, and the page is for one: say how it is to show them", name, len(d.Spec.Versions))
		}
		kinds = append(kinds, d)
	}
	var b strings.Builder
	fmt.Fprintf(&b, header, folder)
	b.WriteString("# API reference\n\nThe rules are checked by the API server when an object is written. What a condition means is in [conditions](conditions.md).\n\n" +
		"| kind | | short name |\n|---|---|---|\n")
	for i := range kinds {
		k := &kinds[i]
		short := "-"
		if len(k.Spec.Names.ShortNames) > 0 {
			short = code(strings.Join(k.Spec.Names.ShortNames, ", "))
		}
		first, _, _ := strings.Cut(k.Spec.Versions[0].Schema.Root.Description, ". ")
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s |\n", k.Spec.Names.Kind, anchor(k.Spec.Names.Kind), cell(withoutName(strings.TrimSuffix(first, "."), k.Spec.Names.Kind)), short)
	}
	for i := range kinds {
		kinds[i].section(&b)
	}
	return b.String(), nil
}

func (d *definition) section(b *strings.Builder) {
	v := d.Spec.Versions[0]
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n`apiVersion: %s/%s`, %s-scoped, `kubectl get %s.%s`", d.Spec.Names.Kind, strings.ReplaceAll(v.Schema.Root.Description, "\n", " "),
		d.Spec.Group, v.Name, strings.ToLower(d.Spec.Scope), d.Spec.Names.Plural, d.Spec.Group)
	var columns, wide []string
	for _, c := range v.Columns {
		if c.Priority == 0 {
			columns = append(columns, strings.ToUpper(c.Name))
		} else {
			wide = append(wide, strings.ToUpper(c.Name))
		}
	}
	fmt.Fprintf(b, " shows %s", strings.Join(columns, ", "))
	if len(wide) > 0 {
		fmt.Fprintf(b, ", and with `-o wide` %s", strings.Join(wide, ", "))
	}
	b.WriteString(".\n")
	for _, part := range []string{"spec", "status"} {
		s := v.Schema.Root.Properties[part]
		if s == nil {
			continue
		}
		fmt.Fprintf(b, "\n| %s | type | default | meaning and rules |\n|---|---|---|---|\n", part)
		if rules := s.rules(); len(rules) > 0 {
			fmt.Fprintf(b, "| %s | object | | %s |\n", code(part), strings.Join(rules, "; "))
		}
		s.rows(b, part)
	}
}

// rows of a table, one for each field below s.
func (s *schema) rows(b *strings.Builder, path string) {
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		f := s.Properties[name]
		at := path + "." + name
		fallback := ""
		switch {
		case slices.Contains(s.Required, name):
			fallback = "required"
		case f.Default != nil:
			fallback = code(fmt.Sprint(f.Default))
		}
		inner := f
		if f.Items != nil {
			inner = f.Items
		}
		rules := f.rules()
		if f.Items != nil {
			for _, r := range f.Items.rules() {
				rules = append(rules, "each: "+r)
			}
		}
		text := cell(withoutName(f.Description, name))
		if len(rules) > 0 {
			text = strings.TrimSuffix(text, ".") + ". *" + strings.Join(rules, "; ") + "*"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", code(at), f.typeName(), fallback, text)
		if !inner.known() {
			if f.Items != nil {
				at += "[]"
			}
			inner.rows(b, at)
		}
	}
}

// withoutName takes the field's name from the beginning of its description, where Go has it: the row says it.
func withoutName(text, name string) string {
	for _, start := range []string{name + " is ", name + " are ", name + ": ", name + " ", ""} {
		if rest, ok := strings.CutPrefix(text, start); ok {
			return rest
		}
	}
	return text
}

// known is a type of Kubernetes that is not laid out.
func (s *schema) known() bool { return s.selector() || s.condition() }

func (s *schema) selector() bool {
	return len(s.Properties) == 2 && s.Properties["matchLabels"] != nil && s.Properties["matchExpressions"] != nil
}

func (s *schema) condition() bool { return s.Properties["lastTransitionTime"] != nil }

func (s *schema) typeName() string {
	switch {
	case s.Items != nil:
		return "list of " + s.Items.typeName()
	case s.selector():
		return "LabelSelector"
	case s.condition():
		return "Condition"
	case s.Type == "integer" && s.Format != "":
		return s.Format
	case s.Format == "date-time":
		return "time"
	}
	return s.Type
}

// rules are what the API server checks, each fit for a cell.
func (s *schema) rules() (out []string) {
	if len(s.Enum) > 0 {
		var words []string
		for _, x := range s.Enum {
			words = append(words, fmt.Sprint(x))
		}
		out = append(out, strings.Join(words, " or "))
	}
	for _, x := range []struct {
		least, most *int64
		unit        string
	}{{s.Minimum, s.Maximum, ""}, {s.MinLength, s.MaxLength, " characters"}, {s.MinItems, s.MaxItems, " entries"}} {
		switch {
		case x.least != nil && x.most != nil:
			out = append(out, fmt.Sprintf("%d to %d%s", *x.least, *x.most, x.unit))
		case x.least != nil:
			out = append(out, fmt.Sprintf("at least %d%s", *x.least, x.unit))
		case x.most != nil:
			out = append(out, fmt.Sprintf("at most %d%s", *x.most, x.unit))
		}
	}
	switch s.ListType {
	case "set":
		out = append(out, "no entry twice")
	case "map":
		out = append(out, "one entry for each "+strings.Join(s.ListKeys, " and "))
	}
	if s.Pattern != "" {
		out = append(out, "matches "+code(s.Pattern))
	}
	if s.known() {
		return out
	}
	for _, r := range s.Rules {
		if r.Message != "" {
			out = append(out, cell(r.Message))
		} else {
			out = append(out, cell(message(r.Expression)))
		}
	}
	return out
}

var part = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|self`)

// message that an expression comes to, with VALUE for the field's. The expressions join texts and self, and nothing else.
func message(expression string) string {
	var b strings.Builder
	for _, p := range part.FindAllString(expression, -1) {
		if text, err := strconv.Unquote(p); err == nil {
			b.WriteString(text)
		} else {
			b.WriteString("VALUE")
		}
	}
	return b.String()
}
