package main

import (
	"context"
	"fmt"
	"go/ast"
	"strings"
)

// explainPage lists what stands under REASON in the tables of kubectl fairlead explain.
func explainPage(context.Context) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, header, "the comments of l2/election, internal/layer2 and internal/bgproutes")
	b.WriteString("# The reasons of kubectl fairlead explain\n\nWhat stands under REASON for a node, or for a node and a peer. WHY, beside it, says the same in a sentence, with what is special to the case; " +
		"what to do about each is in [troubleshooting](../troubleshooting.md#it-has-an-address-and-does-not-answer). The reasons of pools are those of [AddressAssigned](conditions.md).\n")
	for _, part := range []struct {
		title   string
		folders []string
	}{
		{"Layer 2: does the node answer for the address?", []string{"internal/layer2", "l2/election"}},
		{"BGP: does the node advertise the address to the peer?", []string{"internal/bgproutes"}},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n| reason | meaning |\n|---|---|\n", part.title)
		found := 0
		for _, folder := range part.folders {
			groups, err := constants(folder, reasonKind)
			if err != nil {
				return "", err
			}
			for _, g := range groups {
				for _, c := range g.list {
					found++
					fmt.Fprintf(&b, "| %s | %s |\n", code(c.value), cell(c.text()))
				}
			}
		}
		if found == 0 {
			return "", fmt.Errorf("no constant of type Reason is in %s", strings.Join(part.folders, ", "))
		}
	}
	return b.String(), nil
}

// reasonKind is that of constants of type Reason.
func reasonKind(spec *ast.ValueSpec) string {
	if t, ok := spec.Type.(*ast.Ident); ok && t.Name == "Reason" {
		return "reason"
	}
	return ""
}
