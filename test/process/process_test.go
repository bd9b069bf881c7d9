package process

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestSelf(t *testing.T) {
	before, err := CPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for now := before; now-before < 50*time.Millisecond; { // it computes until it shows
		if now, err = CPU(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	parent, err := Started(os.Getppid())
	if err != nil {
		t.Fatal(err)
	}
	if self, err := Started(os.Getpid()); err != nil || self < parent {
		t.Errorf("started %s after the machine, %v, and its parent %s after it", self, err, parent)
	}
	least, err := Resident(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	// Not by make, which may give memory that the process has already.
	more, err := unix.Mmap(-1, 0, 64<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(more); i += os.Getpagesize() {
		more[i] = 1
	}
	if now, err := Resident(os.Getpid()); err != nil || now < least+60<<20 {
		t.Errorf("%d bytes, %v, with %d more than %d", now, err, len(more), least)
	}
	if err := unix.Munmap(more); err != nil {
		t.Error(err)
	}
}

func TestNone(t *testing.T) {
	const none = 1 << 30 // more than there can be
	if _, err := CPU(none); err == nil {
		t.Error("no process has had processor time")
	}
	if _, err := Started(none); err == nil {
		t.Error("no process has started")
	}
	if _, err := Resident(none); err == nil {
		t.Error("no process has memory")
	}
	if _, err := Listening(none); err == nil {
		t.Error("no process listens")
	}
}

func TestListening(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			t.Fatal(err)
		}
		addr := netip.MustParseAddrPort(l.Addr().String())
		if list, err := Listening(os.Getpid()); err != nil || !slices.Contains(list, addr) {
			t.Errorf("it listens on %v, %v, want %s", list, err, addr)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if list, err := Listening(os.Getpid()); err != nil || slices.Contains(list, addr) {
			t.Errorf("it listens on %v, %v, and no more on %s", list, err, addr)
		}
	}
}
