package manager

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bfd/udp"
)

func TestUpAndLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t, fast())
		defer a.close()
		defer b.close()
		a.quiet()
		got := a.only()
		if got.State != bfd.Up || got.RemoteState != bfd.Up || got.TransmitInterval != 100*ms || got.DetectionTime != 300*ms ||
			got.RemoteDiscriminator != b.only().Discriminator || got.Problem != nil {
			t.Errorf("status %+v", got)
		}
		if c := got.Counters; c.Received < 10 || c.Sent < 10 || c.Failed != 0 || c.Discarded != 0 || c.Lost != 0 || got.MaxLate != 0 {
			t.Errorf("counters %+v, latest packet %s", c, got.MaxLate)
		}

		b.node.set(func() { b.node.mute = true })
		cut := time.Now()
		e := a.next()
		if e.Key != to(b.node) || e.Old != bfd.Up || e.New != bfd.Down || e.Diagnostic != bfd.DetectionTimeExpired || e.Problem != nil {
			t.Errorf("event %+v", e)
		}
		if after := e.Time.Sub(cut); after < 200*ms || after > 300*ms+delay {
			t.Errorf("lost after %s", after)
		}
		if e := b.next(); e.New != bfd.Down || e.Diagnostic != bfd.NeighborSignaledDown {
			t.Errorf("event %+v at the other end", e)
		}
		if got := a.only(); got.Counters.Lost != 1 || !got.Since.Equal(e.Time) {
			t.Errorf("status %+v", got)
		}
		b.node.set(func() { b.node.mute = false })
		a.until(bfd.Up)
		b.until(bfd.Up)
	})
}

// A manager that was held up reads what has come meanwhile before it takes a neighbour for lost.
func TestHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t, fast())
		defer a.close()
		defer b.close()
		patient := fast()
		patient.DetectMult = 20
		if err := a.Change(to(b.node), patient); err != nil { // so that b bears it
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		a.node.set(func() { a.node.stall = time.Second })
		time.Sleep(5 * time.Second)
		for _, u := range []*user{a, b} {
			if got := u.only(); got.State != bfd.Up || got.Counters.Lost != 0 {
				t.Errorf("%s, lost %d times", got.State, got.Counters.Lost)
			}
		}
	})
}

// Being woken is most of what sessions cost: it is done once for all of them, and once for what is sent and received.
func TestWokenOnceForAll(t *testing.T) {
	const neighbours = 10
	synctest.Test(t, func(t *testing.T) {
		addrs := make([]string, neighbours+1)
		for i := range addrs {
			addrs[i] = fmt.Sprintf("192.0.2.%d", i+1)
		}
		_, n := newWire(addrs...)
		a := newUser(t, n[0])
		defer a.close()
		for _, other := range n[1:] {
			b := newUser(t, other)
			defer b.close()
			a.add(to(b.node), fast())
			b.add(to(a.node), fast())
			b.until(bfd.Up)
		}
		time.Sleep(5 * time.Second)
		var reads int
		a.node.set(func() { a.node.reads = 0 })
		time.Sleep(10 * time.Second)
		a.node.set(func() { reads = a.node.reads })
		if reads < 100 || reads > 126 { // the intervals are 81 ms at least
			t.Errorf("woken %d times in 10 s for %d sessions of 100 ms", reads, neighbours)
		}
		for _, s := range a.Snapshot() {
			if s.Counters.Lost != 0 || s.MaxLate > 0 {
				t.Errorf("%s: lost %d times, latest packet %s", s.Key, s.Counters.Lost, s.MaxLate)
			}
		}
	})
}

// Other timers are negotiated without losing the session.
func TestChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t, fast())
		defer a.close()
		defer b.close()
		for _, s := range []Settings{
			{Config: bfd.Config{DesiredMinTx: 500 * ms, RequiredMinRx: 20 * ms, DetectMult: 5}},
			{Config: bfd.Config{DesiredMinTx: 20 * ms, RequiredMinRx: 900 * ms, DetectMult: 2}},
			fast(),
		} {
			if err := a.Change(to(b.node), s); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
			here, there := a.only(), b.only()
			interval, back := max(s.DesiredMinTx, 100*ms), max(s.RequiredMinRx, 100*ms)
			if here.TransmitInterval != interval || there.DetectionTime != time.Duration(s.DetectMult)*interval ||
				there.TransmitInterval != back || here.DetectionTime != 3*back {
				t.Errorf("%+v: %+v and %+v", s, here.Status, there.Status)
			}
		}
		a.quiet()
		b.quiet()
	})
}

func TestAdminDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t, fast())
		defer a.close()
		defer b.close()
		held := fast()
		held.AdminDown = true
		if err := a.Change(to(b.node), held); err != nil {
			t.Fatal(err)
		}
		if e := a.next(); e.Old != bfd.Up || e.New != bfd.AdminDown || e.Diagnostic != bfd.AdministrativelyDown {
			t.Errorf("event %+v", e)
		}
		if e := b.next(); e.New != bfd.Down || e.RemoteState != bfd.AdminDown {
			t.Errorf("event %+v", e)
		}
		time.Sleep(time.Minute)
		if b.quiet(); b.only().RemoteState != bfd.AdminDown {
			t.Error("the neighbour is not told any more")
		}
		if err := a.Change(to(b.node), fast()); err != nil {
			t.Fatal(err)
		}
		a.until(bfd.Up)

		a.Remove(to(b.node))
		a.add(to(b.node), held)
		if got := a.only().State; got != bfd.AdminDown {
			t.Errorf("added in the state %s", got)
		}
	})
}

// A port that another program has keeps its sessions down, says so, and is taken when it becomes free. Others do not care.
func TestPortIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, n := newWire("192.0.2.1", "192.0.2.2")
		a, b := newUser(t, n[0]), newUser(t, n[1])
		defer a.close()
		defer b.close()
		own := Key{Peer: n[1].addr, Port: 9793}
		a.add(own, fast())
		b.add(Key{Peer: n[0].addr, Port: 9793}, fast())
		a.until(bfd.Up)

		taken := &udp.PortTakenError{Port: udp.PortSingleHop}
		a.node.set(func() { a.node.listenErr = taken })
		a.add(to(b.node), fast())
		b.add(to(a.node), fast())
		e := a.next()
		if e.Key != to(b.node) || e.Old != bfd.Down || e.New != bfd.Down || !errors.Is(e.Problem, taken) {
			t.Errorf("event %+v", e)
		}
		before := a.node.listened
		time.Sleep(time.Minute)
		a.quiet() // it is told once
		if tries := a.node.listened - before; tries < 5 || tries > 7 {
			t.Errorf("%d attempts in a minute", tries)
		}
		for _, s := range a.Snapshot() {
			if problem := s.Problem != nil; problem != (s.Key.Port == udp.PortSingleHop) {
				t.Errorf("%s: problem %v", s.Key, s.Problem)
			}
		}
		a.node.set(func() { a.node.listenErr = nil })
		if e := a.next(); e.Problem != nil || e.Old != e.New {
			t.Errorf("event %+v", e)
		}
		for e := a.next(); e.New != bfd.Up; e = a.next() {
			if e.Key == own {
				t.Errorf("the session on the other port: %+v", e)
			}
		}
	})
}

// The address or the interface is not there yet; the interface is replaced; reading fails for good.
func TestRepair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, n := newWire("192.0.2.1", "192.0.2.2")
		a, b := newUser(t, n[0]), newUser(t, n[1])
		defer a.close()
		defer b.close()
		b.add(to(a.node), fast())

		missing := errors.New("no such address")
		a.node.set(func() { a.node.dialErr = missing })
		a.add(to(b.node), fast())
		if e := a.next(); !errors.Is(e.Problem, missing) {
			t.Errorf("event %+v", e)
		}
		time.Sleep(5 * time.Second)
		if got := a.only(); got.Counters.Failed == 0 || got.Counters.Sent != 0 {
			t.Errorf("counters %+v", got.Counters)
		}
		a.node.set(func() { a.node.dialErr = nil })
		if e := a.next(); e.Problem != nil {
			t.Errorf("event %+v", e)
		}
		a.until(bfd.Up)
		b.until(bfd.Up)

		a.node.set(func() { a.node.ifindex = 7 })
		if e := a.next(); e.Problem == nil || !strings.Contains(e.Problem.Error(), "no such device") || e.New != bfd.Up {
			t.Errorf("event %+v", e)
		}
		b.until(bfd.Down)
		a.until(bfd.Up)
		if got := a.only(); got.Problem != nil {
			t.Errorf("problem %v", got.Problem)
		}

		a.node.set(func() { a.node.readErr = errors.New("broken") })
		time.Sleep(20 * ms)
		a.node.set(func() { a.node.readErr = nil })
		time.Sleep(10 * time.Second)
		received := a.only().Counters.Received
		time.Sleep(time.Second)
		if got := a.only(); got.State != bfd.Up || got.Counters.Received < received+10 {
			t.Errorf("status %+v after the socket was opened again", got)
		}
	})
}

// A passive end whose interface was replaced has nothing to send, and no problem either.
func TestRepairPassive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, n := newWire("192.0.2.1", "192.0.2.2")
		a, b := newUser(t, n[0]), newUser(t, n[1])
		defer a.close()
		defer b.close()
		passive := fast()
		passive.Passive = true
		a.add(to(b.node), passive)
		b.add(to(a.node), fast())
		a.until(bfd.Up)
		b.node.set(func() { b.node.mute = true })
		a.node.set(func() { a.node.ifindex = 7 })
		a.until(bfd.Down)
		time.Sleep(5 * time.Second)
		if got := a.only(); got.Problem != nil {
			t.Errorf("problem %v", got.Problem)
		}
		b.node.set(func() { b.node.mute = false })
		a.until(bfd.Up)
	})
}

