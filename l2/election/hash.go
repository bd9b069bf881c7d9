package election

import (
	"net/netip"

	"github.com/cespare/xxhash/v2"
)

// Score is the rendezvous hash of a node and an address; the candidate with the greatest score comes first.
//
// It is part of the protocol between speakers: xxHash64 with seed 0 over the node's name, one zero byte, and the address in
// 16 bytes (an IPv4 address in its IPv4-mapped form, ::ffff:a.b.c.d). Every version must compute it so, or two versions
// would disagree about who answers during an upgrade; testdata/score.json holds vectors.
func Score(node string, addr netip.Addr) uint64 {
	var buf [256 + 17]byte // a node's name has at most 253 bytes; a longer one only costs an allocation
	b := append(buf[:0], node...)
	b = append(b, 0)
	a := addr.As16()
	b = append(b, a[:]...)
	return xxhash.Sum64(b)
}
