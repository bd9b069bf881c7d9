package engine

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"fairlead.io/fairlead/bgp"
	"fairlead.io/fairlead/bgp/wire"
)

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// UPDATEs as the RFCs want them, byte by byte: what stands between the header and the end.
func TestUpdate(t *testing.T) {
	hop4, hop6, linkLocal := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fe80::1")
	external := terms{localASN: 64512, fourOctet: true, nextHop4: hop4, nextHop6: hop6}
	with := func(change func(*terms)) terms {
		t := external
		change(&t)
		return t
	}
	rich := &bgp.Attributes{LocalPref: pointer(200), MED: pointer(50), Prepend: 1, Communities: bgp.Communities{
		Standard: []bgp.Community{64512<<16 | 100, bgp.NoExport}, Large: []bgp.LargeCommunity{{Global: 64512, Local1: 1, Local2: 2}},
	}}
	const (
		origin  = "400101 00 "
		path    = "400206 0201 0000fc00 "
		hop     = "400304 c0000201 "
		med     = "800404 00000032 "
		both    = "c00808 fc000064 ffffff01 "
		large   = "c0200c 0000fc00 00000001 00000002 "
		reach6  = "800e1e 0002 01 10 20010db8000000000000000000000001 00 40 20010db800010000 "
		nothing = "0000 "
	)
	for _, c := range []struct {
		name     string
		terms    terms
		attrs    *bgp.Attributes // nil: the prefixes are withdrawn
		carrier  carrier
		prefixes []netip.Prefix
		want     string
	}{
		{"IPv4", external, &bgp.Attributes{}, carrier{}, prefixes("198.51.100.1/32", "203.0.113.0/24", "0.0.0.0/0"),
			nothing + "0014" + origin + path + hop + "20 c6336401 18 cb0071 00"},
		{"all attributes, external", external, rich, carrier{}, prefixes("198.51.100.0/25"),
			nothing + "0039" + origin + "40020a 0202 0000fc00 0000fc00" + hop + med + both + large + "19 c6336400"},
		{"all attributes, internal", with(func(t *terms) { t.internal = true }), rich, carrier{}, prefixes("198.51.100.0/25"),
			nothing + "0036" + origin + "400200" + hop + med + "400504 000000c8" + both + large + "19 c6336400"},
		{"internal", with(func(t *terms) { t.internal = true }), &bgp.Attributes{}, carrier{}, prefixes("10.0.0.0/8"),
			nothing + "0015" + origin + "400200" + hop + "400504 00000064" + "08 0a"},
		{"drained, external", with(func(t *terms) { t.drain = true }), rich, carrier{}, prefixes("10.0.0.0/8"),
			nothing + "003d" + origin + "40020a 0202 0000fc00 0000fc00" + hop + med + "c0080c fc000064 ffff0000 ffffff01" + large + "08 0a"},
		{"drained, internal", with(func(t *terms) { t.drain, t.internal = true, true }), &bgp.Attributes{LocalPref: pointer(7)}, carrier{}, prefixes("10.0.0.0/8"),
			nothing + "001c" + origin + "400200" + hop + "400504 00000000" + "c00804 ffff0000" + "08 0a"},
		{"two-octet peer", with(func(t *terms) { t.fourOctet = false }), &bgp.Attributes{}, carrier{}, prefixes("10.0.0.0/8"),
			nothing + "0012" + origin + "400204 0201 fc00" + hop + "08 0a"},
		{"two-octet peer, large AS", with(func(t *terms) { t.fourOctet, t.localASN = false, 4200000000 }), &bgp.Attributes{Prepend: 1}, carrier{}, prefixes("10.0.0.0/8"),
			nothing + "0021" + origin + "400206 0202 5ba0 5ba0" + hop + "c0110a 0202 fa56ea00 fa56ea00" + "08 0a"},
		{"IPv6", external, &bgp.Attributes{}, carrier{}, prefixes("2001:db8:1::/64"),
			nothing + "002e" + reach6 + origin + path},
		{"IPv6 on a link", with(func(t *terms) { t.nextHop6 = linkLocal }), &bgp.Attributes{}, carrier{}, prefixes("2001:db8:1::/64"),
			nothing + "002e" + "800e1e 0002 01 10 fe800000000000000000000000000001 00 40 20010db800010000" + origin + path},
		{"IPv4 over IPv6", with(func(t *terms) { t.nextHop4 = hop6 }), &bgp.Attributes{}, carrier{}, prefixes("198.51.100.1/32"),
			nothing + "002a" + "800e1a 0001 01 10 20010db8000000000000000000000001 00 20 c6336401" + origin + path},
		{"IPv4 withdrawn", external, nil, carrier{family: wire.IPv4}, prefixes("198.51.100.1/32", "10.0.0.0/8"), "0007 20 c6336401 08 0a 0000"},
		{"IPv4 over IPv6 withdrawn", external, nil, carrier{wire.IPv4, true}, prefixes("198.51.100.1/32"), nothing + "000b 800f08 0001 01 20 c6336401"},
		{"IPv6 withdrawn", external, nil, carrier{wire.IPv6, true}, prefixes("2001:db8:1::/64"), nothing + "000f 800f0c 0002 01 40 20010db800010000"},
		{"End-of-RIB of IPv4", external, nil, carrier{family: wire.IPv4}, nil, "0000 0000"},
		{"End-of-RIB of IPv6", external, nil, carrier{wire.IPv6, true}, nil, "0000 0006 800f03 0002 01"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := group{carrier: c.carrier}
			if c.attrs != nil {
				set, err := c.terms.encode(c.attrs, familyOf(c.prefixes[0]))
				if err != nil {
					t.Fatal(err)
				}
				g = group{carrier: set.carrier, set: set}
			}
			b, err := g.appendTo(nil, c.prefixes)
			if err != nil {
				t.Fatal(err)
			}
			m, err := wire.Read(strings.NewReader(string(b)), new(wire.Buffer))
			if err != nil || m.Type() != wire.TypeUpdate || len(m) != len(b) {
				t.Fatalf("%v: %d bytes are read as %s of %d", err, len(b), m.Type(), len(m))
			}
			if got, want := hex.EncodeToString(m.Body()), strings.ReplaceAll(c.want, " ", ""); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// host is the nth of many host routes.
func host(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 32)
}

func host6(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}), 128)
}

