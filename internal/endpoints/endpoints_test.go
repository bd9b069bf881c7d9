package endpoints

import (
	"net/netip"
	"slices"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
)

var (
	v4 = netip.MustParseAddr("192.168.100.240")
	v6 = netip.MustParseAddr("fd00::240")
)

func slice(kind discoveryv1.AddressType, list ...discoveryv1.Endpoint) discoveryv1.EndpointSlice {
	return discoveryv1.EndpointSlice{AddressType: kind, Endpoints: list}
}

func on(node string, ready, serving, terminating *bool) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Conditions: discoveryv1.EndpointConditions{Ready: ready, Serving: serving, Terminating: terminating}}
	if node != "" {
		e.NodeName = &node
	}
	return e
}

func TestConditions(t *testing.T) {
	yes, no := new(true), new(false)
	for what, tt := range map[string]struct {
		e    discoveryv1.Endpoint
		want bool
	}{
		"ready":                          {on("n", yes, yes, no), true},
		"nothing known":                  {on("n", nil, nil, nil), true},
		"ready, serving unknown":         {on("n", yes, nil, nil), true},
		"not ready, serving unknown":     {on("n", no, nil, nil), false},
		"terminating, but serving":       {on("n", no, yes, yes), true},
		"terminating and not serving":    {on("n", no, no, yes), false},
		"not serving":                    {on("n", no, no, no), false},
		"no node name, nothing known":    {on("", nil, nil, nil), true},
		"no node name and not serving":   {on("", no, no, nil), false},
		"empty node name, nothing known": {func() discoveryv1.Endpoint { e := on("", nil, nil, nil); e.NodeName = new(""); return e }(), true},
	} {
		v := FromSlices([]discoveryv1.EndpointSlice{slice(discoveryv1.AddressTypeIPv4, tt.e)})
		if v.Any(v4) != tt.want || v.On(v4, "n") != tt.want {
			t.Errorf("%s: any %t, on the node %t, want %t", what, v.Any(v4), v.On(v4, "n"), tt.want)
		}
		if everywhere := tt.want && (tt.e.NodeName == nil || *tt.e.NodeName == ""); v.On(v4, "other") != everywhere {
			t.Errorf("%s: on another node %t, want %t", what, v.On(v4, "other"), everywhere)
		}
	}
}

func TestFamiliesAndSlices(t *testing.T) {
	four := slice(discoveryv1.AddressTypeIPv4, on("n1", nil, nil, nil))
	more := slice(discoveryv1.AddressTypeIPv4, on("n2", nil, nil, nil))
	host := slice(discoveryv1.AddressTypeFQDN, on("n3", nil, nil, nil))
	v := FromSlices([]discoveryv1.EndpointSlice{four, more, host})
	if !v.On(v4, "n1") || !v.On(v4, "n2") || v.On(v4, "n3") || v.Any(v6) {
		t.Errorf("view %+v", v)
	}
	if nodes, everywhere := v.Nodes(v4); everywhere || !slices.Equal(slices.Sorted(nodes), []string{"n1", "n2"}) {
		t.Error("the nodes are others")
	}
	outside := FromSlices([]discoveryv1.EndpointSlice{slice(discoveryv1.AddressTypeIPv6, on("", nil, nil, nil))})
	if nodes, everywhere := outside.Nodes(v6); !everywhere || len(slices.Collect(nodes)) > 0 {
		t.Error("an endpoint without a node is on one")
	}
	w := FromSlices([]discoveryv1.EndpointSlice{more, four})
	if !v.Equal(&w) {
		t.Error("the order of slices matters")
	}
	x := FromSlices([]discoveryv1.EndpointSlice{four})
	if v.Equal(&x) {
		t.Error("different views are equal")
	}
}
