package metallb

import (
	"fmt"
	"strings"
)

// Verdict on a field, or on an object as a whole.
type Verdict string

// The verdicts, the gravest first.
const (
	// Broken: the object is left out, because of this.
	Broken Verdict = "broken"
	// NoEquivalent: it is not carried over.
	NoEquivalent Verdict = "has no equivalent"
	// LeftAlone: it is in the cluster already, and not by import.
	LeftAlone Verdict = "left alone"
	// LeftOver: it was imported from the cluster before, and its source makes it no more.
	LeftOver Verdict = "left over"
	// Unknown: MetalLB has no such field or kind; it is not carried over.
	Unknown Verdict = "unknown"
	// Changes: it is carried over and means something else, or something is as it was not before.
	Changes Verdict = "changes meaning"
	// Ignored by MetalLB too, or made by it and of no use without it.
	Ignored Verdict = "ignored"
	// Maps: it means the same.
	Maps Verdict = "maps"
)

// Verdicts in order, the gravest first.
func Verdicts() []Verdict {
	return []Verdict{Broken, NoEquivalent, LeftAlone, LeftOver, Unknown, Changes, Ignored, Maps}
}

// Finding is the verdict on one field.
type Finding struct {
	// Field as its source spells it, from the object's root; empty: the object as a whole.
	Field   string
	Verdict Verdict
	// Text says how, and what to do. What maps needs none.
	Text string
}

// Item is what there is to say of one source.
type Item struct {
	// Source names an object, or an entry of the old ConfigMap.
	Source string
	// Version of the API that it was read in; empty: it has none that matters.
	Version string
	// Becomes names the objects that are made of it.
	Becomes  []string
	Findings []Finding
}

// Report has an item for each source, in the order in which they were looked at.
type Report struct {
	Items []*Item
	// Notes are about the whole, a sentence each.
	Notes []string
}

// Complete reports whether everything that MetalLB read was carried over. A change of meaning is no loss.
func (r *Report) Complete() bool {
	counts := r.Counts()
	return counts[Broken]+counts[NoEquivalent]+counts[LeftAlone]+counts[Unknown] == 0
}

// Counts the findings of each verdict.
func (r *Report) Counts() map[Verdict]int {
	counts := map[Verdict]int{}
	for _, item := range r.Items {
		for _, f := range item.Findings {
			counts[f.Verdict]++
		}
	}
	return counts
}

// Add an item, to which findings can be added.
func (r *Report) Add(source, version string) *Item {
	item := &Item{Source: source, Version: version}
	r.Items = append(r.Items, item)
	return item
}

// Note says something of the whole.
func (r *Report) Note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// Find adds a finding.
func (i *Item) Find(v Verdict, field, format string, args ...any) {
	i.Findings = append(i.Findings, Finding{Field: field, Verdict: v, Text: fmt.Sprintf(format, args...)})
}

func (i *Item) broken() bool {
	for _, f := range i.Findings {
		if f.Verdict == Broken {
			return true
		}
	}
	return false
}

// mentions reports whether there is a finding on the field or a part of it.
func (i *Item) mentions(field string) bool {
	for _, f := range i.Findings {
		if rest, ok := strings.CutPrefix(f.Field, field); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}