// sendTo gives the messages that a router needs to have these routes, and takes them for told.
func sendTo(t *testing.T, told *adjRIBOut, list []want, e *encoder, again families) (messages [][]byte) {
	t.Helper()
	for _, g := range told.difference(list, e, again) {
		for part := range g.messages() {
			m, err := g.appendTo(nil, part)
			if err != nil {
				t.Fatal(err)
			}
			if len(m) > wire.MaxLen {
				t.Fatalf("a message of %d bytes", len(m))
			}
			messages = append(messages, m)
			told.record([]written{{part, g.set}})
		}
	}
	return messages
}

// Messages are full before there is another one.
func TestPacking(t *testing.T) {
	const n = 10000
	for _, c := range []struct {
		name string
		sets int
		host func(int) netip.Prefix
		// announced and withdrawn are numbers of messages: a /32 needs 5 bytes, of 4096 - 23 - 20 of attributes; a /128 17 bytes, of
		// 4096 - 23 - 13 and 25 for the rest of MP_REACH_NLRI.
		announced, withdrawn int
	}{
		{"IPv4", 1, host, 13, 13}, // 10000 / 810, / 814
		{"two sets", 2, host, 14, 13},
		{"IPv6", 1, host6, 43, 42}, // 10000 / 237, / 239
	} {
		t.Run(c.name, func(t *testing.T) {
			var sets []*bgp.Attributes
			for i := range c.sets {
				sets = append(sets, &bgp.Attributes{Communities: bgp.Communities{Standard: []bgp.Community{bgp.Community(i)}}})
			}
			if c.sets == 1 {
				sets[0] = &bgp.Attributes{}
			}
			var all, none []want
			for i := range n {
				all = append(all, want{c.host(i), sets[i%len(sets)]})
				none = append(none, want{c.host(i), nil})
			}
			told, e := &adjRIBOut{routes: map[netip.Prefix]*attributeSet{}}, &encoder{}
			e.use(terms{localASN: 64512, fourOctet: true, nextHop4: netip.MustParseAddr("192.0.2.1"), nextHop6: netip.MustParseAddr("2001:db8::1")})
			messages := sendTo(t, told, slices.Clone(all), e, 0)
			if len(messages) != c.announced || told.len() != n {
				t.Errorf("%d routes in %d messages, want %d in %d", told.len(), len(messages), n, c.announced)
			}
			if again := sendTo(t, told, slices.Clone(all), e, 0); len(again) > 0 {
				t.Errorf("%d messages about nothing new", len(again))
			}
			if again := sendTo(t, told, slices.Clone(all), e, familySet(true, true)); fmt.Sprint(again) != fmt.Sprint(messages) {
				t.Errorf("what is asked for again comes in %d other messages", len(again))
			}
			if gone := sendTo(t, told, none, e, 0); len(gone) != c.withdrawn || told.len() != 0 {
				t.Errorf("withdrawn in %d messages, want %d; %d are left", len(gone), c.withdrawn, told.len())
			}
		})
	}
}

