package metallb

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// fields reads the fields of an object, or of a part of it, and knows which it was asked for: the others are unknown. What cannot be read is
// reported as broken, and reads as absent.
type fields struct {
	item *Item
	path string
	m    Object
	// spelling of names in the source; nil: as they are.
	spelling func(string) string
	// config is the old ConfigMap, whose parser took numbers for texts.
	config bool

	asked map[string]bool
	parts []*fields
}

func newFields(item *Item, path string, m Object, like *fields) *fields {
	f := &fields{item: item, path: path, m: m, asked: map[string]bool{}}
	if like != nil {
		f.spelling, f.config = like.spelling, like.config
	}
	return f
}

func (f *fields) spell(name string) string {
	if f.spelling != nil {
		return f.spelling(name)
	}
	return name
}

// at is the path of a field.
func (f *fields) at(name string) string {
	if f.path == "" {
		return f.spell(name)
	}
	return f.path + "." + f.spell(name)
}

func (f *fields) find(v Verdict, name, format string, args ...any) {
	f.item.Find(v, f.at(name), format, args...)
}

// get a field; nil: it is absent.
func (f *fields) get(name string) any {
	key := f.spell(name)
	f.asked[key] = true
	return f.m[key]
}

func (f *fields) has(name string) bool { return f.m[f.spell(name)] != nil }

func (f *fields) mistyped(name, want string, v any) {
	f.find(Broken, name, "it must be %s and is %s: correct it", want, typeName(v))
}

func (f *fields) text(name string) string {
	v := f.get(name)
	if v == nil {
		return ""
	}
	s, ok := f.asText(name, v)
	if !ok {
		f.mistyped(name, "a text", v)
	}
	return s
}

func (f *fields) asText(name string, v any) (string, bool) {
	if s, ok := v.(string); ok || !f.config {
		return s, ok
	}
	var s string
	switch v := v.(type) {
	case bool:
		s = strconv.FormatBool(v)
	case int64:
		s = strconv.FormatInt(v, 10)
	case float64:
		s = strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return "", false
	}
	f.find(Changes, name, "it is %s in the YAML, and MetalLB took it as text just as it was written, leading zeros and all, which are lost here: put it in quotes", typeName(v))
	return s, true
}

func (f *fields) boolean(name string) *bool {
	v := f.get(name)
	if v == nil {
		return nil
	}
	b, ok := v.(bool)
	if !ok {
		f.mistyped(name, "true or false", v)
		return nil
	}
	return &b
}

func (f *fields) is(name string) bool {
	b := f.boolean(name)
	return b != nil && *b
}

// number in a range.
func (f *fields) number(name string, least, most int64) *int64 {
	v := f.get(name)
	var n int64
	switch v := v.(type) {
	case nil:
		return nil
	case int64:
		n = v
	case float64:
		if v != math.Trunc(v) || math.Abs(v) > 1<<53 {
			f.find(Broken, name, "it must be a whole number and is %v: correct it", v)
			return nil
		}
		n = int64(v)
	default:
		f.mistyped(name, "a number", v)
		return nil
	}
	if n < least || n > most {
		f.find(Broken, name, "%d is out of range: it must be %d to %d", n, least, most)
		return nil
	}
	return &n
}

func (f *fields) duration(name string) *time.Duration {
	v := f.get(name)
	if v == nil {
		return nil
	}
	s, ok := f.asText(name, v)
	if !ok {
		f.mistyped(name, "a duration such as 90s", v)
		return nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		f.find(Broken, name, "%q is no duration, and MetalLB refuses it too: write it with its unit, as in 90s", s)
		return nil
	}
	return &d
}

func (f *fields) list(name string) []any {
	v := f.get(name)
	if v == nil {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		f.mistyped(name, "a list", v)
	}
	return list
}

func (f *fields) texts(name string) []string {
	var out []string
	for i, v := range f.list(name) {
		s, ok := f.asText(fmt.Sprintf("%s[%d]", name, i), v)
		if !ok {
			f.mistyped(fmt.Sprintf("%s[%d]", name, i), "a text", v)
			return nil
		}
		out = append(out, s)
	}
	return out
}

// set is a list in which nothing may stand twice.
func (f *fields) set(name string) []string {
	var out []string
	for _, s := range f.texts(name) {
		if slices.Contains(out, s) {
			f.find(Changes, name, "%q stands there twice, which MetalLB refuses; it is taken once", s)
			continue
		}
		out = append(out, s)
	}
	return out
}

// part is a field that has fields.
func (f *fields) part(name string) *fields {
	v := f.get(name)
	if v == nil {
		return nil
	}
	m, ok := v.(Object)
	if !ok {
		f.mistyped(name, "a mapping", v)
		return nil
	}
	p := newFields(f.item, f.at(name), m, f)
	f.parts = append(f.parts, p)
	return p
}

// entries are the parts in a list.
func (f *fields) entries(name string) []*fields {
	var out []*fields
	for i, v := range f.list(name) {
		entry := fmt.Sprintf("%s[%d]", f.at(name), i)
		m, ok := v.(Object)
		if !ok {
			f.item.Find(Broken, entry, "it must be a mapping and is %s: correct it", typeName(v))
			continue
		}
		out = append(out, newFields(f.item, entry, m, f))
	}
	f.parts = append(f.parts, out...)
	return out
}

func (f *fields) left() []string {
	return slices.DeleteFunc(sortedKeys(f.m), func(k string) bool { return f.asked[k] })
}

// done gives a verdict on each field that has none yet: what was asked for maps, the rest is unknown.
func (f *fields) done() {
	for _, k := range f.left() {
		path := strings.TrimPrefix(f.path+"."+k, ".")
		what := "remove it, or correct its name"
		for known := range f.asked {
			if strings.EqualFold(known, k) {
				what = "its name is written " + known
			}
		}
		f.item.Find(Unknown, path, "MetalLB has no such field here and pays no heed to it: %s", what)
	}
	for _, p := range f.parts {
		p.done()
	}
	if f.item.broken() {
		return
	}
	for _, k := range sortedKeys(f.m) {
		if path := strings.TrimPrefix(f.path+"."+k, "."); f.asked[k] && !f.item.mentions(path) {
			f.item.Find(Maps, path, "")
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
