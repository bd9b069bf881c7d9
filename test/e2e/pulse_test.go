package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/gomega"

	"fairlead.io/fairlead/test/e2e/observe"
)

// heart tells, for all tests, when this process did not run. As it shares the processors with all of the lab, that says much of the lab too.
var heart pulse

// pulse notes when this process did not run: it was starved of processor time, or its machine stood still.
type pulse struct {
	mu     sync.Mutex // guards pauses
	pauses []pause
}

// pause is a time in which this process did not run.
type pause struct{ from, to time.Time }

const (
	beat = 10 * time.Millisecond
	// leastPause is what is noted.
	leastPause = 3 * beat
	// standstill is a pause in which speakers may lose each other: as long as a probe of their gossip may take.
	standstill = 100 * time.Millisecond
)

// run until the context ends.
func (p *pulse) run(ctx context.Context) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		if now.Sub(last) >= leastPause {
			p.mu.Lock()
			p.pauses = append(p.pauses, pause{last, now})
			p.mu.Unlock()
		}
		last = now
	}
}

// longest pause that ended since then.
func (p *pulse) longest(since time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var longest time.Duration
	for _, x := range p.pauses {
		if x.to.After(since) {
			longest = max(longest, x.to.Sub(x.from))
		}
	}
	return longest
}

// within is for how long of a time this process did not run.
func (p *pulse) within(from, to time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var sum time.Duration
	for _, x := range slices.Backward(p.pauses) {
		if x.to.Before(from) {
			break
		}
		if from, to := latest(x.from, from), earliest(x.to, to); from.Before(to) {
			sum += to.Sub(from)
		}
	}
	return sum
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earliest(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// before is since when this process runs, of one who noted something then: the start of the pause that he may have slept through.
func (p *pulse) before(then time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	since := then
	for _, x := range p.pauses {
		// Whoever was woken by the end of a pause may note what came in it a moment later.
		if x.from.Before(since) && then.Before(x.to.Add(leastPause)) {
			since = x.from
		}
	}
	return since
}

// noted are moves, of which it is known when they were noted.
func noted(times []time.Time) []observe.Move {
	var moves []observe.Move
	for _, t := range times {
		moves = append(moves, observe.Move{After: heart.before(t), By: t})
	}
	return moves
}

// fairly makes a trial, which does something and says what of it was seen is not as it should be, by seen. Speakers that do not run for a while
// rightly lose each other, and who watches them sees nothing: what is wrong after this process stood still says nothing, and the trial
// is made once more, up to three times in all.
func (s *scenario) fairly(trial func(seen Gomega)) {
	s.Helper()
	for left := 2; ; left-- {
		var wrong []string
		began := time.Now()
		trial(NewGomega(func(message string, _ ...int) { wrong = append(wrong, message) }))
		if len(wrong) == 0 {
			return
		}
		stood := heart.longest(began)
		story := fmt.Sprintf("%d things are wrong, and this process has not run for %s at the most:\n%s", len(wrong), stood.Round(time.Millisecond), strings.Join(wrong, "\n"))
		if stood < standstill || left == 0 {
			s.Fatal(story)
		}
		s.Logf("once more, after a standstill: %s", story)
	}
}
