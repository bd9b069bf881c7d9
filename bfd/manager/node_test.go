package manager

import (
	"errors"
	"math"
	mathrand "math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bfd/udp"
	"fairlead.io/fairlead/internal/testnet"
)

func TestMain(m *testing.M) { testnet.Main(m) }

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func mustRandom(t testing.TB, tables *tables) *mathrand.Rand {
	t.Helper()
	_, random, err := tables.identity()
	if err != nil {
		t.Fatal(err)
	}
	return random
}

// sessions over the node's own network, to neighbours that do not answer.
func sessions(t testing.TB, n int) *Manager {
	t.Helper()
	own, other := testnet.Own(t), testnet.New(t)
	testnet.Connect(own, "eth0", other, "eth0")
	own.AddAddress("eth0", "10.0.0.1/16")
	m := New()
	events := m.NewEvents()
	for i := range n {
		k := Key{Peer: netip.AddrFrom4([4]byte{10, 0, byte(1 + i/250), byte(1 + i%250)}), Interface: "eth0", Port: udp.PortSingleHop}
		if err := m.Add(k, fast(), events); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := m.Close(t.Context()); err != nil { // whose context has ended: it does not wait
			t.Error(err)
		}
	})
	return m
}

func TestMemoryOfASession(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		runtime.GC() // what was freed by finalizers
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc + s.StackInuse
	}
	const n = 1000
	before := heap()
	m := sessions(t, n)
	each := (heap() - before) / n
	t.Logf("%d B for each session", each)
	if each > 4096 {
		t.Errorf("a session takes %d B, want 4096 at most", each)
	}
	for _, s := range m.Snapshot() {
		if s.Problem != nil {
			t.Fatalf("%s: %v", s.Key, s.Problem)
		}
	}
}

