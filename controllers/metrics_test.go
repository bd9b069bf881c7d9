package controllers_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/testenv"
)

// The metrics say what the objects' statuses say, and forget a pool with the pool.
func TestMetrics(t *testing.T) {
	ns := namespace(t)
	addr := metricsAddress(t, run(t, "--metrics-bind-address", "127.0.0.1:0"))
	token, err := env.MetricsToken(t.Context(), ns, ns)
	if err != nil {
		t.Fatal(err)
	}
	metrics := func(what string, missing func(body string) string) {
		t.Helper()
		eventually(t, what, func() string {
			code, body, err := testenv.Scrape(t.Context(), addr, token)
			if code != http.StatusOK || err != nil {
				return fmt.Sprint(code, " ", body, err)
			}
			return missing(body)
		})
	}
	says := func(want ...string) {
		t.Helper()
		metrics("the metrics", func(body string) string {
			for _, line := range want {
				if !strings.Contains(body, "\n"+line+"\n") {
					return "no line " + line
				}
			}
			return ""
		})
	}
	good, bad := bgpPeer("good", "192.168.100.1"), bgpPeer("bad", "192.168.100.2", func(s *v1beta1.BGPPeerSpec) { s.BFDProfile = "late" })
	temporary(t, good)
	temporary(t, bad)
	says(`fairlead_config_object_accepted{kind="BGPPeer",name="good"} 1`, `fairlead_config_object_accepted{kind="BGPPeer",name="bad"} 0`)
	if err := kube.Delete(t.Context(), bad); err != nil {
		t.Fatal(err)
	}
	metrics("the metrics forget the peer", func(body string) string {
		if strings.Contains(body, `name="bad"`) {
			return "they have it"
		}
		return ""
	})
	create(t, newPool("web", "192.168.100.240-192.168.100.241", "fd00:100::/64"))
	create(t, newService(ns, "a"))
	hasAddress(t, ns, "a", "192.168.100.240")
	create(t, newService(ns, "b"))
	hasAddress(t, ns, "b", "192.168.100.241")
	create(t, newService(ns, "c"))
	pending(t, ns, "c", v1beta1.ReasonPoolExhausted, "2 of 2 in use")
	create(t, newService(ns, "d", annotated(v1beta1.AnnotationAddressPool, "made-up")))
	pending(t, ns, "d", v1beta1.ReasonUnknownPool, "there is no pool made-up")
	says(
		`fairlead_ipam_addresses{family="ipv4",pool="web",state="assigned"} 2`,
		`fairlead_ipam_addresses{family="ipv4",pool="web",state="available"} 0`,
		`fairlead_ipam_addresses{family="ipv4",pool="web",state="outside"} 0`,
		`fairlead_ipam_addresses{family="ipv6",pool="web",state="available"} 9.223372036854776e+18`,
		`fairlead_ipam_allocations_total{pool="web",result="assigned"} 2`,
		`fairlead_ipam_allocations_total{pool="",result="PoolExhausted"} 1`,
		`fairlead_ipam_allocations_total{pool="",result="UnknownPool"} 1`,
		`fairlead_ipam_pending_services 2`,
		`fairlead_config_object_accepted{kind="IPAddressPool",name="web"} 1`,
	)
	patchSpec(t, getPool(t, "web"), `{"spec":{"addresses":["192.168.100.241"],"disabled":true}}`) // which is no mistake
	says(
		`fairlead_ipam_addresses{family="ipv4",pool="web",state="assigned"} 2`,
		`fairlead_ipam_addresses{family="ipv4",pool="web",state="outside"} 1`,
		`fairlead_config_object_accepted{kind="IPAddressPool",name="web"} 1`,
	)
	temporary(t, newPool("web-again", "192.168.100.241"))
	says(`fairlead_config_object_accepted{kind="IPAddressPool",name="web-again"} 0`)
	removePools(t)
	metrics("the metrics forget the pool", func(body string) string {
		for line := range strings.Lines(body) {
			if strings.HasPrefix(line, "fairlead_") && strings.Contains(line, `"web"`) {
				return line
			}
		}
		return ""
	})
	hasAddress(t, ns, "a", "192.168.100.240")
}
