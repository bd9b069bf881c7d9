// Package sleep lets a goroutine that wakes up many times a second do so cheaply. Each timer of the Go runtime costs a process that is
// asleep about four wake-ups: one of the thread that waits for the network, a millisecond early, one in time, and two of the thread that
// watches over the others. A timer of the kernel's costs one.
package sleep

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sleeper is for one goroutine, which may be woken by any other.
type Sleeper interface {
	// Sleep returns after that time, or when Wake is called, or was since it last returned; it may return sooner.
	Sleep(d time.Duration)
	Wake()
	// Close ends what is needed to sleep; nobody sleeps any more.
	Close() error
}

// New makes a Sleeper with a timer of the kernel's. Where there is none to be had, for want of file descriptors, it is the Go runtime's.
func New() Sleeper {
	if k, err := newKernel(); err == nil {
		return k
	}
	return Runtime()
}

// blind is how long at most one sleeps whom a timer of the kernel's cannot wake up.
const blind = 10 * time.Millisecond

// kernel sleeps by timerfd_create(2).
type kernel struct {
	file  *os.File
	raw   syscall.RawConn
	woken atomic.Bool
}

func newKernel() (*kernel, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a timer: %w", err)
	}
	k := &kernel{file: os.NewFile(uintptr(fd), "timer")}
	if k.raw, err = k.file.SyscallConn(); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for a timer: %w", err), k.file.Close())
	}
	return k, nil
}

func (k *kernel) Sleep(d time.Duration) {
	k.set(d)
	if k.woken.Swap(false) {
		return // maybe before the timer was set, which then does not tell
	}
	var expired [8]byte
	err := k.raw.Read(func(fd uintptr) bool {
		// Not told to the Go scheduler, as in package rawsocket.
		_, _, errno := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&expired)), unsafe.Sizeof(expired)) //nolint:gosec // as read(2) asks for
		return errno != unix.EAGAIN
	})
	k.woken.Store(false)
	if err != nil { // it is closed, or the kernel has no memory to wait for it with: who goes on sleeping must not turn in circles
		time.Sleep(min(d, blind))
	}
}

func (k *kernel) Wake() {
	k.woken.Store(true)
	k.set(0)
}

func (k *kernel) set(d time.Duration) {
	t := unix.ItimerSpec{Value: unix.NsecToTimespec(max(d, 1).Nanoseconds())} // 0 would stop it
	_ = k.raw.Control(func(fd uintptr) {                                      // closed: nobody sleeps
		_, _, _ = unix.RawSyscall6(unix.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&t)), 0, 0, 0) //nolint:gosec // as timerfd_settime(2) asks for; it cannot fail
	})
}

func (k *kernel) Close() error {
	if err := k.file.Close(); err != nil {
		return fmt.Errorf("end a timer: %w", err)
	}
	return nil
}

// Runtime makes a Sleeper with a timer of the Go runtime's, which may be one of package testing/synctest.
func Runtime() Sleeper { return &goRuntime{wake: make(chan struct{}, 1)} }

type goRuntime struct{ wake chan struct{} }

func (r *goRuntime) Sleep(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.wake:
	}
}

func (r *goRuntime) Wake() {
	select {
	case r.wake <- struct{}{}:
	default: // he is being woken
	}
}

func (*goRuntime) Close() error { return nil }
