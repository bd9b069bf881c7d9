package interop

import (
	"testing"

	"fairlead.io/fairlead/bgp"
)

// A speaker's memory grows by little with its routes to three routers.
func TestBGPMemory(t *testing.T) {
	const most = 80 << 20 // under the race detector, which needs the larger part
	for _, n := range []int{1, 1000, 10000} {
		s := newScale(t)
		speaker := NewBGPSpeaker(t, s.host, "192.0.1.1")
		speaker.Many(n, addr("10.0.0.0"), []bgp.Attributes{{}, {MED: number32(7)}}, s.names...)
		speaker.Peers(s.peers...)
		s.all(t, n)
		memory := speaker.Memory()
		t.Logf("%d routes to %d routers: %.1f MB of memory, %s of processor time", n, len(s.routers), float64(memory)/(1<<20), speaker.CPU().Round(ms))
		if memory > most {
			t.Errorf("%d bytes of memory for %d routes, want at most %d", memory, n, most)
		}
	}
}
