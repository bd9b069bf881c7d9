package cli

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.io/fairlead/internal/service"
	"fairlead.io/fairlead/ipam"
)

func TestExplainService(t *testing.T) {
	snapshot, err := ReadFiles([]string{filepath.Join("testdata", "explain", "cluster.yaml")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	class := service.Class{Name: "fairlead.io/fairlead"}
	for _, tc := range []struct {
		golden  string
		service ipam.Key
		options ExplainOptions
	}{
		{"has", "shop/cart", ExplainOptions{Class: class}},
		{"shares", "shop/search", ExplainOptions{Class: class}},
		{"anew", "shop/search", ExplainOptions{Class: class, Anew: true}},
		{"exhausted", "shop/waits", ExplainOptions{Class: class}},
		{"foreign-address", "shop/wants", ExplainOptions{Class: class}},
		{"dual", "pay/dual", ExplainOptions{Class: class}},
		{"other-class", "pay/theirs", ExplainOptions{Class: class}},
		{"class-required", "shop/cart", ExplainOptions{Class: service.Class{Name: class.Name, Require: true}}},
		{"cluster-ip", "shop/inside", ExplainOptions{Class: class}},
	} {
		t.Run(tc.golden, func(t *testing.T) {
			var got bytes.Buffer
			if err := ExplainService(&got, snapshot, tc.service, tc.options); err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", "explain", tc.golden+".txt"), got.Bytes())
		})
	}
	t.Run("layer 2", func(t *testing.T) {
		network, err := ReadFiles([]string{filepath.Join("testdata", "explain", "cluster.yaml"), filepath.Join("testdata", "explain", "network.yaml")}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, options := range map[string]ExplainOptions{
			"layer2":           {Class: class},
			"layer2-without":   {Class: class, Without: []string{"node2"}},
			"layer2-excluded":  {Class: class, IgnoreExcludeLabel: true},
			"layer2-all-alone": {Class: class, Without: []string{"node1", "node2"}},
		} {
			t.Run(name, func(t *testing.T) {
				var got bytes.Buffer
				if err := ExplainService(&got, network, "shop/cart", options); err != nil {
					t.Fatal(err)
				}
				golden(t, filepath.Join("testdata", "explain", name+".txt"), got.Bytes())
			})
		}
	})
	t.Run("unknown", func(t *testing.T) {
		err := ExplainService(&bytes.Buffer{}, snapshot, "default/cart", ExplainOptions{Class: class})
		if err == nil || !strings.Contains(err.Error(), "there is no Service default/cart") {
			t.Errorf("%v", err)
		}
	})
}

func TestReadFiles(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"nothing", "# nothing\n---\n", ""},
		{"junk", "kind: [", "read -: document 1: parse"},
		{"wrong type", "apiVersion: v1\nkind: Service\nspec: {ports: 80}\n", "read -: document 1: parse"},
		{"in a list", "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, spec: {ports: 80}}\n", "read -: document 1: items[0]: parse"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ReadFiles([]string{"-"}, strings.NewReader(tc.text))
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tc.want)) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
	if _, err := ReadFiles([]string{"no/such/file"}, nil); err == nil {
		t.Error("a file that is not there was read")
	}
}
