package engine

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"

	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/wire"
)

const (
	// defaultLocalPref is what routers hold a route to have that has none.
	defaultLocalPref = 100
	// maxSegment is how many AS numbers a segment of an AS_PATH takes.
	maxSegment = 255
)

// terms are what all routes get on a session beside their attributes. They are comparable: a change is a difference.
type terms struct {
	localASN  uint32
	internal  bool
	fourOctet bool // AS numbers in an AS_PATH have four bytes (RFC 6793)
	// nextHop4 and nextHop6 of the families; invalid: no route of the family is advertised.
	nextHop4, nextHop6 netip.Addr
	// drain marks the routes for graceful shutdown (RFC 8326).
	drain bool
}

func (t *terms) nextHop(f wire.Family) netip.Addr {
	if f == wire.IPv6 {
		return t.nextHop6
	}
	return t.nextHop4
}

// attributeSet is what routes of a family have that can share an UPDATE, as it is sent.
type attributeSet struct {
	carrier
	encoded []byte         // the path attributes without MP_REACH_NLRI
	shown   bgp.Advertised // without a prefix
}

// equal reports whether routes with the one set look to a router like routes with the other.
func (s *attributeSet) equal(o *attributeSet) bool {
	return s == o || s != nil && o != nil && s.carrier == o.carrier && s.shown.NextHop == o.shown.NextHop && bytes.Equal(s.encoded, o.encoded)
}

// key is the same for equal sets, and orders them: by family, next hop and attributes.
func (s *attributeSet) key() string {
	return string(slices.Concat([]byte{byte(s.family)}, s.shown.NextHop.AsSlice(), s.encoded))
}

// encode gives what routes of a family with these attributes have on a session that has a next hop for them.
func (t *terms) encode(attrs *bgp.Attributes, f wire.Family) (*attributeSet, error) {
	hop := t.nextHop(f)
	s := &attributeSet{
		carrier: carrier{family: f, mp: f == wire.IPv6 || hop.Is6()},
		shown:   bgp.Advertised{NextHop: hop, Attributes: bgp.Attributes{MED: attrs.MED, Communities: attrs.Communities}},
	}
	if !t.internal { // within our AS it is empty (RFC 4271, 5.1.2): who finds his own AS in it takes the route for a loop
		s.shown.ASPath = slices.Repeat([]uint32{t.localASN}, 1+int(attrs.Prepend))
	}
	if t.drain {
		s.shown.Attributes.Communities = attrs.Communities.Union(bgp.Communities{Standard: []bgp.Community{bgp.GracefulShutdown}})
	}
	if t.internal {
		localPref := uint32(defaultLocalPref)
		switch {
		case t.drain:
			localPref = 0
		case attrs.LocalPref != nil:
			localPref = *attrs.LocalPref
		}
		s.shown.Attributes.LocalPref = &localPref
	}
	list, err := t.list(s)
	if err != nil {
		return nil, err
	}
	for _, a := range list {
		b, err := a.Serialize()
		if err != nil {
			return nil, fmt.Errorf("encode the path attribute %s: %w", a.GetType(), err)
		}
		s.encoded = append(s.encoded, b...)
	}
	if s.room() < 1+len(netip.Addr{}.As16()) {
		return nil, fmt.Errorf("the attributes (%d bytes) leave no room for a prefix in a message of %d bytes", len(s.encoded), wire.MaxLen)
	}
	return s, nil
}

// list are the path attributes in the order of their types (RFC 4271, 5), without MP_REACH_NLRI.
func (t *terms) list(s *attributeSet) ([]packet.PathAttributeInterface, error) {
	attrs := &s.shown.Attributes
	list := []packet.PathAttributeInterface{packet.NewPathAttributeOrigin(packet.BGP_ORIGIN_ATTR_TYPE_IGP), t.path(s.shown.ASPath)}
	if !s.mp {
		hop, err := packet.NewPathAttributeNextHop(s.shown.NextHop)
		if err != nil {
			return nil, fmt.Errorf("next hop %s: %w", s.shown.NextHop, err)
		}
		list = append(list, hop)
	}
	if attrs.MED != nil {
		list = append(list, packet.NewPathAttributeMultiExitDisc(*attrs.MED))
	}
	if attrs.LocalPref != nil {
		list = append(list, packet.NewPathAttributeLocalPref(*attrs.LocalPref))
	}
	if standard := attrs.Communities.Standard; len(standard) > 0 {
		values := make([]uint32, len(standard))
		for i, c := range standard {
			values[i] = uint32(c)
		}
		list = append(list, packet.NewPathAttributeCommunities(values))
	}
	if !t.fourOctet && slices.ContainsFunc(s.shown.ASPath, func(asn uint32) bool { return asn > maxTwoOctet }) {
		list = append(list, packet.NewPathAttributeAs4Path(segments(s.shown.ASPath)))
	}
	if large := attrs.Communities.Large; len(large) > 0 {
		values := make([]*packet.LargeCommunity, len(large))
		for i, c := range large {
			values[i] = &packet.LargeCommunity{ASN: c.Global, LocalData1: c.Local1, LocalData2: c.Local2}
		}
		list = append(list, packet.NewPathAttributeLargeCommunities(values))
	}
	return list, nil
}

// maxTwoOctet is the greatest AS number that has two bytes.
const maxTwoOctet = 0xffff

func segments(path []uint32) (out []*packet.As4PathParam) {
	for part := range slices.Chunk(path, maxSegment) {
		out = append(out, packet.NewAs4PathParam(packet.BGP_ASPATH_ATTR_TYPE_SEQ, part))
	}
	return out
}

// path is the AS_PATH. To who has AS numbers of two bytes, AS_TRANS stands for those that have more (RFC 6793, 4.2.2).
func (t *terms) path(asns []uint32) *packet.PathAttributeAsPath {
	var params []packet.AsPathParamInterface
	for _, segment := range segments(asns) {
		if t.fourOctet {
			params = append(params, segment)
			continue
		}
		short := make([]uint16, len(segment.AS))
		for i, asn := range segment.AS {
			if short[i] = uint16(asn); asn > maxTwoOctet {
				short[i] = packet.AS_TRANS
			}
		}
		params = append(params, packet.NewAsPathParam(packet.BGP_ASPATH_ATTR_TYPE_SEQ, short))
	}
	return packet.NewPathAttributeAsPath(params)
}
