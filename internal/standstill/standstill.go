// Package standstill finds out that this process did not run for a while: it was stopped, starved of processor time, or its machine was
// suspended. Where a hypervisor stops the machine's clocks too, nothing is found.
package standstill

import (
	"context"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Interval is how often Watch looks. What it tells may be too long by as much, and what lasts less than that longer than the least may be missed.
const Interval = 500 * time.Millisecond

// Watch calls told each time the process did not run for least or longer, and never for less, with for how long, until the context ends.
func Watch(ctx context.Context, least time.Duration, told func(time.Duration)) {
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	for last := sinceBoot(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := sinceBoot()
		if gap := now - last; gap >= least+Interval {
			told(gap)
		}
		last = now
	}
}

// sinceBoot goes on while the machine is suspended, which Go's clock does not, and knows no clock that is set.
func sinceBoot() time.Duration {
	var t unix.Timespec
	// Not told to the Go scheduler, as in package rawsocket.
	if _, _, errno := unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&t)), 0); errno != 0 { //nolint:gosec // as clock_gettime(2) asks for
		panic("read the clock: " + errno.Error()) // Linux has had it since 2.6.39; nothing else can fail
	}
	return time.Duration(t.Nano())
}
