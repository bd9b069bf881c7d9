package announce

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"fairlead.io/fairlead/l2/metrics"
	"fairlead.io/fairlead/l2/netif"
)

var (
	addr  = netip.MustParseAddr("192.168.100.240")
	addr6 = netip.MustParseAddr("fd00:100::240")
	eth0  = netif.Interface{Name: "eth0", Index: 2, MAC: netif.MAC{2, 0, 0, 0, 0, 1}}
	eth1  = netif.Interface{Name: "eth1", Index: 3, MAC: netif.MAC{2, 0, 0, 0, 0, 2}}
	other = netif.MAC{2, 0, 0, 0, 0, 9}
)

// network fakes all ports, and records what is sent and when.
type network struct {
	mu     sync.Mutex
	start  time.Time
	sent   []sent
	probed []sent
	joined map[string]int // "eth0 fd00::1"
	open   map[string]int
	refuse error
	unsent error // of all that is sent
}

type sent struct {
	ifname string
	addr   netip.Addr
	at     time.Duration
}

type fakePort struct {
	n    *network
	name string
}

func (n *network) opener(ifi netif.Interface, _ Handler) (Port, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refuse != nil {
		return nil, n.refuse
	}
	n.open[ifi.Name]++
	return fakePort{n, ifi.Name}, nil
}

func (p fakePort) Announce(a netip.Addr) error {
	p.n.mu.Lock()
	defer p.n.mu.Unlock()
	if p.n.unsent != nil {
		return p.n.unsent
	}
	p.n.sent = append(p.n.sent, sent{p.name, a, time.Since(p.n.start)})
	return nil
}

func (p fakePort) Probe(a netip.Addr) error {
	p.n.mu.Lock()
	defer p.n.mu.Unlock()
	if p.n.unsent != nil {
		return p.n.unsent
	}
	p.n.probed = append(p.n.probed, sent{p.name, a, time.Since(p.n.start)})
	return nil
}

func (p fakePort) change(a netip.Addr, by int) error {
	p.n.mu.Lock()
	defer p.n.mu.Unlock()
	p.n.joined[p.name+" "+a.String()] += by
	return nil
}

func (p fakePort) Join(a netip.Addr) error  { return p.change(a, 1) }
func (p fakePort) Leave(a netip.Addr) error { return p.change(a, -1) }

func (p fakePort) Close() error {
	p.n.mu.Lock()
	defer p.n.mu.Unlock()
	p.n.open[p.name]--
	return nil
}

// take gives what was sent since the last time.
func (n *network) take() []sent {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.sent
	n.sent = nil
	return out
}

// run runs a test in a bubble of its own time, with eth0.
func run(t *testing.T, change func(*Config), test func(t *testing.T, a *Announcer, n *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m, err := metrics.New(prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		n := &network{start: time.Now(), joined: map[string]int{}, open: map[string]int{}}
		cfg := Config{Open: n.opener, Metrics: m, Log: logr.Discard()}
		if change != nil {
			change(&cfg)
		}
		a := New(cfg)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		a.SetInterfaces([]netif.Interface{eth0})
		synctest.Wait()
		test(t, a, n)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for name, count := range n.open {
			if count != 0 {
				t.Errorf("%s is open %d times at the end", name, count)
			}
		}
	})
}

func times(list []sent) (out []time.Duration) {
	for _, s := range list {
		out = append(out, s.at)
	}
	return out
}

