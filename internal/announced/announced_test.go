package announced_test

import (
	"net/netip"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/api/v1beta1"
	. "fairlead.io/fairlead/internal/announced"
)

var (
	addr  = netip.MustParseAddr("192.168.100.240")
	start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// announces and claimed make the two things that a speaker can say of addr.
func announces(after time.Duration) v1beta1.Layer2Address {
	return v1beta1.Layer2Address{IP: addr.String(), Since: metav1.NewMicroTime(start.Add(after))}
}

func claimed(after time.Duration, announced bool) v1beta1.AddressConflict {
	return v1beta1.AddressConflict{IP: addr.String(), Interface: "eth0", HardwareAddress: "02:00:00:00:00:09",
		Since: metav1.NewMicroTime(start.Add(after)), Announced: announced}
}

func TestState(t *testing.T) {
	type speakers map[string]v1beta1.SpeakerStatus
	says := func(list ...any) (s v1beta1.SpeakerStatus) {
		for _, x := range list {
			switch x := x.(type) {
			case v1beta1.Layer2Address:
				s.Layer2 = append(s.Layer2, x)
			case v1beta1.AddressConflict:
				s.Conflicts = append(s.Conflicts, x)
			}
		}
		return s
	}
	const (
		node1    = "192.168.100.240 is announced by node1 (layer 2)"
		node2    = "192.168.100.240 is announced by node2 (layer 2)"
		remedy   = "; free the address on that host, or exclude it from pool web (spec.excludeAddresses) and let the Service ask for another one (annotation fairlead.io/load-balancer-ips)"
		dark     = "192.168.100.240 is not announced: the host with hardware address 02:00:00:00:00:09, seen by node1 on eth0, already uses it" + remedy
		defended = node1 + ", but the host with hardware address 02:00:00:00:00:09, seen by node1 on eth0, uses it too and may get part of its traffic" + remedy
	)
	for name, tc := range map[string]struct {
		speakers speakers
		want     string
	}{
		"nobody":                     {speakers{"node1": says()}, ""},
		"one":                        {speakers{"node1": says(announces(0)), "node2": says()}, node1},
		"the last one":               {speakers{"node1": says(announces(0)), "node2": says(announces(time.Microsecond))}, node2},
		"at the same instant":        {speakers{"node1": says(announces(0)), "node2": says(announces(0))}, node1},
		"in use before":              {speakers{"node1": says(claimed(0, false))}, dark},
		"defended":                   {speakers{"node1": says(announces(0), claimed(time.Hour, true))}, defended},
		"taken up after a dead node": {speakers{"node1": says(claimed(time.Second, false)), "node2": says(announces(0))}, dark},
		"freed, and taken up by another node, when the one that refrained was dead": {
			speakers{"node1": says(claimed(0, false)), "node2": says(announces(time.Second))}, node2},
		"the conflict of a node that lost the address": {speakers{"node1": says(announces(0), claimed(time.Hour, true)), "node2": says(announces(time.Second))}, node2},
		"a conflict over an address given up":          {speakers{"node1": says(claimed(0, true))}, ""},
		"announced after all":                          {speakers{"node1": says(announces(0), claimed(0, false))}, defended},
		"no address":                                   {speakers{"node1": {Conflicts: []v1beta1.AddressConflict{{IP: "?"}}, Layer2: []v1beta1.Layer2Address{{IP: "?"}}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			reports := map[string]Report{}
			for node, status := range tc.speakers {
				if r, ok := Reports(&status)[addr]; ok {
					reports[node] = r
				}
			}
			if got := Of(reports).Sentence(addr, "web"); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestEqual(t *testing.T) {
	report := func(status v1beta1.SpeakerStatus) Report { return Reports(&status)[addr] }
	base := v1beta1.SpeakerStatus{Layer2: []v1beta1.Layer2Address{announces(0)}, Conflicts: []v1beta1.AddressConflict{claimed(0, true)}}
	elsewhere := base.DeepCopy() // read in another time zone
	elsewhere.Conflicts[0].Since.Time = elsewhere.Conflicts[0].Since.In(time.FixedZone("", 3600))
	if !report(base).Equal(report(*elsewhere)) {
		t.Error("equal reports differ")
	}
	for name, change := range map[string]func(*v1beta1.SpeakerStatus){
		"not announced": func(s *v1beta1.SpeakerStatus) { s.Layer2 = nil },
		"taken over":    func(s *v1beta1.SpeakerStatus) { s.Layer2[0] = announces(1000) },
		"no conflict":   func(s *v1beta1.SpeakerStatus) { s.Conflicts = nil },
		"another host":  func(s *v1beta1.SpeakerStatus) { s.Conflicts[0].HardwareAddress = "02:00:00:00:00:0a" },
		"later":         func(s *v1beta1.SpeakerStatus) { s.Conflicts[0] = claimed(1000, true) },
	} {
		other := base.DeepCopy()
		change(other)
		if report(base).Equal(report(*other)) {
			t.Errorf("%s: two reports that differ are equal", name)
		}
	}
}