// However late a user reads, he is told that a session that he takes for Up was lost, and how things stand; and nobody waits
// for him.
func TestLateReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t, fast())
		defer a.close()
		defer b.close()
		mute := func(on bool) {
			a.node.set(func() { a.node.mute, b.node.mute = on, on })
			time.Sleep(10 * time.Second)
		}
		told := func() string {
			var all []string
			for e := a.next(); ; e = a.next() {
				all = append(all, e.Old.String()+" to "+e.New.String())
				if e.New == bfd.Up && e.Problem == nil {
					return strings.Join(all, ", ")
				}
			}
		}
		for range 5 {
			mute(true)
			mute(false)
		}
		if got := a.only(); got.State != bfd.Up || got.Counters.Lost != 5 {
			t.Fatalf("status %+v", got)
		}
		// One was on its way when he did not read; of what came later only the end is left.
		if got := told(); got != "Up to Down, Down to Up" {
			t.Errorf("told %s", got)
		}

		// The one on its way leaves him with a session that is Up: now a loss must be told.
		a.node.set(func() { a.node.sendErr = errors.New("no buffers") })
		time.Sleep(110 * ms)
		a.node.set(func() { a.node.sendErr = nil })
		for range 5 {
			mute(true)
			mute(false)
		}
		if got := told(); got != "Up to Up, Up to Down, Down to Up" {
			t.Errorf("told %s", got)
		}

		// Of a session that is removed nothing is told any more, and nothing is kept: the next one of its key is not taken for lost.
		mute(true)
		mute(false)
		a.Remove(to(b.node))
		a.events.mu.Lock()
		if n := len(a.events.waiting); n != 0 {
			t.Errorf("%d sessions wait to be told of", n)
		}
		a.events.mu.Unlock()
		a.add(to(b.node), fast())
		if got := told(); strings.HasPrefix(got, "Up") {
			t.Errorf("told %s", got)
		}
	})
}

// A passive end hears the neighbour, though it has nothing to send.
func TestPassive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, n := newWire("192.0.2.1", "192.0.2.2")
		a, b := newUser(t, n[0]), newUser(t, n[1])
		defer a.close()
		defer b.close()
		time.Sleep(time.Minute) // they sleep until there is something to do
		passive := fast()
		passive.Passive = true
		a.add(to(b.node), passive)
		time.Sleep(time.Minute)
		if got := a.only(); got.Counters.Sent != 0 || got.State != bfd.Down {
			t.Errorf("status %+v", got)
		}
		b.add(to(a.node), fast())
		a.until(bfd.Up)
		b.until(bfd.Up)
	})
}

// A session that is in the tables and not open yet does not keep the manager awake.
func TestOpeningDoesNotSpin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t, fast())
		defer a.close()
		defer b.close()
		before := a.grain.Load()
		if _, _, err := a.insert(Key{Peer: b.node.addr, Port: udp.PortMultihop}, fast(), nil); err != nil {
			t.Fatal(err)
		}
		if a.coarsen(); a.grain.Load() != before {
			t.Errorf("it wakes up each %s, before each %s", time.Duration(a.grain.Load()), time.Duration(before))
			a.grain.Store(before) // else the test would not end
		}
	})
}

// A manager that has gone to sleep for too long, because a session came while it was finding out how long, does not stay so.
func TestOversleeping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, n := newWire("192.0.2.1", "192.0.2.2")
		a, b := newUser(t, n[0]), newUser(t, n[1])
		defer a.close()
		defer b.close()
		passive := fast()
		passive.Passive = true
		a.add(to(b.node), passive)
		a.grain.Store(int64(idle))
		time.Sleep(60 * ms) // it sleeps
		b.add(to(a.node), fast())
		a.until(bfd.Up)
		if got := a.grain.Load(); got > int64(coarsest) {
			t.Errorf("it wakes up each %s", time.Duration(got))
		}
	})
}