func TestTakeOver(t *testing.T) {
	run(t, nil, func(t *testing.T, a *Announcer, n *network) {
		if a.Answers("eth0", addr) {
			t.Error("answers for what it does not own")
		}
		a.Own(addr, nil, AtOnce)
		if !a.Answers("eth0", addr) {
			t.Error("does not answer at once")
		}
		time.Sleep(500 * time.Millisecond)
		a.Own(addr, nil, AtOnce) // repeated: nothing
		time.Sleep(time.Minute)
		synctest.Wait()
		want := []time.Duration{0, time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second}
		if got := times(n.take()); !slices.Equal(got, want) {
			t.Errorf("announced at %v, want %v", got, want)
		}
		if got := a.Owned(); len(got) != 1 || got[0].Addr != addr || got[0].Since.Sub(n.start) != 0 {
			t.Errorf("owned %+v", got)
		}
		a.Release(addr)
		a.Release(addr)
		if a.Answers("eth0", addr) || len(a.Owned()) != 0 || testutil.ToFloat64(a.cfg.Metrics.Owned) != 0 {
			t.Error("a released address is still there")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := n.take(); got != nil {
			t.Errorf("announced after release: %v", got)
		}
	})
}

func TestRefresh(t *testing.T) {
	run(t, func(c *Config) { c.Count, c.Refresh = 2, time.Minute }, func(t *testing.T, a *Announcer, n *network) {
		a.Own(addr, nil, AtOnce)
		time.Sleep(2*time.Minute + 30*time.Second)
		synctest.Wait()
		want := []time.Duration{0, time.Second, 61 * time.Second, 121 * time.Second}
		if got := times(n.take()); !slices.Equal(got, want) {
			t.Errorf("announced at %v, want %v", got, want)
		}
	})
}

func TestRefreshesTogether(t *testing.T) {
	run(t, func(c *Config) { c.Count, c.Refresh = 1, time.Minute }, func(t *testing.T, a *Announcer, n *network) {
		a.Own(addr, nil, AtOnce)
		time.Sleep(300 * time.Millisecond)
		a.Own(addr.Next(), nil, AtOnce)
		time.Sleep(500 * time.Millisecond)
		a.Repeat(addr)
		time.Sleep(121 * time.Second)
		synctest.Wait()
		want := []time.Duration{0, 300 * time.Millisecond, 800 * time.Millisecond, 61 * time.Second, 61 * time.Second, 121 * time.Second, 121 * time.Second}
		if got := times(n.take()); !slices.Equal(got, want) {
			t.Errorf("announced at %v, want %v", got, want)
		}
	})
}

// What could be sent nowhere is sent again, and a probe that was not sent is no probe that nobody has answered.
func TestUnsent(t *testing.T) {
	fail := func(n *network, err error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.unsent = err
	}
	for _, care := range []Care{Confirm, Probe} {
		run(t, func(c *Config) { c.Count = 2 }, func(t *testing.T, a *Announcer, n *network) {
			fail(n, errors.New("no buffer space available"))
			a.Own(addr, nil, care)
			time.Sleep(time.Minute)
			synctest.Wait()
			if a.Answers("eth0", addr) {
				t.Errorf("care %d: answers, and nobody was asked", care)
			}
			fail(n, nil)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if want := map[Care]int{Confirm: 1, Probe: probeCount}[care]; len(n.probed) != want || !a.Answers("eth0", addr) {
				t.Errorf("care %d: %d probes, answers %t; want %d", care, len(n.probed), a.Answers("eth0", addr), want)
			}
		})
	}
	run(t, func(c *Config) { c.Count = 2 }, func(t *testing.T, a *Announcer, n *network) {
		fail(n, errors.New("no buffer space available"))
		a.Own(addr, nil, AtOnce)
		time.Sleep(resendAfter / 2)
		fail(n, nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got, want := times(n.take()), []time.Duration{resendAfter, resendAfter + time.Second}; !slices.Equal(got, want) {
			t.Errorf("announced at %v, want %v", got, want)
		}
	})
}

// An interface that cannot be opened is told of, and that it can be again.
func TestBroken(t *testing.T) {
	told := 0
	run(t, func(c *Config) { c.Broken = func() { told++ } }, func(t *testing.T, a *Announcer, n *network) {
		n.mu.Lock()
		n.refuse = errors.New("operation not permitted")
		n.mu.Unlock()
		a.SetInterfaces([]netif.Interface{eth0, eth1})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if b := a.Broken(); len(b) != 1 || !errors.Is(b["eth1"], n.refuse) || told != 1 {
			t.Errorf("broken are %v, told %d times", b, told)
		}
		n.mu.Lock()
		n.refuse = nil
		n.mu.Unlock()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if b := a.Broken(); len(b) != 0 || told != 2 {
			t.Errorf("broken are %v, told %d times", b, told)
		}
	})
}

func TestRepeat(t *testing.T) {
	run(t, func(c *Config) { c.Count = 2 }, func(t *testing.T, a *Announcer, n *network) {
		a.Repeat(addr) // not owned: nothing
		a.Own(addr, nil, AtOnce)
		time.Sleep(time.Minute)
		n.take()
		a.Repeat(addr)
		a.Repeat(addr)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got, want := times(n.take()), []time.Duration{time.Minute, time.Minute + time.Second}; !slices.Equal(got, want) {
			t.Errorf("announced at %v, want %v", got, want)
		}
		a.Yield(addr)
		a.Repeat(addr)
		synctest.Wait()
		if got := n.take(); got != nil {
			t.Errorf("announced what another node owns: %v", got)
		}
	})
}

func TestReleaseAndOwnAgain(t *testing.T) {
	run(t, func(c *Config) { c.Count = 2 }, func(t *testing.T, a *Announcer, n *network) {
		a.Own(addr, nil, AtOnce)
		a.Release(addr)
		a.Own(addr, nil, AtOnce)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := times(n.take()); !slices.Equal(got, []time.Duration{0, time.Second}) {
			t.Errorf("announced at %v, want at once and a second later", got)
		}
	})
}

func TestYieldUntilTheOtherIsHeard(t *testing.T) {
	var heard []string
	run(t, withSpeaker(&heard), func(t *testing.T, a *Announcer, n *network) {
		a.Own(addr, nil, AtOnce)
		time.Sleep(time.Minute)
		n.take()
		a.Yield(addr)
		synctest.Wait()
		if !a.Answers("eth0", addr) || len(a.Owned()) != 0 || a.Yielding() != 1 {
			t.Error("a yielded address must be answered for, but not owned")
		}
		a.Claimed("eth0", addr, eth0.MAC) // our own frame, seen on another interface
		synctest.Wait()
		if a.Yielding() != 1 {
			t.Error("our own frame counted as the new owner's")
		}
		a.Claimed("eth0", addr, stranger)
		synctest.Wait()
		if a.Yielding() != 1 || len(a.Conflicts()) != 0 {
			t.Error("a stranger counted as the new owner, or as a conflict of what is another node's")
		}
		a.Claimed("eth0", addr, other)
		if err := a.WaitYielded(t.Context()); err != nil {
			t.Fatal(err)
		}
		if a.Answers("eth0", addr) {
			t.Error("still answers although the new owner was heard")
		}
		if got := n.take(); got != nil {
			t.Errorf("announced while yielding: %v", got)
		}
	})
}

func TestYieldIsBounded(t *testing.T) {
	run(t, func(c *Config) { c.HandOver = 2 * time.Second }, func(t *testing.T, a *Announcer, _ *network) {
		a.Own(addr, nil, AtOnce)
		a.Yield(addr)
		start := time.Now()
		if err := a.WaitYielded(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(start); got != 2*time.Second {
			t.Errorf("answered for %v after yielding, want 2s", got)
		}
	})
}

func TestYieldAfterTheOtherWasHeard(t *testing.T) {
	for mac, want := range map[netif.MAC]bool{other: false, stranger: true} {
		var heard []string
		run(t, withSpeaker(&heard), func(t *testing.T, a *Announcer, _ *network) {
			a.Own(addr, nil, AtOnce)
			synctest.Wait()
			a.Claimed("eth0", addr, mac)
			synctest.Wait()
			a.Yield(addr)
			if got := a.Answers("eth0", addr); got != want || (a.Yielding() == 1) != want {
				t.Errorf("%s was heard before the news that another owns it: answers %t, want %t", mac, got, want)
			}
		})
	}
}

func TestOwnWhileYielding(t *testing.T) {
	run(t, func(c *Config) { c.Count = 1 }, func(t *testing.T, a *Announcer, n *network) {
		a.Own(addr, nil, AtOnce)
		synctest.Wait()
		n.take()
		a.Yield(addr)
		waited := make(chan error)
		go func() { waited <- a.WaitYielded(t.Context()) }()
		synctest.Wait()
		start := time.Now()
		a.Own(addr, nil, AtOnce)
		if err := <-waited; err != nil || time.Since(start) > 0 {
			t.Errorf("waited for %v, %v, for what was taken back", time.Since(start), err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if !a.Answers("eth0", addr) || a.Yielding() != 0 || len(a.Owned()) != 1 || len(n.take()) != 1 {
			t.Error("an address taken back is not owned as before, and announced")
		}
	})
}

func TestInterfaces(t *testing.T) {
	run(t, func(c *Config) { c.Count = 1 }, func(t *testing.T, a *Announcer, n *network) {
		a.Own(addr, []string{"eth0"}, AtOnce)
		a.Own(addr6, nil, AtOnce)
		synctest.Wait()
		if a.Answers("eth1", addr) || !a.Answers("eth1", addr6) {
			t.Error("wrong interfaces")
		}
		n.take()

		a.SetInterfaces([]netif.Interface{eth0, eth1}) // one appears
		time.Sleep(time.Second)
		synctest.Wait()
		// addr is not announced on it; addr6 is, wherever it is announced.
		if got := n.take(); len(got) != 2 || got[0].addr != addr6 || got[1].addr != addr6 {
			t.Errorf("announced %v", got)
		}
		if n.joined["eth1 "+addr6.String()] != 1 || n.joined["eth1 "+addr.String()] != 0 {
			t.Errorf("joined %v", n.joined)
		}

		changed := eth0
		changed.MAC = netif.MAC{2, 0, 0, 0, 0, 7}
		a.SetInterfaces([]netif.Interface{changed, eth1}) // its MAC changes
		time.Sleep(time.Second)
		synctest.Wait()
		if got := n.take(); len(got) != 3 {
			t.Errorf("announced %v, want addr on eth0 and addr6 on both", got)
		}

		a.SetInterfaces([]netif.Interface{eth1}) // it goes and returns
		synctest.Wait()
		n.take()
		a.SetInterfaces([]netif.Interface{changed, eth1})
		synctest.Wait()
		if got := n.take(); len(got) != 3 {
			t.Errorf("announced %v after the interface has returned", got)
		}

		a.Own(addr, []string{"eth1"}, AtOnce) // the address moves between interfaces
		synctest.Wait()
		if got := n.take(); len(got) != 1 || got[0].ifname != "eth1" || a.Answers("eth0", addr) || !a.Answers("eth1", addr) {
			t.Errorf("announced %v after the address has moved to eth1", got)
		}
		if n.joined["eth1 "+addr.String()] != 1 {
			t.Errorf("joined %v", n.joined)
		}
	})
}

func TestPortThatFails(t *testing.T) {
	run(t, func(c *Config) { c.Count = 1 }, func(t *testing.T, a *Announcer, n *network) {
		n.mu.Lock()
		n.refuse = errors.New("no")
		n.mu.Unlock()
		a.Own(addr, nil, AtOnce)
		synctest.Wait()
		n.take()
		a.Failed("eth0", errors.New("gone"))
		time.Sleep(3*time.Second + 500*time.Millisecond)
		n.mu.Lock()
		n.refuse = nil
		n.mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		if got := n.take(); len(got) != 1 {
			t.Errorf("announced %v after the interface works again", got)
		}
	})
}

// TestThousandAddresses: all are announced within a second, and never more per second than allowed.
// However many fail at once, each works again: a port that has failed says so only once.
func TestAllPortsFail(t *testing.T) {
	opened := map[string]int{}
	run(t, func(c *Config) {
		open := c.Open
		c.Open = func(ifi netif.Interface, h Handler) (Port, error) {
			opened[ifi.Name]++
			return open(ifi, h)
		}
	}, func(t *testing.T, a *Announcer, _ *network) {
		var all []netif.Interface
		for i := range 40 {
			all = append(all, netif.Interface{Name: fmt.Sprintf("eth%d", i), Index: 9 + i, MAC: netif.MAC{2, 0, 0, 0, 1, byte(i)}})
		}
		a.SetInterfaces(all)
		synctest.Wait()
		clear(opened)
		a.mu.Lock() // keeps Run from taking them one by one
		for _, ifi := range all {
			a.Failed(ifi.Name, errors.New("gone"))
		}
		a.mu.Unlock()
		time.Sleep(2 * reopenAfter)
		synctest.Wait()
		for _, ifi := range all {
			if opened[ifi.Name] != 1 {
				t.Errorf("%s was opened %d times anew, want 1", ifi.Name, opened[ifi.Name])
			}
		}
	})
}

func TestThousandAddresses(t *testing.T) {
	run(t, func(c *Config) { c.Rate = 2000 }, func(t *testing.T, a *Announcer, n *network) {
		list := make([]netip.Addr, 0, 1000)
		for i := range 1000 {
			list = append(list, netip.MustParseAddr(fmt.Sprintf("10.0.%d.%d", i/250, i%250)))
		}
		for _, x := range list {
			a.Own(x, nil, AtOnce)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		first := map[netip.Addr]time.Duration{}
		frames := n.take()
		for _, s := range frames {
			if _, ok := first[s.addr]; !ok {
				first[s.addr] = s.at
			}
		}
		if len(first) != 1000 {
			t.Errorf("%d of 1000 addresses were announced within a second", len(first))
		}
		if len(frames) > 2100 {
			t.Errorf("%d announcements in a second, 2000 are allowed", len(frames))
		}
		// an address taken over while the repeats of others wait goes first
		a.Own(addr, nil, AtOnce)
		at := time.Since(n.start)
		time.Sleep(20 * time.Millisecond)
		synctest.Wait()
		if i := slices.IndexFunc(n.take(), func(s sent) bool { return s.addr == addr && s.at-at <= 20*time.Millisecond }); i < 0 {
			t.Error("a first announcement waited behind repeats")
		}
	})
}

// An interface that was away for a moment is announced on anew, however late that is seen.
func TestFlapThatIsSeenLate(t *testing.T) {
	run(t, nil, func(t *testing.T, a *Announcer, n *network) {
		a.Own(addr, nil, AtOnce)
		time.Sleep(10 * time.Second)
		n.take()
		a.SetInterfaces(nil)
		a.SetInterfaces([]netif.Interface{eth0}) // before Run has turned
		synctest.Wait()
		if got := n.take(); len(got) != 1 {
			t.Errorf("announced %d times, want once", len(got))
		}
	})
}