// Withdrawals come first, then what has the same attributes together, each in the order of prefixes; and only what is different.
func TestDifference(t *testing.T) {
	a, b := &bgp.Attributes{}, &bgp.Attributes{MED: pointer(1)}
	told, e := &adjRIBOut{routes: map[netip.Prefix]*attributeSet{}}, &encoder{}
	outside := terms{localASN: 64512, fourOctet: true, nextHop4: netip.MustParseAddr("192.0.2.1"), nextHop6: netip.MustParseAddr("2001:db8::1")}
	text := func(list ...want) string {
		var parts []string
		for _, g := range told.difference(list, e, 0) {
			verb := "-"
			if g.set != nil {
				verb = "+" + g.set.shown.Attributes.String()
			}
			parts = append(parts, fmt.Sprint(verb, g.prefixes))
			told.record([]written{{g.prefixes, g.set}})
		}
		return strings.Join(parts, " ")
	}
	p := netip.MustParsePrefix
	e.use(outside)
	all := []want{{p("10.0.0.4/32"), a}, {p("10.0.0.1/32"), b}, {p("2001:db8::1/128"), a}, {p("10.0.0.3/32"), a}, {p("10.0.0.2/32"), b}}
	for _, step := range []struct {
		list []want
		want string
	}{
		{all, "+[10.0.0.3/32 10.0.0.4/32] +MED 1[10.0.0.1/32 10.0.0.2/32] +[2001:db8::1/128]"},
		{all, ""},
		{[]want{{p("10.0.0.9/32"), nil}}, ""},
		{[]want{{p("10.0.0.5/32"), a}, {p("10.0.0.4/32"), nil}, {p("2001:db8::1/128"), nil}, {p("10.0.0.1/32"), nil}, {p("10.0.0.3/32"), b}, {p("10.0.0.2/32"), b}},
			"-[10.0.0.1/32 10.0.0.4/32] -[2001:db8::1/128] +[10.0.0.5/32] +MED 1[10.0.0.3/32]"},
		// What does not go to this router, or is equal, is no difference.
		{[]want{{p("10.0.0.2/32"), &bgp.Attributes{MED: pointer(1), LocalPref: pointer(5)}}}, ""},
	} {
		if got := text(step.list...); got != step.want {
			t.Errorf("got  %s\nwant %s", got, step.want)
		}
	}
	// IPv4 routes get an IPv6 next hop, and go the way they came; without a next hop they go too.
	mapped := outside
	mapped.nextHop4 = outside.nextHop6
	e.use(mapped)
	now := []want{{p("10.0.0.2/32"), b}, {p("10.0.0.3/32"), b}, {p("10.0.0.5/32"), a}}
	if got := text(now...); got != "+[10.0.0.5/32] +MED 1[10.0.0.2/32 10.0.0.3/32]" {
		t.Errorf("with another next hop: %s", got)
	}
	if gone := told.difference([]want{{p("10.0.0.5/32"), nil}}, e, 0); len(gone) != 1 || !gone[0].mp {
		t.Errorf("withdrawn by %+v", gone)
	}
	e.use(terms{localASN: 64512, fourOctet: true, nextHop6: outside.nextHop6})
	if got := text(now...); got != "-[10.0.0.2/32 10.0.0.3/32 10.0.0.5/32]" || told.len() != 0 {
		t.Errorf("without a next hop: %s", got)
	}
}

