package bfd

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"testing"
)

// A packet as RFC 5880, 4.1 draws it, field by field.
func wirePacket() []byte {
	return []byte{
		1<<5 | 3,               // version 1, neighbor signaled session down
		3<<6 | 1<<5,            // Up, Poll
		5,                      // Detect Mult
		24,                     // Length
		0x01, 0x02, 0x03, 0x04, // My Discriminator
		0x05, 0x06, 0x07, 0x08, // Your Discriminator
		0x00, 0x01, 0x86, 0xa0, // Desired Min TX Interval: 100,000 µs
		0x00, 0x03, 0x0d, 0x40, // Required Min RX Interval: 200,000 µs
		0x00, 0x00, 0x00, 0x00, // Required Min Echo RX Interval
	}
}

func TestDecodeGolden(t *testing.T) {
	got, d := Decode(wirePacket())
	want := Packet{
		State: Up, Diagnostic: NeighborSignaledDown, Poll: true, DetectMult: 5,
		MyDiscriminator: 0x01020304, YourDiscriminator: 0x05060708, DesiredMinTx: 100_000, RequiredMinRx: 200_000,
	}
	if d != NotDiscarded || got != want {
		t.Errorf("decoded %+v (%s), want %+v", got, d, want)
	}
	if b := want.Append(nil); !bytes.Equal(b, wirePacket()) {
		t.Errorf("encoded % x, want % x", b, wirePacket())
	}
}

// The bits of the second byte are P, F, C, A, D, M from the left (4.1).
func TestFlags(t *testing.T) {
	for _, c := range []struct {
		bit byte
		set func(*Packet)
	}{
		{0x20, func(p *Packet) { p.Poll = true }},
		{0x10, func(p *Packet) { p.Final = true }},
		{0x08, func(p *Packet) { p.ControlPlaneIndependent = true }},
		{0x02, func(p *Packet) { p.Demand = true }},
	} {
		p := Packet{State: Down, DetectMult: 1, MyDiscriminator: 1}
		c.set(&p)
		b := p.Append(nil)
		if b[1] != 1<<6|c.bit {
			t.Errorf("%+v has the flags %#x, want %#x", p, b[1], 1<<6|c.bit)
		}
		if got, d := Decode(b); got != p || d != NotDiscarded {
			t.Errorf("%+v came back as %+v (%s)", p, got, d)
		}
	}
}

func TestDecodeDiscards(t *testing.T) {
	with := func(changes ...int) []byte { // pairs of index and value
		b := wirePacket()
		for i := 0; i < len(changes); i += 2 {
			b[changes[i]] = byte(changes[i+1])
		}
		return b
	}
	auth := func(changes ...int) []byte {
		p := Packet{State: Down, DetectMult: 3, MyDiscriminator: 1, Auth: AuthSection{Type: KeyedSHA1, KeyID: 7}}
		b := p.Append(nil)
		for i := 0; i < len(changes); i += 2 {
			b[changes[i]] = byte(changes[i+1])
		}
		return b
	}
	for _, c := range []struct {
		rule string // of RFC 5880, 6.8.6 unless another section is named
		b    []byte
		want Discard
	}{
		{"valid", with(), NotDiscarded},
		{"valid, padded beyond its length", append(with(), 0, 0, 0), NotDiscarded},
		{"version is not correct (1)", with(0, 0<<5), BadVersion},
		{"version is not correct (1)", with(0, 2<<5), BadVersion},
		{"Length less than 24", with(3, 23), BadLength},
		{"Length less than 26 with the A bit", append(with(1, 3<<6|4, 3, 25), 0, 0), BadLength},
		{"Length greater than the payload", with(3, 25), BadLength},
		{"payload shorter than a packet", wirePacket()[:23], BadLength},
		{"empty payload", nil, BadLength},
		{"Detect Mult is zero", with(2, 0), ZeroDetectMult},
		{"Multipoint bit is nonzero", with(1, 3<<6|1), MultipointSet},
		{"My Discriminator is zero", with(4, 0, 5, 0, 6, 0, 7, 0), ZeroMyDiscriminator},
		{"Your Discriminator is zero in Up", with(8, 0, 9, 0, 10, 0, 11, 0), ZeroYourDiscriminator},
		{"Your Discriminator is zero in Init", with(1, 2<<6, 8, 0, 9, 0, 10, 0, 11, 0), ZeroYourDiscriminator},
		{"Your Discriminator is zero in Down", with(1, 1<<6, 8, 0, 9, 0, 10, 0, 11, 0), NotDiscarded},
		{"Your Discriminator is zero in AdminDown", with(1, 0<<6, 8, 0, 9, 0, 10, 0, 11, 0), NotDiscarded},
		{"keyed SHA1", auth(), NotDiscarded},
		{"reserved byte is ignored (4.4)", auth(27, 9), NotDiscarded},
		{"simple password is not supported (4.2)", auth(24, 1), AuthBadSection},
		{"MD5 is not supported (4.3)", auth(24, 3), AuthBadSection},
		{"Auth Len is not 28 (6.7.4)", auth(25, 27), AuthBadSection},
		{"section shorter than Auth Len", auth(3, 51), AuthBadSection},
		{"section longer than Auth Len", append(auth(3, 53), 0), AuthBadSection},
		{"section of two bytes", append(with(1, 3<<6|4, 3, 26), 4, 28), AuthBadSection},
	} {
		if _, got := Decode(c.b); got != c.want {
			t.Errorf("%s: %s, want %s", c.rule, got, c.want)
		}
	}
}

