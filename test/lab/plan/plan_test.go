package plan

import (
	"net/netip"
	"testing"
)

func TestNewIsTheContract(t *testing.T) {
	p, err := New(3)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][5]string{
		"cp":     {"192.168.100.10", "fd00:100::10", "02:00:c0:a8:64:0a", "invalid Prefix", "invalid Prefix"},
		"client": {"192.168.100.100", "fd00:100::100", "02:00:c0:a8:64:64", "invalid Prefix", "invalid Prefix"},
		"node1":  {"192.168.100.11", "fd00:100::11", "02:00:c0:a8:64:0b", "10.233.64.0/24", "fd00:10:233:64::/64"},
		"node3":  {"192.168.100.13", "fd00:100::13", "02:00:c0:a8:64:0d", "10.233.66.0/24", "fd00:10:233:66::/64"},
	} {
		h, ok := p.Host(name)
		if got := [5]string{h.IPv4.String(), h.IPv6.String(), h.MAC.String(), h.Pods4.String(), h.Pods6.String()}; !ok || got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	if n := len(p.WithRole(Node)); n != 3 {
		t.Errorf("%d nodes, want 3", n)
	}
	if _, ok := p.Host("node4"); ok {
		t.Error("node4 is in a plan of three nodes")
	}
}

// Nothing may overlap, and the LoadBalancer pools' place on the LAN stays free.
func TestNewKeepsApart(t *testing.T) {
	p, err := New(MaxNodes)
	if err != nil {
		t.Fatal(err)
	}
	ranges := []netip.Prefix{p.LAN4, p.LAN6, p.Services4, p.Services6, p.Pods4, p.Pods6}
	for i, a := range ranges {
		for _, b := range ranges[i+1:] {
			if a.Overlaps(b) {
				t.Errorf("%s overlaps %s", a, b)
			}
		}
	}
	pool4, pool6 := netip.MustParseAddr("192.168.100.240"), netip.MustParsePrefix("fd00:100::f0/124")
	seen := map[string]string{}
	for _, h := range p.Hosts {
		if !p.LAN4.Contains(h.IPv4) || !p.LAN6.Contains(h.IPv6) {
			t.Errorf("%s is not on the LAN: %s, %s", h.Name, h.IPv4, h.IPv6)
		}
		if !h.IPv4.Less(pool4) || pool6.Contains(h.IPv6) {
			t.Errorf("%s sits in the pools' place: %s, %s", h.Name, h.IPv4, h.IPv6)
		}
		for _, key := range []string{h.IPv4.String(), h.IPv6.String(), h.MAC.String()} {
			if other := seen[key]; other != "" {
				t.Errorf("%s and %s share %s", other, h.Name, key)
			}
			seen[key] = h.Name
		}
		if h.Role == Node && (!p.Pods4.Contains(h.Pods4.Addr()) || !p.Pods6.Contains(h.Pods6.Addr())) {
			t.Errorf("%s has pod subnets outside of the range: %s, %s", h.Name, h.Pods4, h.Pods6)
		}
	}
	for _, a := range []netip.Addr{p.API4, p.API6, p.DNS4, p.DNS6} {
		if !p.Services4.Contains(a) && !p.Services6.Contains(a) {
			t.Errorf("%s is not in a service range", a)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, n := range []int{-1, 0, MaxNodes + 1} {
		if _, err := New(n); err == nil {
			t.Errorf("New(%d) gave no error", n)
		}
	}
}
