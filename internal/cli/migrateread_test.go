package cli

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// A step of the plan is done when nothing of it is left, and not because the cluster could not be asked.
func TestPending(t *testing.T) {
	object := func(kind string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"kind": kind}}
	}
	pool, peer := object("IPAddressPool"), object("BGPPeer")
	for name, tc := range map[string]struct {
		x                 converted
		quiet, announcing bool
	}{
		"nothing":          {converted{list: []planned{}}, false, false},
		"not installed":    {converted{objects: []*unstructured.Unstructured{pool, peer}}, true, true},
		"pools alone":      {converted{objects: []*unstructured.Unstructured{pool}}, true, false},
		"to be made":       {converted{list: []planned{{object: peer, action: create}, {object: pool, action: change}}}, true, true},
		"made or not ours": {converted{list: []planned{{object: peer, action: unchanged}, {object: pool, action: leave}}}, false, false},
	} {
		if quiet, announcing := tc.x.pending(); quiet != tc.quiet || announcing != tc.announcing {
			t.Errorf("%s: %v, %v", name, quiet, announcing)
		}
	}
}
