package announce

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"fairlead.io/fairlead/l2/netif"
)

var stranger = netif.MAC{2, 0, 0, 0, 0, 0x66}

// withSpeaker knows the other speaker's Ethernet address, and records whom it is told was heard.
func withSpeaker(heard *[]string) func(*Config) {
	return func(c *Config) {
		c.Speaker = func(m netif.MAC) string {
			if m == other {
				return "node2"
			}
			return ""
		}
		c.Heard = func(node string) { *heard = append(*heard, node) }
	}
}

func (n *network) takeProbes() []sent {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.probed
	n.probed = nil
	return out
}

// What is done before an address is answered for, and for how long.
func TestCare(t *testing.T) {
	for _, tt := range []struct {
		care    Care
		probes  []time.Duration
		answers time.Duration
	}{
		{AtOnce, nil, 0},
		{Confirm, []time.Duration{0}, 30 * time.Millisecond},
		{Probe, []time.Duration{0, 100 * time.Millisecond, 200 * time.Millisecond}, 300 * time.Millisecond},
	} {
		for _, addr := range []netip.Addr{addr, addr6} {
			run(t, nil, func(t *testing.T, a *Announcer, n *network) {
				a.Own(addr, nil, tt.care)
				time.Sleep(time.Minute - 1)
				if got := times(n.takeProbes()); !slices.Equal(got, tt.probes) {
					t.Errorf("care %d: probes after %v, want %v", tt.care, got, tt.probes)
				}
				want := []time.Duration{tt.answers, tt.answers + time.Second, tt.answers + 2*time.Second, tt.answers + 3*time.Second, tt.answers + 4*time.Second}
				if got := times(n.take()); !slices.Equal(got, want) {
					t.Errorf("care %d: announced after %v, want %v", tt.care, got, want)
				}
			})
		}
	}
}

// While it is probed for, an address is watched and not answered for, and does not count as owned; that ends it to be given up.
func TestWhileProbing(t *testing.T) {
	for name, end := range map[string]func(*Announcer){
		"release": func(a *Announcer) { a.Release(addr) },
		"yield":   func(a *Announcer) { a.Yield(addr) },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, nil, func(t *testing.T, a *Announcer, n *network) {
				a.Own(addr, nil, Probe)
				synctest.Wait()
				a.Own(addr, nil, AtOnce) // said again, as after any event
				if a.Answers("eth0", addr) || !a.Watches("eth0", addr) || len(a.Owned()) != 0 || a.Yielding() != 0 {
					t.Error("it is answered for, or not watched")
				}
				end(a)
				time.Sleep(time.Minute)
				if a.Watches("eth0", addr) || a.Yielding() != 0 || len(n.take()) != 0 || testutil.ToFloat64(a.cfg.Metrics.Owned) != 0 {
					t.Error("given up, it is still watched, or was announced")
				}
			})
		})
	}
}

// An address that a stranger has is not announced, until he is gone.
func TestStrangerHasTheAddress(t *testing.T) {
	var changes atomic.Int32
	run(t, func(c *Config) { c.Changed = func() { changes.Add(1) } }, func(t *testing.T, a *Announcer, n *network) {
		began := time.Now()
		a.Own(addr, nil, Probe)
		for range 3 { // he answers each time he is asked
			synctest.Wait()
			a.Claimed("eth0", addr, stranger)
			time.Sleep(a.cfg.Recheck)
		}
		want := Conflict{Addr: addr, Interface: "eth0", MAC: stranger, Since: began}
		if got := a.Conflicts(); len(got) != 1 || got[0] != want {
			t.Fatalf("conflicts %+v, want %+v", got, want)
		}
		if a.Answers("eth0", addr) || len(a.Owned()) != 0 || len(n.take()) != 0 {
			t.Error("it is answered for, or announced")
		}
		if got := testutil.ToFloat64(a.cfg.Metrics.Conflicts); got != 1 {
			t.Errorf("%v conflicts counted, want 1", got)
		}
		said := changes.Load()
		time.Sleep(probeCount * probeInterval) // and this time he does not
		synctest.Wait()
		if got := a.Conflicts(); len(got) != 0 || !a.Answers("eth0", addr) || len(n.take()) != 1 || len(a.Owned()) != 1 || changes.Load() <= said {
			t.Errorf("he is gone, and: conflicts %+v, answers %t", got, a.Answers("eth0", addr))
		}
	})
}