// A packet may wait for a third of the detection time.
func TestGrain(t *testing.T) {
	for _, c := range []struct {
		state               bfd.State
		detection, interval time.Duration
		want                time.Duration
	}{
		{bfd.Down, 30 * ms, time.Second, 100 * ms},
		{bfd.Down, 0, 0, 100 * ms},
		{bfd.Init, 240 * ms, time.Second, 80 * ms},
		{bfd.Up, 240 * ms, 80 * ms, 80 * ms},
		{bfd.Up, 240 * ms, 0, 80 * ms}, // nothing is sent
		{bfd.Up, 10 * time.Second, 80 * ms, 100 * ms},
		{bfd.Up, 2 * ms, ms, ms},
	} {
		if got := grain(bfd.Status{State: c.state, DetectionTime: c.detection, TransmitInterval: c.interval}); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

// Nothing is kept of strangers' packets.
func TestStrangersLeaveNothing(t *testing.T) {
	m := sessions(t, 10)
	p := bfd.Packet{State: bfd.Down, DetectMult: 3, MyDiscriminator: 1}
	d := udp.Datagram{Port: udp.PortSingleHop, Destination: netip.MustParseAddr("10.0.0.1"), TTL: 255}
	i := uint32(0)
	if allocs := testing.AllocsPerRun(10000, func() {
		i++
		d.Source = netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
		p.MyDiscriminator, p.YourDiscriminator = i, i%2*i
		d.Payload = p.Append(d.Payload[:0])
		m.handle(&d)
	}); allocs != 0 {
		t.Errorf("%v allocations for a stranger's packet", allocs)
	}
	if got := m.Discarded(); got[bfd.NoSession] != 10001 {
		t.Errorf("discarded %v", got)
	}
}

// The goroutine that sends makes no garbage, so that the collector never lets it wait for its share of the work.
func TestServingDoesNotAllocate(t *testing.T) {
	m := sessions(t, 100)
	s := m.Snapshot()[50]
	p := bfd.Packet{State: bfd.Down, DetectMult: 3, MyDiscriminator: 1, YourDiscriminator: s.Discriminator, DesiredMinTx: 100_000, RequiredMinRx: 100_000}
	d := udp.Datagram{Port: udp.PortSingleHop, Source: s.Key.Peer, TTL: 255, Payload: p.Append(nil)}
	due := make([]*session, 0, 100)
	at := time.Now()
	serve := func() {
		m.handle(&d)
		m.read()
		at = at.Add(900 * ms)
		due = m.queue.due(at, due[:0])
		for _, s := range due {
			s.serve(at, at)
		}
		p.Poll = !p.Poll
		d.Payload = p.Append(d.Payload[:0])
	}
	// The manager's other goroutines live, and may allocate meanwhile: now and then, and not each time.
	least := math.Inf(1)
	for range 100 {
		least = min(least, testing.AllocsPerRun(1, serve))
	}
	if least > 0 {
		t.Errorf("%v allocations each time", least)
	}
}

// Strangers who send as fast as they can do not hold up what is to be sent.
func TestFlood(t *testing.T) {
	own, other := testnet.Own(t), testnet.New(t)
	own.SetLink("lo", true)
	testnet.Connect(own, "eth0", other, "eth0")
	own.AddAddress("eth0", "10.0.0.1/16")
	other.AddAddress("eth0", "10.0.0.2/16")
	m := New()
	t.Cleanup(func() {
		if err := m.Close(t.Context()); err != nil { // whose context has ended: it does not wait
			t.Error(err)
		}
	})
	k := Key{Peer: netip.MustParseAddr("10.0.0.2"), Interface: "eth0", Port: udp.PortSingleHop}
	if err := m.Add(k, fast(), nil); err != nil {
		t.Fatal(err)
	}
	// The neighbour only listens: what he gets, and when, is what this test is about.
	var network udp.Network
	var listener *udp.Listener
	other.Do(func() (err error) {
		listener, err = network.Listen(udp.PortSingleHop, false)
		return err
	})
	defer func() {
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
	}()
	var flooder *udp.Conn
	other.Do(func() (err error) {
		flooder, err = network.Dial(udp.Path{Peer: netip.MustParseAddr("10.0.0.1"), Port: udp.PortSingleHop})
		return err
	})
	p := bfd.Packet{State: bfd.Up, DetectMult: 3, MyDiscriminator: 1, YourDiscriminator: 1}
	stranger := p.Append(nil)
	// A neighbour who comes up, and from then on wants a packet each 100 ms, but sends only one in ten seconds.
	p = bfd.Packet{State: bfd.Down, DetectMult: 3, MyDiscriminator: 2, DesiredMinTx: 10_000_000, RequiredMinRx: 100_000}
	if err := flooder.Send(p.Append(nil)); err != nil {
		t.Fatal(err)
	}
	// Both in far more time than on a machine of one's own, and packets of the session far sooner than if they had to wait for the end.
	const many, flood, most = 20, 10_000, 30 * time.Second
	got, strangers := 0, uint64(0)
	for begun := time.Now(); got < many || strangers < flood; strangers = m.Discarded()[bfd.NoSession] {
		if time.Since(begun) > most {
			t.Fatalf("%d packets of the session, which sends one each 100 ms, and %d of strangers were received in %s; want %d and %d", got, strangers, most, many, flood)
		}
		if m.Snapshot()[0].State == bfd.Up {
			for range 64 {
				if err := flooder.Send(stranger); err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EAGAIN) {
					t.Fatal(err)
				}
			}
		}
		if _, err := listener.Read(func(d *udp.Datagram) {
			if theirs, _ := bfd.Decode(d.Payload); theirs.State == bfd.Up {
				got++
			} else if theirs.State == bfd.Init {
				p.State, p.YourDiscriminator = bfd.Up, theirs.MyDiscriminator
				if err := flooder.Send(p.Append(nil)); err != nil {
					t.Fatal(err)
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d packets of strangers, %d of the session; the latest was %s late", strangers, got, m.Snapshot()[0].MaxLate)
}

// A packet with too small a TTL goes no further.
func TestTTL(t *testing.T) {
	m := sessions(t, 1)
	s := m.Snapshot()[0]
	p := bfd.Packet{State: bfd.Down, DetectMult: 3, MyDiscriminator: 1, YourDiscriminator: s.Discriminator}
	d := udp.Datagram{Port: udp.PortSingleHop, Source: s.Key.Peer, TTL: 254, Payload: p.Append(nil)}
	m.handle(&d)
	if got := m.Snapshot()[0]; got.State != bfd.Down || got.Counters.Discarded != 1 || m.Discarded()[bfd.BadTTL] != 1 {
		t.Errorf("%+v, discarded %v", got, m.Discarded())
	}
	d.TTL = 255
	m.handle(&d)
	if got := m.Snapshot()[0]; got.State != bfd.Init {
		t.Errorf("%s with a TTL of 255", got.State)
	}
	k := Key{Peer: s.Key.Peer, Port: udp.PortMultihop}
	far := fast()
	far.MinTTL = 200
	if err := m.Add(k, far, nil); err != nil {
		t.Fatal(err)
	}
	d = udp.Datagram{Port: udp.PortMultihop, Source: k.Peer, TTL: 199, Payload: d.Payload}
	p.YourDiscriminator = 0
	d.Payload = p.Append(nil)
	for _, want := range []bfd.State{bfd.Down, bfd.Init} {
		m.handle(&d)
		for _, s := range m.Snapshot() {
			if s.Key.Port == udp.PortMultihop && s.State != want {
				t.Errorf("%s with a TTL of %d, want %s", s.State, d.TTL, want)
			}
		}
		d.TTL++
	}
}

// What a received packet costs from the socket's handler on, of a session and of a stranger.
func BenchmarkHandle(b *testing.B) {
	m := sessions(b, 100)
	s := m.Snapshot()[50]
	for name, p := range map[string]bfd.Packet{
		"session":  {State: bfd.AdminDown, DetectMult: 3, MyDiscriminator: 1, YourDiscriminator: s.Discriminator, DesiredMinTx: 100_000, RequiredMinRx: 100_000},
		"stranger": {State: bfd.Down, DetectMult: 3, MyDiscriminator: 1},
	} {
		b.Run(name, func(b *testing.B) {
			d := udp.Datagram{Port: udp.PortSingleHop, Source: netip.MustParseAddr("192.0.2.9"), Destination: netip.MustParseAddr("10.0.0.1"), TTL: 255, Payload: p.Append(nil)}
			b.ReportAllocs()
			for b.Loop() {
				m.handle(&d)
			}
		})
	}
}