// Speakers authenticate, and rotate keys one by one without losing a session.
func TestKeyRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := bfd.AuthKey{ID: 1, Secret: []byte("one")}, bfd.AuthKey{ID: 2, Secret: []byte("two")}
		with := func(send bfd.AuthKey, accept ...bfd.AuthKey) Settings {
			s := Settings{Config: bfd.Config{DesiredMinTx: 80 * ms, RequiredMinRx: 80 * ms, DetectMult: 3}}
			s.Auth = &bfd.Auth{Type: bfd.MeticulousKeyedSHA1, Send: send, Accept: accept}
			return s
		}
		_, n := newWire("2001:db8::1", "2001:db8::2", "2001:db8::3")
		var users []*user
		key := func(peer int) Key { return Key{Peer: n[peer].addr, Local: netip.Addr{}, Port: 9793} }
		each := func(do func(u *user, k Key)) {
			for i, u := range users {
				for peer := range users {
					if peer != i {
						do(u, key(peer))
					}
				}
				time.Sleep(3 * time.Second)
			}
		}
		for i := range n {
			users = append(users, newUser(t, n[i]))
			defer users[i].close()
		}
		each(func(u *user, k Key) { u.add(k, with(one)) })
		for _, s := range []Settings{with(one, two), with(two, one), with(two)} {
			each(func(u *user, k Key) {
				if err := u.Change(k, s); err != nil {
					t.Fatal(err)
				}
			})
		}
		for _, u := range users {
			for _, s := range u.Snapshot() {
				if s.Settings.Auth != nil {
					t.Error("the status holds keys")
				}
				if s.State != bfd.Up || s.Counters.Lost != 0 || s.Counters.Discarded != 0 {
					t.Errorf("%s at %s: %+v", s.Key, u.node.addr, s)
				}
			}
			if len(u.Discarded()) != 0 {
				t.Errorf("%s has discarded %v", u.node.addr, u.Discarded())
			}
		}
		// one who does not have the key
		each(func(u *user, k Key) {
			if u == users[0] {
				if err := u.Change(k, with(bfd.AuthKey{ID: 2, Secret: []byte("no")})); err != nil {
					t.Fatal(err)
				}
			}
		})
		if got := users[1].Discarded()[bfd.AuthBadHash]; got == 0 {
			t.Errorf("discarded %v", users[1].Discarded())
		}
	})
}

func TestKeysAndSettingsAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, n := newWire("192.0.2.1")
		u := newUser(t, n[0])
		defer u.close()
		addr := netip.MustParseAddr
		good := Key{Peer: addr("192.0.2.2"), Port: udp.PortSingleHop}
		noMult, noAuth, lowTTL := fast(), fast(), fast()
		noMult.DetectMult = 0
		noAuth.Auth = &bfd.Auth{}
		lowTTL.MinTTL = 254
		for _, c := range []struct {
			name     string
			key      Key
			settings Settings
			want     string
		}{
			{"no peer", Key{Port: 3784}, fast(), "peer must be"},
			{"multicast peer", Key{Peer: addr("224.0.0.1"), Port: 3784}, fast(), "peer must be"},
			{"unspecified peer", Key{Peer: addr("::"), Port: 3784}, fast(), "peer must be"},
			{"families", Key{Peer: addr("192.0.2.2"), Local: addr("2001:db8::1"), Port: 3784}, fast(), "family"},
			{"unspecified local address", Key{Peer: addr("192.0.2.2"), Local: addr("0.0.0.0"), Port: 3784}, fast(), "local address must be"},
			{"link-local", Key{Peer: addr("fe80::1"), Port: 3784}, fast(), "needs an interface"},
			{"zones", Key{Peer: addr("fe80::1%eth0"), Local: addr("fe80::2%eth1"), Port: 3784}, fast(), "not on interface eth0"},
			{"no port", Key{Peer: addr("192.0.2.2")}, fast(), "port must be"},
			{"multiplier", good, noMult, "multiplier"},
			{"authentication", good, noAuth, "authentication"},
			{"TTL", good, lowTTL, "must be 255"},
		} {
			if err := u.Add(c.key, c.settings, nil); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
			}
		}
		if err := u.Change(good, fast()); err == nil || !strings.Contains(err.Error(), "does not exist") {
			t.Errorf("changed what is not there: %v", err)
		}
		u.Remove(Key{}) // is not there
		u.add(good, fast())
		if err := u.Change(good, noMult); err == nil {
			t.Error("changed to a multiplier of 0")
		}
		if err := u.Change(Key{}, fast()); err == nil {
			t.Error("changed a session without a peer")
		}
		if s, err := fast().normal(Key{Peer: addr("192.0.2.2"), Port: udp.PortMultihop}); err != nil || s.MinTTL != 254 {
			t.Errorf("over several hops the least TTL is %d, %v", s.MinTTL, err)
		}
		// One key in two forms.
		u.add(Key{Peer: addr("fe80::1%eth0"), Port: 3784}, fast())
		if err := u.Add(Key{Peer: addr("fe80::1"), Interface: "eth0", Port: 3784}, fast(), nil); err == nil {
			t.Error("a zone and an interface made two sessions")
		}
		if err := u.Add(Key{Peer: addr("::ffff:192.0.2.2"), Port: 3784}, fast(), nil); err == nil {
			t.Error("a mapped address made two sessions")
		}
	})
}
