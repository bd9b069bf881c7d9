package membership

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"go.uber.org/goleak"

	"fairlead.io/fairlead/l2/netif"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMetaRoundTrip(t *testing.T) {
	for _, m := range []Meta{
		{},
		{DataplaneReady: true, Interfaces: []string{"eth0"}},
		{Draining: true, Stopping: true, DataplaneReady: true, Interfaces: []string{"bond0.100", "eth0", "wlan0"}},
		{Leaving: true},
		{DataplaneReady: true, Settling: true, CutOff: true, Interfaces: []string{"eth0", "eth1"}, SettlingInterfaces: []string{"eth1"},
			Hardware: []netif.MAC{{2, 0, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 2}}},
	} {
		if got := DecodeMeta(m.Encode(512)); !got.Equal(m) {
			t.Errorf("%+v came back as %+v", m, got)
		}
	}
}

func TestMetaGolden(t *testing.T) {
	m := Meta{Draining: true, DataplaneReady: true, Settling: true, Interfaces: []string{"eth1", "eth0"}, SettlingInterfaces: []string{"eth1"},
		Hardware: []netif.MAC{{2, 0, 0, 0, 0, 1}}}
	want := []byte("\x01\x01\x01\x0d\x04\x06\x02\x00\x00\x00\x00\x01\x02\x04eth0\x03\x04eth1")
	if got := m.Encode(512); !bytes.Equal(got, want) {
		t.Errorf("encoded %q, the protocol says %q", got, want)
	}
}

func TestMetaOfANewerSpeaker(t *testing.T) {
	b := []byte("\x01\x63\x03abc\x01\x02\x05\xff\x02\x04eth0\x64\x00")
	if got, want := DecodeMeta(b), (Meta{Draining: true, DataplaneReady: true, Interfaces: []string{"eth0"}}); !got.Equal(want) {
		t.Errorf("decoded %+v, want %+v", got, want)
	}
	if got := DecodeMeta([]byte{9, 1, 1, 1}); !got.Equal(Meta{DataplaneReady: true}) {
		t.Errorf("an unknown version was read: %+v", got)
	}
}

func TestMetaKeepsToItsLimit(t *testing.T) {
	m := Meta{DataplaneReady: true}
	for i := range 100 {
		m.Interfaces = append(m.Interfaces, fmt.Sprintf("interface-%04d", i))
	}
	b := m.Encode(512)
	if len(b) > 512 {
		t.Fatalf("%d bytes, more than 512", len(b))
	}
	if got := DecodeMeta(b); len(got.Interfaces) < 30 || !got.DataplaneReady {
		t.Errorf("%d interfaces came through", len(got.Interfaces))
	}
	for i := range 20 {
		m.Hardware = append(m.Hardware, netif.MAC{2, 0, 0, 0, 0, byte(i)})
	}
	for limit := 4; limit <= 512; limit++ {
		if b := m.Encode(limit); len(b) > limit {
			t.Fatalf("%d bytes, more than %d", len(b), limit)
		}
	}
	if got := DecodeMeta(m.Encode(512)); !slices.Equal(got.Hardware, m.Hardware[:mostHardware]) {
		t.Errorf("hardware %v came through", got.Hardware)
	}
	var said []byte
	for i := range 20 {
		said = append(said, 2, 0, 0, 0, 0, byte(i))
	}
	if got := DecodeMeta(append([]byte{metaVersion, fieldHardware, byte(len(said))}, said...)); len(got.Hardware) != mostHardware {
		t.Errorf("%d hardware addresses were taken from one who says too many", len(got.Hardware))
	}
}

func FuzzDecodeMeta(f *testing.F) {
	f.Add([]byte("\x01\x01\x01\x05\x02\x04eth0\x02\x04eth1"))
	f.Add([]byte{})
	f.Add([]byte{1, 2, 255, 0})
	f.Add([]byte("\x01\x01\x01\x0d\x04\x06\x02\x00\x00\x00\x00\x01\x02\x04eth0\x03\x04eth1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := DecodeMeta(b)
		if len(m.Hardware) > mostHardware {
			t.Errorf("%d hardware addresses were taken", len(m.Hardware))
		}
		// Said on, it says the same: names sorted, and each once.
		m = DecodeMeta(m.Encode(1 << 20))
		if got := DecodeMeta(m.Encode(1 << 20)); !got.Equal(m) {
			t.Errorf("%+v came back as %+v", m, got)
		}
	})
}

// patience is how long what must happen may take; it is no measure of anything.
const patience = 30 * time.Second

// start runs a member on a loopback address of its own, by a profile that takes nobody for dead who only has no processor for a while.
func start(t *testing.T, name string, key []byte) *Membership {
	t.Helper()
	return startWith(t, name, key, WAN)
}

