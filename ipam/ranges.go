package ipam

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"net/netip"
	"strings"

	"go4.org/netipx"
)

// Family of an address.
type Family uint8

// The two families.
const (
	IPv4 Family = iota
	IPv6
	families = 2
)

func (f Family) String() string {
	if f == IPv4 {
		return "IPv4"
	}
	return "IPv6"
}

// FamilyOf an address that is not IPv4-mapped.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// ParseRange reads an entry of a pool: an address ("192.0.2.1"), a CIDR ("192.0.2.0/24"; host bits are allowed and stand for the
// whole prefix) or a range ("192.0.2.10-192.0.2.20", both ends included, spaces around the dash allowed). IPv4-mapped IPv6
// addresses and zones are refused: neither can be announced.
func ParseRange(s string) (netipx.IPRange, error) {
	fail := func(why string) (netipx.IPRange, error) { return netipx.IPRange{}, fmt.Errorf("%q %s", s, why) }
	const syntax = "is not an address, a CIDR (192.168.100.0/24) or a range (192.168.100.240-192.168.100.249)"

	if strings.Contains(s, "/") {
		p, err := netip.ParsePrefix(strings.TrimSpace(s))
		if err != nil {
			return fail(syntax)
		}
		if p.Addr().Is4In6() {
			return fail("is an IPv4-mapped IPv6 prefix: write it as IPv4")
		}
		return netipx.RangeOfPrefix(p.Masked()), nil
	}
	first, last, isRange := strings.Cut(s, "-")
	if !isRange {
		last = first
	}
	from, errFrom := netip.ParseAddr(strings.TrimSpace(first))
	to, errTo := netip.ParseAddr(strings.TrimSpace(last))
	switch {
	case errFrom != nil || errTo != nil:
		return fail(syntax)
	case from.Zone() != "" || to.Zone() != "":
		return fail("has a zone: pool addresses are valid on every interface, leave the zone out")
	case from.Is4In6() || to.Is4In6():
		return fail("is an IPv4-mapped IPv6 address: write it as IPv4")
	case from.Is4() != to.Is4():
		return fail("mixes IPv4 and IPv6: both ends of a range must be of one family")
	case to.Less(from):
		return fail("is reversed: the first address of a range must not be greater than the last")
	}
	return netipx.IPRangeFrom(from, to), nil
}

// unservable are the addresses that no node can serve to others, whatever a pool says.
var unservable = []struct {
	prefix netip.Prefix
	why    string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "addresses of this network only (RFC 1122 section 3.2.1.3)"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback addresses"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast addresses"},
	{netip.MustParsePrefix("255.255.255.255/32"), "the broadcast address"},
	{netip.MustParsePrefix("::/128"), "the unspecified address"},
	{netip.MustParsePrefix("::1/128"), "the loopback address"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4-mapped addresses"},
	{netip.MustParsePrefix("fe80::/10"), "link-local addresses, which are reached with a zone only"},
	{netip.MustParsePrefix("ff00::/8"), "multicast addresses"},
}

// CheckServable refuses a range that has addresses which can never be announced to others.
func CheckServable(r netipx.IPRange) error {
	for _, u := range unservable {
		if r.Overlaps(netipx.RangeOfPrefix(u.prefix)) {
			return fmt.Errorf("%q has %s (%s), which cannot be served: leave them out", FormatRange(r), u.why, u.prefix)
		}
	}
	return nil
}

// FormatRange writes a range as a person would: a single address, or first-last.
func FormatRange(r netipx.IPRange) string {
	if r.From() == r.To() {
		return r.From().String()
	}
	return r.From().String() + "-" + r.To().String()
}

// containing finds ranges that have the address.
func containing(a netip.Addr) func(netipx.IPRange) bool {
	return func(r netipx.IPRange) bool { return r.Contains(a) }
}

// count is a number of addresses. It saturates: ::/0 has one address more than a count can say, and nobody will miss it.
type count struct{ hi, lo uint64 }

func (c count) add(d count) count {
	lo, carry := bits.Add64(c.lo, d.lo, 0)
	hi, carry := bits.Add64(c.hi, d.hi, carry)
	if carry != 0 {
		return count{math.MaxUint64, math.MaxUint64}
	}
	return count{hi, lo}
}

// sub gives 0 where c is smaller than d.
func (c count) sub(d count) count {
	lo, borrow := bits.Sub64(c.lo, d.lo, 0)
	hi, borrow := bits.Sub64(c.hi, d.hi, borrow)
	if borrow != 0 {
		return count{}
	}
	return count{hi, lo}
}

// int64 of the count; what does not fit is the greatest int64.
func (c count) int64() int64 {
	if c.hi != 0 || c.lo > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(c.lo)
}

func countOf(n int64) count { return count{lo: uint64(max(n, 0))} }

func asCount(a netip.Addr) count {
	b := a.As16()
	return count{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// size of the range from..to, without the addresses that avoidBuggyIPs leaves out if so asked.
func size(from, to netip.Addr, avoidBuggy bool) count {
	n := asCount(to).sub(asCount(from)).add(count{lo: 1})
	if avoidBuggy && from.Is4() {
		n = n.sub(countOf(buggyUpTo(to) - buggyUpTo(from)))
		if buggy(from) {
			n = n.sub(count{lo: 1})
		}
	}
	return n
}

// buggy reports whether avoidBuggyIPs leaves the address out.
func buggy(a netip.Addr) bool {
	if !a.Is4() {
		return false
	}
	last := a.As4()[3]
	return last == 0 || last == 255
}

// buggyUpTo is how many IPv4 addresses from 0.0.0.0 to a, included, end in .0 or .255.
func buggyUpTo(a netip.Addr) int64 {
	b := a.As4()
	n := int64(binary.BigEndian.Uint32(b[:]))
	return n/256 + 1 + (n+1)/256
}
