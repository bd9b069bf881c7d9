package bfd

import (
	"crypto/sha1" //nolint:gosec // the hash that RFC 5880, 6.7.4 prescribes
	"crypto/subtle"
	"fmt"
	"slices"
	"strconv"
)

// AuthType is a kind of authentication (RFC 5880, 4.1). Simple passwords and MD5 are not supported.
type AuthType uint8

// The kinds of authentication. In both the sequence number here grows with every packet sent; the meticulous kind also
// accepts each number only once.
const (
	KeyedSHA1           AuthType = 4
	MeticulousKeyedSHA1 AuthType = 5
)

func (t AuthType) known() bool { return t == KeyedSHA1 || t == MeticulousKeyedSHA1 }

// String gives the RFC's name.
func (t AuthType) String() string {
	switch t {
	case KeyedSHA1:
		return "Keyed SHA1"
	case MeticulousKeyedSHA1:
		return "Meticulous Keyed SHA1"
	default:
		return "AuthType(" + strconv.Itoa(int(t)) + ")"
	}
}

// AuthKey is a shared secret.
type AuthKey struct {
	ID uint8
	// Secret has 1 to 20 bytes.
	Secret []byte
}

// String does not give the secret away.
func (k AuthKey) String() string { return "key " + strconv.Itoa(int(k.ID)) }

// GoString does not either.
func (k AuthKey) GoString() string { return k.String() }

// Auth says how a session is authenticated: with which key it sends, and which others it accepts.
//
// Keys that are derived from others may have one ID by chance: then each is tried.
//
// To rotate keys without a flap, first let every end accept the new key (Accept), then let every end send with it and accept
// the old one, then drop the old one.
type Auth struct {
	Type   AuthType
	Send   AuthKey
	Accept []AuthKey
}

// Validate says what is wrong.
func (a *Auth) Validate() error {
	if !a.Type.known() {
		return fmt.Errorf("authentication of type %d is not supported: use %s (%d) or %s (%d)", a.Type,
			KeyedSHA1, KeyedSHA1, MeticulousKeyedSHA1, MeticulousKeyedSHA1)
	}
	for _, k := range append([]AuthKey{a.Send}, a.Accept...) {
		switch {
		case len(k.Secret) == 0:
			return fmt.Errorf("authentication key %d is empty: it must have 1 to %d bytes", k.ID, sha1.Size)
		case len(k.Secret) > sha1.Size:
			return fmt.Errorf("authentication key %d has %d bytes: it must have 1 to %d", k.ID, len(k.Secret), sha1.Size)
		}
	}
	return nil
}

// key is a secret padded with zeros, as it takes the place of the hash (RFC 5880, 6.7.4).
type key struct {
	id     uint8
	secret [sha1.Size]byte
}

// authenticator is the authentication state of a session.
type authenticator struct {
	kind AuthType // bfd.AuthType; 0: none is in use
	keys []key    // the first is the one to send with

	transmit uint32 // bfd.XmitAuthSeq
	received uint32 // bfd.RcvAuthSeq
	known    bool   // bfd.AuthSeqKnown
}

// use takes other keys. The sequence numbers go on, so that the neighbour's window fits.
func (a *authenticator) use(auth *Auth) {
	a.kind, a.keys = 0, nil
	if auth == nil {
		return
	}
	a.kind = auth.Type
	for _, k := range append([]AuthKey{auth.Send}, auth.Accept...) {
		padded := key{id: k.ID}
		copy(padded.secret[:], k.Secret)
		a.keys = append(a.keys, padded)
	}
}

// section is the next packet's authentication section, still without the hash.
func (a *authenticator) section() AuthSection {
	if a.kind == 0 {
		return AuthSection{}
	}
	a.transmit++
	return AuthSection{Type: a.kind, KeyID: a.keys[0].id, Sequence: a.transmit}
}

// sign puts the hash into an encoded packet that has an authentication section.
func (a *authenticator) sign(packet []byte) {
	if a.kind != 0 {
		sum := a.keys[0].sum(packet)
		copy(packet[hashOffset:], sum[:])
	}
}

func (k *key) sum(packet []byte) [sha1.Size]byte {
	var b [MaxPacketLength]byte
	copy(b[:], packet)
	copy(b[hashOffset:], k.secret[:])
	return sha1.Sum(b[:]) //nolint:gosec // prescribed
}

func (k *key) signed(p *Packet, packet []byte) bool {
	sum := k.sum(packet[:MaxPacketLength])
	return subtle.ConstantTimeCompare(sum[:], p.Auth.Hash[:]) == 1
}

// check applies RFC 5880, 6.7.4 to a decoded packet and its bytes. Sequence numbers are taken over only after the hash was
// found right, so that nobody without the key can move the window.
func (a *authenticator) check(p *Packet, packet []byte) Discard {
	switch {
	case a.kind == 0 && p.Auth.Type != 0:
		return AuthUnexpected
	case a.kind == 0:
		return NotDiscarded
	case p.Auth.Type == 0:
		return AuthMissing
	case p.Auth.Type != a.kind:
		return AuthBadSection
	}
	if !slices.ContainsFunc(a.keys, func(k key) bool { return k.id == p.Auth.KeyID }) {
		return AuthUnknownKey
	}
	if a.known {
		ahead, least := p.Auth.Sequence-a.received, uint32(0)
		if a.kind == MeticulousKeyedSHA1 {
			least = 1
		}
		if ahead < least || ahead > 3*uint32(p.DetectMult) {
			return AuthBadSequence
		}
	}
	if !slices.ContainsFunc(a.keys, func(k key) bool { return k.id == p.Auth.KeyID && k.signed(p, packet) }) {
		return AuthBadHash
	}
	a.received, a.known = p.Auth.Sequence, true
	return NotDiscarded
}
