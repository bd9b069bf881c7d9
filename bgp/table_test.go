package bgp

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// adv has an age of so many days, and peers and communities as given.
func adv(name string, days int, peers string, change ...func(*Attributes)) *Advertisement {
	a := &Advertisement{Name: name, Created: start.AddDate(0, 0, -days), Peers: strings.Fields(peers)}
	for _, f := range change {
		f(&a.Attributes)
	}
	return a
}

func localPref(n uint32) func(*Attributes) { return func(a *Attributes) { a.LocalPref = &n } }
func med(n uint32) func(*Attributes)       { return func(a *Attributes) { a.MED = &n } }
func prepend(n uint8) func(*Attributes)    { return func(a *Attributes) { a.Prepend = n } }

func community(texts ...string) func(*Attributes) {
	return func(a *Attributes) {
		for _, text := range texts {
			c, err := ParseCommunity(text)
			if err != nil {
				panic(err)
			}
			a.Communities = a.Communities.Union(c)
		}
	}
}

func want(prefix string, by ...*Advertisement) []Want {
	var list []Want
	for _, a := range by {
		list = append(list, Want{netip.MustParsePrefix(prefix), a})
	}
	return list
}

// text of routes: prefix, peers and their attributes.
func text(routes []Route) string {
	var lines []string
	for _, r := range routes {
		parts := []string{r.Prefix.String()}
		for _, x := range r.To {
			parts = append(parts, fmt.Sprintf("%s(%s)", x.Peer, x.Attributes))
		}
		lines = append(lines, strings.Join(parts, " "))
	}
	return strings.Join(lines, "; ")
}

func TestTable(t *testing.T) {
	plain := adv("plain", 9, "tor tor2")
	red := adv("red", 5, "tor", community("64512:1"))
	blue := adv("blue", 4, "tor tor2", community("large:1:2:3", "64512:1"), med(7))
	type step struct {
		key  string
		want []Want
		news string
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"one", []step{
			{"a", want("10.0.0.1/32", plain), "10.0.0.1/32 tor() tor2()"},
			{"a", want("10.0.0.1/32", plain), ""},
			{"a", want("10.0.0.2/32", plain), "10.0.0.1/32; 10.0.0.2/32 tor() tor2()"},
			{"a", nil, "10.0.0.2/32"},
			{"a", nil, ""},
		}},
		{"communities unite", []step{
			{"a", want("10.0.0.1/32", red), "10.0.0.1/32 tor(communities 64512:1)"},
			{"a", want("10.0.0.1/32", red, plain), "10.0.0.1/32 tor(communities 64512:1) tor2()"},
			{"a", want("10.0.0.1/32", red, blue), "10.0.0.1/32 tor(MED 7, communities 64512:1 large:1:2:3) tor2(MED 7, communities 64512:1 large:1:2:3)"},
			{"a", want("10.0.0.1/32", blue), ""}, // which has what red adds
		}},
		{"communities of the older one too", []step{
			{"a", want("10.0.0.1/32", adv("x", 9, "tor", community("1:1", "1:3")), adv("y", 8, "tor", community("1:2"))), "10.0.0.1/32 tor(communities 1:1 1:2 1:3)"},
		}},
		{"an aggregate goes with the last", []step{
			{"a", want("10.0.0.7/24", plain), "10.0.0.0/24 tor() tor2()"},
			{"b", want("10.0.0.8/24", plain), ""},
			{"c", want("10.0.0.0/24", red), "10.0.0.0/24 tor(communities 64512:1) tor2()"},
			{"a", nil, ""},
			{"b", nil, "10.0.0.0/24 tor(communities 64512:1)"},
			{"c", nil, "10.0.0.0/24"},
		}},
		{"both families", []step{
			{"a", append(want("fd00::1/128", red), want("10.0.0.1/32", red)...), "10.0.0.1/32 tor(communities 64512:1); fd00::1/128 tor(communities 64512:1)"},
		}},
		{"twice the same", []step{
			{"a", append(want("10.0.0.0/24", red), want("10.0.0.0/24", red)...), "10.0.0.0/24 tor(communities 64512:1)"},
			{"a", want("10.0.0.0/24", red), ""},
			{"a", nil, "10.0.0.0/24"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var table Table[string]
			for i, step := range tt.steps {
				got := text(table.Set(step.key, step.want))
				if got != step.news {
					t.Errorf("step %d: %s\nwant %s", i, got, step.news)
				}
			}
			if len(table.wants) == 0 && (len(table.routes)+len(table.ids)+len(table.unions)+len(table.sets) > 0) {
				t.Errorf("an empty table keeps %+v", table)
			}
		})
	}
}

