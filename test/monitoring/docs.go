package monitoring

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Metric as docs/metrics.md has it.
type Metric struct {
	Name, Type string
	Labels     []string // in alphabetical order
}

func (m Metric) String() string {
	return m.Name + " " + m.Type + " {" + strings.Join(m.Labels, ",") + "}"
}

var (
	row  = regexp.MustCompile("^\\| `(fairlead_[a-z0-9_]+)` \\| ([a-z]+) \\|([^|]*)\\| [^|]+ \\|$")
	name = regexp.MustCompile("`([a-z]+)`")
)

// Documented are the metrics of docs/metrics.md, by program.
func Documented(root string) (map[string][]Metric, error) {
	raw, err := os.ReadFile(filepath.Join(root, "docs", "metrics.md"))
	if err != nil {
		return nil, fmt.Errorf("read what is documented: %w", err)
	}
	list, program := map[string][]Metric{}, ""
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if after, ok := strings.CutPrefix(line, "## "); ok {
			program = after
		}
		cells := row.FindStringSubmatch(line)
		if cells == nil {
			if strings.HasPrefix(line, "| `") {
				return nil, fmt.Errorf("docs/metrics.md: this is no row of a metric: %s", line)
			}
			continue
		}
		m := Metric{Name: cells[1], Type: cells[2]}
		for _, label := range name.FindAllStringSubmatch(cells[3], -1) {
			m.Labels = append(m.Labels, label[1])
		}
		slices.Sort(m.Labels)
		list[program] = append(list[program], m)
	}
	return list, nil
}

// Anchors are the sections of a page, as links name them.
func Anchors(page string) map[string]bool {
	anchors := map[string]bool{}
	for line := range strings.Lines(page) {
		if title := strings.TrimLeft(line, "#"); title != line && strings.HasPrefix(title, " ") {
			kept := strings.Map(func(r rune) rune {
				switch {
				case r == ' ':
					return '-'
				case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z':
					return r
				}
				return -1
			}, strings.ToLower(strings.TrimSpace(title)))
			anchors[kept] = true
		}
	}
	return anchors
}
