// Package ndp answers neighbour solicitations for addresses that are not the host's own, and announces them (RFC 4861).
//
// It never decides for which: it asks its Handler, and tells it when somebody else claims one of them.
//
// Solicitations are received as frames. A raw ICMPv6 socket would not do: the kernel hands it only what is addressed to the
// host, and neighbour unreachability detection (7.3) solicits by unicast to an address that the host does not have.
// Advertisements are sent as frames as well, with the address itself as source (as the kernel does for its own), so the
// interface needs no address at all, and it does not matter if its link-local address is still tentative.
package ndp

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/bpf"

	"fairlead.io/fairlead/l2/frames"
	"fairlead.io/fairlead/l2/netif"
)

const (
	etherType = 0x86dd

	offPayloadLen = 14 + 4
	offNextHeader = 14 + 6
	offHopLimit   = 14 + 7
	offSource     = 14 + 8
	offDest       = 14 + 24
	offICMP       = 14 + 40
	offTarget     = offICMP + 8
	// minLen is a solicitation or advertisement without options.
	minLen = offICMP + 24

	protoICMPv6       = 58
	typeSolicitation  = 135
	typeAdvertisement = 136
	// hopLimit that every message must have: it cannot have come from beyond the link (RFC 4861, 3.1).
	hopLimit = 255
)

var (
	allNodes    = netip.MustParseAddr("ff02::1")
	allNodesMAC = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
	solicited   = netip.MustParsePrefix("ff02::1:ff00:0/104")
)

// filter lets neighbour solicitations and advertisements with hop limit 255 and without extension headers through.
func filter() ([]bpf.RawInstruction, error) {
	return frames.Filter(
		bpf.LoadAbsolute{Off: offNextHeader, Size: 2}, // and the hop limit
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: protoICMPv6<<8 | hopLimit, SkipTrue: 4},
		bpf.LoadAbsolute{Off: offICMP, Size: 2}, // type and code
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: typeSolicitation << 8, SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: typeAdvertisement << 8, SkipTrue: 1},
		bpf.RetConstant{Val: 2048},
		bpf.RetConstant{Val: 0},
	)
}

// verdict is what a received frame asks for.
type verdict struct {
	// reply to send; nil: none.
	reply []byte
	// claimed is the watched address that the sender holds for his own; invalid: none.
	claimed netip.Addr
	mac     netif.MAC
}

// decide says what to do with a frame: the checks of RFC 4861, 7.1.1 and 7.1.2, then 7.2.4. watched and ours must be cheap.
func decide(frame []byte, self netif.MAC, watched, ours func(netip.Addr) bool) verdict {
	if len(frame) < minLen || binary.BigEndian.Uint16(frame[12:]) != etherType || frame[14]>>4 != 6 ||
		frame[offNextHeader] != protoICMPv6 || frame[offHopLimit] != hopLimit || frame[offICMP+1] != 0 {
		return verdict{}
	}
	from := netif.MAC(frame[6:])
	if from == self || !station(from) {
		return verdict{}
	}
	target := netip.AddrFrom16([16]byte(frame[offTarget:]))
	source, dest := netip.AddrFrom16([16]byte(frame[offSource:])), netip.AddrFrom16([16]byte(frame[offDest:]))
	// Who solicits from a watched address claims it too.
	used := watched(source)
	if target.Is4In6() || target.IsMulticast() || (!used && !watched(target)) {
		return verdict{}
	}
	size := int(binary.BigEndian.Uint16(frame[offPayloadLen:]))
	if size < 24 || len(frame) < offICMP+size {
		return verdict{}
	}
	icmp := frame[offICMP : offICMP+size]
	if checksum(source, dest, icmp) != 0 {
		return verdict{}
	}
	message, err := ndp.ParseMessage(icmp)
	if err != nil {
		return verdict{}
	}
	switch message := message.(type) {
	case *ndp.NeighborSolicitation:
		var v verdict
		if ours(target) {
			v = solicitation(message, self, from, source, dest)
		}
		if used {
			v.claimed, v.mac = source, from
		}
		return v
	case *ndp.NeighborAdvertisement:
		if !watched(target) {
			return verdict{}
		}
		if message.Solicited && dest.IsMulticast() {
			return verdict{}
		}
		mac := from
		if lla, ok := linkLayer(message.Options, ndp.Target); ok {
			mac = lla
		}
		if mac == self {
			return verdict{}
		}
		return verdict{claimed: target, mac: mac}
	}
	return verdict{}
}

