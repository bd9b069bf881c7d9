package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"k8s.io/client-go/rest"

	"fairlead.io/fairlead/internal/doctor"
)

// ErrProblems is the end of an examination that found problems. What was printed says which.
var ErrProblems = errors.New("there are problems; what was printed says what to do about each")

// ErrBlind is the end of an examination that could look at nothing.
var ErrBlind = errors.New("you may read neither Fairlead's programs nor its objects nor the nodes, so that nothing was examined: use another kubeconfig, or ask for the rights that were printed")

// OutputJSON is an output for programs.
const OutputJSON = "json"

// ErrUnread is the end of an examination that found no problem, and could not read something that it may.
var ErrUnread = errors.New("not all could be read; what was printed says what, and why")

// DoctorOptions say what is examined, and how it is told.
type DoctorOptions struct {
	// Namespace that Fairlead runs in.
	Namespace string
	// Output is empty, for people, or OutputJSON.
	Output string
}

// Doctor examines a live cluster and prints what it finds; it writes nothing to it. The error is ErrProblems if there are any,
// ErrBlind if nothing may be read, and ErrUnread if reading has failed.
func Doctor(ctx context.Context, w io.Writer, config func() (*rest.Config, error), o DoctorOptions) error {
	r, err := newDoctorReader(config, o.Namespace)
	if err != nil {
		return err
	}
	in, err := r.read(ctx)
	if err != nil {
		return err
	}
	found := doctor.Examine(in)
	if err := printFindings(w, found, o.Output); err != nil {
		return err
	}
	switch {
	case !r.failed && in.Programs.Unread != "" && in.Objects.Unread != "" && in.Nodes.Unread != "":
		return ErrBlind
	case doctor.Count(found, doctor.Problem) > 0:
		return ErrProblems
	case r.failed:
		return ErrUnread
	}
	return nil
}

func printFindings(w io.Writer, list []doctor.Finding, output string) error {
	text := findingsText(list)
	if output == OutputJSON {
		raw, err := json.MarshalIndent(list, "", "  ")
		if err != nil {
			return fmt.Errorf("write what was found: %w", err)
		}
		text = string(raw) + "\n"
	}
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("write what was found: %w", err)
	}
	return nil
}

// most findings of a check and a level that people are told one by one: in a large cluster one cause may have thousands.
const most = 20

// findingsText has a line for each thing that is well, and below each other one what is to be said of it.
func findingsText(list []doctor.Finding) string {
	var b strings.Builder
	check := doctor.Check("")
	var told map[doctor.Level]int
	end := func() {
		for _, level := range []doctor.Level{doctor.Problem, doctor.Warning, doctor.NotChecked, doctor.OK} {
			if more := told[level] - most; more > 0 {
				fmt.Fprintf(&b, "  %-11s  and %d more: -o json tells of each\n", level, more)
			}
		}
	}
	for _, f := range list {
		if f.Check != check {
			if check != "" {
				end()
				b.WriteByte('\n')
			}
			check, told = f.Check, map[doctor.Level]int{}
			fmt.Fprintln(&b, strings.ToUpper(string(check)))
		}
		if told[f.Level]++; told[f.Level] > most {
			continue
		}
		if f.Level == doctor.OK {
			fmt.Fprintf(&b, "  %-11s  %s: %s\n", f.Level, f.Object, f.Message)
			continue
		}
		fmt.Fprintf(&b, "  %-11s  %s\n                 %s\n", f.Level, f.Object, f.Message)
	}
	end()
	fmt.Fprintf(&b, "\nFound: %s, %s", counted(doctor.Count(list, doctor.Problem), "problem"), counted(doctor.Count(list, doctor.Warning), "warning"))
	if n := doctor.Count(list, doctor.NotChecked); n > 0 {
		fmt.Fprintf(&b, ", %d not checked", n)
	}
	b.WriteString(".\n")
	return b.String()
}

func counted(n int, what string) string {
	switch n {
	case 0:
		return "no " + what
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
