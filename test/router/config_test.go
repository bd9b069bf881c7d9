package router

import (
	"bytes"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func testConfig(s Settings) Config {
	return Config{
		Hostname: "tor", ASN: 64513, NodeASN: 64512, RouterID: netip.MustParseAddr("192.168.100.1"),
		Networks: []netip.Prefix{netip.MustParsePrefix("192.168.100.0/24"), netip.MustParsePrefix("fd00:100::/64")},
		Nodes:    []netip.Addr{netip.MustParseAddr("192.168.100.11"), netip.MustParseAddr("fd00:100::11")},
		Settings: s,
	}
}

func everything(k Kind) Settings {
	s := Settings{Static: true, Password: "Sesame-1", HoldTime: 9 * time.Second}
	if k != GoBGP {
		s.BFD = &BFD{Interval: 100 * time.Millisecond, Multiplier: 3}
	}
	return s
}

func TestRenderGolden(t *testing.T) {
	for _, k := range Kinds() {
		for name, s := range map[string]Settings{"default": {}, "everything": everything(k), "password": {Password: "Sesame-1"}} {
			got, err := Render(k, testConfig(s))
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "config", name+"-"+k.FileName())
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s: rendered:\n%s\nwant:\n%s", golden, got, want)
			}
		}
	}
}

func TestSettingsRefused(t *testing.T) {
	bfd := func(i time.Duration, m int) Settings { return Settings{BFD: &BFD{Interval: i, Multiplier: m}} }
	for _, tc := range []struct {
		kind Kind
		s    Settings
		want string
	}{
		{FRR, Settings{Password: "two words"}, "password"},
		{BIRD, Settings{Password: `quo"te`}, "password"},
		{GoBGP, Settings{Password: strings.Repeat("x", 81)}, "at most 80"},
		{FRR, Settings{Password: "ünder"}, "password"},
		{FRR, Settings{HoldTime: 2 * time.Second}, "3 to 65535"},
		{FRR, Settings{HoldTime: 3500 * time.Millisecond}, "whole seconds"},
		{GoBGP, bfd(100*time.Millisecond, 3), "gobgpd has no BFD"},
		{FRR, bfd(9*time.Millisecond, 3), "10 to 60000"},
		{BIRD, bfd(time.Second+time.Microsecond, 3), "whole milliseconds"},
		{BIRD, bfd(time.Second, 1), "2 to 255"},
	} {
		_, err := Render(tc.kind, testConfig(tc.s))
		if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "two words") {
			t.Errorf("%s, %+v: error %v, want one with %q and without the password", tc.kind, tc.s, err, tc.want)
		}
	}
}

func TestFRRDelta(t *testing.T) {
	render := func(s Settings) []byte {
		config, err := Render(FRR, testConfig(s))
		if err != nil {
			t.Fatal(err)
		}
		return config
	}
	bgp := func(lines ...string) []string {
		var all []string
		for _, l := range lines {
			all = append(all, "configure terminal", "router bgp 64513", l, "end")
		}
		return all
	}
	bfd := Settings{BFD: &BFD{Interval: 100 * time.Millisecond, Multiplier: 3}}
	slower := Settings{BFD: &BFD{Interval: 300 * time.Millisecond, Multiplier: 3}}
	for name, tc := range map[string]struct {
		old, new []byte
		want     []string
	}{
		"nothing":                       {render(bfd), render(bfd), nil},
		"a password":                    {render(Settings{}), render(Settings{Password: "a"}), bgp("neighbor nodes password a")},
		"no password any more":          {render(Settings{Password: "a"}), render(Settings{}), bgp("no neighbor nodes password a")},
		"another password, in one step": {render(Settings{Password: "a"}), render(Settings{Password: "b"}), bgp("neighbor nodes password b")},
		"nodes by their addresses": {render(Settings{}), render(Settings{Static: true}), bgp(
			"no bgp listen range fd00:100::/64 peer-group nodes", "no bgp listen range 192.168.100.0/24 peer-group nodes",
			"neighbor 192.168.100.11 peer-group nodes", "neighbor fd00:100::11 peer-group nodes")},
		"slower BFD": {render(bfd), render(slower), []string{
			"configure terminal", "bfd", "profile nodes", "transmit-interval 300", "end",
			"configure terminal", "bfd", "profile nodes", "receive-interval 300", "end",
		}},
		"no BFD any more: what refers to it first": {render(bfd), render(Settings{}), slices.Concat(
			bgp("no neighbor nodes bfd profile nodes", "no neighbor nodes bfd"), []string{"configure terminal", "no bfd", "end"})},
		"a line that says no": {[]byte("router bgp 1\n no bgp default ipv4-unicast\nexit\n"), []byte("router bgp 1\nexit\n"), []string{
			"configure terminal", "router bgp 1", "bgp default ipv4-unicast", "end",
		}},
		"a part within a part": {
			[]byte("router bgp 1\n address-family ipv4 unicast\n  maximum-paths 2\n exit-address-family\n neighbor a peer-group\nexit\n"),
			[]byte("router bgp 1\n neighbor a peer-group\n address-family ipv6 unicast\n  maximum-paths 2\n exit-address-family\nexit\n"),
			[]string{
				"configure terminal", "router bgp 1", "no address-family ipv4 unicast", "end",
				"configure terminal", "router bgp 1", "address-family ipv6 unicast", "end",
				"configure terminal", "router bgp 1", "address-family ipv6 unicast", "maximum-paths 2", "end",
			},
		},
	} {
		if got := frrDelta(tc.old, tc.new); !slices.Equal(got, tc.want) {
			t.Errorf("%s:\n%s\nwant:\n%s", name, strings.Join(got, "\n"), strings.Join(tc.want, "\n"))
		}
	}
}
