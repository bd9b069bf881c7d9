package config

import (
	"fmt"
	"slices"
	"strings"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/bgp"
)

// reservedAdministrator of large communities, the last AS number, is nobody's (RFC 7300; RFC 8092, 5 has operators leave it alone).
const reservedAdministrator = 1<<32 - 1

// Aliases are the communities that Community objects give a name.
type Aliases map[string]bgp.Communities

// compileCommunities gives the aliases of all objects, the oldest of which wins where two define one. Objects that are refused
// define none.
func compileCommunities(list []*v1beta1.Community, out *BGP) Aliases {
	aliases, from := Aliases{}, map[string]string{}
	for _, obj := range list {
		own, err := compileCommunity(obj)
		if err != nil {
			out.refuse(KindCommunity, obj.Name, err)
			continue
		}
		for _, x := range obj.Spec.Communities { // in their order
			c := own[x.Name]
			known, wellKnown := bgp.ParseCommunity(x.Name)
			switch older := from[x.Name]; {
			case wellKnown == nil && !known.Equal(c):
				out.note(KindCommunity, obj.Name, v1beta1.ReasonAliasConflict, fmt.Sprintf(
					"alias %s (%s) has no effect, because the name is well-known and means %s; choose another name", x.Name, x.Value, known.Strings()[0]))
			case wellKnown == nil:
			case older != "":
				out.note(KindCommunity, obj.Name, v1beta1.ReasonAliasConflict, fmt.Sprintf(
					"alias %s (%s) has no effect, because older Community %s defines it as %s; choose another name, or remove one of the two", x.Name, x.Value, older, aliases[x.Name].Strings()[0]))
			default:
				aliases[x.Name], from[x.Name] = c, obj.Name
			}
		}
	}
	return aliases
}

func compileCommunity(obj *v1beta1.Community) (Aliases, *Error) {
	out := Aliases{}
	for i, x := range obj.Spec.Communities {
		c, err := parseCommunity(string(x.Value))
		if err == nil && !strings.Contains(string(x.Value), ":") {
			err = fmt.Errorf("%q is neither asn:value nor large:a:b:c", x.Value)
		}
		if err != nil {
			return nil, &Error{v1beta1.ReasonInvalidCommunity, fmt.Errorf("spec.communities[%d].value (%s): %w; none of the object's aliases is used until then", i, x.Name, err)}
		}
		out[x.Name] = c
	}
	return out, nil
}

func parseCommunity(text string) (bgp.Communities, error) {
	c, err := bgp.ParseCommunity(text)
	if err != nil {
		return c, err //nolint:wrapcheck // it quotes the text
	}
	if slices.ContainsFunc(c.Large, func(l bgp.LargeCommunity) bool { return l.Global == reservedAdministrator }) {
		return c, fmt.Errorf("%q has the reserved AS number %d (RFC 7300): choose another one", text, reservedAdministrator)
	}
	return c, nil
}

// resolve a community as an advertisement names it. A well-known name is never an alias.
func (a Aliases) resolve(text string) (bgp.Communities, *Error) {
	c, err := parseCommunity(text)
	if err == nil {
		return c, nil
	}
	if strings.Contains(text, ":") {
		return c, &Error{v1beta1.ReasonInvalidCommunity, err}
	}
	if c, ok := a[text]; ok {
		return c, nil
	}
	return c, &Error{v1beta1.ReasonUnknownCommunity, fmt.Errorf("%q is neither a well-known name (%s) nor an alias of an accepted Community object: create one that defines it, or correct the name",
		text, strings.Join(bgp.WellKnown(), ", "))}
}
