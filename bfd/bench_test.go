package bfd

import (
	"math/rand/v2"
	"testing"
	"unsafe"
)

// What one received packet costs: decoding, the rules of 6.8.6, and the question when to be called next.
func BenchmarkReceive(b *testing.B) {
	for name, cfg := range map[string]Config{"plain": fast(), "sha1": withAuth(KeyedSHA1, one)} {
		b.Run(name, func(b *testing.B) {
			e := newEnd(b, cfg)
			n := &neighbour{}
			n.use(cfg.Auth)
			packet := func(p Packet) []byte {
				p.Auth = n.section()
				b := p.Append(nil)
				n.sign(b)
				return b
			}
			for _, p := range []Packet{from(Down), from(Up), from(Up, final), from(Up)} {
				e.hand(packet(p))
			}
			wire := packet(from(Up))
			b.ReportAllocs()
			for b.Loop() {
				e.now = e.now.Add(1)
				p, d := Decode(wire)
				if d == NotDiscarded {
					d = e.Receive(e.now, e.now, &p, wire)
				}
				if d != NotDiscarded || e.Next().IsZero() {
					b.Fatal(d)
				}
			}
		})
	}
}

// What one sent packet costs.
func BenchmarkTransmit(b *testing.B) {
	for name, cfg := range map[string]Config{"plain": fast(), "sha1": withAuth(KeyedSHA1, one)} {
		b.Run(name, func(b *testing.B) {
			s, err := NewSession(cfg, 1, rand.New(rand.NewPCG(1, 2)), start)
			if err != nil {
				b.Fatal(err)
			}
			buf, now := make([]byte, 0, MaxPacketLength), start
			b.ReportAllocs()
			for b.Loop() {
				s.Advance(now)
				if len(s.Transmit(now, buf)) == 0 {
					b.Fatal("nothing is due")
				}
				now = s.Next()
			}
			b.ReportMetric(float64(unsafe.Sizeof(*s)), "B/session")
		})
	}
}
