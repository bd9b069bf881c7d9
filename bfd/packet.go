package bfd

import "encoding/binary"

const (
	version      = 1
	headerLength = 24 // of the mandatory section
	authLength   = 28 // of the authentication section, keyed SHA1
	hashOffset   = headerLength + 8

	// MaxPacketLength is the size in bytes of the longest packet that is sent, and that is accepted with authentication.
	MaxPacketLength = headerLength + authLength
)

// Bits of the second byte (RFC 5880, 4.1), below the state.
const (
	bitMultipoint = 1 << iota
	bitDemand
	bitAuth
	bitControlPlaneIndependent
	bitFinal
	bitPoll
)

// Packet is a BFD Control packet (RFC 5880, 4.1).
type Packet struct {
	State                   State
	Diagnostic              Diagnostic
	Poll                    bool
	Final                   bool
	ControlPlaneIndependent bool
	Demand                  bool
	// DetectMult is 1 to 255.
	DetectMult uint8
	// MyDiscriminator is never 0, YourDiscriminator is 0 as long as the sender has not learned it.
	MyDiscriminator, YourDiscriminator uint32
	// DesiredMinTx and RequiredMinRx are what the sender wants; a RequiredMinRx of 0 asks for no packets.
	DesiredMinTx, RequiredMinRx Interval
	// RequiredMinEchoRx of 0 asks for no echo packets.
	RequiredMinEchoRx Interval
	// Auth is the authentication section; its zero value: there is none.
	Auth AuthSection
}

// AuthSection is the authentication section for keyed SHA1 (RFC 5880, 4.4).
type AuthSection struct {
	Type     AuthType
	KeyID    uint8
	Sequence uint32
	Hash     [20]byte
}

// Decode reads a packet from the payload of a datagram and applies the rules of RFC 5880, 6.8.6 that need no session. The
// only authentication it knows is keyed SHA1; what follows the packet in the payload is ignored.
func Decode(b []byte) (Packet, Discard) {
	if len(b) == 0 || b[0]>>5 != version {
		if len(b) == 0 {
			return Packet{}, BadLength
		}
		return Packet{}, BadVersion
	}
	if len(b) < headerLength {
		return Packet{}, BadLength
	}
	flags, length := b[1], int(b[3])
	if length < headerLength || flags&bitAuth != 0 && length < headerLength+2 || length > len(b) {
		return Packet{}, BadLength
	}
	p := Packet{
		State:                   State(flags >> 6),
		Diagnostic:              Diagnostic(b[0] & 0x1f),
		Poll:                    flags&bitPoll != 0,
		Final:                   flags&bitFinal != 0,
		ControlPlaneIndependent: flags&bitControlPlaneIndependent != 0,
		Demand:                  flags&bitDemand != 0,
		DetectMult:              b[2],
		MyDiscriminator:         binary.BigEndian.Uint32(b[4:]),
		YourDiscriminator:       binary.BigEndian.Uint32(b[8:]),
		DesiredMinTx:            Interval(binary.BigEndian.Uint32(b[12:])),
		RequiredMinRx:           Interval(binary.BigEndian.Uint32(b[16:])),
		RequiredMinEchoRx:       Interval(binary.BigEndian.Uint32(b[20:])),
	}
	switch {
	case p.DetectMult == 0:
		return Packet{}, ZeroDetectMult
	case flags&bitMultipoint != 0:
		return Packet{}, MultipointSet
	case p.MyDiscriminator == 0:
		return Packet{}, ZeroMyDiscriminator
	case p.YourDiscriminator == 0 && (p.State == Init || p.State == Up):
		return Packet{}, ZeroYourDiscriminator
	}
	if flags&bitAuth != 0 {
		s := b[headerLength:length]
		p.Auth.Type = AuthType(s[0])
		if !p.Auth.Type.known() || len(s) != authLength || s[1] != authLength {
			return Packet{}, AuthBadSection
		}
		p.Auth.KeyID = s[2]
		p.Auth.Sequence = binary.BigEndian.Uint32(s[4:])
		p.Auth.Hash = [20]byte(s[8:])
	}
	return p, NotDiscarded
}

// Append appends the packet to b, which has room when it is at least MaxPacketLength long.
func (p *Packet) Append(b []byte) []byte {
	flags, length := byte(p.State)<<6, byte(headerLength)
	set := func(on bool, bit byte) {
		if on {
			flags |= bit
		}
	}
	set(p.Poll, bitPoll)
	set(p.Final, bitFinal)
	set(p.ControlPlaneIndependent, bitControlPlaneIndependent)
	set(p.Demand, bitDemand)
	if p.Auth.Type != 0 {
		flags, length = flags|bitAuth, MaxPacketLength
	}
	b = append(b, version<<5|byte(p.Diagnostic)&0x1f, flags, p.DetectMult, length)
	b = binary.BigEndian.AppendUint32(b, p.MyDiscriminator)
	b = binary.BigEndian.AppendUint32(b, p.YourDiscriminator)
	b = binary.BigEndian.AppendUint32(b, uint32(p.DesiredMinTx))
	b = binary.BigEndian.AppendUint32(b, uint32(p.RequiredMinRx))
	b = binary.BigEndian.AppendUint32(b, uint32(p.RequiredMinEchoRx))
	if p.Auth.Type != 0 {
		b = append(b, byte(p.Auth.Type), authLength, p.Auth.KeyID, 0)
		b = binary.BigEndian.AppendUint32(b, p.Auth.Sequence)
		b = append(b, p.Auth.Hash[:]...)
	}
	return b
}
