package router

import (
	"slices"
	"strings"
)

// frrLine is a line of FRR's configuration with the lines that lead to it.
type frrLine struct {
	within []string
	text   string
}

func (l frrLine) path() []string { return append(slices.Clone(l.within), l.text) }

// opens says that what follows is within the line.
func (l frrLine) opens() bool {
	for _, word := range []string{"router bgp", "address-family", "route-map", "bfd", "profile", "peer", "interface"} {
		// "neighbor ... bfd" ends with such a word, and does not begin with it.
		if l.text == word || strings.HasPrefix(l.text, word+" ") {
			return true
		}
	}
	return false
}

func frrLines(config []byte) []frrLine {
	var lines []frrLine
	var within []string
	for text := range strings.Lines(string(config)) {
		text = strings.TrimSpace(text)
		switch {
		case text == "" || strings.HasPrefix(text, "!") || strings.HasPrefix(text, "#"):
		case text == "exit" || text == "exit-address-family":
			within = within[:max(0, len(within)-1)]
		default:
			l := frrLine{slices.Clone(within), text}
			lines = append(lines, l)
			if l.opens() {
				within = append(within, text)
			}
		}
	}
	return lines
}

// frrDelta are the commands that turn one configuration into another and leave alone what both have, so that sessions live on where
// the router lets them. Both have an exit for each line that opens a part.
func frrDelta(from, to []byte) []string {
	before, after := frrLines(from), frrLines(to)
	has := func(lines []frrLine, l frrLine) bool {
		return slices.ContainsFunc(lines, func(o frrLine) bool { return slices.Equal(o.path(), l.path()) })
	}
	// A line that differs in its last word alone takes the other's place: to remove that first would end sessions twice.
	replaced := func(l frrLine) bool {
		return slices.ContainsFunc(after, func(o frrLine) bool {
			return slices.Equal(o.within, l.within) && !l.opens() && stem(o.text) == stem(l.text) && !has(before, o)
		})
	}
	var commands []string
	change := func(within []string, text string) {
		commands = append(commands, "configure terminal")
		commands = append(append(commands, within...), text, "end")
	}
	var gone [][]string
	for _, l := range before {
		if has(after, l) || replaced(l) {
			continue
		}
		// What is within a part that goes, goes with it.
		if !slices.ContainsFunc(gone, func(part []string) bool {
			return len(l.within) >= len(part) && slices.Equal(l.within[:len(part)], part)
		}) {
			gone = append(gone, l.path())
		}
	}
	// What refers to something stands after it: it goes first.
	for _, path := range slices.Backward(gone) {
		last := len(path) - 1
		if positive, ok := strings.CutPrefix(path[last], "no "); ok {
			change(path[:last], positive)
		} else {
			change(path[:last], "no "+path[last])
		}
	}
	for _, l := range after {
		if !has(before, l) {
			change(l.within, l.text)
		}
	}
	return commands
}

// stem is a line without its last word.
func stem(s string) string { return s[:max(0, strings.LastIndexByte(s, ' '))] }
