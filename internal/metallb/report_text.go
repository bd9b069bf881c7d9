package metallb

import (
	"fmt"
	"io"
	"strings"
)

// Write the report for a person: each source with what it becomes and the verdicts on its fields, the gravest first, and a summary.
func (r *Report) Write(w io.Writer) error {
	var b strings.Builder
	for _, item := range r.Items {
		b.WriteString(item.Source)
		if item.Version != "" {
			fmt.Fprintf(&b, " (%s)", item.Version)
		}
		if len(item.Becomes) > 0 {
			fmt.Fprintf(&b, " becomes %s\n", strings.Join(item.Becomes, ", "))
		} else {
			b.WriteString(":\n")
		}
		for _, v := range Verdicts() {
			writeVerdict(&b, item, v)
		}
	}
	if len(r.Items) > 0 {
		b.WriteString("\n")
	}
	counts := r.Counts()
	var parts []string
	for _, v := range Verdicts() {
		if counts[v] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[v], v))
		}
	}
	if len(parts) > 0 {
		fmt.Fprintf(&b, "Summary: %d sources; findings: %s.\n", len(r.Items), strings.Join(parts, ", "))
	}
	for _, n := range r.Notes {
		b.WriteString(n + "\n")
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// writeVerdict writes an item's findings of one verdict: a line each, but what maps in one.
func writeVerdict(b *strings.Builder, item *Item, v Verdict) {
	var maps []string
	for _, f := range item.Findings {
		switch {
		case f.Verdict != v:
		case v == Maps:
			maps = append(maps, f.Field)
		case f.Field == "":
			fmt.Fprintf(b, "  %s: %s\n", v, f.Text)
		default:
			fmt.Fprintf(b, "  %s: %s: %s\n", v, f.Field, f.Text)
		}
	}
	if len(maps) > 0 {
		fmt.Fprintf(b, "  %s: %s\n", v, strings.Join(maps, ", "))
	}
}
