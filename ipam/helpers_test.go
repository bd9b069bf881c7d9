package ipam

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"go4.org/netipx"
)

// start is when the tests' first object was created.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func ranges(tb testing.TB, texts ...string) []netipx.IPRange {
	tb.Helper()
	out := make([]netipx.IPRange, len(texts))
	for i, s := range texts {
		r, err := ParseRange(s)
		if err != nil {
			tb.Fatal(err)
		}
		out[i] = r
	}
	return out
}

// pool that was created n seconds after start.
func pool(tb testing.TB, name string, n int, addresses ...string) Pool {
	tb.Helper()
	return Pool{Name: name, Created: start.Add(time.Duration(n) * time.Second), Addresses: ranges(tb, addresses...), AutoAssign: true}
}

// request of a Service shop/name that was created n seconds after start.
func request(name string, n int, change ...func(*Request)) Request {
	key := name
	if !strings.Contains(name, "/") {
		key = "shop/" + name
	}
	r := Request{Service: Key(key), Created: start.Add(time.Duration(n) * time.Second), Families: []Family{IPv4}}
	for _, c := range change {
		c(&r)
	}
	return r
}

func dual(p FamilyPolicy, f ...Family) func(*Request) {
	return func(r *Request) {
		r.Policy, r.Families = p, f
		if len(f) == 0 {
			r.Families = []Family{IPv4, IPv6}
		}
	}
}

func from(pool string) func(*Request) { return func(r *Request) { r.Pool = pool } }

func asking(addrs ...string) func(*Request) {
	return func(r *Request) {
		for _, a := range addrs {
			r.Addresses = append(r.Addresses, netip.MustParseAddr(a))
		}
	}
}

// sharing under a key, on TCP ports.
func sharing(key, local string, ports ...uint16) func(*Request) {
	return func(r *Request) {
		r.Sharing = &Sharing{Key: key, Local: local}
		for _, p := range ports {
			r.Sharing.Ports = append(r.Sharing.Ports, Port{"TCP", p})
		}
	}
}

func allocator(tb testing.TB, pools ...Pool) *Allocator {
	tb.Helper()
	a := NewAllocator()
	if err := a.SetPools(pools); err != nil {
		tb.Fatal(err)
	}
	return a
}

func set(tb testing.TB, a *Allocator, p Pool) {
	tb.Helper()
	if err := a.SetPool(p); err != nil {
		tb.Fatal(err)
	}
}

// text of addresses: "192.0.2.1 fd00::1".
func text(list []Assigned) string {
	s := make([]string, len(list))
	for i, x := range list {
		s[i] = x.Addr.String()
	}
	return strings.Join(s, " ")
}

// labelSelector of the tests selects one label.
type labelSelector struct{ key, value string }

func (s labelSelector) Matches(labels map[string]string) bool { return labels[s.key] == s.value }
func (s labelSelector) String() string                        { return s.key + "=" + s.value }
