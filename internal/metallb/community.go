package metallb

import (
	"regexp"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/internal/config"
)

// alias of a community.
type alias struct {
	value v1beta1.CommunityValue
	// kept: a Community object defines it under its name. If not, its value stands in its place.
	kept bool
	from string
}

func (c *converter) community(s *source) {
	obj := c.newCommunity(s)
	for _, f := range s.spec.entries("communities") {
		c.addAlias(f, "name", f.text("name"), "value", f.text("value"), obj)
	}
	c.addCommunity(s, obj)
}

func (c *converter) newCommunity(s *source) *v1beta1.Community {
	return &v1beta1.Community{TypeMeta: typeMeta("Community"), ObjectMeta: s.meta(c.names.take("Community", s.name))}
}

func (c *converter) addCommunity(s *source, obj *v1beta1.Community) {
	if s.item.broken() {
		return
	}
	if len(obj.Spec.Communities) == 0 {
		s.item.Find(Ignored, "", "it has no alias that could be imported, so that there is no Community of its name")
		return
	}
	c.out.Communities = append(c.out.Communities, *obj)
	c.becomes(s, "Community", obj.Name)
}

var aliasName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

// addAlias to an object, if its value is a community and its name can be had.
func (c *converter) addAlias(f *fields, nameField, name, valueField, value string, obj *v1beta1.Community) {
	if older, ok := c.aliases[name]; ok {
		f.find(Changes, nameField, "%s defines alias %q too, which MetalLB refuses; that one counts: remove one of them", older.from, name)
		return
	}
	one := v1beta1.Community{Spec: v1beta1.CommunitySpec{Communities: []v1beta1.CommunityAlias{{Name: name, Value: v1beta1.CommunityValue(value)}}}}
	parsed, err := bgp.ParseCommunity(value)
	if refused := config.CompileBGP(&config.BGPObjects{Communities: []v1beta1.Community{one}}).Refused(config.KindCommunity, ""); refused != nil || err != nil {
		f.find(NoEquivalent, valueField, "%q is no community that an alias may have: asn:value with numbers of 0 to 65535, or large:a:b:c with a less than 4294967295. Alias %q is left out, and so is every advertisement that names it", value, name)
		return
	}
	a := alias{value: canonical(parsed), kept: true, from: f.item.Source}
	known, notWellKnown := bgp.ParseCommunity(name)
	switch {
	case notWellKnown == nil && !known.Equal(parsed):
		a.kept = false
		f.find(Changes, nameField, "%q is the name of a well-known community here, and means %s; the alias is left out, and advertisements that name it get %s", name, known.Strings()[0], a.value)
	case len(name) > 63 || !aliasName.MatchString(name):
		a.kept = false
		f.find(Changes, nameField, "%q is no name that an alias may have here (letters, digits and ._- between them, at most 63); the alias is left out, and advertisements that name it get %s", name, a.value)
	default:
		obj.Spec.Communities = append(obj.Spec.Communities, v1beta1.CommunityAlias{Name: name, Value: a.value})
	}
	c.aliases[name] = a
}

// canonical form of one community.
func canonical(c bgp.Communities) v1beta1.CommunityValue {
	return v1beta1.CommunityValue(bgp.Communities{Standard: c.Standard, Large: c.Large}.Strings()[0])
}
