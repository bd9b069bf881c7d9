// Package config compiles Fairlead's objects to a validated model: selectors parsed, ranges merged, patterns checked.
//
// An object that cannot be compiled gives an error with the reason for its condition, and disables itself alone. The package
// never decides what follows from an object for an address.
package config

import (
	"fmt"
	"path"

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
	Selection
	Name string

	interfaces  []string
	preferences []preference
}

type preference struct {
	weight   int
	selector labels.Selector
}

// CompileL2Advertisement compiles an advertisement. An error is always an *Error.
func CompileL2Advertisement(adv *v1beta1.L2Advertisement) (*L2Advertisement, error) {
	spec := &adv.Spec
	selection, err := compileSelection(&spec.AdvertisementSelection)
	if err != nil {
		return nil, err
	}
	out := &L2Advertisement{Selection: selection, Name: adv.Name, interfaces: spec.Interfaces}
	for i := range spec.PreferredNodeSelectors {
		p := &spec.PreferredNodeSelectors[i]
		s, err := selector(&p.Preference, fmt.Sprintf("spec.preferredNodeSelectors[%d].preference", i), theAdvertisement)
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