func startWith(t *testing.T, name string, key []byte, profile Profile) *Membership {
	t.Helper()
	m, err := Start(Config{
		Name: name, Bind: netip.MustParseAddrPort("127.0.0.1:0"), Keys: [][]byte{key}, Profile: profile,
		RejoinInterval: 200 * time.Millisecond, Log: logr.Discard(),
	}, Meta{DataplaneReady: true, Interfaces: []string{"eth0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// until waits for a state of m's members.
func until(t *testing.T, m *Membership, what string, ok func(map[string]Member) bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		members := map[string]Member{}
		for _, member := range m.Members() {
			members[member.Name] = member
		}
		if ok(members) {
			return
		}
		select {
		case <-m.Changes():
		case <-deadline:
			t.Fatalf("%s does not see that %s; it sees %+v", m.cfg.Name, what, members)
		}
	}
}

func count(n int) func(map[string]Member) bool {
	return func(members map[string]Member) bool { return len(members) == n }
}

func TestMembership(t *testing.T) {
	key := bytes.Repeat([]byte{7}, KeySize)
	a, b, c := startWith(t, "a", key, LAN), startWith(t, "b", key, LAN), startWith(t, "c", key, LAN)
	peers := map[string]netip.AddrPort{"a": a.Addr(), "b": b.Addr(), "c": c.Addr()}
	a.SetPeers(peers)
	if err := a.Join(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, m := range []*Membership{a, b, c} {
		until(t, m, "all three are there", count(3))
	}

	b.SetLocal(Meta{Draining: true, DataplaneReady: true, Interfaces: []string{"eth1", "eth0"}})
	for _, m := range []*Membership{a, b, c} {
		until(t, m, "b is draining", func(members map[string]Member) bool {
			return members["b"].Meta.Equal(Meta{Draining: true, DataplaneReady: true, Interfaces: []string{"eth0", "eth1"}})
		})
	}

	if err := c.Leave(patience); err != nil {
		t.Fatal(err)
	}
	until(t, a, "c has left", count(2))
	until(t, b, "c has left", count(2))
	if !a.Left("c") || a.Left("b") {
		t.Errorf("c has said that it goes, and b has not: %t, %t", a.Left("c"), a.Left("b"))
	}

	// a dead member is found without being told, and found again when it is back
	addr := b.Addr()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, a, "b is dead", func(members map[string]Member) bool { _, ok := members["b"]; return !ok })
	if a.Left("b") {
		t.Error("b has said nothing, and counts as gone by itself")
	}
	if err := b.Leave(time.Second); err == nil {
		t.Error("left what was stopped before")
	}
	again, err := Start(Config{Name: "b", Bind: addr, Keys: [][]byte{key}, Profile: LAN, Log: logr.Discard()}, Meta{DataplaneReady: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}()
	until(t, a, "b is back with what it now says", func(members map[string]Member) bool {
		member, ok := members["b"]
		return ok && member.Meta.Equal(Meta{DataplaneReady: true})
	})
}

// TestPeersThatComeLater: who is named is looked for at once, time and again while he is not there, and also where he has come to.
func TestPeersThatComeLater(t *testing.T) {
	key := bytes.Repeat([]byte{7}, KeySize)
	begin := func(cfg Config) *Membership {
		t.Helper()
		cfg.Keys, cfg.Profile, cfg.Log = [][]byte{key}, WAN, logr.Discard()
		m, err := Start(cfg, Meta{})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	end := func(m *Membership) {
		t.Helper()
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	anywhere := netip.MustParseAddrPort("127.0.0.1:0")
	a := begin(Config{Name: "a", Bind: anywhere, RejoinInterval: time.Hour})
	defer end(a)
	b := begin(Config{Name: "b", Bind: anywhere, RejoinInterval: 20 * time.Millisecond})
	defer end(b)
	a.SetPeers(map[string]netip.AddrPort{"b": b.Addr()})
	until(t, a, "b is there at once", count(2))

	c := begin(Config{Name: "c", Bind: anywhere})
	at := c.Addr()
	end(c)
	b.SetPeers(map[string]netip.AddrPort{"c": at})
	if err := b.Join(t.Context()); err == nil {
		t.Fatal("who is not there has answered")
	}
	c = begin(Config{Name: "c", Bind: at})
	until(t, b, "c is there", count(3))
	until(t, c, "c knows whom to tell", func(members map[string]Member) bool { _, ok := members["b"]; return ok })
	if err := c.Leave(patience); err != nil {
		t.Fatal(err)
	}
	end(c)
	until(t, b, "c has left", count(2))
	if !b.Left("c") {
		t.Error("c has said that it goes")
	}
	c = begin(Config{Name: "c", Bind: anywhere})
	defer func() { end(c) }()
	b.SetPeers(map[string]netip.AddrPort{"c": c.Addr()})
	until(t, b, "c is there, elsewhere", func(members map[string]Member) bool { return members["c"].Addr == c.Addr() })
	if b.Left("c") {
		t.Error("c is back, and counts as gone")
	}
	until(t, c, "c knows whom to tell again", func(members map[string]Member) bool { _, ok := members["b"]; return ok })
	if err := c.Leave(patience); err != nil {
		t.Fatal(err)
	}
	until(t, b, "c has left again", count(2))
	b.SetPeers(nil)
	if b.Left("c") {
		t.Error("who is no peer any more is not forgotten")
	}
}

func TestOtherKeyIsKeptOut(t *testing.T) {
	a := start(t, "a", bytes.Repeat([]byte{1}, KeySize))
	b := start(t, "b", bytes.Repeat([]byte{2}, KeySize))
	a.mu.Lock()
	a.peers = map[string]netip.AddrPort{"b": b.Addr()}
	a.mu.Unlock()
	if err := a.Join(context.Background()); err == nil {
		t.Error("joined a speaker that has another key")
	}
	if len(a.Members()) != 1 || len(b.Members()) != 1 {
		t.Errorf("members are %+v and %+v", a.Members(), b.Members())
	}
}

// TestNamesakes: two speakers of one name are told of, once, not with each message.
func TestNamesakes(t *testing.T) {
	key := bytes.Repeat([]byte{1}, KeySize)
	var mu sync.Mutex
	var told []string
	log := funcr.New(func(_, args string) {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(args, "two speakers have one name") {
			told = append(told, args)
		}
	}, funcr.Options{})
	c, err := Start(Config{Name: "c", Bind: netip.MustParseAddrPort("127.0.0.1:0"), Keys: [][]byte{key}, Profile: WAN, Log: log}, Meta{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	first, second := start(t, "a", key), start(t, "a", key)
	first.SetPeers(map[string]netip.AddrPort{"c": c.Addr()})
	until(t, c, "the first is there", count(2))
	second.SetPeers(map[string]netip.AddrPort{"c": c.Addr()})
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	stories := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(told)
	}
	for deadline := time.After(patience); stories() == 0; {
		select {
		case <-look.C:
		case <-deadline:
			t.Fatal("two have one name, and nobody is told")
		}
	}
	for i := range 20 { // it goes on to say who it is
		second.SetLocal(Meta{Interfaces: []string{fmt.Sprintf("eth%d", i)}})
		<-look.C
	}
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 1 || !strings.Contains(told[0], first.Addr().String()) || !strings.Contains(told[0], second.Addr().String()) {
		t.Errorf("told %q", told)
	}
	for _, m := range c.Members() {
		if m.Name == "a" && m.Addr != first.Addr() {
			t.Errorf("the second has taken the first one's place: %+v", m)
		}
	}
}

func TestShortKeyIsRefused(t *testing.T) {
	if _, err := Start(Config{Name: "a", Bind: netip.MustParseAddrPort("127.0.0.1:0"), Keys: [][]byte{[]byte("short")}}, Meta{}); err == nil {
		t.Error("a short key was accepted")
	}
}

// TestKeyRotation: the key is changed while the gossip goes on, member by member, and nobody is lost; who has the old key only stays out.
func TestKeyRotation(t *testing.T) {
	old, next := bytes.Repeat([]byte{1}, KeySize), bytes.Repeat([]byte{2}, KeySize)
	a, b := start(t, "a", old), start(t, "b", old)
	a.SetPeers(map[string]netip.AddrPort{"b": b.Addr()})
	until(t, a, "b is there", count(2))
	until(t, b, "a is there", count(2))
	lost := func(m *Membership) {
		t.Helper()
		if n := len(m.Members()); n != 2 {
			t.Fatalf("%s sees %d members", m.cfg.Name, n)
		}
	}
	told := 0
	tells := func(from, to *Membership) { // what one says reaches the other
		t.Helper()
		told++
		from.SetLocal(Meta{DataplaneReady: true, Interfaces: []string{fmt.Sprintf("eth%d", told)}})
		until(t, to, "news has come", func(members map[string]Member) bool {
			return slices.Equal(members[from.cfg.Name].Meta.Interfaces, []string{fmt.Sprintf("eth%d", told)})
		})
		lost(a)
		lost(b)
	}
	for _, step := range []struct {
		m    *Membership
		keys [][]byte
	}{
		{a, [][]byte{old, next}}, {b, [][]byte{old, next}}, // both understand the new one
		{a, [][]byte{next, old}}, {b, [][]byte{next, old}}, // both send with it
		{a, [][]byte{next}}, {b, [][]byte{next}},
	} {
		if err := step.m.SetKeys(step.keys); err != nil {
			t.Fatal(err)
		}
		tells(a, b)
		tells(b, a)
	}
	if err := a.SetKeys(nil); err == nil {
		t.Error("no key was taken")
	}
	if err := a.SetKeys([][]byte{next, []byte("short")}); err == nil {
		t.Error("a short key was taken")
	}
	c := start(t, "c", old)
	c.SetPeers(map[string]netip.AddrPort{"a": a.Addr()})
	if err := c.Join(context.Background()); err == nil || len(c.Members()) != 1 {
		t.Errorf("with the old key: %v, members %v", err, c.Members())
	}
}

func TestProfiles(t *testing.T) {
	for _, name := range []string{"fast", "lan", "wan"} {
		p, err := ParseProfile(name)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Start(Config{Name: "a", Bind: netip.MustParseAddrPort("127.0.0.1:0"), Keys: [][]byte{make([]byte, KeySize)}, Profile: p, Log: logr.Discard()}, Meta{})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := ParseProfile("slow"); err == nil {
		t.Error("an unknown profile was taken")
	}
}
