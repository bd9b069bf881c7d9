package config

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"fairlead.io/fairlead/api/v1beta1"
)

// Selection says which addresses, Services and nodes an advertisement is for.
type Selection struct {
	pools         map[string]bool
	poolSelectors []labels.Selector
	services      []labels.Selector
	nodes         []labels.Selector
}

func compileSelection(spec *v1beta1.AdvertisementSelection) (Selection, error) {
	out := Selection{pools: make(map[string]bool, len(spec.IPAddressPools))}
	for _, name := range spec.IPAddressPools {
		out.pools[name] = true
	}
	var err error
	if out.poolSelectors, err = selectors(spec.IPAddressPoolSelectors, "ipAddressPoolSelectors", theAdvertisement); err != nil {
		return out, err
	}
	if out.services, err = selectors(spec.ServiceSelectors, "serviceSelectors", theAdvertisement); err != nil {
		return out, err
	}
	out.nodes, err = selectors(spec.NodeSelectors, "nodeSelectors", theAdvertisement)
	return out, err
}

const (
	theAdvertisement = "the advertisement"
	thePeer          = "the peer"
)

// selectors compiles the selectors of a field; what is not used while one of them is wrong.
func selectors(list []metav1.LabelSelector, field, what string) ([]labels.Selector, error) {
	out := make([]labels.Selector, 0, len(list))
	for i := range list {
		s, err := selector(&list[i], fmt.Sprintf("spec.%s[%d]", field, i), what)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func selector(s *metav1.LabelSelector, field, what string) (labels.Selector, error) {
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return nil, &Error{v1beta1.ReasonInvalidSelector, fmt.Errorf("%s: %w; correct it, %s is not used until then", field, err, what)}
	}
	return out, nil
}

// SelectsPool reports whether addresses of a pool are advertised. The name is empty for an address of no known pool, which
// only an advertisement for all pools selects.
func (s *Selection) SelectsPool(name string, set labels.Set) bool {
	if len(s.pools) == 0 && len(s.poolSelectors) == 0 {
		return true
	}
	return name != "" && (s.pools[name] || (set != nil && len(s.poolSelectors) > 0 && selects(s.poolSelectors, set)))
}

// SelectsService reports whether a Service with these labels is advertised.
func (s *Selection) SelectsService(set labels.Set) bool { return selects(s.services, set) }

// SelectsNode reports whether a node with these labels may announce.
func (s *Selection) SelectsNode(set labels.Set) bool { return selects(s.nodes, set) }

// selects reports whether one of the selectors matches; none: everything does.
func selects(selectors []labels.Selector, set labels.Set) bool {
	for _, s := range selectors {
		if s.Matches(set) {
			return true
		}
	}
	return len(selectors) == 0
}
