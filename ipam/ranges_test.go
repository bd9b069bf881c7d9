package ipam

import (
	"math"
	"net/netip"
	"strings"
	"testing"
)

func TestParseRange(t *testing.T) {
	for _, tc := range []struct{ in, want, wantErr string }{
		{"192.0.2.1", "192.0.2.1", ""},
		{"192.0.2.0/30", "192.0.2.0-192.0.2.3", ""},
		{"192.0.2.7/24", "192.0.2.0-192.0.2.255", ""},
		{"192.0.2.10-192.0.2.20", "192.0.2.10-192.0.2.20", ""},
		{" 192.0.2.10 - 192.0.2.20 ", "192.0.2.10-192.0.2.20", ""},
		{"192.0.2.10-192.0.2.10", "192.0.2.10", ""},
		{"fd00::/127", "fd00::-fd00::1", ""},
		{"fd00::1-fd00::ff", "fd00::1-fd00::ff", ""},
		{"0.0.0.0/0", "0.0.0.0-255.255.255.255", ""},
		{"192.0.2.20-192.0.2.10", "", "reversed"},
		{"fd00::2-fd00::1", "", "reversed"},
		{"192.0.2.1-fd00::1", "", "mixes IPv4 and IPv6"},
		{"192.0.2.1-192.0.2.2-192.0.2.3", "", "is not an address"},
		{"192.0.2.0/24-192.0.3.0/24", "", "is not an address"},
		{"192.0.2.0/33", "", "is not an address"},
		{"192.0.2.256", "", "is not an address"},
		{"", "", "is not an address"},
		{"-", "", "is not an address"},
		{"web", "", "is not an address"},
		{"::ffff:192.0.2.1", "", "IPv4-mapped"},
		{"::ffff:192.0.2.0/120", "", "IPv4-mapped"},
		{"fe80::1%eth0", "", "zone"},
	} {
		t.Run(tc.in, func(t *testing.T) {
			r, err := ParseRange(tc.in)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) || !strings.Contains(err.Error(), `"`+tc.in+`"`) {
					t.Fatalf("error %v, want one with %q that quotes the entry", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := FormatRange(r); got != tc.want {
				t.Errorf("= %s, want %s", got, tc.want)
			}
		})
	}
}

func FuzzParseRange(f *testing.F) {
	for _, s := range []string{"192.0.2.1", "192.0.2.0/24", "192.0.2.1-192.0.2.9", "fd00::1 - fd00::9", "::/0", "fe80::1%a-fe80::2%a", "-/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRange(s)
		if err != nil {
			return
		}
		if !r.IsValid() || r.From().Is4In6() || r.From().Zone() != "" || r.To().Less(r.From()) {
			t.Fatalf("%q read as %v", s, r)
		}
		again, err := ParseRange(FormatRange(r))
		if err != nil || again != r {
			t.Fatalf("%q formats as %q, which reads as %v, %v", s, FormatRange(r), again, err)
		}
		if n := size(r.From(), r.To(), true).int64(); n < 0 || n > size(r.From(), r.To(), false).int64() {
			t.Fatalf("%q counts %d addresses", s, n)
		}
	})
}

func TestSize(t *testing.T) {
	for _, tc := range []struct {
		in          string
		all, nobugs int64
	}{
		{"192.0.2.0/24", 256, 254},
		{"192.0.2.255", 1, 0},
		{"192.0.2.0", 1, 0},
		{"192.0.2.255-192.0.3.0", 2, 0},
		{"192.0.2.254-192.0.3.1", 4, 2},
		{"0.0.0.0/0", 1 << 32, 254 << 24},
		{"10.0.0.0/14", 1 << 18, 254 << 10},
		{"fd00::/120", 256, 256},
		{"fd00::/64", math.MaxInt64, math.MaxInt64},
		{"::/0", math.MaxInt64, math.MaxInt64},
	} {
		r, err := ParseRange(tc.in)
		if err != nil {
			t.Fatal(err)
		}
		if got := size(r.From(), r.To(), false).int64(); got != tc.all {
			t.Errorf("%s has %d addresses, want %d", tc.in, got, tc.all)
		}
		if got := size(r.From(), r.To(), true).int64(); got != tc.nobugs {
			t.Errorf("%s has %d addresses that do not end in .0 or .255, want %d", tc.in, got, tc.nobugs)
		}
	}
	if n := asCount(netip.MustParseAddr("::1")).sub(asCount(netip.MustParseAddr("::2"))).int64(); n != 0 {
		t.Errorf("a difference below zero counts %d", n)
	}
}
