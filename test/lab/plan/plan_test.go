package plan

import (
	"net/netip"
	"testing"
)

func TestNewIsTheContract(t *testing.T) {
	p, err := New(3, 2)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][5]string{
		"cp":     {"192.168.100.10", "fd00:100::10", "02:00:c0:a8:64:0a", "invalid Prefix", "invalid Prefix"},
		"client": {"192.168.100.100", "fd00:100::100", "02:00:c0:a8:64:64", "invalid Prefix", "invalid Prefix"},
		"node1":  {"192.168.100.11", "fd00:100::11", "02:00:c0:a8:64:0b", "10.233.64.0/24", "fd00:10:233:64::/64"},
		"node3":  {"192.168.100.13", "fd00:100::13", "02:00:c0:a8:64:0d", "10.233.66.0/24", "fd00:10:233:66::/64"},
		"tor":    {"192.168.100.1", "fd00:100::1", "02:00:c0:a8:64:01", "invalid Prefix", "invalid Prefix"},
		"tor2":   {"192.168.100.2", "fd00:100::2", "02:00:c0:a8:64:02", "invalid Prefix", "invalid Prefix"},
		"ext":    {"192.168.200.100", "fd00:200::100", "02:00:c0:a8:c8:64", "invalid Prefix", "invalid Prefix"},
	} {
		h, ok := p.Host(name)
		if got := [5]string{h.IPv4.String(), h.IPv6.String(), h.MAC.String(), h.Pods4.String(), h.Pods6.String()}; !ok || got != want {
			t.Errorf("%s = %v, want %v", name, got, want)
		}
	}
	if n := len(p.WithRole(Node)); n != 3 {
		t.Errorf("%d nodes, want 3", n)
	}
	if tor, _ := p.Host("tor"); tor.IPv4 != p.Gateway4 || tor.IPv6 != p.Gateway6 {
		t.Errorf("tor has %s and %s, and is not the gateway", tor.IPv4, tor.IPv6)
	}
	if tor2, _ := p.Host("tor2"); tor2.Outside4.String() != "192.168.200.2" || tor2.Outside6.String() != "fd00:200::2" || tor2.OutsideMAC.String() != "02:00:c0:a8:c8:02" {
		t.Errorf("tor2 has %s, %s, %s on the network behind it", tor2.Outside4, tor2.Outside6, tor2.OutsideMAC)
	}
	if _, ok := p.Host("node4"); ok {
		t.Error("node4 is in a plan of three nodes")
	}
	if alone, err := New(3, 0); err != nil || len(alone.Hosts) != 5 {
		t.Errorf("without routers there are %d hosts, %v, want 5", len(alone.Hosts), err)
	}
}

// Nothing may overlap, and the LoadBalancer pools' place on the LAN stays free.
func TestNewKeepsApart(t *testing.T) {
	p, err := New(MaxNodes, MaxRouters)
	if err != nil {
		t.Fatal(err)
	}
	ranges := []netip.Prefix{p.LAN4, p.LAN6, p.Outside4, p.Outside6, p.Services4, p.Services6, p.Pods4, p.Pods6}
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
		net4, net6 := p.LAN4, p.LAN6
		if h.Role == Outside {
			net4, net6 = p.Outside4, p.Outside6
		}
		if !net4.Contains(h.IPv4) || !net6.Contains(h.IPv6) {
			t.Errorf("%s is not on its network: %s, %s", h.Name, h.IPv4, h.IPv6)
		}
		if h.Role != Outside && !h.IPv4.Less(pool4) || pool6.Contains(h.IPv6) {
			t.Errorf("%s sits in the pools' place: %s, %s", h.Name, h.IPv4, h.IPv6)
		}
		keys := []string{h.IPv4.String(), h.IPv6.String(), h.MAC.String()}
		if h.Role == Router {
			keys = append(keys, h.Outside4.String(), h.Outside6.String(), h.OutsideMAC.String())
			if !p.Outside4.Contains(h.Outside4) || !p.Outside6.Contains(h.Outside6) {
				t.Errorf("%s is not on the network behind it: %s, %s", h.Name, h.Outside4, h.Outside6)
			}
		}
		for _, key := range keys {
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
	for _, n := range [][2]int{{-1, 0}, {0, 0}, {MaxNodes + 1, 0}, {1, -1}, {1, MaxRouters + 1}} {
		if _, err := New(n[0], n[1]); err == nil {
			t.Errorf("New(%d, %d) gave no error", n[0], n[1])
		}
	}
}
