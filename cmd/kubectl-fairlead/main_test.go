package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"fairlead.io/fairlead/internal/cli"
)

// Scripts tell what is incomplete from what failed.
func TestExitStatus(t *testing.T) {
	for err, want := range map[error]int{
		nil: 0, errors.New("x"): 1, cli.ErrBlind: 1,
		cli.ErrIncomplete: 3, fmt.Errorf("x: %w", cli.ErrNotMoved): 3, cli.ErrProblems: 3,
	} {
		if got := exitStatus(err); got != want {
			t.Errorf("%v: %d, and not %d", err, got, want)
		}
	}
}

// What cannot be is said before anything is read.
func TestRefused(t *testing.T) {
	for args, want := range map[string]string{
		"doctor -f dump.yaml": "doctor examines a live cluster, and not files: leave -f out",
		"doctor -o yaml":      `--output is "yaml": it must be json, or left out`,
		"doctor web":          `unknown command "web"`,
	} {
		cmd := newCommand()
		cmd.SetArgs(strings.Fields(args))
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}
