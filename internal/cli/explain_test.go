package cli

import (
	"bytes"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/api/v1beta1"
	"fairlead.io/fairlead/internal/doctor"
	"fairlead.io/fairlead/internal/layer2"
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
	t.Run("BGP", func(t *testing.T) {
		// The Speakers of bgp.yaml take the place of those in network.yaml.
		network, err := ReadFiles([]string{filepath.Join("testdata", "explain", "cluster.yaml"), filepath.Join("testdata", "explain", "network.yaml"),
			filepath.Join("testdata", "explain", "bgp.yaml")}, nil)
		if err != nil {
			t.Fatal(err)
		}
		network.Speakers = lastOf(network.Speakers)
		for name, change := range map[string]func(*Snapshot, *ExplainOptions){
			"bgp":              func(*Snapshot, *ExplainOptions) {},
			"bgp-without":      func(_ *Snapshot, o *ExplainOptions) { o.Without = []string{"node2"} },
			"bgp-alone":        func(s *Snapshot, _ *ExplainOptions) { s.L2Advertisements = nil },
			"bgp-no-peer":      func(s *Snapshot, _ *ExplainOptions) { s.BGPPeers = nil },
			"bgp-no-endpoint":  func(s *Snapshot, _ *ExplainOptions) { s.EndpointSlices = nil },
			"bgp-unadvertised": func(s *Snapshot, _ *ExplainOptions) { s.BGPAdvertisements = nil },
			"bgp-shared": func(s *Snapshot, _ *ExplainOptions) {
				search := s.EndpointSlices[0].DeepCopy()
				search.Labels[discoveryv1.LabelServiceName] = "search"
				s.EndpointSlices = append(s.EndpointSlices, *search)
				s.BGPAdvertisements[0].Spec.ServiceSelectors = []metav1.LabelSelector{{MatchLabels: map[string]string{"app": "search"}}}
				for i := range s.Services {
					if s.Services[i].Name == "search" {
						s.Services[i].Labels = map[string]string{"app": "search"}
					}
				}
			},
			"bgp-withheld": func(s *Snapshot, _ *ExplainOptions) {
				s.Speakers = slices.Clone(s.Speakers)
				for i := range s.Speakers {
					if sp := s.Speakers[i].DeepCopy(); sp.Name == "node2" {
						sp.Status.BGP[0].LastError = "routes that are not advertised: 1, among them 192.168.100.240/32: the attributes (5000 bytes) leave no room"
						s.Speakers[i] = *sp
					}
				}
			},
			"bgp-shared-others": func(s *Snapshot, _ *ExplainOptions) {
				s.EndpointSlices[0].Labels["kubernetes.io/service-name"] = "search"
			},
		} {
			t.Run(name, func(t *testing.T) {
				s, o := network, ExplainOptions{Class: class}
				s.EndpointSlices = []discoveryv1.EndpointSlice{*network.EndpointSlices[0].DeepCopy()}
				s.Services, s.BGPAdvertisements = slices.Clone(s.Services), slices.Clone(s.BGPAdvertisements)
				change(&s, &o)
				var got bytes.Buffer
				if err := ExplainService(&got, s, "shop/cart", o); err != nil {
					t.Fatal(err)
				}
				golden(t, filepath.Join("testdata", "explain", name+".txt"), got.Bytes())
			})
		}
		t.Run("status", func(t *testing.T) {
			var got bytes.Buffer
			if err := PrintStatus(&got, network); err != nil {
				t.Fatal(err)
			}
			golden(t, filepath.Join("testdata", "bgp.txt"), got.Bytes())
		})
	})
	t.Run("conflict", func(t *testing.T) {
		conflict := v1beta1.AddressConflict{IP: "192.168.100.240", Interface: "eth0", HardwareAddress: "02:00:00:00:00:09"}
		for name, status := range map[string]v1beta1.SpeakerStatus{
			"layer2-in-use":   {Conflicts: []v1beta1.AddressConflict{conflict}},
			"layer2-disputed": {Conflicts: []v1beta1.AddressConflict{conflict}, Layer2: []v1beta1.Layer2Address{{IP: conflict.IP}}},
		} {
			t.Run(name, func(t *testing.T) {
				network, err := ReadFiles([]string{filepath.Join("testdata", "explain", "cluster.yaml"), filepath.Join("testdata", "explain", "network.yaml")}, nil)
				if err != nil {
					t.Fatal(err)
				}
				for i := range network.Speakers {
					if s := &network.Speakers[i]; s.Name == "node2" {
						s.Status.Conflicts, s.Status.Layer2 = status.Conflicts, status.Layer2
					}
				}
				var got bytes.Buffer
				if err := ExplainService(&got, network, "shop/cart", ExplainOptions{Class: class}); err != nil {
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

// lastOf keeps of each name the last.
func lastOf(list []v1beta1.Speaker) []v1beta1.Speaker {
	var out []v1beta1.Speaker
	for i := range list {
		out = slices.DeleteFunc(out, func(s v1beta1.Speaker) bool { return s.Name == list[i].Name })
		out = append(out, list[i])
	}
	return out
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

// What a Speaker says of settling reaches the election.
func TestSettling(t *testing.T) {
	speaker := func(name string, settled metav1.ConditionStatus, interfaces ...v1beta1.SpeakerInterface) v1beta1.Speaker {
		return v1beta1.Speaker{ObjectMeta: metav1.ObjectMeta{Name: name},
			Status: v1beta1.SpeakerStatus{Conditions: condition(v1beta1.SpeakerSettled, settled, "", ""), Interfaces: interfaces}}
	}
	c := layer2Of(&Snapshot{Objects: doctor.Objects{Speakers: []v1beta1.Speaker{
		speaker("came-back", metav1.ConditionFalse, v1beta1.SpeakerInterface{Name: "eth0"}),
		speaker("stayed", metav1.ConditionTrue, v1beta1.SpeakerInterface{Name: "eth0", Settling: true}, v1beta1.SpeakerInterface{Name: "eth1"}),
		{ObjectMeta: metav1.ObjectMeta{Name: "older"}}, // a version that does not say it
	}}}, &ExplainOptions{})
	want := []layer2.Member{
		{Name: "came-back", Settling: true, DataplaneReady: true, Interfaces: []string{"eth0"}},
		{Name: "stayed", DataplaneReady: true, Interfaces: []string{"eth0", "eth1"}, SettlingInterfaces: []string{"eth0"}},
		{Name: "older", DataplaneReady: true},
	}
	if !reflect.DeepEqual(c.Members, want) {
		t.Errorf("got  %+v\nwant %+v", c.Members, want)
	}
}
