package observe

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Answer says that somebody answered for an address.
type Answer struct {
	At  time.Time
	Who string
}

// Hold is for how long one who is asked every 20 ms, and has answered, passes for answering without another answer: machines under
// load stand still for a while.
const Hold = 200 * time.Millisecond

// Span is a time for which somebody answered whenever he was asked.
type Span struct {
	Who      string
	From, To time.Time
}

// Spans joins the answers of each, which must be in the order of time, to spans, by their start.
func Spans(answers []Answer) []Span {
	var spans []Span
	last := map[string]int{} // the last span of each
	for _, a := range answers {
		if i, ok := last[a.Who]; ok && a.At.Sub(spans[i].To) <= Hold {
			spans[i].To = a.At
			continue
		}
		last[a.Who] = len(spans)
		spans = append(spans, Span{Who: a.Who, From: a.At, To: a.At})
	}
	return spans
}

// stretch is a time for which the same ones answered.
type stretch struct {
	who      []string
	from, to time.Time
}

func stretches(spans []Span) []stretch {
	var edges []time.Time
	for _, s := range spans {
		edges = append(edges, s.From, s.To)
	}
	slices.SortFunc(edges, time.Time.Compare)
	edges = slices.CompactFunc(edges, time.Time.Equal)
	var out []stretch
	for i := range len(edges) - 1 {
		st := stretch{from: edges[i], to: edges[i+1]}
		for _, s := range spans {
			if !s.From.After(st.from) && !s.To.Before(st.to) {
				st.who = append(st.who, s.Who)
			}
		}
		slices.Sort(st.who)
		if n := len(out); n > 0 && slices.Equal(out[n-1].who, st.who) {
			out[n-1].to = st.to
			continue
		}
		out = append(out, st)
	}
	return out
}

// Doubled is the longest time for which more than one answered.
func Doubled(spans []Span) time.Duration {
	var longest time.Duration
	var since time.Time
	for _, st := range stretches(spans) {
		switch {
		case len(st.who) < 2:
			since = time.Time{}
			continue
		case since.IsZero():
			since = st.from
		}
		longest = max(longest, st.to.Sub(since))
	}
	return longest
}

// Silent is the longest time between two answers for which nobody answered; times that Hold bridges do not count.
func Silent(spans []Span) time.Duration {
	var longest time.Duration
	for _, st := range stretches(spans) {
		if len(st.who) == 0 {
			longest = max(longest, st.to.Sub(st.from))
		}
	}
	return longest
}

// Owners are those who answered alone, one after another. Who did so for less than Hold is left out: of two who both answer, one
// always has the last word.
func Owners(spans []Span) []string {
	var owners []string
	for _, st := range stretches(spans) {
		if len(st.who) == 1 && st.to.Sub(st.from) >= Hold && (len(owners) == 0 || owners[len(owners)-1] != st.who[0]) {
			owners = append(owners, st.who[0])
		}
	}
	return owners
}

// Dispute is a time in which several announced one address, one after another or mingled.
type Dispute struct {
	From, To time.Time // the first and the last announcement that was another's than the one before
}

// Disputes are the times in which the announcements, in the order of time, came from another than the one before, none more than Calm
// after the other. One take-over is a dispute of no length. How many announcements there are within one says nothing: each is two
// frames, which mingle with others', and who hears the others come back tells them once more.
func Disputes(announcements []Answer) []Dispute {
	var disputes []Dispute
	for i := 1; i < len(announcements); i++ {
		if announcements[i].Who == announcements[i-1].Who {
			continue
		}
		at := announcements[i].At
		if n := len(disputes); n > 0 && at.Sub(disputes[n-1].To) <= Calm {
			disputes[n-1].To = at
			continue
		}
		disputes = append(disputes, Dispute{From: at, To: at})
	}
	return disputes
}

// Calm is for how long one must be the only one who announces for a dispute to be over: longer than the second between the repeats
// of an announcement.
const Calm = 1500 * time.Millisecond

// Tell writes spans for people, with times since start.
func Tell(spans []Span, start time.Time) string {
	var b strings.Builder
	for i, s := range spans {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %.2f-%.2f s", s.Who, s.From.Sub(start).Seconds(), s.To.Sub(start).Seconds())
	}
	return b.String()
}
