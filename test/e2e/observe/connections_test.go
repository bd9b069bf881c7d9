package observe

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestFailureOf(t *testing.T) {
	for want, err := range map[Failure]error{
		Refused:     unix.ECONNREFUSED,
		Reset:       unix.ECONNRESET,
		TimedOut:    context.DeadlineExceeded,
		Unreachable: unix.EHOSTUNREACH,
		Other:       errors.New("answered with nonsense"),
	} {
		if got := FailureOf(fmt.Errorf("get: %w", err)); got != want {
			t.Errorf("%v is taken for %q, want %q", err, got, want)
		}
	}
}

func attempt(start, end int, err error) Attempt {
	return Attempt{Start: at(start), End: at(end), Err: err}
}

func paused(a Attempt, milliseconds int) Attempt {
	a.Paused = time.Duration(milliseconds) * time.Millisecond
	return a
}

func TestCount(t *testing.T) {
	lost, reset := context.DeadlineExceeded, unix.ECONNRESET
	for name, tc := range map[string]struct {
		attempts []Attempt
		moves    []Move
		want     Connections
	}{
		"none": {nil, nil, Connections{}},
		"all good": {
			[]Attempt{attempt(0, 2, nil), attempt(10, 40, nil), attempt(20, 22, nil)}, nil,
			Connections{Attempts: 3, Slowest: 30 * time.Millisecond},
		},
		"a first packet was sent again": {
			[]Attempt{attempt(0, 2, nil), attempt(10, 1015, nil)}, nil,
			Connections{Attempts: 2, Slowest: 1005 * time.Millisecond, Resent: 1},
		},
		"a gap, told in the order in which the attempts ended": {
			[]Attempt{attempt(0, 2, nil), attempt(300, 302, nil), attempt(10, 510, lost), attempt(200, 700, lost), attempt(310, 312, nil)}, nil,
			Connections{Attempts: 5, Failed: map[Failure]int{TimedOut: 2}, First: lost.Error(), Slowest: 2 * time.Millisecond, LongestGap: 300 * time.Millisecond, LastFailure: 190 * time.Millisecond},
		},
		"a gap to the end": {
			[]Attempt{attempt(0, 2, nil), attempt(10, 510, lost)}, nil,
			Connections{Attempts: 2, Failed: map[Failure]int{TimedOut: 1}, First: lost.Error(), Slowest: 2 * time.Millisecond, LongestGap: 510 * time.Millisecond},
		},
		"only what is reset at a move, or had just begun, is caught by it": {
			[]Attempt{attempt(0, 2, nil), attempt(10, 20, reset), attempt(15, 515, lost), attempt(19, 519, lost), attempt(100, 102, reset), attempt(110, 112, nil)}, []Move{{at(18), at(18)}},
			Connections{Attempts: 6, Moves: 1, Caught: 2, Failed: map[Failure]int{TimedOut: 1, Reset: 1}, First: lost.Error() + ", from 1ms to 501ms after a move", Slowest: 2 * time.Millisecond, LongestGap: 110 * time.Millisecond, LastFailure: 81 * time.Millisecond},
		},
		"only what timed out while the client did not run is its own fault": {
			[]Attempt{attempt(0, 2, nil), paused(attempt(10, 5010, lost), 1000), paused(attempt(20, 5020, lost), 990), paused(attempt(30, 2030, reset), 1900), attempt(40, 42, nil)}, nil,
			Connections{Attempts: 5, Starved: 1, Failed: map[Failure]int{TimedOut: 1, Reset: 1}, First: lost.Error(), Slowest: 2 * time.Millisecond, LongestGap: 40 * time.Millisecond, LastFailure: 10 * time.Millisecond},
		},
		"a move that was noted late catches what was under way since it may have been": {
			[]Attempt{attempt(0, 2, nil), attempt(10, 20, reset), attempt(100, 110, reset), attempt(120, 620, lost), attempt(330, 331, reset), attempt(340, 342, nil)}, []Move{{at(150), at(320)}},
			Connections{Attempts: 6, Moves: 1, Caught: 2, Failed: map[Failure]int{Reset: 2}, First: reset.Error() + ", from -310ms to -300ms after a move", Slowest: 2 * time.Millisecond, LongestGap: 340 * time.Millisecond, LastFailure: 320 * time.Millisecond},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.want.Failed == nil {
				tc.want.Failed = map[Failure]int{}
			}
			if got := Count(tc.attempts, tc.moves); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("Count = %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestConnectionsString(t *testing.T) {
	c := Count([]Attempt{attempt(0, 2, nil), attempt(10, 20, unix.ECONNRESET), attempt(15, 25, unix.ECONNREFUSED), attempt(30, 31, nil)}, nil)
	if got, want := c.String(), "2 of 4 connections failed, 1 refused, 1 reset (the first: "; !strings.HasPrefix(got, want) {
		t.Errorf("String = %q, want it to begin with %q", got, want)
	}
}