func solicitation(m *ndp.NeighborSolicitation, self, from netif.MAC, source, dest netip.Addr) verdict {
	lla, has := linkLayer(m.Options, ndp.Source)
	var reply []byte
	var err error
	switch {
	case source.IsUnspecified():
		// Somebody checks whether the address is free (RFC 4862, 5.4.3). All nodes hear that it is not.
		if has || !solicited.Contains(dest) {
			return verdict{}
		}
		reply, err = advertisement(self, m.TargetAddress, allNodesMAC, allNodes, false)
	case source.IsMulticast() || (dest.IsMulticast() && !solicited.Contains(dest)):
		return verdict{}
	default:
		to := from
		if has {
			to = lla
		}
		reply, err = advertisement(self, m.TargetAddress, to[:], source, true)
	}
	if err != nil {
		return verdict{}
	}
	return verdict{reply: reply}
}

// station reports whether a host can have an Ethernet address: none has a group's, or that of all zeros.
func station(mac netif.MAC) bool { return mac[0]&1 == 0 && mac != netif.MAC{} }

// linkLayer is the Ethernet address of a host in an option.
func linkLayer(options []ndp.Option, direction ndp.Direction) (netif.MAC, bool) {
	for _, o := range options {
		if lla, ok := o.(*ndp.LinkLayerAddress); ok && lla.Direction == direction && len(lla.Addr) == len(netif.MAC{}) && station(netif.MAC(lla.Addr)) {
			return netif.MAC(lla.Addr), true
		}
	}
	return netif.MAC{}, false
}

// advertisement makes a neighbour advertisement (RFC 4861, 4.4).
//
// Override is set: on a take-over the neighbours must replace what they have cached. Router is not: the flag tells whether
// the target may be used as a router, and nobody routes through an address of a Service, even where the node forwards.
func advertisement(self netif.MAC, target netip.Addr, to net.HardwareAddr, dest netip.Addr, answer bool) ([]byte, error) {
	icmp, err := ndp.MarshalMessageChecksum(&ndp.NeighborAdvertisement{
		Solicited:     answer,
		Override:      true,
		TargetAddress: target,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: self[:]}},
	}, target, dest)
	if err != nil {
		return nil, err
	}
	return packet(self, to, target, dest, icmp), nil
}

// probe asks who has an address, without a claim to it (RFC 4862, 5.4.2). Who has it tells all nodes.
func probe(self netif.MAC, target netip.Addr) ([]byte, error) {
	dest, err := ndp.SolicitedNodeMulticast(target)
	if err != nil {
		return nil, err
	}
	icmp, err := ndp.MarshalMessageChecksum(&ndp.NeighborSolicitation{TargetAddress: target}, netip.IPv6Unspecified(), dest)
	if err != nil {
		return nil, err
	}
	group := dest.As16()
	return packet(self, net.HardwareAddr{0x33, 0x33, group[12], group[13], group[14], group[15]}, netip.IPv6Unspecified(), dest, icmp), nil
}

// packet wraps an ICMPv6 message.
func packet(self netif.MAC, to net.HardwareAddr, source, dest netip.Addr, icmp []byte) []byte {
	frame := make([]byte, 0, offICMP+len(icmp))
	frame = append(frame, to...)
	frame = append(frame, self[:]...)
	frame = binary.BigEndian.AppendUint16(frame, etherType)
	frame = append(frame, 6<<4, 0, 0, 0)
	frame = binary.BigEndian.AppendUint16(frame, uint16(len(icmp)))
	frame = append(frame, protoICMPv6, hopLimit)
	s, d := source.As16(), dest.As16()
	frame = append(frame, s[:]...)
	frame = append(frame, d[:]...)
	return append(frame, icmp...)
}

// checksum is zero for a message that arrived as it was sent (RFC 4443, 2.3).
func checksum(source, dest netip.Addr, icmp []byte) uint16 {
	s, d := source.As16(), dest.As16()
	sum := uint32(protoICMPv6) + uint32(len(icmp))
	for _, part := range [][]byte{s[:], d[:], icmp} {
		for i := 0; i+1 < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
		if len(part)%2 == 1 {
			sum += uint32(part[len(part)-1]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
