// Package config compiles Fairlead's objects to a validated model: selectors parsed, ranges merged, patterns checked.
//
// An object that cannot be compiled gives an error with the reason for its condition, and disables itself alone. The package
// never decides what follows from an object for an address.
package config

import (
	"fmt"
	"path"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"fairlead.io/fairlead/api/v1beta1"
)

// Error says why an object is not in use. Its text is the message of the object's condition, Reason its reason.
type Error struct {
	Reason string
	err    error
}

func (e *Error) Error() string { return e.err.Error() }
func (e *Error) Unwrap() error { return e.err }

// L2Advertisement is a compiled L2Advertisement.
type L2Advertisement struct {
	Name string

	pools         map[string]bool
	poolSelectors []labels.Selector
	services      []labels.Selector
	nodes         []labels.Selector
	interfaces    []string
	preferences   []preference
}

type preference struct {
	weight   int
	selector labels.Selector
}

// CompileL2Advertisement compiles an advertisement. An error is always an *Error.
func CompileL2Advertisement(adv *v1beta1.L2Advertisement) (*L2Advertisement, error) {
	spec := &adv.Spec
	out := &L2Advertisement{Name: adv.Name, pools: make(map[string]bool, len(spec.IPAddressPools)), interfaces: spec.Interfaces}
	for _, name := range spec.IPAddressPools {
		out.pools[name] = true
	}
	for _, part := range []struct {
		field string
		from  []metav1.LabelSelector
		to    *[]labels.Selector
	}{
		{"ipAddressPoolSelectors", spec.IPAddressPoolSelectors, &out.poolSelectors},
		{"serviceSelectors", spec.ServiceSelectors, &out.services},
		{"nodeSelectors", spec.NodeSelectors, &out.nodes},
	} {
		for i := range part.from {
			s, err := selector(&part.from[i], fmt.Sprintf("spec.%s[%d]", part.field, i))
			if err != nil {
				return nil, err
			}
			*part.to = append(*part.to, s)
		}
	}
	for i := range spec.PreferredNodeSelectors {
		p := &spec.PreferredNodeSelectors[i]
		s, err := selector(&p.Preference, fmt.Sprintf("spec.preferredNodeSelectors[%d].preference", i))
		if err != nil {
			return nil, err
		}
		out.preferences = append(out.preferences, preference{int(p.Weight), s})
	}
	for i, pattern := range spec.Interfaces {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, &Error{v1beta1.ReasonInvalidInterfacePattern, fmt.Errorf(
				"spec.interfaces[%d]: %q is no interface name or pattern (*, ?, [a-z]): close its brackets; the advertisement is not used until then", i, pattern)}
		}
	}
	return out, nil
}

func selector(s *metav1.LabelSelector, field string) (labels.Selector, error) {
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return nil, &Error{v1beta1.ReasonInvalidSelector, fmt.Errorf("%s: %w; correct it, the advertisement is not used until then", field, err)}
	}
	return out, nil
}

// SelectsPool reports whether addresses of a pool are advertised. The name is empty for an address of no known pool, which
// only an advertisement for all pools selects.
func (a *L2Advertisement) SelectsPool(name string, set labels.Set) bool {
	if len(a.pools) == 0 && len(a.poolSelectors) == 0 {
		return true
	}
	return name != "" && (a.pools[name] || (set != nil && len(a.poolSelectors) > 0 && selects(a.poolSelectors, set)))
}

// SelectsService reports whether a Service with these labels is advertised.
func (a *L2Advertisement) SelectsService(set labels.Set) bool { return selects(a.services, set) }

// SelectsNode reports whether a node with these labels may announce.
func (a *L2Advertisement) SelectsNode(set labels.Set) bool { return selects(a.nodes, set) }

// Weight is the sum of the weights of the preferences that select a node with these labels.
func (a *L2Advertisement) Weight(set labels.Set) int {
	sum := 0
	for _, p := range a.preferences {
		if p.selector.Matches(set) {
			sum += p.weight
		}
	}
	return sum
}

// MatchInterfaces gives those of the names that the advertisement is for; all is true when it is for every interface.
func (a *L2Advertisement) MatchInterfaces(names []string) (matched []string, all bool) {
	if len(a.interfaces) == 0 {
		return names, true
	}
	for _, name := range names {
		for _, pattern := range a.interfaces {
			if ok, err := path.Match(pattern, name); err == nil && ok { // an error cannot be: patterns were checked
				matched = append(matched, name)
				break
			}
		}
	}
	return matched, false
}

// selects reports whether one of the selectors matches; none: everything does.
func selects(selectors []labels.Selector, set labels.Set) bool {
	for _, s := range selectors {
		if s.Matches(set) {
			return true
		}
	}
	return len(selectors) == 0
}
