package metallb

import (
	"math"
	"slices"
	"strings"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/bgp"
)

// selection of pools, Services and nodes: the entries of a list are alternatives with both, and an empty list is all.
func selection(f *fields) v1beta1.AdvertisementSelection {
	return v1beta1.AdvertisementSelection{
		IPAddressPools:         f.set("ipAddressPools"),
		IPAddressPoolSelectors: f.selectors("ipAddressPoolSelectors"),
		ServiceSelectors:       f.selectors("serviceSelectors"),
		NodeSelectors:          f.selectors("nodeSelectors"),
	}
}

func (c *converter) l2Advertisement(s *source) {
	f := s.spec
	adv := v1beta1.L2Advertisement{TypeMeta: typeMeta(s.kind), ObjectMeta: s.meta(c.names.take(s.kind, s.name))}
	adv.Spec.AdvertisementSelection = selection(f)
	for _, name := range f.set("interfaces") {
		adv.Spec.Interfaces = append(adv.Spec.Interfaces, escapePattern(name))
		if strings.ContainsAny(name, patternCharacters) {
			f.find(Changes, "interfaces", "%q is the very name of an interface for MetalLB, and would be a pattern here: its special characters are escaped. If it is meant as a pattern, write it without the backslashes", name)
		}
	}
	if len(adv.Spec.Interfaces) > 0 {
		f.find(Changes, "interfaces", "MetalLB may choose a node that has none of these interfaces, and then nobody answers; with Fairlead such a node is no candidate")
	}
	for _, p := range f.entries("preferredNodeSelectors") {
		preferred := v1beta1.PreferredNodeSelector{}
		if w := p.number("weight", 1, 100); w != nil {
			preferred.Weight = int32(*w)
		} else if !p.has("weight") {
			p.find(Broken, "weight", "it is missing: it must be 1 to 100")
		}
		if e := p.part("preference"); e != nil {
			preferred.Preference = e.selector()
			p.parts = nil
		}
		adv.Spec.PreferredNodeSelectors = append(adv.Spec.PreferredNodeSelectors, preferred)
	}
	if s.item.broken() {
		return
	}
	c.out.L2Advertisements = append(c.out.L2Advertisements, adv)
	c.becomes(s, s.kind, adv.Name)
}

// patternCharacters are those that path.Match does not take for themselves.
const patternCharacters = `*?[\`

// escapePattern makes a pattern that matches nothing but the name.
func escapePattern(name string) string {
	var b strings.Builder
	for _, r := range name {
		if strings.ContainsRune(patternCharacters, r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

func (c *converter) bgpAdvertisement(s *source) {
	adv := v1beta1.BGPAdvertisement{TypeMeta: typeMeta(s.kind), ObjectMeta: s.meta(c.names.take(s.kind, s.name))}
	adv.Spec.AdvertisementSelection = selection(s.spec)
	adv.Spec.Peers = s.spec.set("peers")
	c.bgpAttributes(s.spec, &adv.Spec)
	if s.item.broken() {
		return
	}
	c.out.BGPAdvertisements = append(c.out.BGPAdvertisements, adv)
	c.becomes(s, s.kind, adv.Name)
}

// bgpAttributes are what advertisements of all versions say of their routes.
func (c *converter) bgpAttributes(f *fields, to *v1beta1.BGPAdvertisementSpec) {
	for _, x := range []struct {
		name string
		most int64
		to   **int32
	}{{"aggregationLength", 32, &to.AggregationLength}, {"aggregationLengthV6", 128, &to.AggregationLengthV6}} {
		if n := f.number(x.name, 1, x.most); n != nil {
			length := int32(*n)
			*x.to = &length
		}
	}
	if n := f.number("localPref", 0, math.MaxUint32); n != nil {
		if *n == 0 {
			f.find(Changes, "localPref", "0 is as if it were not set with MetalLB; it is left out, and the local preference is what internal peers take for the usual one: to ask for 0, set localPref: 0")
		} else {
			to.LocalPref = n
		}
	}
	for _, name := range f.set("communities") {
		if value := c.communityOf(f, name); !slices.Contains(to.Communities, value) {
			to.Communities = append(to.Communities, value)
		}
	}
}

// communityOf an advertisement: MetalLB asks its aliases first, and knows no names but those.
func (c *converter) communityOf(f *fields, name string) v1beta1.CommunityValue {
	if a, ok := c.aliases[name]; ok {
		if a.kept {
			return v1beta1.CommunityValue(name)
		}
		f.find(Changes, "communities", "alias %q cannot be had here: its value %s stands in its place", name, a.value)
		return a.value
	}
	value, err := bgp.ParseCommunity(name)
	if err != nil {
		return v1beta1.CommunityValue(name) // and the advertisement will be refused, with the reason
	}
	if !strings.Contains(name, ":") {
		f.find(Changes, "communities", "%s is no alias, so that MetalLB refuses it; Fairlead knows the name, and sends %s", name, value.Strings()[0])
		return v1beta1.CommunityValue(name)
	}
	return canonical(value)
}
