package observe

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Attempt is one connection that a client opened, for one short request.
type Attempt struct {
	Start, End time.Time
	// Paused is for how long of that the client itself did not run.
	Paused time.Duration
	Err    error
}

// Failure is how a connection fails.
type Failure string

// The failures.
const (
	Refused     Failure = "refused"     // the packets reached a node that does not know the address
	Reset       Failure = "reset"       // and in the midst of it, one that does not know the connection
	TimedOut    Failure = "timed out"   // they reached nobody, or nobody answered
	Unreachable Failure = "unreachable" // nobody said where the address is
	Other       Failure = "other"
)

// FailureOf is how an error came about.
func FailureOf(err error) Failure {
	var timeout net.Error
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return Refused
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE):
		return Reset
	case errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH):
		return Unreachable
	case errors.As(err, &timeout) && timeout.Timeout():
		return TimedOut
	}
	return Other
}

// Connections is what came of many attempts.
type Connections struct {
	Attempts int
	// Failed counts the failures of each kind; First is what the earliest said, and how far it was from the move that was nearest to it.
	Failed map[Failure]int
	First  string
	// Moves is how often the client began to send to another node. Caught are the connections under way at a move that were
	// reset, because the kube-proxy of that node does not know them, or had just begun and came to nothing, because their first packets
	// went to one node and the next to the other. They are not among Failed.
	Moves, Caught int
	// Starved are those that timed out while the client itself did not run for a second or longer. They are not among Failed either.
	Starved int
	// Slowest of the connections that succeeded. Resent are those among them that took a second or longer, after which the kernel
	// sends the first packet of a connection again.
	Slowest time.Duration
	Resent  int
	// LongestGap is the longest time between the starts of two connections that succeeded with only failures between them; 0: none
	// failed. What failed before the first success does not count.
	LongestGap time.Duration
	// LastFailure is the time from the start of the first connection that failed to that of the last: for so long some failed, whatever others did.
	LastFailure time.Duration
}

// resendAfter is Linux's initial retransmission time-out.
const resendAfter = time.Second

// starving is for how long a client does not run that may rightly miss what it waits for within its time. Connections that measure a gap have less.
const starving = time.Second

// Move is that a client, or a router, learned that an address is at another node: at an instant after After, and not after By. Who notes it
// sees it late by as much as he did not run meanwhile.
type Move struct{ After, By time.Time }

// Count sums attempts up.
func Count(attempts []Attempt, moves []Move) Connections {
	attempts = slices.SortedFunc(slices.Values(attempts), func(a, b Attempt) int { return a.Start.Compare(b.Start) })
	c := Connections{Attempts: len(attempts), Moves: len(moves), Failed: map[Failure]int{}}
	var lastGood, firstBad time.Time
	failing := false
	for _, a := range attempts {
		if a.Err != nil {
			f := FailureOf(a.Err)
			if f == TimedOut && a.Paused >= starving {
				c.Starved++
				continue
			}
			if f == Reset && slices.ContainsFunc(moves, a.during) || f == TimedOut && slices.ContainsFunc(moves, a.begun) {
				c.Caught++
				continue
			}
			if c.Failed[f]++; c.First == "" {
				c.First = a.Err.Error() + a.nearest(moves)
			}
			failing = true
			if firstBad.IsZero() {
				firstBad = a.Start
			}
			c.LastFailure = a.Start.Sub(firstBad)
			continue
		}
		if failing && !lastGood.IsZero() {
			c.LongestGap = max(c.LongestGap, a.Start.Sub(lastGood))
		}
		lastGood, failing = a.Start, false
		took := a.End.Sub(a.Start)
		c.Slowest = max(c.Slowest, took)
		if took >= resendAfter {
			c.Resent++
		}
	}
	if failing && !lastGood.IsZero() {
		c.LongestGap = max(c.LongestGap, attempts[len(attempts)-1].End.Sub(lastGood))
	}
	return c
}

// late is how much later than it was a move may be noted by one who runs all the time; connections take less.
const late = 50 * time.Millisecond

// during reports whether the attempt may have been under way at a move.
func (a Attempt) during(m Move) bool { return a.Start.Before(m.By) && a.End.After(m.After.Add(-late)) }

// begun reports whether the attempt began so shortly before a move that it was under way if all went well.
func (a Attempt) begun(m Move) bool { return a.Start.Before(m.By) && a.Start.After(m.After.Add(-late)) }

// nearest tells when the attempt was, seen from the move that was noted nearest to its end.
func (a Attempt) nearest(moves []Move) string {
	if len(moves) == 0 {
		return ""
	}
	m := slices.MinFunc(moves, func(m, n Move) int { return cmp.Compare(a.End.Sub(m.By).Abs(), a.End.Sub(n.By).Abs()) })
	return fmt.Sprintf(", from %v to %v after a move", a.Start.Sub(m.By).Round(time.Millisecond), a.End.Sub(m.By).Round(time.Millisecond))
}

// Failures is the sum of Failed.
func (c Connections) Failures() int {
	n := 0
	for _, k := range c.Failed {
		n += k
	}
	return n
}

// String tells what matters, in one line.
func (c Connections) String() string {
	text := fmt.Sprintf("%d of %d connections failed", c.Failures(), c.Attempts)
	for _, f := range slices.Sorted(maps.Keys(c.Failed)) {
		text += fmt.Sprintf(", %d %s", c.Failed[f], f)
	}
	if c.First != "" {
		text += fmt.Sprintf(" (the first: %s), longest gap %v", c.First, c.LongestGap.Round(time.Millisecond))
	}
	if c.Starved > 0 {
		text += fmt.Sprintf("; %d timed out while the client did not run", c.Starved)
	}
	return fmt.Sprintf("%s; %d were caught by %d moves; the slowest took %v, %d were sent again", text, c.Caught, c.Moves, c.Slowest.Round(time.Millisecond), c.Resent)
}
