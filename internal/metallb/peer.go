package metallb

import (
	"math"
	"net/netip"

	"fairlead.io/fairlead/api/v1beta1"
)

// bgpPeer converts a peer of either version; entries of the old ConfigMap have version "".
func (c *converter) bgpPeer(s *source) {
	f := s.spec
	peer := v1beta1.BGPPeer{TypeMeta: typeMeta("BGPPeer"), ObjectMeta: s.meta(c.names.take("BGPPeer", s.name))}
	spec := &peer.Spec
	if n := f.number("myASN", 0, math.MaxUint32); n != nil {
		spec.MyASN = *n
	}
	if n := f.number("peerASN", 0, math.MaxUint32); n != nil && *n != 0 {
		spec.PeerASN = n
	}
	spec.PeerAddress = f.text("peerAddress")
	spec.SourceAddress = f.text("sourceAddress")
	if n := f.number("peerPort", 0, math.MaxUint16); n != nil {
		spec.PeerPort = int32(*n)
	}
	spec.RouterID = f.text("routerID")
	spec.NodeSelectors = f.selectors("nodeSelectors")
	spec.BFDProfile = f.text("bfdProfile")
	if name := c.profiles[spec.BFDProfile]; name != "" {
		spec.BFDProfile = name
	}
	times(f, spec)
	if s.version == "v1beta2" {
		c.newerFields(s, spec)
	}
	multiHop(f, spec, c.out.Programs.routesByFRR())
	c.password(s, &peer)
	if spec.Interface != "" && spec.SourceAddress != "" {
		spec.SourceAddress = ""
		f.find(NoEquivalent, "sourceAddress", "a session over an interface uses the link-local address: it is left out")
	}
	if s.item.broken() || f.has("vrf") && f.text("vrf") != "" {
		return
	}
	c.out.BGPPeers = append(c.out.BGPPeers, peer)
	c.becomes(s, "BGPPeer", peer.Name)
}

// newerFields are those that v1beta1 had not.
func (c *converter) newerFields(s *source, spec *v1beta1.BGPPeerSpec) {
	f := s.spec
	if d := v1beta1.DynamicASN(f.text("dynamicASN")); d != "" {
		spec.DynamicASN = &d
	}
	if n := f.number("localASN", 0, math.MaxUint32); n != nil && *n != 0 {
		f.find(Changes, "localASN", "it is imported as myASN %d in place of %d: to this peer we are AS %d and no other, which is what the peer saw with MetalLB too", *n, spec.MyASN, *n)
		spec.MyASN = *n
	}
	spec.Interface = f.text("interface")
	spec.ConnectTime = wholeSeconds(f, "connectTime")
	if f.text("vrf") != "" {
		f.find(NoEquivalent, "vrf", "Fairlead's sessions run in the node's default VRF, where this peer may be somebody else: the whole peer is left out. Make it reachable from the default VRF, and write its BGPPeer by hand")
	}
	addressFamilies(f, spec)
	if f.is("enableGracefulRestart") {
		if spec.BFDProfile != "" {
			f.find(Changes, "enableGracefulRestart", "it contradicts bfdProfile: BFD drops a session that graceful restart is to keep. bfdProfile is kept, so that a lost node is noticed fast, and graceful restart is left out; to have it the other way round remove bfdProfile and set gracefulRestart.enabled")
		} else {
			spec.GracefulRestart = &v1beta1.GracefulRestart{Enabled: true}
		}
	}
}

// addressFamilies of the session. The one field came with MetalLB's releases that have but the family of the session unless it is set, the
// other is of those before them, that had both unless it was set.
func addressFamilies(f *fields, spec *v1beta1.BGPPeerSpec) {
	dual, disabled := f.boolean("dualStackAddressFamily"), f.is("disableMP")
	own := v1beta1.AddressFamilyIPv4
	switch addr, err := netip.ParseAddr(spec.PeerAddress); {
	case err != nil: // unnumbered: both
		return
	case addr.Is6():
		own = v1beta1.AddressFamilyIPv6
	}
	if dual != nil && *dual {
		if disabled {
			f.find(Changes, "disableMP", "dualStackAddressFamily says the contrary and takes its place: routes of both families are advertised")
		}
		return
	}
	if disabled || dual != nil {
		spec.AddressFamilies = []v1beta1.AddressFamily{own}
	}
}

// multiHop is for external peers. MetalLB's own BGP never asked for it.
func multiHop(f *fields, spec *v1beta1.BGPPeerSpec, frr bool) {
	internal := spec.PeerASN != nil && *spec.PeerASN == spec.MyASN || spec.DynamicASN != nil && *spec.DynamicASN == v1beta1.DynamicASNInternal
	switch multi := f.is("ebgpMultiHop"); {
	case multi && (internal || spec.Interface != ""):
		f.find(Changes, "ebgpMultiHop", "it is for external peers with an address, and MetalLB refuses it here: it is left out")
	case multi:
		spec.EBGPMultiHop = true
	case !internal && spec.Interface == "" && !frr:
		f.find(Changes, "ebgpMultiHop", "it is not set, and MetalLB without FRR reaches an external peer over several hops all the same. Fairlead does not: if the peer is not on a network of the nodes, set ebgpMultiHop: true")
	}
}
