package speaker

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRotation(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var r rotation
	at := func(seconds int, want string, wait int) {
		t.Helper()
		keys, w := r.at(start.Add(time.Duration(seconds) * time.Second))
		if len(keys) > 1 {
			slices.SortFunc(keys[1:], bytes.Compare) // only the first one's place matters
		}
		if got := string(bytes.Join(keys, []byte(" "))); got != want || w != time.Duration(wait)*time.Second {
			t.Fatalf("after %d s: %q, changes in %s; want %q, %d s", seconds, got, w, want, wait)
		}
	}
	offer := func(seconds int, changes bool, keys string) {
		t.Helper()
		list := strings.Fields(keys)
		if got := r.offer(start.Add(time.Duration(seconds)*time.Second), list[0], list[1:]); got != changes {
			t.Fatalf("after %d s, offered %q: changes %t", seconds, keys, got)
		}
	}
	at(0, "", 0)
	offer(0, false, "a z") // at the start: at once
	at(0, "a z", 0)
	offer(1, true, "b a")
	at(1, "a b", 10)
	offer(2, false, "b a")
	at(10, "a b", 1)
	at(11, "b a", 60)
	offer(12, false, "b")
	at(70, "b a", 1)
	at(71, "b", 0)
	// One that is taken back before it is used, and one that is replaced.
	offer(100, true, "c")
	offer(101, false, "b")
	at(101, "b c", 60)
	offer(102, true, "d")
	offer(103, true, "e")
	at(103, "b c d e", 10)
	at(113, "e b c d", 48)
	at(200, "e", 0)
}

func TestDerive(t *testing.T) {
	secret := bytes.Repeat([]byte{1}, 32)
	gossip, err := derive(secret, "gossip")
	if err != nil {
		t.Fatal(err)
	}
	bfd, err := derive(secret, "bfd")
	if err != nil {
		t.Fatal(err)
	}
	if len(gossip) != 32 || gossip == bfd || gossip == string(secret) {
		t.Errorf("gossip %x, bfd %x", gossip, bfd)
	}
	if again, _ := derive(secret, "gossip"); again != gossip {
		t.Error("another key the second time")
	}
}