func TestConflicts(t *testing.T) {
	// In the order of their ages, which is not that of their names.
	old := adv("zold", 9, "tor tor2", localPref(100), prepend(1))
	young := adv("young", 3, "tor tor2 tor3", localPref(200), med(5), prepend(1))
	youngest := adv("youngest", 1, "tor", localPref(100), med(6), prepend(3))
	silent := adv("silent", 99, "tor")
	var table Table[string]
	if got := text(table.Set("a", want("10.0.0.1/32", youngest, young, old, silent))); got !=
		"10.0.0.1/32 tor(localPref 100, MED 5, AS prepended 1 times) tor2(localPref 100, MED 5, AS prepended 1 times) tor3(localPref 200, MED 5, AS prepended 1 times)" {
		t.Error(got)
	}
	table.Set("b", want("10.0.0.2/32", old, young))
	table.Set("c", want("10.0.0.3/32", old))
	p := netip.MustParsePrefix
	want := []Conflict{
		{Attribute: LocalPref, Winner: "zold", Loser: "young", Won: 100, Lost: 200, Peers: []string{"tor", "tor2"}, Prefix: p("10.0.0.1/32"), Routes: 2},
		{Attribute: MED, Winner: "young", Loser: "youngest", Won: 5, Lost: 6, Peers: []string{"tor"}, Prefix: p("10.0.0.1/32"), Routes: 1},
		{Attribute: Prepend, Winner: "zold", Loser: "youngest", Won: 1, Lost: 3, Peers: []string{"tor"}, Prefix: p("10.0.0.1/32"), Routes: 1},
	}
	if got := table.Conflicts(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	table.Set("a", nil)
	if got := table.Conflicts(); len(got) != 1 || got[0].Prefix != p("10.0.0.2/32") || got[0].Routes != 1 {
		t.Errorf("without a: %+v", got)
	}
	table.Set("b", nil)
	if got := table.Conflicts(); len(got) != 0 {
		t.Errorf("without a and b: %+v", got)
	}
	// Of one age, the name decides.
	a, b := adv("a", 1, "tor", med(1)), adv("b", 1, "tor", med(2))
	if _, got := merge([]*Advertisement{a, b}); len(got) != 1 || got[0].Winner != "a" || a.older(b) >= 0 || b.older(a) <= 0 {
		t.Errorf("of one age: %+v", got)
	}
	if !Contradict(&a.Attributes, &b.Attributes) || Contradict(&a.Attributes, &silent.Attributes) || Contradict(&a.Attributes, &a.Attributes) {
		t.Error("who contradicts whom")
	}
}

// Equal attributes are one pointer, whoever they come from.
func TestAttributesAreInterned(t *testing.T) {
	var table Table[int]
	a, b := adv("a", 1, "tor tor2", med(5), community("no-export")), adv("b", 2, "tor3", community("65535:65281"), med(5))
	table.Set(1, want("10.0.0.1/32", a))
	table.Set(2, want("10.0.0.2/32", b))
	table.Set(3, want("10.0.0.3/32", a, b))
	seen := map[*Attributes]bool{}
	for _, r := range table.Routes() {
		for _, x := range r.To {
			seen[x.Attributes] = true
		}
	}
	if len(seen) != 1 {
		t.Errorf("%d pointers to what is equal", len(seen))
	}
	// A new version of an advertisement that gives the same is no news.
	again := *a
	if got := table.Replace(maps.All(map[int][]Want{1: want("10.0.0.1/32", &again), 2: want("10.0.0.2/32", b), 3: want("10.0.0.3/32", &again, b)})); len(got) > 0 {
		t.Errorf("changed: %s", text(got))
	}
}

// world draws what keys may want: few prefixes and advertisements, so that they meet.
type world struct {
	*rand.Rand
	advs []*Advertisement
}

func newWorld(seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 1))}
	for i := range 6 {
		w.advs = append(w.advs, w.adv(fmt.Sprintf("adv%d", i)))
	}
	return w
}

func (w *world) adv(name string) *Advertisement {
	a := adv(name, w.IntN(3), "")
	for _, peer := range []string{"tor", "tor2", "tor3"} {
		if w.IntN(2) == 0 {
			a.Peers = append(a.Peers, peer)
		}
	}
	for _, f := range []func(*Attributes){localPref(w.Uint32N(3)), med(w.Uint32N(2)), prepend(uint8(w.IntN(3))), community("1:1"), community("no-export", "2:2")} {
		if w.IntN(2) == 0 {
			f(&a.Attributes)
		}
	}
	return a
}

func (w *world) wants() []Want {
	var list []Want
	for range w.IntN(4) {
		length := []int{24, 32}[w.IntN(2)]
		list = append(list, Want{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(w.IntN(2)), byte(w.IntN(3))}), length), w.advs[w.IntN(len(w.advs))]})
	}
	return list
}

