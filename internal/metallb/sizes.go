package metallb

import (
	"errors"
	"fmt"
	"slices"

	"fairlead.io/fairlead/api/v1beta1"
)

// What follows are the rules of the CRDs that no compiler repeats: how many entries a list may have, and how long they may be.

func poolSizes(p *v1beta1.IPAddressPool) error {
	errs := []error{atMost("spec.addresses", len(p.Spec.Addresses), 512)}
	for i, a := range p.Spec.Addresses {
		errs = append(errs, atMost(fmt.Sprintf("characters in spec.addresses[%d]", i), len(a), 83))
	}
	if a := p.Spec.ServiceAllocation; a != nil {
		errs = append(errs, atMost("spec.serviceAllocation.namespaces", len(a.Namespaces), 512), lengths("spec.serviceAllocation.namespaces", a.Namespaces, 63),
			atMost("spec.serviceAllocation.namespaceSelectors", len(a.NamespaceSelectors), 64),
			atMost("spec.serviceAllocation.serviceSelectors", len(a.ServiceSelectors), 64))
	}
	return errors.Join(errs...)
}

func selectionSizes(s *v1beta1.AdvertisementSelection) error {
	return errors.Join(atMost("spec.ipAddressPools", len(s.IPAddressPools), 512), lengths("spec.ipAddressPools", s.IPAddressPools, 253),
		atMost("spec.ipAddressPoolSelectors", len(s.IPAddressPoolSelectors), 64), atMost("spec.serviceSelectors", len(s.ServiceSelectors), 64),
		atMost("spec.nodeSelectors", len(s.NodeSelectors), 64))
}

func l2Sizes(a *v1beta1.L2Advertisement) error {
	errs := []error{selectionSizes(&a.Spec.AdvertisementSelection), atMost("spec.interfaces", len(a.Spec.Interfaces), 64), lengths("spec.interfaces", a.Spec.Interfaces, 64),
		atMost("spec.preferredNodeSelectors", len(a.Spec.PreferredNodeSelectors), 64)}
	if slices.Contains(a.Spec.Interfaces, "") {
		errs = append(errs, errors.New("spec.interfaces has an empty name"))
	}
	return errors.Join(errs...)
}

func bgpSizes(a *v1beta1.BGPAdvertisement) error {
	return errors.Join(selectionSizes(&a.Spec.AdvertisementSelection), atMost("spec.peers", len(a.Spec.Peers), 256), lengths("spec.peers", a.Spec.Peers, 253),
		atMost("spec.communities", len(a.Spec.Communities), 64))
}

func peerSizes(p *v1beta1.BGPPeer) error {
	errs := []error{atMost("spec.nodeSelectors", len(p.Spec.NodeSelectors), 64), lengths("spec.bfdProfile", []string{p.Spec.BFDProfile}, 253)}
	if k := p.Spec.KeepaliveTime; k != nil && k.Seconds() > 21845 {
		errs = append(errs, fmt.Errorf("spec.keepaliveTime: %s is out of range: it must be 1s to 21845s", k.Duration))
	}
	return errors.Join(errs...)
}

func atMost(what string, n, most int) error {
	if n > most {
		return fmt.Errorf("%s: there are %d, and at most %d may be: split the object", what, n, most)
	}
	return nil
}

func lengths(field string, list []string, most int) error {
	for _, s := range list {
		if len(s) > most {
			return fmt.Errorf("%s: %.20q… has %d characters, and at most %d are allowed", field, s, len(s), most)
		}
	}
	return nil
}