// The hash is over the packet with the padded key in the hash's place (6.7.4).
func TestAuthGolden(t *testing.T) {
	var a authenticator
	a.use(&Auth{Type: KeyedSHA1, Send: AuthKey{ID: 9, Secret: []byte("secret")}})
	p := Packet{State: Init, DetectMult: 3, MyDiscriminator: 1, YourDiscriminator: 2, Auth: a.section()}
	b := p.Append(nil)
	a.sign(b)

	if got := b[24:28]; !bytes.Equal(got, []byte{4, 28, 9, 0}) {
		t.Errorf("the section begins with % x", got)
	}
	if b[1]&0x04 == 0 || len(b) != 52 || b[3] != 52 {
		t.Errorf("A bit, length or Length field are wrong: % x", b)
	}
	if got := binary.BigEndian.Uint32(b[28:]); got != a.transmit {
		t.Errorf("sequence number %d, want %d", got, a.transmit)
	}
	plain := append(bytes.Clone(b[:32]), "secret\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	if want := sha1.Sum(plain); !bytes.Equal(b[32:], want[:]) {
		t.Errorf("hash % x, want % x", b[32:], want)
	}
}

func TestCodecDoesNotAllocate(t *testing.T) {
	var a authenticator
	a.use(&Auth{Type: MeticulousKeyedSHA1, Send: AuthKey{ID: 1, Secret: []byte("secret")}})
	buf := make([]byte, 0, MaxPacketLength)
	n := testing.AllocsPerRun(100, func() {
		p := Packet{State: Up, DetectMult: 3, MyDiscriminator: 1, YourDiscriminator: 2, Auth: a.section()}
		b := p.Append(buf)
		a.sign(b)
		got, d := Decode(b)
		if d == NotDiscarded {
			d = a.check(&got, b)
		}
		if d != NotDiscarded {
			t.Fatal(d)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(wirePacket())
	p := Packet{State: Down, DetectMult: 3, MyDiscriminator: 1, Auth: AuthSection{Type: MeticulousKeyedSHA1}}
	f.Add(p.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, d := Decode(b)
		if d != NotDiscarded {
			if p != (Packet{}) {
				t.Errorf("discarded for %s, but decoded %+v", d, p)
			}
			return
		}
		again, d := Decode(p.Append(nil))
		if d != NotDiscarded || again != p {
			t.Errorf("%+v came back as %+v (%s)", p, again, d)
		}
	})
}