// The sets that are kept encoded are bounded, and what has an equal one is no difference when they were forgotten; a set that no
// message has room for withdraws its routes, which is told.
func TestSets(t *testing.T) {
	told := &adjRIBOut{routes: map[netip.Prefix]*attributeSet{}}
	e := &encoder{}
	e.use(terms{localASN: 64512, fourOctet: true, nextHop4: netip.MustParseAddr("192.0.2.1")})
	var list, equal []want
	for i := range 3 * maxSets {
		list = append(list, want{host(i), &bgp.Attributes{MED: pointer(uint32(i))}})
		equal = append(equal, want{host(i), &bgp.Attributes{MED: pointer(uint32(i))}})
	}
	if m := sendTo(t, told, list, e, 0); len(m) != len(list) {
		t.Errorf("%d messages for %d sets", len(m), len(list))
	}
	if len(e.sets) > maxSets || len(e.equal) > maxSets {
		t.Errorf("%d and %d sets are kept", len(e.sets), len(e.equal))
	}
	if m := sendTo(t, told, equal, e, 0); len(m) > 0 {
		t.Errorf("%d messages about equal routes", len(m))
	}
	endless := &bgp.Attributes{}
	for i := range uint32(1100) {
		endless.Communities.Standard = append(endless.Communities.Standard, bgp.Community(i))
	}
	gone := told.difference([]want{{host(0), endless}, {host(1), endless}, {host(99999), endless}}, e, 0)
	if len(gone) != 1 || gone[0].set != nil || !slices.Equal(gone[0].prefixes, []netip.Prefix{host(0), host(1)}) {
		t.Errorf("without room: %+v", gone)
	}
	if got := e.problem(); !strings.HasPrefix(got, "routes that are not advertised: 3, among them 10.0.0.0/32: the attributes (") ||
		!strings.Contains(got, "leave no room for a prefix in a message of 4096 bytes; let its advertisements have fewer communities") {
		t.Errorf("told of: %s", got)
	}
	told.difference([]want{{host(0), list[0].attrs}, {host(1), nil}, {host(99999), nil}}, e, 0)
	if got := e.problem(); got != "" {
		t.Errorf("when they are gone: %s", got)
	}
}

// An AS_PATH that is longer than a segment has several.
func TestLongPath(t *testing.T) {
	for _, fourOctet := range []bool{true, false} {
		x := terms{localASN: 4200000000, fourOctet: fourOctet, nextHop4: netip.MustParseAddr("192.0.2.1")}
		set, err := x.encode(&bgp.Attributes{Prepend: 255}, wire.IPv4)
		if err != nil {
			t.Fatal(err)
		}
		g := group{carrier: set.carrier, set: set}
		m, err := g.appendTo(nil, prefixes("10.0.0.0/8"))
		if err != nil {
			t.Fatal(err)
		}
		in := newAdjRIBIn()
		if _, err := in.record(m, fourOctet); err != nil {
			t.Fatal(err)
		}
		if path := in.list()[0].ASPath; len(path) != 256 {
			t.Errorf("%d AS numbers", len(path))
		}
	}
}
