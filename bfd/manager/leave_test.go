package manager

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.io/fairlead/bfd"
)

// What the neighbour hears of a session that ends: AdminDown, for a detection time, and nothing after that.
func TestRemove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t, fast())
		defer a.close()
		defer b.close()
		a.Remove(to(b.node))
		a.Remove(to(b.node)) // is no more
		if len(a.Snapshot()) != 0 {
			t.Error("the session is still shown")
		}
		e := b.next()
		if e.Old != bfd.Up || e.New != bfd.Down || e.Diagnostic != bfd.NeighborSignaledDown || e.RemoteState != bfd.AdminDown {
			t.Errorf("event %+v", e)
		}
		received := b.only().Counters.Received
		time.Sleep(2900 * ms)
		if n := b.only().Counters.Received - received; n < 2 || n > 4 {
			t.Errorf("%d packets in the 2.9 s after, want one in 0.75 to 1 s", n)
		}
		if got := b.only().RemoteState; got != bfd.AdminDown {
			t.Errorf("the neighbour is taken to be %s", got)
		}
		time.Sleep(100 * ms)
		received = b.only().Counters.Received
		time.Sleep(5 * time.Second)
		if n := b.only().Counters.Received - received; n != 0 {
			t.Errorf("%d packets later", n)
		}
		a.quiet()
		a.node.set(func() {
			if len(a.node.listeners) != 0 {
				t.Error("the port is still open")
			}
		})
		a.add(to(b.node), fast())
		a.until(bfd.Up)
	})
}

// A session that is added while an earlier one of its key still says goodbye takes its place.
func TestAddAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t, fast())
		defer a.close()
		defer b.close()
		a.Remove(to(b.node))
		if err := a.Add(to(b.node), fast(), a.events); err != nil {
			t.Fatal(err)
		}
		a.until(bfd.Up)
		if err := a.Add(to(b.node), fast(), a.events); err == nil || !strings.Contains(err.Error(), "there already") {
			t.Errorf("added twice: %v", err)
		}
		time.Sleep(10 * time.Second)
		a.quiet()
		if len(a.tables.byDiscr) != 1 || len(a.tables.leaving) != 0 {
			t.Errorf("%d sessions are known, %d are leaving", len(a.tables.byDiscr), len(a.tables.leaving))
		}
	})
}

// One that is added under another key, but with the same neighbour, is not disturbed by the goodbye of the earlier one.
func TestAddUnderAnotherKey(t *testing.T) {
	for name, change := range map[string]func(a *user, k *Key){
		"local address": func(a *user, k *Key) { k.Local = a.node.addr },
		"no interface":  func(_ *user, k *Key) { k.Interface = "" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := two(t, fast())
				defer a.close()
				defer b.close()
				key := to(b.node)
				a.Remove(key)
				change(a, &key)
				a.add(key, fast())
				a.until(bfd.Up)
				time.Sleep(10 * time.Second)
				if got := a.only(); got.State != bfd.Up || got.Counters.Lost != 0 {
					t.Errorf("%s, lost %d times", got.State, got.Counters.Lost)
				}
			})
		})
	}
}

func TestOverlaps(t *testing.T) {
	key := func(local, ifname string) Key {
		k := Key{Peer: netip.MustParseAddr("fe80::1"), Interface: ifname, Port: 3784}
		if local != "" {
			k.Local = netip.MustParseAddr(local)
		}
		return k
	}
	other := key("", "")
	other.Port = 4784
	for _, c := range []struct {
		a, b Key
		want bool
	}{
		{key("", "eth0"), key("", "eth0"), true},
		{key("", "eth0"), key("fe80::2", "eth0"), true},
		{key("fe80::2", "eth0"), key("fe80::2", ""), true},
		{key("", "eth0"), key("", "eth1"), false},
		{key("fe80::2", ""), key("fe80::3", ""), false},
		{key("", ""), other, false},
	} {
		if c.a.overlaps(c.b) != c.want || c.b.overlaps(c.a) != c.want {
			t.Errorf("%s and %s: want %t", c.a, c.b, c.want)
		}
	}
}

// A session that leaves does so without a word to its user.
func TestLeavingIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t, fast())
		defer a.close()
		defer b.close()
		s := a.tables.byKey[to(b.node)]
		s.leave(time.Now())
		if a.quiet(); s.status().State != bfd.AdminDown {
			t.Errorf("the state is %s", s.status().State)
		}
	})
}

// A change that meets a removal does not bring the session back, whose neighbour would come up and lose it.
func TestChangeWhileRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t, fast())
		defer a.close()
		defer b.close()
		s := a.tables.byKey[to(b.node)] // as Change finds it
		a.Remove(to(b.node))
		if err := s.change(time.Now(), fast()); err == nil || !strings.Contains(err.Error(), "does not exist") {
			t.Errorf("changed: %v", err)
		}
		if b.until(bfd.Down); s.status().State != bfd.AdminDown {
			t.Errorf("the state is %s", s.status().State)
		}
		time.Sleep(10 * time.Second)
		b.quiet()
	})
}

// Close tells the neighbours, unless there is no time for it, and a closed manager does nothing.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t, fast())
		defer b.close()
		begun := time.Now()
		a.close()
		if took := time.Since(begun); took < 2*time.Second || took > 4*time.Second {
			t.Errorf("closing took %s, want the neighbour's detection time of 3 s", took)
		}
		if e := b.next(); e.RemoteState != bfd.AdminDown {
			t.Errorf("event %+v", e)
		}
		if _, open := <-a.events.C(); open {
			t.Error("the channel of events is open")
		}
		if _, open := <-a.NewEvents().C(); open {
			t.Error("a new channel of events is open")
		}
		if err := a.Add(to(b.node), fast(), nil); err == nil {
			t.Error("added a session to a closed manager")
		}
		if err := a.Close(t.Context()); err == nil {
			t.Error("closed twice")
		}
	})
}
