package process

import (
	"os"
	"testing"
	"time"
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
	more := make([]byte, 64<<20)
	for i := 0; i < len(more); i += os.Getpagesize() {
		more[i] = 1
	}
	if now, err := Resident(os.Getpid()); err != nil || now < least+60<<20 {
		t.Errorf("%d bytes, %v, with %d more than %d", now, err, len(more), least)
	}
	if more[0] != 1 {
		t.Error("they are not there")
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
}
