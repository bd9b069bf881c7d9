package engine

import (
	"fmt"
	"iter"
	"net/netip"

	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"fairlead.io/fairlead/bgp/wire"
)

// carrier is how an UPDATE carries prefixes: IPv4 ones with an IPv4 next hop in its own fields, all others in MP_REACH_NLRI and
// MP_UNREACH_NLRI (RFC 4760). IPv4 routes with an IPv6 next hop (RFC 8950) are withdrawn the way they came, as FRR does it.
type carrier struct {
	family wire.Family
	mp     bool
}

// group are prefixes that messages say the same of, in ascending order. A message has prefixes in one place only, and
// MP_REACH_NLRI or MP_UNREACH_NLRI before all other attributes (RFC 7606, 5.1).
type group struct {
	carrier
	set      *attributeSet // nil: the prefixes are withdrawn
	prefixes []netip.Prefix
}

const (
	// mpUnreach is the length of an MP_UNREACH_NLRI without prefixes: flags, type, two bytes of length; AFI and SAFI.
	mpUnreach = 4 + 3
	// mpReach is the length of an MP_REACH_NLRI without next hop and prefixes: there is a reserved byte and the next hop's length too.
	mpReach = mpUnreach + 2
)

// room is how many bytes of prefixes a message with the set takes.
func (s *attributeSet) room() int {
	room := wire.MaxLen - wire.MinUpdate - len(s.encoded)
	if s.mp {
		room -= mpReach + s.shown.NextHop.BitLen()/8
	}
	return room
}

func (g *group) room() int {
	switch {
	case g.set != nil:
		return g.set.room()
	case g.mp:
		return wire.MaxLen - wire.MinUpdate - mpUnreach
	}
	return wire.MaxLen - wire.MinUpdate
}

// messages yields the prefixes of each message: as many as it takes.
func (g *group) messages() iter.Seq[[]netip.Prefix] {
	return func(yield func([]netip.Prefix) bool) {
		room, from, used := g.room(), 0, 0
		for i, p := range g.prefixes {
			length := 1 + (p.Bits()+7)/8
			if used+length > room {
				if !yield(g.prefixes[from:i]) {
					return
				}
				from, used = i, 0
			}
			used += length
		}
		if from < len(g.prefixes) {
			yield(g.prefixes[from:])
		}
	}
}

// appendTo appends a message with these prefixes to b; with none withdrawn it is the End-of-RIB of the family (RFC 4724, 2).
func (g *group) appendTo(b []byte, prefixes []netip.Prefix) ([]byte, error) {
	nlri := make([]packet.PathNLRI, len(prefixes))
	for i, p := range prefixes {
		n, err := packet.NewIPAddrPrefix(p)
		if err != nil {
			return b, fmt.Errorf("encode prefix %s: %w", p, err)
		}
		nlri[i].NLRI = n
	}
	if !g.mp {
		fields, err := concat(nlri)
		if err != nil {
			return b, err
		}
		if g.set == nil {
			return wire.AppendUpdate(b, fields, nil, nil), nil
		}
		return wire.AppendUpdate(b, nil, g.set.encoded, fields), nil
	}
	attrs, err := g.multiprotocol(nlri)
	if err != nil {
		return b, fmt.Errorf("encode %d prefixes of %s: %w", len(prefixes), g.family, err)
	}
	if g.set != nil {
		attrs = append(attrs, g.set.encoded...)
	}
	return wire.AppendUpdate(b, nil, attrs, nil), nil
}

// concat encodes prefixes for the fields of an UPDATE.
func concat(list []packet.PathNLRI) ([]byte, error) {
	var out []byte
	for _, n := range list {
		b, err := n.NLRI.Serialize()
		if err != nil {
			return nil, fmt.Errorf("encode prefix %s: %w", n.NLRI, err)
		}
		out = append(out, b...)
	}
	return out, nil
}

func (g *group) multiprotocol(nlri []packet.PathNLRI) ([]byte, error) {
	family := packet.NewFamily(uint16(g.family), packet.SAFI_UNICAST)
	var a packet.PathAttributeInterface
	var err error
	if g.set == nil {
		a, err = packet.NewPathAttributeMpUnreachNLRI(family, nlri)
	} else {
		// A link-local next hop stands alone, where there is no global one: RFC 2545, 3 has no word for that, and FRR and BIRD take it.
		a, err = packet.NewPathAttributeMpReachNLRI(family, nlri, g.set.shown.NextHop)
	}
	if err != nil {
		return nil, err
	}
	return a.Serialize()
}
