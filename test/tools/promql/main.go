// Command promql parses expressions as Prometheus does and tells what they use.
//
// It reads a JSON list of expressions, and writes for each of them, in their order, a Use.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Use is what an expression uses.
type Use struct {
	// Error says why it is no expression; empty: it is one.
	Error string `json:"error,omitempty"`
	// Series that are selected, in the order of the expression.
	Series []Series `json:"series,omitempty"`
	// Labels that are grouped by, joined on or kept.
	Labels []string `json:"labels,omitempty"`
}

// Series are selected by a metric's name and by labels.
type Series struct {
	Metric string   `json:"metric"`
	Labels []string `json:"labels,omitempty"`
	// Range is true where the values over some time are taken.
	Range bool `json:"range,omitempty"`
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "promql:", err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	var expressions []string
	if err := json.NewDecoder(in).Decode(&expressions); err != nil {
		return fmt.Errorf("read a JSON list of expressions: %w", err)
	}
	uses := make([]Use, 0, len(expressions))
	for _, x := range expressions {
		uses = append(uses, use(x))
	}
	if err := json.NewEncoder(out).Encode(uses); err != nil {
		return fmt.Errorf("write what they use: %w", err)
	}
	return nil
}

func use(expression string) Use {
	parsed, err := parser.ParseExpr(expression)
	if err != nil {
		return Use{Error: err.Error()}
	}
	var u Use
	parser.Inspect(parsed, func(node parser.Node, path []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			s := Series{Metric: n.Name}
			for _, m := range n.LabelMatchers {
				if m.Name != labels.MetricName {
					s.Labels = append(s.Labels, m.Name)
				}
			}
			if len(path) > 0 {
				_, s.Range = path[len(path)-1].(*parser.MatrixSelector)
			}
			u.Series = append(u.Series, s)
		case *parser.AggregateExpr:
			u.Labels = append(u.Labels, n.Grouping...)
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				u.Labels = append(append(u.Labels, n.VectorMatching.MatchingLabels...), n.VectorMatching.Include...)
			}
		}
		return nil
	})
	return u
}
