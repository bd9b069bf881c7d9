package interop

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/bfd"
	"fairlead.io/fairlead/bfd/manager"
	"fairlead.io/fairlead/bfd/udp"
	"fairlead.io/fairlead/internal/testnet"
)

// What a soak is made of can be changed by the environment:
//
//	FAIRLEAD_SOAK=10m FAIRLEAD_SOAK_INTERVAL=50ms FAIRLEAD_SOAK_SESSIONS=20 FAIRLEAD_SOAK_LOAD=no FAIRLEAD_SOAK_LITTER=yes go test ./test/interop -v -run TestSoak/routers -timeout 1h
type soak struct {
	duration, interval time.Duration
	sessions           int
	littered           bool // by other parts of the speaker
}

func soakOf(t *testing.T, interval time.Duration, sessions int) soak {
	t.Helper()
	s := soak{15 * time.Second, interval, sessions, os.Getenv("FAIRLEAD_SOAK_LITTER") == "yes"}
	var errs [3]error
	if v := os.Getenv("FAIRLEAD_SOAK"); v != "" {
		s.duration, errs[0] = time.ParseDuration(v)
	}
	if v := os.Getenv("FAIRLEAD_SOAK_INTERVAL"); v != "" {
		s.interval, errs[1] = time.ParseDuration(v)
	}
	if v := os.Getenv("FAIRLEAD_SOAK_SESSIONS"); v != "" {
		s.sessions, errs[2] = strconv.Atoi(v)
	}
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatalf("the environment's FAIRLEAD_SOAK...: %v", err)
	}
	return s
}

// load keeps all cores busy, at a lower priority than everything else has. Where the kernel shares the processor between sessions
// first (autogroup), the priority within a session says nothing, so that the session gets it too.
func load(t *testing.T) {
	t.Helper()
	if os.Getenv("FAIRLEAD_SOAK_LOAD") != "no" {
		start(t, testnet.New(t), "setsid", "sh", "-c", "[ ! -e /proc/self/autogroup ] || echo 10 >/proc/self/autogroup; exec nice -n 10 stress-ng --quiet --cpu "+strconv.Itoa(runtime.NumCPU()))
	}
}

// TestSoak keeps sessions on a machine whose cores are all busy.
func TestSoak(t *testing.T) {
	load(t)
	t.Run("routers", soakWithRouters)
	t.Run("speakers", soakBetweenSpeakers)
}

// run lets a speaker's sessions be for the time of the soak, and reports what it costs. It reports too whether the machine let
// threads run in time: a session that is lost when none ran for as long as a neighbour bears is not the speaker's fault.
func (s soak) run(t *testing.T, speaker *Speaker, begin func()) (fair bool) {
	t.Helper()
	Until(t, time.Minute, "all sessions are up", func() string { return s.up(speaker) })
	time.Sleep(2 * s.interval) // the last Final
	begin()
	if s.littered {
		speaker.Litter()
	}
	before, begun := speaker.CPU(), time.Now()
	reference := sleepers(t, s.duration) // the time itself is what is to pass
	used, took := speaker.CPU()-before, time.Since(begun)
	var sent, late, lost int
	var latest time.Duration
	for _, status := range speaker.Snapshot() {
		if status.Counters.Lost != 0 || status.State != bfd.Up {
			lost++
		}
		sent += int(status.Counters.Sent)
		if status.MaxLate > 10*ms {
			late++
		}
		latest = max(latest, status.MaxLate)
	}
	t.Logf("%d sessions at %s x 3 for %s: %d lost; %d packets sent, the latest of them %s late, and %d sessions with one more than 10 ms late; %s of processor time, %.2f %% of a core; "+
		"a thread that only sleeps was up to %s late meanwhile",
		s.sessions, s.interval, took.Round(time.Second), lost, sent, latest.Round(ms/10), late, used.Round(ms), 100*used.Seconds()/took.Seconds(), reference.Round(ms/10))
	if share := used.Seconds() / took.Seconds(); share > 0.1 && s.interval >= 80*ms && !s.littered {
		t.Errorf("%.2f %% of a core is several times what it should be", 100*share)
	}
	if fair = reference < 2*s.interval; fair && lost > 0 {
		t.Errorf("%d sessions were lost", lost)
	} else if !fair {
		t.Logf("no verdict: the machine did not wake a thread for %s, and a neighbour bears %s", reference, 2*s.interval)
	}
	return fair
}

// sleepers sleep for a time, in small pieces, one on each core, and say how late the machine was to wake one of them at worst.
func sleepers(t *testing.T, d time.Duration) time.Duration {
	t.Helper()
	const piece = 5 * ms
	var mine unix.CPUSet
	if err := unix.SchedGetaffinity(0, &mine); err != nil {
		t.Fatal(err)
	}
	worst := make(chan time.Duration, mine.Count())
	started := 0
	for core := 0; started < mine.Count(); core++ {
		if !mine.IsSet(core) {
			continue
		}
		started++
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			var one unix.CPUSet
			one.Set(core)
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				t.Error(err)
			}
			var late time.Duration
			for end := time.Now().Add(d); time.Now().Before(end); {
				next := time.Now().Add(piece)
				request := unix.NsecToTimespec(piece.Nanoseconds())
				for unix.Nanosleep(&request, &request) == unix.EINTR {
				}
				late = max(late, time.Since(next))
			}
			worst <- late
		}()
	}
	var all time.Duration
	for range started {
		all = max(all, <-worst)
	}
	return all
}

