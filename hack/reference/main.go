// Command reference writes docs/reference: the kinds from the CRDs, the flags from what the programs themselves say, and conditions and
// reasons from the comments of the code. It reads what is there, and knows nothing of any kind, flag or condition.
//
//	go run ./hack/reference FOLDER
//
// It is run in the project's folder by make generate, and by hack/check-generated.sh to see if what is committed is fresh.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const header = "<!-- Made by make generate from %s. Do not edit. -->\n"

func main() {
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "reference:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) != 1 {
		return errors.New("name the folder that the pages go to, and nothing else")
	}
	if err := os.MkdirAll(args[0], 0o750); err != nil { //nolint:gosec // it writes where it is told to
		return fmt.Errorf("make the folder: %w", err)
	}
	for _, page := range []struct {
		name string
		make func(context.Context) (string, error)
	}{{"api.md", apiPage}, {"flags.md", flagsPage}, {"conditions.md", conditionsPage}, {"explain.md", explainPage}} {
		text, err := page.make(ctx)
		if err != nil {
			return fmt.Errorf("make %s: %w", page.name, err)
		}
		if err := os.WriteFile(filepath.Join(args[0], page.name), []byte(text), 0o600); err != nil { //nolint:gosec // as above
			return fmt.Errorf("write the page: %w", err)
		}
	}
	return nil
}

// cell makes a text fit into a cell of a table. Where it shows words of the API (in code), nothing in it is read as Markdown.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "*", `\*`, "<", "&lt;").Replace(strings.TrimSpace(s))
}

// code is a cell that shows s as it is.
func code(s string) string { return "`" + strings.ReplaceAll(s, "|", `\|`) + "`" }

// anchor of a heading, as code hosts make it from one of letters, digits, dashes and spaces.
func anchor(heading string) string { return strings.ReplaceAll(strings.ToLower(heading), " ", "-") }