// An address that this node has and a stranger claims is kept, defended not too often, and reported until he has been silent for a while.
func TestStrangerClaimsTheAddress(t *testing.T) {
	var changes atomic.Int32
	run(t, func(c *Config) { c.Changed = func() { changes.Add(1) }; c.Count = 1 }, func(t *testing.T, a *Announcer, n *network) {
		a.Own(addr, nil, AtOnce)
		time.Sleep(time.Second)
		n.take()
		for range 100 { // ten a second
			a.Claimed("eth0", addr, stranger)
			time.Sleep(100 * time.Millisecond)
		}
		a.Claimed("eth0", addr, stranger)
		synctest.Wait()
		if got := times(n.take()); !slices.Equal(got, []time.Duration{time.Second, 11 * time.Second}) {
			t.Errorf("defended at %v, want once in 10 s", got)
		}
		if got := a.Conflicts(); len(got) != 1 || !got[0].Announced || got[0].MAC != stranger || !a.Answers("eth0", addr) {
			t.Errorf("conflicts %+v", got)
		}
		if changes.Load() != 1 {
			t.Errorf("%d changes told, want 1", changes.Load())
		}
		time.Sleep((conflictProbes + 1) * a.cfg.Recheck)
		if got := a.Conflicts(); len(got) != 0 || changes.Load() != 2 {
			t.Errorf("long silent, he is still in conflict: %+v, %d changes", got, changes.Load())
		}
		if got := n.takeProbes(); len(got) != 3 { // at 11 s, 21 s, 31 s
			t.Errorf("he was probed for at %v", times(got))
		}
		time.Sleep(time.Minute)
		if got := n.takeProbes(); len(got) != 0 {
			t.Errorf("the conflict is over, and he is probed for at %v", times(got))
		}
	})
}

