package docs

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	east "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"

	"fairlead.io/fairlead/internal/testenv"
)

// page is a Markdown file of the repository.
type page struct {
	name    string // from the repository's folder
	source  string
	anchors map[string]bool // of headings, as code hosts make them
	links   []string
	blocks  []block
	spans   []string // code in a line
	says    []string // what programs print: see sentences
}

// block of code, by a fence or by indentation.
type block struct {
	line   int // of its first line
	fenced bool
	info   []string // words after the fence
	text   string
}

// repository is its folder.
func repository(t testing.TB) string {
	t.Helper()
	root, err := testenv.Root()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// files of the repository whose names end so, without what is built.
func files(t testing.TB, suffix string) (names []string) {
	t.Helper()
	root := repository(t)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		name, relErr := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case relErr != nil:
			return relErr
		case d.IsDir() && (name == "bin" || name == "dist" || name != "." && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case !d.IsDir() && strings.HasSuffix(name, suffix):
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func read(t testing.TB, name string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(repository(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// pages are all Markdown files.
func pages(t testing.TB) map[string]*page {
	t.Helper()
	all := map[string]*page{}
	for _, name := range files(t, ".md") {
		all[name] = parse(name, read(t, name))
	}
	if len(all) < 10 {
		t.Fatalf("only %d Markdown files were found", len(all))
	}
	return all
}

func parse(name, source string) *page {
	p := &page{name: name, source: source, anchors: map[string]bool{}}
	raw := []byte(source)
	root := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser().Parse(text.NewReader(raw))
	// The walker never fails.
	_ = ast.Walk(root, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			p.anchor(plain(n, raw))
		case *ast.Link:
			p.links = append(p.links, string(n.Destination))
		case *ast.Image:
			p.links = append(p.links, string(n.Destination))
		case *ast.CodeSpan:
			p.spans = append(p.spans, plain(n, raw))
		case *ast.FencedCodeBlock:
			var info []string
			if n.Info != nil {
				info = strings.Fields(string(n.Info.Segment.Value(raw)))
			}
			p.block(n, info, true, raw)
		case *ast.CodeBlock:
			p.block(n, nil, false, raw)
		case *east.Table:
			p.table(n, raw)
		}
		return ast.WalkContinue, nil
	})
	return p
}

// plain text of a node.
func plain(n ast.Node, raw []byte) string {
	var b strings.Builder
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		if t, ok := c.(*ast.Text); ok {
			b.Write(t.Segment.Value(raw))
			if t.SoftLineBreak() {
				b.WriteByte(' ')
			}
		} else {
			b.WriteString(plain(c, raw))
		}
	}
	return b.String()
}

// anchor of a heading: small letters, digits, dashes and underscores stay, spaces become dashes, all else goes; a second one of its kind gets
// a number.
func (p *page) anchor(heading string) {
	var b strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			b.WriteRune(r)
		case r == ' ':
			b.WriteByte('-')
		}
	}
	name := b.String()
	for i := 1; p.anchors[name]; i++ {
		name = fmt.Sprintf("%s-%d", b.String(), i)
	}
	p.anchors[name] = true
}

func (p *page) block(n ast.Node, info []string, fenced bool, raw []byte) {
	b := block{info: info, fenced: fenced}
	lines := n.Lines()
	for i := range lines.Len() {
		s := lines.At(i)
		if i == 0 {
			b.line = bytes.Count(raw[:s.Start], []byte("\n")) + 1
		}
		b.text += string(s.Value(raw))
	}
	p.blocks = append(p.blocks, b)
}

// table whose first column is headed «It says»: the code there is what programs print.
func (p *page) table(n *east.Table, raw []byte) {
	header := n.FirstChild()
	if header == nil || header.FirstChild() == nil || plain(header.FirstChild(), raw) != "It says" {
		return
	}
	for row := header.NextSibling(); row != nil; row = row.NextSibling() {
		for c := row.FirstChild().FirstChild(); c != nil; c = c.NextSibling() {
			if span, ok := c.(*ast.CodeSpan); ok {
				p.says = append(p.says, plain(span, raw))
			}
		}
	}
}

func TestAnchors(t *testing.T) {
	p := parse("x.md", "# One *two* `three()`\n\n## AS 64512: what's that?\n\n## AS 64512: what's that?\n\n```yaml\n# no heading\n```\n")
	for _, want := range []string{"one-two-three", "as-64512-whats-that", "as-64512-whats-that-1"} {
		if !p.anchors[want] {
			t.Errorf("no anchor %s among %v", want, p.anchors)
		}
	}
	if len(p.anchors) != 3 || len(p.blocks) != 1 || p.blocks[0].line != 8 || !slices.Equal(p.blocks[0].info, []string{"yaml"}) {
		t.Errorf("anchors %v, blocks %+v", p.anchors, p.blocks)
	}
}