func (s soak) up(speaker *Speaker) string {
	all := speaker.Snapshot()
	for k, status := range all {
		if status.State != bfd.Up || status.TransmitInterval != s.interval || status.DetectionTime != 3*s.interval {
			return fmt.Sprintf("%s: %+v", k, status)
		}
	}
	if len(all) != s.sessions {
		return fmt.Sprintf("%d sessions", len(all))
	}
	return ""
}

func (s soak) settings() manager.Settings {
	return manager.Settings{Config: bfd.Config{DesiredMinTx: s.interval, RequiredMinRx: s.interval, DetectMult: 3}}
}

// soakWithRouters keeps 100 sessions at 100 ms x 3 with two routers.
func soakWithRouters(t *testing.T) {
	t.Parallel()
	s := soakOf(t, 100*ms, 100)
	host, frrHost, birdHost := testnet.New(t), testnet.New(t), testnet.New(t)
	testnet.Connect(host, "eth0", frrHost, "eth0")
	testnet.Connect(host, "eth1", birdHost, "eth0")
	frrHost.AddAddress("eth0", "10.0.255.1/16")
	birdHost.AddAddress("eth0", "10.1.255.1/16")

	interval := s.interval.Milliseconds()
	frrConfig, birdConfig := "bfd\n", fmt.Sprintf("interface \"eth0\" { interval %d ms; multiplier 3; };\n", interval)
	var keys []manager.Key
	for i := range s.sessions {
		net := i % 2
		local := netip.AddrFrom4([4]byte{10, byte(net), byte(i / 500), byte(i/2%250 + 1)})
		k := manager.Key{
			Peer: netip.AddrFrom4([4]byte{10, byte(net), 255, 1}), Local: local, Interface: fmt.Sprintf("eth%d", net), Port: udp.PortSingleHop,
		}
		host.AddAddress(k.Interface, local.String()+"/16")
		keys = append(keys, k)
		if net == 0 {
			frrConfig += fmt.Sprintf(" peer %s local-address %s interface eth0\n  transmit-interval %d\n  receive-interval %d\n !\n", local, k.Peer, interval, interval)
		} else {
			birdConfig += fmt.Sprintf("neighbor %s dev \"eth0\" local %s;\n", local, k.Peer)
		}
	}
	f, b, speaker := NewFRR(t, frrHost, frrConfig), NewBIRD(t, birdHost, birdConfig), NewSpeaker(t, host)
	for _, k := range keys {
		speaker.Add(k, s.settings())
	}
	var downs int
	var before map[string]BIRDSession
	if !s.run(t, speaker, func() { downs, before = f.SessionDowns(), b.Sessions() }) {
		return
	}
	if now := f.SessionDowns(); now != downs {
		t.Errorf("bfdd has lost %d sessions", now-downs)
	}
	for peer, now := range b.Sessions() {
		// It counts by another clock than it shows, so that the time of the same change moves by some milliseconds.
		if now.State != "Up" || now.Since.Sub(before[peer].Since).Abs() > time.Second {
			t.Errorf("BIRD's session with %s is %+v, and was %+v", peer, now, before[peer])
		}
	}
}

// soakBetweenSpeakers keeps 20 authenticated sessions at 80 ms x 3 between two speakers.
func soakBetweenSpeakers(t *testing.T) {
	t.Parallel()
	s := soakOf(t, 80*ms, 20)
	hosts := [2]*testnet.Namespace{testnet.New(t), testnet.New(t)}
	testnet.Connect(hosts[0], "eth0", hosts[1], "eth0")
	var speakers [2]*Speaker
	settings := s.settings()
	settings.Auth = &bfd.Auth{Type: bfd.MeticulousKeyedSHA1, Send: bfd.AuthKey{ID: 1, Secret: []byte("the speakers' secret")}}
	address := func(host, i int) netip.Addr {
		return netip.AddrFrom4([4]byte{10, byte(host), byte(i / 250), byte(i%250 + 1)})
	}
	for i, ns := range hosts {
		speakers[i] = NewSpeaker(t, ns)
		for j := range s.sessions {
			ns.AddAddress("eth0", address(i, j).String()+"/8")
		}
	}
	for j := range s.sessions {
		for i, speaker := range speakers {
			speaker.Add(manager.Key{Peer: address(1-i, j), Local: address(i, j), Port: 9793}, settings)
		}
	}
	Until(t, time.Minute, "all sessions are up", func() string { return s.up(speakers[1]) })
	if !s.run(t, speakers[0], func() {}) {
		return
	}
	for k, status := range speakers[1].Snapshot() {
		if status.Counters.Lost != 0 || status.Counters.Discarded != 0 {
			t.Errorf("the other speaker: %s: %+v", k, status.Counters)
		}
	}
}
