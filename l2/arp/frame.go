// Package arp answers ARP requests for addresses that are not the host's own, and announces them (RFC 826, RFC 5227).
//
// It never decides for which: it asks its Handler, and tells it when somebody else claims one of them.
package arp

import (
	"encoding/binary"
	"net"
	"net/netip"

	"github.com/mdlayher/arp"
	"github.com/mdlayher/ethernet"
	"golang.org/x/net/bpf"

	"fairlead.io/fairlead/l2/frames"
	"fairlead.io/fairlead/l2/netif"
)

const (
	etherType = 0x0806
	// frameLen is an Ethernet header and an ARP packet for IPv4 over Ethernet, without padding.
	frameLen = 14 + 28

	offOperation = 14 + 6
	offSenderMAC = 14 + 8
	offSenderIP  = 14 + 14
	offTargetIP  = 14 + 24
)

// filter lets requests and replies for IPv4 over Ethernet through. Replies are wanted for the claims that they make.
func filter() ([]bpf.RawInstruction, error) {
	return frames.Filter(
		bpf.LoadAbsolute{Off: 14, Size: 4}, // hardware and protocol type
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x0001_0800, SkipTrue: 6},
		bpf.LoadAbsolute{Off: 18, Size: 2}, // their lengths
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x0604, SkipTrue: 4},
		bpf.LoadAbsolute{Off: offOperation, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(arp.OperationRequest), SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(arp.OperationReply), SkipTrue: 1},
		bpf.RetConstant{Val: 256},
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

// decide says what to do with a frame. watched and ours must be cheap: they are asked for every frame that is well formed.
func decide(frame []byte, self netif.MAC, watched, ours func(netip.Addr) bool) (v verdict) {
	if len(frame) < frameLen {
		return verdict{}
	}
	if binary.BigEndian.Uint32(frame[14:]) != 0x0001_0800 || binary.BigEndian.Uint16(frame[18:]) != 0x0604 {
		return verdict{}
	}
	op := arp.Operation(binary.BigEndian.Uint16(frame[offOperation:]))
	if op != arp.OperationRequest && op != arp.OperationReply {
		return verdict{}
	}
	sender := netip.AddrFrom4([4]byte(frame[offSenderIP:]))
	target := netip.AddrFrom4([4]byte(frame[offTargetIP:]))
	mac := netif.MAC(frame[offSenderMAC:])
	if mac == self || mac == (netif.MAC{}) || mac[0]&1 != 0 { // no host has a group address
		return verdict{}
	}
	// Any ARP packet whose sender address is watched, from hardware that is not ours, is a claim (RFC 5227, 2.1.1 and 2.4).
	if watched(sender) {
		v.claimed, v.mac = sender, mac
	}
	if op != arp.OperationRequest || target == sender || !ours(target) {
		return v
	}
	var request arp.Packet
	if err := request.UnmarshalBinary(frame[14:]); err != nil {
		return v
	}
	// A probe (RFC 5227, 2.1.1) has the sender address 0.0.0.0, and is answered like any request.
	reply, err := build(arp.OperationReply, self, target, request.SenderHardwareAddr, request.SenderHardwareAddr, sender)
	if err != nil {
		return v
	}
	v.reply = reply
	return v
}

// build makes a frame.
func build(op arp.Operation, self netif.MAC, sender netip.Addr, to, targetMAC net.HardwareAddr, target netip.Addr) ([]byte, error) {
	p, err := arp.NewPacket(op, self[:], sender.Unmap(), targetMAC, target.Unmap())
	if err != nil {
		return nil, err
	}
	payload, err := p.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return (&ethernet.Frame{Destination: to, Source: self[:], EtherType: ethernet.EtherTypeARP, Payload: payload}).MarshalBinary()
}

// announcements are the two forms of a gratuitous ARP: the request, which RFC 5227 (2.3) prescribes, and the reply, which
// some hosts and switches want. Both go to everybody and carry the address as sender and as target.
func announcements(self netif.MAC, addr netip.Addr) ([][]byte, error) {
	request, err := build(arp.OperationRequest, self, addr, ethernet.Broadcast, net.HardwareAddr{0, 0, 0, 0, 0, 0}, addr)
	if err != nil {
		return nil, err
	}
	reply, err := build(arp.OperationReply, self, addr, ethernet.Broadcast, self[:], addr)
	if err != nil {
		return nil, err
	}
	return [][]byte{request, reply}, nil
}

// probe asks who has an address, without a claim to it (RFC 5227, 2.1.1).
func probe(self netif.MAC, addr netip.Addr) ([]byte, error) {
	return build(arp.OperationRequest, self, netip.IPv4Unspecified(), ethernet.Broadcast, net.HardwareAddr{0, 0, 0, 0, 0, 0}, addr)
}
