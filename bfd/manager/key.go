package manager

import (
	"errors"
	"fmt"
	"net/netip"

	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bfd/udp"
)

// Key names a session: no two sessions have the same. To give a session another one, remove it before the new one is added.
type Key struct {
	// Peer is the neighbour's address.
	Peer netip.Addr
	// Local is the address that the neighbour knows this node by. Unset, packets are sent from what the kernel chooses and
	// taken at any address.
	Local netip.Addr
	// Interface that leads to the neighbour; empty: what the routes say. A link-local neighbour needs it.
	Interface string
	// Port, at both ends: udp.PortSingleHop, udp.PortMultihop, or one of the user's own.
	Port uint16
}

// String names the neighbour.
func (k Key) String() string {
	s := netip.AddrPortFrom(k.Peer, k.Port).String()
	if k.Interface != "" {
		s += " on " + k.Interface
	}
	if k.Local.IsValid() {
		s += " from " + k.Local.String()
	}
	return s
}

// overlaps reports whether the neighbour may take what two sessions send for the packets of one.
func (k Key) overlaps(o Key) bool {
	return k.Port == o.Port && k.Peer == o.Peer &&
		(k.Local == o.Local || !k.Local.IsValid() || !o.Local.IsValid()) &&
		(k.Interface == o.Interface || k.Interface == "" || o.Interface == "")
}

// normal is the key in the form in which keys are compared: addresses unmapped, and the interface instead of zones.
func (k Key) normal() (Key, error) {
	for _, a := range []*netip.Addr{&k.Peer, &k.Local} {
		if zone := a.Zone(); zone != "" {
			if k.Interface == "" {
				k.Interface = zone
			}
			if k.Interface != zone {
				return k, fmt.Errorf("BFD session %s: the address %s is not on interface %s", k, a, k.Interface)
			}
		}
		*a = a.WithZone("").Unmap()
	}
	var err error
	switch {
	case !k.Peer.IsValid() || k.Peer.IsUnspecified() || k.Peer.IsMulticast():
		err = errors.New("the peer must be the address of a host")
	case k.Local.IsValid() && (k.Local.IsUnspecified() || k.Local.IsMulticast()):
		err = errors.New("the local address must be one of this node's, or unset")
	case k.Local.IsValid() && k.Local.Is4() != k.Peer.Is4():
		err = errors.New("the local address must be of the peer's family")
	case k.Peer.IsLinkLocalUnicast() && k.Peer.Is6() && k.Interface == "":
		err = errors.New("a link-local peer needs an interface")
	case k.Port == 0:
		err = fmt.Errorf("the port must be %d (one hop), %d (several hops) or one of your own", udp.PortSingleHop, udp.PortMultihop)
	}
	if err != nil {
		return k, fmt.Errorf("BFD session %s: %w", k, err)
	}
	return k, nil
}

// Settings of a session, all of which can be changed without losing it.
type Settings struct {
	bfd.Config

	// MinTTL is the least TTL or hop limit that a packet may come with. 0 stands for 255, which only a neighbour on the same
	// link can reach (RFC 5881, 5), but on udp.PortMultihop for 254. On udp.PortSingleHop nothing else than 255 is allowed.
	MinTTL uint8
	// AdminDown holds the session in the state AdminDown.
	AdminDown bool
}

// normal checks the settings and fills in the defaults.
func (s Settings) normal(k Key) (Settings, error) {
	if s.MinTTL == 0 {
		s.MinTTL = 255
		if k.Port == udp.PortMultihop {
			s.MinTTL = 254
		}
	}
	err := s.Validate()
	if err == nil && k.Port == udp.PortSingleHop && s.MinTTL != 255 {
		err = fmt.Errorf("the least TTL is %d: with one hop it must be 255", s.MinTTL)
	}
	if err != nil {
		return s, fmt.Errorf("BFD session %s: %w", k, err)
	}
	return s, nil
}
