package main

import (
	"slices"
	"strings"
	"testing"
)

func TestMessage(t *testing.T) {
	for expression, want := range map[string]string{
		`"'" + self + "' is not an IP address"`:       "'VALUE' is not an IP address",
		`"say \"" + self + "\", or itself + nothing"`: `say "VALUE", or itself + nothing`,
	} {
		if got := message(expression); got != want {
			t.Errorf("%s: %s, want %s", expression, got, want)
		}
	}
}

func TestGoFlags(t *testing.T) {
	help := "Usage of x:\n  -a\tshort (default true)\n  -exclude string\n    \tpattern (default \"a\\\\d|b\")\n  -level value\n    \tfirst\n    \tsecond, --zap of it (see below)\n  -none string\n    \tempty (default \"\")\n"
	want := []option{
		{"--a", "", "true", "short"},
		{"--exclude", "string", `a\d|b`, "pattern"},
		{"--level", "value", "", "first second, --zap of it (see below)"},
		{"--none", "string", "", "empty"},
	}
	if got := goFlags(help); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// What there is in the project is on its pages: a sample of each shape.
func TestPages(t *testing.T) {
	t.Chdir("../..")
	api, err := apiPage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	conditions, err := conditionsPage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	explain, err := explainPage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for page, rows := range map[string][]string{
		explain: {
			"| `Standby` | the node answers when the owner is lost. |\n",
			"| `Advertised` | the node advertises the address to the peer, as long as there is a session. |\n",
			"| `NoNextHop` | the session runs over IPv4, and ",
		},
		api: {
			"| `spec.addresses` | list of string | required | of the pool: CIDRs, ",
			"| `spec.gracefulRestart.restartTime` | string | `120s` | ",
			"| `spec.preferredNodeSelectors[].preference` | LabelSelector | required | ",
			"each: 'VALUE' is reversed: the first address of a range must not be greater than the last",
			"matches `^[^/\\s]+$`",
			"| `spec` | object | | set exactly one of peerASN and dynamicASN; ",
			"| `status.bgp[].state` | string | required | ",
		},
		conditions: {
			"## Reasons of `fairlead.io/AddressAssigned`\n",
			"| reason | `PoolExhausted` | every pool that this Service may use has no free address of a family it needs. |\n",
			"| condition | `Settled` | True when the node has been healthy for --l2-failback-delay, or no other node has. Until then others go first. |\n",
			"| annotation | `fairlead.io/address-pool` | names the pool",
		},
	} {
		for _, row := range rows {
			if !strings.Contains(page, row) {
				t.Errorf("the page %.60q does not have %q", page, row)
			}
		}
		for line := range strings.SplitSeq(page, "\n") {
			if strings.HasPrefix(line, "|") && !strings.HasSuffix(line, "|") {
				t.Errorf("a row is cut: %s", line)
			}
		}
	}
	if strings.Contains(api, "matchExpressions") {
		t.Error("a LabelSelector is laid out")
	}
}
