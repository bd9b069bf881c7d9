package observe

import (
	"slices"
	"testing"
	"time"
)

var begin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }

// answering is who answers every 20 ms, beginning at some time after from, until to; all in milliseconds.
type answering struct {
	who      string
	from, to int
}

func answers(list ...answering) []Answer {
	var out []Answer
	for i, a := range list {
		for ms := a.from + i; ms <= a.to; ms += 20 {
			out = append(out, Answer{At: at(ms), Who: a.who})
		}
	}
	slices.SortFunc(out, func(a, b Answer) int { return a.At.Compare(b.At) })
	return out
}

func TestAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		answers []Answer
		doubled time.Duration // give or take an answer
		owners  []string
		silent  time.Duration // likewise
	}{
		"nobody":                     {nil, 0, nil, 0},
		"one":                        {answers(answering{"a", 0, 3000}), 0, []string{"a"}, 0},
		"one who stood still":        {answers(answering{"a", 0, 1000}, answering{"a", 1150, 3000}, answering{"a", 5000, 6000}), 0, []string{"a"}, 2 * time.Second},
		"taken over after a silence": {answers(answering{"a", 0, 1000}, answering{"b", 2000, 3000}), 0, []string{"a", "b"}, time.Second},
		"handed over without a gap":  {answers(answering{"a", 0, 1000}, answering{"b", 1001, 3000}), 0, []string{"a", "b"}, 0},
		"handed over with both":      {answers(answering{"a", 0, 1500}, answering{"b", 1000, 3000}), 500 * time.Millisecond, []string{"a", "b"}, 0},
		"a stray answer":             {answers(answering{"a", 0, 3000}, answering{"b", 1000, 1010}), 0, []string{"a"}, 0},
		"somebody else for a while":  {answers(answering{"a", 0, 3000}, answering{"b", 1000, 1800}), 800 * time.Millisecond, []string{"a"}, 0},
		"there and back":             {answers(answering{"a", 0, 1000}, answering{"b", 1000, 2000}, answering{"a", 2000, 3000}), 0, []string{"a", "b", "a"}, 0},
		"two all the time":           {answers(answering{"a", 0, 3000}, answering{"b", 0, 3000}), 3 * time.Second, nil, 0},
		"two who stand still together": {answers(answering{"a", 0, 1000}, answering{"b", 0, 1000}, answering{"a", 2000, 3000}, answering{"b", 2000, 3000}),
			time.Second, nil, time.Second},
		"one after another of two beside a third": {answers(answering{"a", 0, 1000}, answering{"b", 900, 2000}, answering{"c", 0, 2000}), 2 * time.Second, nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			spans := Spans(tc.answers)
			if got := Doubled(spans); got < tc.doubled-25*time.Millisecond || got > tc.doubled+25*time.Millisecond {
				t.Errorf("Doubled = %v, want %v; %s", got, tc.doubled, Tell(spans, begin))
			}
			if got := Owners(spans); !slices.Equal(got, tc.owners) {
				t.Errorf("Owners = %q, want %q; %s", got, tc.owners, Tell(spans, begin))
			}
			if got := Silent(spans); got < tc.silent-25*time.Millisecond || got > tc.silent+25*time.Millisecond {
				t.Errorf("Silent = %v, want %v; %s", got, tc.silent, Tell(spans, begin))
			}
		})
	}
}

func TestDisputes(t *testing.T) {
	announced := func(list ...any) []Answer {
		var out []Answer
		for i := 0; i < len(list); i += 2 {
			out = append(out, Answer{At: at(list[i].(int)), Who: list[i+1].(string)}) //nolint:errcheck // a test's own table
		}
		return out
	}
	for name, tc := range map[string]struct {
		announcements []Answer
		want          []Dispute
	}{
		"nobody":            {nil, nil},
		"one":               {announced(0, "a", 0, "a", 1000, "a", 60000, "a"), nil},
		"a take-over":       {announced(0, "a", 5000, "b", 5000, "b", 6000, "b"), []Dispute{{at(5000), at(5000)}}},
		"there and back":    {announced(0, "a", 5000, "b", 6000, "b", 15000, "a"), []Dispute{{at(5000), at(5000)}, {at(15000), at(15000)}}},
		"mingled":           {announced(0, "a", 5000, "b", 5000, "c", 5000, "b", 5001, "c", 5030, "a", 6030, "a"), []Dispute{{at(5000), at(5030)}}},
		"a fight":           {announced(0, "a", 1000, "b", 2000, "a", 3000, "b", 4000, "a"), []Dispute{{at(1000), at(4000)}}},
		"both, for a while": {announced(0, "a", 1, "b", 1000, "a", 1001, "b", 2000, "a", 2001, "b", 3001, "b"), []Dispute{{at(1), at(2001)}}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Disputes(tc.announcements); !slices.Equal(got, tc.want) {
				t.Errorf("Disputes = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestTell(t *testing.T) {
	got := Tell(Spans(answers(answering{"a", 0, 1000}, answering{"b", 500, 2000})), begin)
	if want := "a 0.00-1.00 s, b 0.50-1.98 s"; got != want {
		t.Errorf("Tell = %q, want %q", got, want)
	}
}
