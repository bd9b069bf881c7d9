package liveness

import (
	"testing"
	"time"
)

// A history of what is told of one speaker, and what follows from it.
func TestVerdict(t *testing.T) {
	const hold = 3 * time.Second
	type step struct {
		after time.Duration // since the step before
		tell  string
		want  Verdict
	}
	for name, steps := range map[string][]step{
		"nothing is known":                          {{0, "", Unknown}},
		"gossip finds it and loses it":              {{0, "member", Alive}, {time.Hour, "", Alive}, {0, "dead", Silent}, {time.Hour, "member", Alive}},
		"it leaves":                                 {{0, "member", Alive}, {0, "up", Alive}, {0, "left", Left}, {time.Second, "ended", Left}, {time.Second, "member", Alive}},
		"its session fails, then gossip":            {{0, "member", Alive}, {0, "up", Alive}, {time.Minute, "expired", Lost}, {time.Second, "dead", Lost}, {time.Hour, "", Lost}, {0, "member", Alive}},
		"gossip overrules a session after the hold": {{0, "member", Alive}, {0, "up", Alive}, {0, "expired", Lost}, {hold - 1, "", Lost}, {1, "", Alive}},
		"gossip alone is cut off":                   {{0, "member", Alive}, {0, "up", Alive}, {0, "dead", Alive}, {time.Hour, "", Alive}, {0, "expired", Lost}},
		"it says that it does not hear this node":   {{0, "member", Alive}, {0, "up", Alive}, {0, "signaled", Alive}, {0, "dead", Silent}, {time.Second, "signaled", Alive}, {heardFor, "", Silent}},
		"what was heard before gossip lost it":      {{0, "member", Alive}, {0, "heard", Alive}, {time.Millisecond, "dead", Silent}},
		"an ended session says nothing":             {{0, "member", Alive}, {0, "up", Alive}, {0, "ended", Alive}, {0, "dead", Silent}},
		"a frame of its is seen": {{0, "member", Alive}, {0, "dead", Silent}, {time.Second, "heard", Alive}, {heardFor - 1, "", Alive}, {1, "", Silent},
			{0, "heard", Alive}, {0, "up", Alive}, {time.Hour, "", Alive}},
		"a session that failed wrongly is not trusted for a while": {
			{0, "member", Alive}, {0, "up", Alive}, {0, "expired", Lost}, {0, "up", Alive}, {0, "expired", Lost}, {time.Millisecond, "heard", Alive}, {time.Second, "up", Alive},
			{time.Second, "expired", Alive}, {time.Second, "up", Alive}, {leastDistrust, "expired", Lost}, {0, "up", Alive},
			{2*leastDistrust - 1, "expired", Alive}, {0, "up", Alive}, {mostDistrust, "", Alive}, {1, "expired", Lost}, {0, "up", Alive},
			{0, "expired", Lost}, {0, "up", Alive}, {0, "expired", Alive}},
		"it left while its session was up, and came back": {{0, "member", Alive}, {0, "up", Alive}, {0, "left", Left}, {0, "member", Alive}, {0, "dead", Silent}},
		"a right alarm makes up for a false one": {
			{0, "member", Alive}, {0, "up", Alive}, {0, "expired", Lost}, {0, "up", Alive}, {0, "expired", Lost}, {time.Second, "dead", Lost}, {0, "member", Alive}, {0, "up", Alive},
			{0, "expired", Lost}, {0, "up", Alive}, {0, "expired", Lost}},
		"an alarm that gossip shared was not false": {
			{0, "member", Alive}, {0, "up", Alive}, {0, "expired", Lost}, {0, "dead", Lost}, {0, "up", Alive}, {0, "member", Alive}, {0, "expired", Lost}, {0, "up", Alive},
			{0, "expired", Lost}},
		"distrust has an end": {
			{0, "member", Alive}, {0, "expired", Lost}, {0, "up", Alive}, {0, "expired", Lost}, {0, "up", Alive}, {leastDistrust, "expired", Lost}, {0, "up", Alive},
			{2 * leastDistrust, "expired", Lost}, {0, "up", Alive}, {4 * leastDistrust, "expired", Lost}, {0, "up", Alive}, {8 * leastDistrust, "expired", Lost}, {0, "up", Alive},
			{16 * leastDistrust, "expired", Lost}, {0, "up", Alive}, {mostDistrust - 1, "expired", Alive}, {1, "expired", Lost}},
		"one that failed rightly is trusted": {
			{0, "member", Alive}, {0, "up", Alive}, {0, "expired", Lost}, {time.Second, "dead", Lost}, {time.Second, "member", Alive}, {time.Second, "up", Alive},
			{time.Second, "expired", Lost}},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(1e9, 0)
			tr := New(hold)
			for i, s := range steps {
				now = now.Add(s.after)
				switch s.tell {
				case "":
				case "member":
					tr.Gossip([]string{"node1"}, nil)
				case "dead", "left":
					tr.Gossip(nil, func(string) bool { return s.tell == "left" })
				case "heard":
					tr.Heard(now, "node1")
				default:
					tr.Session(now, "node1", map[string]Session{"up": Up, "expired": Expired, "signaled": Signaled, "ended": Ended}[s.tell])
				}
				if got := tr.Verdict(now, "node1"); got != s.want {
					t.Fatalf("step %d, %+v: the verdict is %d", i, s, got)
				}
			}
		})
	}
}

// What Next says is when a verdict changes, and none does before.
func TestNext(t *testing.T) {
	now := time.Unix(1e9, 0)
	tr := New(3 * time.Second)
	if at := tr.Next(now); !at.IsZero() {
		t.Fatalf("nothing is known, and something changes at %s", at)
	}
	tr.Gossip([]string{"node1", "node2"}, nil)
	tr.Session(now, "node1", Expired)
	tr.Gossip([]string{"node1"}, func(string) bool { return false })
	tr.Heard(now.Add(time.Second), "node2")
	for _, want := range []time.Duration{3 * time.Second, 6 * time.Second} {
		at := tr.Next(now)
		if at.Sub(time.Unix(1e9, 0)) != want {
			t.Fatalf("the next change is after %s, want %s", at.Sub(time.Unix(1e9, 0)), want)
		}
		changes := 0
		for _, name := range []string{"node1", "node2"} {
			if tr.Verdict(at, name) != tr.Verdict(at.Add(-1), name) {
				changes++
			}
		}
		if changes != 1 {
			t.Errorf("at %s %d verdicts change, want 1", at, changes)
		}
		now = at
	}
	if at := tr.Next(now); !at.IsZero() {
		t.Errorf("all is settled, and something changes at %s", at)
	}
	tr.Forget(func(name string) bool { return name != "node2" })
	if got := tr.Verdict(now, "node2"); got != Unknown {
		t.Errorf("forgotten, node2 is %d", got)
	}
	tr.Forget(func(string) bool { return false })
	if got := tr.Verdict(now, "node1"); got != Alive {
		t.Errorf("node1 is a member, and forgotten: %d", got)
	}
}
