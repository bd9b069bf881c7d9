package announce

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"

	"fairlead.io/fairlead/l2/netif"
)

func nth(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("10.0.%d.%d", i/250, i%250)) }

// TestRate: no second has more announcements than are allowed, and a burst of a twentieth; all come in the end, first ones first.
func TestRate(t *testing.T) {
	const rate, many = 100, 300
	run(t, func(c *Config) { c.Rate, c.Count = rate, 2 }, func(t *testing.T, a *Announcer, n *network) {
		for i := range many {
			a.Own(nth(i), nil, AtOnce)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		sent := n.take()
		if len(sent) != 2*many {
			t.Fatalf("%d announcements, want %d", len(sent), 2*many)
		}
		for i := range sent {
			if j := i + rate + rate/20 + 1; j < len(sent) && sent[j].at-sent[i].at <= time.Second {
				t.Fatalf("%d announcements between %s and %s", j-i+1, sent[i].at, sent[j].at)
			}
		}
		first := map[netip.Addr]bool{}
		for i, s := range sent {
			if first[s.addr] = true; i == many-1 && len(first) < many {
				t.Errorf("%d addresses were repeated before all had been announced", many-len(first))
			}
		}
	})
}

// A hand-over ends on time when nothing else is to be done meanwhile.
func TestYieldWhileNothingElseIsDue(t *testing.T) {
	run(t, func(c *Config) { c.Count, c.HandOver = 1, 2*time.Second }, func(t *testing.T, a *Announcer, _ *network) {
		a.Own(addr, nil, AtOnce)
		time.Sleep(time.Minute)
		a.Yield(addr)
		start := time.Now()
		if err := a.WaitYielded(t.Context()); err != nil || time.Since(start) != 2*time.Second {
			t.Errorf("answered for %s after yielding, want 2s: %v", time.Since(start), err)
		}
		a.Own(addr, nil, AtOnce)
		a.Yield(addr)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := a.WaitYielded(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("did not wait: %v", err)
		}
	})
}

// A false alarm of long ago does not make a planned move lose anything.
func TestYieldLongAfterAnotherWasHeard(t *testing.T) {
	var heard []string
	run(t, withSpeaker(&heard), func(t *testing.T, a *Announcer, _ *network) {
		a.Own(addr, nil, AtOnce)
		synctest.Wait()
		a.Claimed("eth0", addr, other)
		time.Sleep(time.Minute)
		a.Yield(addr)
		if !a.Answers("eth0", addr) || a.Yielding() != 1 {
			t.Error("nobody answers for it until the new owner does")
		}
	})
}

// With an address the wish to defend it is yielded, and the conflict over it.
func TestYieldForgets(t *testing.T) {
	var heard []string
	run(t, func(c *Config) {
		withSpeaker(&heard)(c)
		c.Count, c.HandOver = 1, 100*time.Millisecond
	}, func(t *testing.T, a *Announcer, n *network) {
		a.Own(addr, nil, AtOnce)
		time.Sleep(time.Minute)
		n.take()
		a.Claimed("eth0", addr, other) // to be defended against in 150 ms
		time.Sleep(120 * time.Millisecond)
		a.Yield(addr)
		if a.Yielding() != 1 {
			t.Fatal("not yielded")
		}
		time.Sleep(time.Minute)
		if got := n.take(); got != nil {
			t.Errorf("announced what is another node's: %v", got)
		}
	})
	run(t, func(c *Config) { c.HandOver = time.Minute }, func(t *testing.T, a *Announcer, n *network) {
		a.Own(addr, nil, AtOnce)
		time.Sleep(5 * time.Second)
		a.Claimed("eth0", addr, stranger)
		synctest.Wait()
		a.Yield(addr)
		if got := a.Conflicts(); len(got) != 0 {
			t.Errorf("conflicts %+v", got)
		}
		n.takeProbes()
		time.Sleep(30 * time.Second)
		if got := n.takeProbes(); got != nil {
			t.Errorf("what is another node's is probed for: %v", got)
		}
	})
}

// What was to be announced, was yielded before it was its turn, and comes back, is announced.
func TestOwnAgainBeforeItsTurn(t *testing.T) {
	run(t, func(c *Config) { c.Rate, c.Count = 1, 1 }, func(t *testing.T, a *Announcer, n *network) {
		a.Own(addr6, nil, AtOnce) // takes the only token
		synctest.Wait()
		a.Own(addr, nil, AtOnce)
		a.Yield(addr)
		time.Sleep(2 * time.Second)
		n.take()
		a.Own(addr, nil, AtOnce)
		time.Sleep(2 * time.Second)
		if got := n.take(); len(got) != 1 || got[0].addr != addr {
			t.Errorf("announced %v", got)
		}
	})
}

// Names of interfaces are a set, nil is all of them, and none is none. Addresses are what they are in either form.
func TestOwnTheSame(t *testing.T) {
	run(t, func(c *Config) { c.Count = 1 }, func(t *testing.T, a *Announcer, n *network) {
		names := []string{"eth1", "eth0"}
		a.Own(netip.AddrFrom16(addr.As16()), names, AtOnce)
		names[0] = "eth7"
		synctest.Wait()
		if !a.Answers("eth1", addr) || a.Answers("eth7", addr) || n.joined["eth0 "+addr.String()] != 1 || len(n.take()) != 1 {
			t.Error("it is not owned on the interfaces named")
		}
		a.Own(addr, []string{"eth0", "eth1"}, AtOnce)
		synctest.Wait()
		if got := n.take(); got != nil {
			t.Errorf("repeated in another order it is announced: %v", got)
		}
		a.Own(addr, []string{}, AtOnce)
		synctest.Wait()
		if a.Answers("eth0", addr) {
			t.Error("it is owned on no interface, and answered for")
		}
		a.Own(addr, nil, AtOnce)
		synctest.Wait()
		if !a.Answers("eth0", addr) || len(n.take()) != 1 {
			t.Error("it is owned on all interfaces, and not answered for, or not announced")
		}
		a.Release(addr)
		if n.joined["eth0 "+addr.String()] != 0 {
			t.Error("released, its group is still joined")
		}
	})
}

// An interface made anew under its name and hardware address is another one; one that fails each time is not tried without a pause.
func TestInterfaceMadeAnew(t *testing.T) {
	var opened atomic.Int32
	fails := false
	run(t, func(c *Config) {
		open := c.Open
		c.Open = func(ifi netif.Interface, h Handler) (Port, error) {
			opened.Add(1)
			if fails {
				h.Failed(ifi.Name, errors.New("gone"))
			}
			return open(ifi, h)
		}
	}, func(t *testing.T, a *Announcer, _ *network) {
		anew := eth0
		anew.Index++
		a.SetInterfaces([]netif.Interface{anew})
		synctest.Wait()
		if got := opened.Load(); got != 2 {
			t.Errorf("opened %d times, want 2", got)
		}
		fails = true
		a.Failed("eth0", errors.New("gone"))
		time.Sleep(10*time.Second + 1)
		if got := opened.Load(); got != 12 {
			t.Errorf("opened %d times, want 12: once in a second", got)
		}
	})
}

// Claims never make a port wait, however many there are.
func TestClaimsDoNotWait(t *testing.T) {
	run(t, nil, func(_ *testing.T, a *Announcer, _ *network) {
		a.Own(addr, nil, AtOnce)
		a.mu.Lock() // Run takes one at most
		for range 2000 {
			a.Claimed("eth0", addr, stranger)
		}
		a.mu.Unlock()
	})
}

// A conflict that has ended may come again, and ends again; several are told in order.
func TestConflictsComeAndGo(t *testing.T) {
	run(t, nil, func(t *testing.T, a *Announcer, _ *network) {
		for i := range 20 {
			a.Own(nth(i), nil, AtOnce)
		}
		for range 3 {
			synctest.Wait()
			for i := range 20 {
				a.Claimed("eth0", nth(i), stranger)
			}
			synctest.Wait()
			got := a.Conflicts()
			if len(got) != 20 || !slices.IsSortedFunc(got, func(x, y Conflict) int { return x.Addr.Compare(y.Addr) }) {
				t.Errorf("conflicts %+v", got)
			}
			time.Sleep(time.Minute)
			if got := a.Conflicts(); len(got) != 0 {
				t.Errorf("long silent, he is still in conflict: %+v", got)
			}
		}
	})
}

// deaf is a port that can join no group.
type deaf struct{ fakePort }

func (deaf) Join(netip.Addr) error { return errors.New("no room") }

// What all addresses of an interface have in common is said once.
func TestJoinsThatFailAreToldOnce(t *testing.T) {
	var told atomic.Int32
	run(t, func(c *Config) {
		open := c.Open
		c.Open = func(ifi netif.Interface, h Handler) (Port, error) {
			p, err := open(ifi, h)
			return deaf{p.(fakePort)}, err //nolint:errcheck // the only kind
		}
		c.Log = funcr.New(func(_, args string) {
			if strings.Contains(args, "may not arrive") {
				told.Add(1)
			}
		}, funcr.Options{})
	}, func(t *testing.T, a *Announcer, _ *network) {
		for i := range 100 {
			a.Own(nth(i), nil, AtOnce)
		}
		synctest.Wait()
		if told.Load() != 1 {
			t.Errorf("told %d times", told.Load())
		}
	})
}
