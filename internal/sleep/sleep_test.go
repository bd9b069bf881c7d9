package sleep

import (
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const long = time.Hour

func each(t *testing.T, test func(t *testing.T, s Sleeper)) {
	t.Helper()
	kernel, err := newKernel()
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]Sleeper{"kernel": kernel, "runtime": Runtime()} {
		t.Run(name, func(t *testing.T) {
			test(t, s)
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSleep(t *testing.T) {
	each(t, func(t *testing.T, s Sleeper) {
		for _, d := range []time.Duration{-1, 0, 1, 5 * time.Millisecond} {
			began := time.Now()
			s.Sleep(d)
			if slept := time.Since(began); slept < d {
				t.Errorf("slept for %s, want %s or more", slept, d)
			}
		}
	})
}

func TestWake(t *testing.T) {
	each(t, func(t *testing.T, s Sleeper) {
		s.Wake()
		s.Sleep(long) // woken before
		var wg sync.WaitGroup
		asleep := make(chan struct{})
		wg.Go(func() {
			for range 10000 {
				asleep <- struct{}{}
				s.Sleep(long)
			}
		})
		for range 10000 {
			<-asleep // about to be
			s.Wake()
		}
		wg.Wait()
		s.Sleep(time.Millisecond) // a Wake that came late does not keep the next one from sleeping
	})
}

func TestClosed(t *testing.T) {
	k, err := newKernel()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	k.Wake()
	k.Sleep(long)
	k.Sleep(long) // nor is it waited for in vain
	for _, d := range []time.Duration{-1, 0, 5 * time.Millisecond} {
		began := time.Now()
		k.Sleep(d)
		if slept := time.Since(began); slept < d {
			t.Errorf("slept for %s, want %s or more: a loop that sleeps would turn in circles", slept, d)
		}
	}
}

// One who is asleep when it is closed wakes up.
func TestCloseWhileAsleep(t *testing.T) {
	k, err := newKernel()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	asleep := make(chan struct{})
	wg.Go(func() {
		close(asleep)
		k.Sleep(long)
	})
	<-asleep // about to be
	if err := k.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
}

// BenchmarkSleep is what sleeping for a moment costs a process that does nothing else: processor time, and how often it is woken.
func BenchmarkSleep(b *testing.B) {
	for name, s := range map[string]Sleeper{"kernel": New(), "runtime": Runtime()} {
		b.Run(name, func(b *testing.B) {
			var before, after unix.Rusage
			if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				s.Sleep(10 * time.Millisecond)
			}
			if err := unix.Getrusage(unix.RUSAGE_SELF, &after); err != nil {
				b.Fatal(err)
			}
			cpu := after.Utime.Nano() - before.Utime.Nano() + after.Stime.Nano() - before.Stime.Nano()
			b.ReportMetric(float64(cpu)/1e3/float64(b.N), "cpu-µs/op")
			b.ReportMetric(float64(after.Nvcsw-before.Nvcsw)/float64(b.N), "wake-ups/op")
			b.ReportMetric(0, "ns/op")
		})
	}
}
