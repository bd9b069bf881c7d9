package main

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// constant that a user meets.
type constant struct{ kind, name, value, doc string }

// group of constants, as they stand together in the source.
type group struct {
	doc  string
	list []constant
}

var identifier = regexp.MustCompile(`\b[A-Z][A-Za-z0-9]*\b`)

func conditionsPage(context.Context) (string, error) {
	const folder = "api/v1beta1"
	groups, err := constants(folder, kindOf)
	if err != nil {
		return "", err
	}
	values := map[string]string{}
	for _, g := range groups {
		for _, c := range g.list {
			values[c.name] = c.value
		}
	}
	// Texts name constants as Go does; who reads the page knows their values.
	plain := func(text string) string {
		return identifier.ReplaceAllStringFunc(text, func(name string) string {
			if v, ok := values[name]; ok {
				return "`" + v + "`"
			}
			return name
		})
	}
	var b strings.Builder
	fmt.Fprintf(&b, header, "the comments of "+folder)
	b.WriteString("# Conditions, reasons and annotations\n\nWhat to do about each is in [troubleshooting](../troubleshooting.md). Conditions are in `status.conditions` of the object; a message says more than the reason.\n")
	for _, g := range groups {
		title := strings.TrimSuffix(g.doc, ".")
		title, more, _ := strings.Cut(title, ". ")
		fmt.Fprintf(&b, "\n## %s\n", plain(title))
		if more != "" {
			fmt.Fprintf(&b, "\n%s.\n", plain(more))
		}
		b.WriteString("\n| | value | meaning |\n|---|---|---|\n")
		for _, c := range g.list {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", c.kind, code(c.value), cell(plain(c.text())))
		}
	}
	return b.String(), nil
}

// text of the comment without the name that it begins with.
func (c *constant) text() string {
	for _, start := range []string{": ", " is the ", " is ", " means that ", " "} {
		if rest, ok := strings.CutPrefix(c.doc, c.name+start); ok {
			return rest
		}
	}
	return c.doc
}

// constants of a package that hold a text, in the order of the source; kind says what one is to a user, and is empty for those that no page is to show.
func constants(folder string, kind func(*ast.ValueSpec) string) (groups []group, err error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("find the source in %s (%d files found): %w", folder, len(files), err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, fmt.Errorf("read the source: %w", err)
		}
		for _, d := range file.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || decl.Tok != token.CONST {
				continue
			}
			g, err := groupOf(decl, kind)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", name, err)
			}
			if len(g.list) > 0 {
				groups = append(groups, g)
			}
		}
	}
	return groups, nil
}

// groupOf a declaration; those of its constants that no page is to show are left out.
func groupOf(decl *ast.GenDecl, kind func(*ast.ValueSpec) string) (group, error) {
	line := func(c *ast.CommentGroup) string { return strings.TrimSpace(strings.ReplaceAll(c.Text(), "\n", " ")) }
	g := group{doc: line(decl.Doc)}
	for _, s := range decl.Specs {
		spec, ok := s.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || kind(spec) == "" {
			continue
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			continue
		}
		value, err := strconv.Unquote(literal.Value)
		if err != nil {
			return g, fmt.Errorf("the constant %s: %w", spec.Names[0].Name, err)
		}
		text := line(spec.Doc)
		if !decl.Lparen.IsValid() { // the comment is of the constant and no title
			text = g.doc
		}
		g.list = append(g.list, constant{kind(spec), spec.Names[0].Name, value, text})
	}
	if len(g.list) > 0 && !decl.Lparen.IsValid() {
		g.doc = title(g.list[0])
	}
	return g, nil
}

// kindOf a constant of the API, by its name; those that have a type of their own are none.
func kindOf(spec *ast.ValueSpec) string {
	name := spec.Names[0].Name
	switch {
	case spec.Type != nil:
		return ""
	case strings.HasPrefix(name, "Reason"):
		return "reason"
	case strings.HasPrefix(name, "Annotation"):
		return "annotation"
	case strings.HasPrefix(name, "Condition"), strings.HasPrefix(name, "Speaker"):
		return "condition"
	case strings.HasSuffix(name, "Finalizer"):
		return "finalizer"
	case strings.HasSuffix(name, "LoadBalancerClass"):
		return "class"
	}
	return ""
}

func title(c constant) string {
	return strings.ToUpper(c.kind[:1]) + c.kind[1:] + " " + c.name
}
