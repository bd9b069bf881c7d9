package crds

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// facts are what clients rely on: for each place in a CRD ("bgppeers.fairlead.io v1beta1 object.spec.peerASN"), what holds there, by name.
type facts map[string]map[string]string

// factsOf one CRD.
func factsOf(t *testing.T, crd *apiextensionsv1.CustomResourceDefinition) facts {
	t.Helper()
	all := facts{crd.Name: {"kind": crd.Spec.Names.Kind, "scope": string(crd.Spec.Scope), "shortNames": text(t, crd.Spec.Names.ShortNames)}}
	for _, v := range crd.Spec.Versions {
		if !v.Served {
			continue
		}
		place := crd.Name + " " + v.Name
		all[place] = map[string]string{"storage": strconv.FormatBool(v.Storage)}
		if v.Subresources != nil && v.Subresources.Status != nil {
			all[place+" /status"] = map[string]string{}
		}
		all.walk(t, place+" object", v.Schema.OpenAPIV3Schema)
	}
	return all
}

func (f facts) walk(t *testing.T, place string, s *apiextensionsv1.JSONSchemaProps) {
	t.Helper()
	here := map[string]string{"type": s.Type}
	f[place] = here
	set := func(name string, is bool, value any) {
		if is {
			here[name] = text(t, value)
		}
	}
	set("format", s.Format != "", s.Format)
	set("pattern", s.Pattern != "", s.Pattern)
	set("enum", len(s.Enum) > 0, s.Enum)
	set("required", len(s.Required) > 0, s.Required)
	set("default", s.Default != nil, s.Default)
	set("nullable", s.Nullable, true)
	set("maximum", s.Maximum != nil, s.Maximum)
	set("minimum", s.Minimum != nil, s.Minimum)
	set("maxLength", s.MaxLength != nil, s.MaxLength)
	set("minLength", s.MinLength != nil, s.MinLength)
	set("maxItems", s.MaxItems != nil, s.MaxItems)
	set("minItems", s.MinItems != nil, s.MinItems)
	set("maxProperties", s.MaxProperties != nil, s.MaxProperties)
	set("minProperties", s.MinProperties != nil, s.MinProperties)
	set("listType", s.XListType != nil, s.XListType)
	set("listMapKeys", len(s.XListMapKeys) > 0, s.XListMapKeys)
	set("mapType", s.XMapType != nil, s.XMapType)
	set("intOrString", s.XIntOrString, true)
	set("preserveUnknown", s.XPreserveUnknownFields != nil, s.XPreserveUnknownFields)
	var rules []string
	for _, r := range s.XValidations {
		rules = append(rules, r.Rule)
	}
	set("rules", len(rules) > 0, rules)
	for name, p := range s.Properties {
		f.walk(t, place+"."+name, &p)
	}
	if s.Items != nil && s.Items.Schema != nil {
		f.walk(t, place+"[]", s.Items.Schema)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		f.walk(t, place+"{}", s.AdditionalProperties.Schema)
	}
}

func text(t *testing.T, x any) string {
	t.Helper()
	raw, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// broken is what in the new facts takes something from those who rely on the old ones.
func broken(before, now facts) []string {
	var out []string
	for _, place := range slices.Sorted(maps.Keys(before)) {
		old, is := before[place], now[place]
		if is == nil {
			out = append(out, place+" was removed")
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(merged(old, is))) {
			if was, has := old[name], is[name]; was != has {
				if what := change(name, was, has); what != "" {
					out = append(out, place+": "+what)
				}
			}
		}
	}
	return out
}

func merged(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// change says what is worse than before; empty: nothing is. What there is no rule for must stay as it was.
func change(name, was, is string) string {
	switch {
	case name == "enum" && was != "" && is == "", name == "pattern" && is == "", name == "shortNames" && len(without(was, is)) == 0:
		return ""
	case name == "enum" && was == "":
		return "only " + is + " are accepted now"
	case name == "enum":
		return list("these values are refused now: ", without(was, is))
	case name == "required":
		return list("required now: ", without(is, was))
	case name == "rules":
		return list("a rule more: ", without(is, was))
	case strings.HasPrefix(name, "max"):
		if is == "" || was != "" && number(is) >= number(was) {
			return ""
		}
	case strings.HasPrefix(name, "min"):
		if is == "" || was != "" && number(is) <= number(was) {
			return ""
		}
	}
	return fmt.Sprintf("%s was %s, is %s", name, orNone(was), orNone(is))
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func number(s string) float64 {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil {
		panic(err) // a bound is a number in every schema that the API server takes
	}
	return n
}

// without are the entries of one list, as JSON, that another lacks.
func without(a, b string) []string {
	var as, bs []json.RawMessage
	for s, l := range map[string]*[]json.RawMessage{a: &as, b: &bs} {
		if s != "" {
			if err := json.Unmarshal([]byte(s), l); err != nil {
				panic(err) // text wrote it
			}
		}
	}
	var out []string
	for _, x := range as {
		if !slices.ContainsFunc(bs, func(y json.RawMessage) bool { return string(x) == string(y) }) {
			out = append(out, string(x))
		}
	}
	return out
}

func list(what string, of []string) string {
	if len(of) == 0 {
		return ""
	}
	return what + strings.Join(of, ", ")
}
