package docs

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// target of a link from a page: a file of the repository, and an anchor in it; false: it leads elsewhere.
func target(from, link string) (name, anchor string, inside bool) {
	if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
		return "", "", false
	}
	name, anchor, _ = strings.Cut(link, "#")
	if name == "" {
		return from, anchor, true
	}
	return path.Join(path.Dir(from), name), anchor, true
}

// TestLinks: every link of every page leads to what there is.
func TestLinks(t *testing.T) {
	root, all := repository(t), pages(t)
	for _, p := range all {
		for _, link := range p.links {
			name, anchor, inside := target(p.name, link)
			if !inside {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, name)); err != nil || strings.HasPrefix(name, "..") {
				t.Errorf("%s: the link to %s leads to %s, which is not in the repository", p.name, link, name)
				continue
			}
			to := all[name]
			switch {
			case anchor == "":
			case to == nil:
				t.Errorf("%s: the link to %s has an anchor, and %s is no Markdown file", p.name, link, name)
			case !to.anchors[anchor]:
				t.Errorf("%s: the link to %s: %s has no heading %q", p.name, link, name, anchor)
			}
		}
	}
}

// TestIndex: every page in docs is in the nearest README.md above it.
func TestIndex(t *testing.T) {
	all := pages(t)
	for _, p := range all {
		if !strings.HasPrefix(p.name, "docs/") || p.name == "docs/README.md" {
			continue
		}
		at := path.Dir(p.name)
		if path.Base(p.name) == "README.md" {
			at = path.Dir(at)
		}
		for all[path.Join(at, "README.md")] == nil {
			at = path.Dir(at)
		}
		index := all[path.Join(at, "README.md")]
		found := false
		for _, link := range index.links {
			name, _, _ := target(index.name, link)
			found = found || name == p.name
		}
		if !found {
			t.Errorf("%s is not in the index: add a link to it, with a line on what it says, to %s", p.name, index.name)
		}
	}
}