// Another speaker that has the address is no conflict: he lives, and who of both it is to be is decided elsewhere.
func TestSpeakerClaims(t *testing.T) {
	var heard []string
	t.Run("while probing", func(t *testing.T) {
		heard = nil
		run(t, withSpeaker(&heard), func(t *testing.T, a *Announcer, n *network) {
			a.Own(addr, nil, Confirm)
			synctest.Wait()
			a.Claimed("eth0", addr, other)
			time.Sleep(probeInterval - 1) // there is time to give it up
			synctest.Wait()
			if a.Answers("eth0", addr) || !slices.Equal(heard, []string{"node2"}) {
				t.Errorf("heard %q, answers %t", heard, a.Answers("eth0", addr))
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if !a.Answers("eth0", addr) || len(n.take()) != 1 || len(a.Conflicts()) != 0 {
				t.Error("it was not given up, and is not announced")
			}
		})
	})
	t.Run("while answering", func(t *testing.T) {
		heard = nil
		run(t, withSpeaker(&heard), func(t *testing.T, a *Announcer, n *network) {
			a.Own(addr, nil, AtOnce)
			time.Sleep(10*time.Second + 1)
			n.take()
			began := time.Since(n.start)
			for range 20 {
				a.Claimed("eth0", addr, other)
				time.Sleep(100 * time.Millisecond)
			}
			if got := times(n.take()); !slices.Equal(got, []time.Duration{began + defendSpeakerAfter, began + time.Second + defendSpeakerAfter}) {
				t.Errorf("defended at %v, since %s", got, began)
			}
			a.Yield(addr) // it was for him
			if a.Answers("eth0", addr) || a.Yielding() != 0 || len(a.Conflicts()) != 0 {
				t.Error("goes on answering although the new owner was heard")
			}
		})
	})
}

// A stranger whose hardware address is another one each time does not make the report change each time; one who has taken another's place is told of.
func TestStrangerOfManyFaces(t *testing.T) {
	for _, phase := range []Care{AtOnce, Probe} {
		var changes atomic.Int32
		run(t, func(c *Config) { c.Changed = func() { changes.Add(1) } }, func(t *testing.T, a *Announcer, _ *network) {
			a.Own(addr, nil, phase)
			synctest.Wait()
			claim := func(ifname string, mac netif.MAC) {
				a.Claimed(ifname, addr, mac)
				synctest.Wait()
			}
			claim("eth0", stranger)
			for i := range 1000 {
				claim("eth0", netif.MAC{2, 0, 0, 1, byte(i >> 8), byte(i)})
				claim("eth1", stranger)
				time.Sleep(10 * time.Millisecond)
			}
			if got := a.Conflicts(); changes.Load() != 1 || len(got) != 1 || got[0].MAC != stranger || got[0].Interface != "eth0" {
				t.Errorf("care %d: %d changes, conflicts %+v", phase, changes.Load(), got)
			}
			claim("eth0", stranger)
			next := netif.MAC{2, 0, 0, 0, 0, 0x67}
			for range claimantStays / time.Second {
				claim("eth0", next)
				time.Sleep(time.Second)
			}
			before := changes.Load()
			claim("eth0", next)
			if got := a.Conflicts(); len(got) != 1 || got[0].MAC != next || changes.Load() != before+1 {
				t.Errorf("care %d: another has taken his place for a minute, and the conflicts are %+v", phase, got)
			}
		})
	}
}

// Where nobody could be asked nobody has answered: probes that no interface has sent do not count.
func TestProbesNeedAnInterface(t *testing.T) {
	for care, want := range map[Care][]time.Duration{
		Confirm: {5 * time.Second},
		Probe:   {5 * time.Second, 5*time.Second + 100*time.Millisecond, 5*time.Second + 200*time.Millisecond},
	} {
		run(t, nil, func(t *testing.T, a *Announcer, n *network) {
			a.SetInterfaces(nil)
			synctest.Wait()
			a.Own(addr, nil, care)
			time.Sleep(5 * time.Second)
			if a.Answers("eth0", addr) || len(a.Owned()) != 0 {
				t.Errorf("care %d: answers for what nobody was asked about", care)
			}
			a.SetInterfaces([]netif.Interface{eth0})
			time.Sleep(time.Second)
			if got := times(n.takeProbes()); !slices.Equal(got, want) || !a.Answers("eth0", addr) {
				t.Errorf("care %d: probed at %v, want %v; answers %t", care, got, want, a.Answers("eth0", addr))
			}
		})
	}
	// An interface that fails before the answer can have come, and an address that moves to another interface.
	run(t, nil, func(t *testing.T, a *Announcer, n *network) {
		a.Own(addr, nil, Probe)
		time.Sleep(250 * time.Millisecond)
		a.SetInterfaces([]netif.Interface{eth1})
		time.Sleep(time.Minute)
		if got := n.takeProbes(); len(got) != 6 || got[5].ifname != "eth1" || times(n.take())[0] != 550*time.Millisecond {
			t.Errorf("probes %v", got)
		}
	})
	run(t, nil, func(t *testing.T, a *Announcer, n *network) {
		a.SetInterfaces([]netif.Interface{eth0, eth1})
		a.Own(addr, []string{"eth0"}, Probe)
		time.Sleep(250 * time.Millisecond)
		a.Own(addr, []string{"eth1"}, AtOnce)
		if a.Answers("eth1", addr) {
			t.Error("moved to another interface, it is answered for before anybody was asked there")
		}
		time.Sleep(time.Minute)
		if got := n.takeProbes(); len(got) != 6 || got[3].ifname != "eth1" || got[5].ifname != "eth1" || times(n.take())[0] != 550*time.Millisecond {
			t.Errorf("probes %v", got)
		}
	})
}

// What this node sends on one interface of a network it may receive on another. That is nobody's claim.
func TestOurOwnFrames(t *testing.T) {
	var heard []string
	run(t, withSpeaker(&heard), func(t *testing.T, a *Announcer, _ *network) {
		a.SetInterfaces([]netif.Interface{eth0, eth1})
		a.Own(addr, nil, AtOnce)
		a.Own(addr6, nil, Probe)
		synctest.Wait()
		a.Claimed("eth1", addr, eth0.MAC)
		a.Claimed("eth1", addr6, eth0.MAC)
		time.Sleep(time.Second)
		if len(a.Conflicts()) != 0 || len(heard) != 0 || len(a.Owned()) != 2 {
			t.Errorf("conflicts %+v, heard %q, owned %+v", a.Conflicts(), heard, a.Owned())
		}
	})
}