// fresh is a table that is told everything at once, in an order of its own.
func fresh(w *world, state map[int][]Want) *Table[int] {
	t := &Table[int]{}
	keys := slices.Collect(maps.Keys(state))
	slices.Sort(keys)
	w.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, k := range keys {
		t.Set(k, state[k])
	}
	return t
}

// Whatever happens in whatever order, the routes and conflicts are those of what is wanted now, and what Set and Replace return is
// exactly the difference.
func TestIncrementalEqualsFromScratch(t *testing.T) {
	for seed := range uint64(200) {
		w := newWorld(seed)
		table, state := &Table[int]{}, map[int][]Want{}
		told := map[netip.Prefix]string{}
		for step := range 60 {
			var changed []Route
			if w.IntN(10) == 0 { // an advertisement is replaced, perhaps by an equal one
				i := w.IntN(len(w.advs))
				next := *w.advs[i]
				if w.IntN(3) > 0 {
					next = *w.adv(next.Name)
				}
				for k, list := range state {
					list = slices.Clone(list)
					for j := range list {
						if list[j].By == w.advs[i] {
							list[j].By = &next
						}
					}
					state[k] = list
				}
				if w.IntN(2) == 0 {
					delete(state, w.IntN(8))
				}
				w.advs[i] = &next
				changed = table.Replace(maps.All(state))
			} else {
				k := w.IntN(8)
				if state[k] = w.wants(); len(state[k]) == 0 {
					delete(state, k)
				}
				changed = table.Set(k, state[k])
			}
			for _, r := range changed {
				now := text([]Route{{To: r.To}})
				if told[r.Prefix] == now || told[r.Prefix] == "" && len(r.To) == 0 {
					t.Fatalf("seed %d step %d: %s is no change", seed, step, r.Prefix)
				}
				if told[r.Prefix] = now; len(r.To) == 0 {
					delete(told, r.Prefix)
				}
			}
			scratch := fresh(w, state)
			routes := scratch.Routes()
			if got := table.Routes(); text(got) != text(routes) {
				t.Fatalf("seed %d step %d:\n%s\nfrom scratch\n%s", seed, step, text(got), text(routes))
			}
			if got, want := table.Conflicts(), scratch.Conflicts(); !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d step %d: conflicts\n%+v\nfrom scratch\n%+v", seed, step, got, want)
			}
			if len(told) != len(routes) {
				t.Fatalf("seed %d step %d: %d routes were told of, and there are %d", seed, step, len(told), len(routes))
			}
			for _, r := range routes {
				if told[r.Prefix] != text([]Route{{To: r.To}}) || !reflect.DeepEqual(table.Route(r.Prefix), r) {
					t.Fatalf("seed %d step %d: told of %s: %s, and it is %s", seed, step, r.Prefix, told[r.Prefix], text([]Route{r}))
				}
			}
			if len(table.ids) != len(scratch.ids) || len(table.unions) > len(scratch.unions)+len(table.routes) || len(table.sets) != len(scratch.sets) {
				t.Fatalf("seed %d step %d: something is kept: %d %d, %d %d", seed, step, len(table.ids), len(scratch.ids), len(table.sets), len(scratch.sets))
			}
		}
	}
}

// services are n keys with a route of their own to three peers each.
func services(n int) (*Table[int], []*Advertisement) {
	a := adv("all", 1, "tor tor2 tor3", community("64512:1"))
	t := &Table[int]{}
	for i := range n {
		t.Set(i, []Want{{host(i), a}})
	}
	return t, []*Advertisement{a}
}

func host(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
}

// The memory of a table with 10,000 routes to three peers each.
func TestTableIsSmall(t *testing.T) {
	const n, most = 10_000, 6 << 20
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	table, _ := services(n)
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used := after.HeapAlloc - before.HeapAlloc; used > most {
		t.Errorf("%d bytes for %d routes, want at most %d", used, n, most)
	} else {
		t.Logf("%d bytes for %d routes", used, n)
	}
	if len(table.unions) != 1 || len(table.sets) != 1 {
		t.Errorf("%d unions and %d sets of attributes, want one", len(table.unions), len(table.sets))
	}
}

func BenchmarkSet(b *testing.B) {
	const n = 10_000
	b.Run("one of 10000 Services", func(b *testing.B) {
		table, advs := services(n)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			table.Set(n, []Want{{host(n + i%2), advs[0]}})
		}
	})
	b.Run("10000 Services", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			services(n)
		}
	})
	b.Run("another advertisement for 10000", func(b *testing.B) {
		table, _ := services(n)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			a := adv("all", 1, "tor tor2 tor3", med(uint32(i)))
			changed := table.Replace(func(yield func(int, []Want) bool) {
				for k := range n {
					if !yield(k, []Want{{host(k), a}}) {
						return
					}
				}
			})
			if len(changed) != n {
				b.Fatal(len(changed))
			}
		}
	})
}
