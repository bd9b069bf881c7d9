//go:build linux

package hostns

import (
	"slices"
	"testing"
)

func TestArgsRoundTrip(t *testing.T) {
	want := Spec{Lab: "fairlead", Host: "node1", Dir: "/var/lib/fairlead-lab/hosts/node1", Cgroup: "fairlead-lab/node1"}
	got, err := ParseArgs(want.Args())
	if err != nil || got != want {
		t.Errorf("ParseArgs(Args()) = %+v, %v, want %+v", got, err, want)
	}
}

func TestParseArgsRefuses(t *testing.T) {
	good := Spec{Lab: "l", Host: "h", Dir: "/d", Cgroup: "c"}.Args()
	for _, args := range [][]string{
		nil,
		good[:4],
		append(slices.Clone(good), "more"),
		{"up", good[1], good[2], good[3], good[4]},
		{good[0], good[2], good[1], good[3], good[4]},
		{good[0], "--lab=", good[2], good[3], good[4]},
	} {
		if spec, err := ParseArgs(args); err == nil {
			t.Errorf("ParseArgs(%q) = %+v, want an error", args, spec)
		}
	}
}
