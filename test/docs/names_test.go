package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// foreignFlags are those of other programs that pages name.
var foreignFlags = map[string]string{
	"server-side": "kubectl apply", "force-conflicts": "kubectl apply", "replicas": "kubectl scale", "type": "kubectl patch", "force": "kubectl delete",
	"ignore-not-found": "kubectl delete", "wait": "kubectl delete", "timeout": "kubectl wait", "from-literal": "kubectl create secret", "from-file": "kubectl create secret",
	"set": "helm", "create-namespace": "helm install", "reuse-values": "helm upgrade", "reset-then-reuse-values": "helm upgrade", "take-ownership": "helm upgrade", "no-hooks": "helm uninstall",
	"check": "ansible-playbook", "diff": "ansible-playbook", "tags": "ansible-playbook",
	"lb-class": "MetalLB", "disable": "k3s", "bfdctl": "FRR's bfdd", "prune": "kubectl apply", "field-selector": "kubectl get", "all": "kubectl delete", "help": "every program",
	"image": "kubectl create deployment", "previous": "kubectl logs", "prefix": "kubectl logs", "tail": "kubectl logs",
}

var (
	flagName    = regexp.MustCompile(`(?:^|[^-\w])--([a-z][a-z0-9-]*[a-z0-9])`)
	commandName = regexp.MustCompile(`kubectl fairlead ([a-z]+(?: (?:service|svc|metallb)\b)?)`)
	makeTarget  = regexp.MustCompile(`(?m)^\s*make ([a-z][a-z-]*)`)
	ourName     = regexp.MustCompile(`(?:[a-z0-9-]+\.)?(?:fairlead\.io|metallb\.io|metallb\.universe\.tf)/[A-Za-z][A-Za-z0-9._-]*[A-Za-z0-9]`)
	metricName  = regexp.MustCompile(`\bfairlead_[a-z0-9_]*[a-z0-9]`)
	verb        = regexp.MustCompile(`%[-+# 0]*[0-9.]*[a-zA-Z%]`)
	labFlag     = regexp.MustCompile(`Var\(&[^,]+, "([a-z0-9-]+)"`)
)

// literals of all Go files but tests, those that are joined by + as one.
func literals(t testing.TB) (list []string) {
	t.Helper()
	root := repository(t)
	for _, name := range files(t, ".go") {
		if !strings.HasSuffix(name, "_test.go") && !strings.HasPrefix(name, "test/") {
			list = append(list, literalsOf(t, filepath.Join(root, name))...)
		}
	}
	if len(list) < 1000 {
		t.Fatalf("only %d literals were found", len(list))
	}
	return list
}

// literalsOf one file; what is joined by + stands there as a whole and in its parts.
func literalsOf(t testing.TB, name string) (list []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.BasicLit:
			if text, ok := literal(n); ok {
				list = append(list, text)
			}
		case *ast.BinaryExpr:
			if text, ok := literal(n); ok {
				list = append(list, text)
			}
		}
		return true
	})
	return list
}

// literal that an expression is. What is joined to it and is none counts as a verb.
func literal(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			text, err := strconv.Unquote(e.Value)
			return text, err == nil
		}
	case *ast.BinaryExpr:
		if e.Op == token.ADD {
			x, ok1 := literal(e.X)
			y, ok2 := literal(e.Y)
			if !ok1 {
				x = "%v"
			}
			if !ok2 {
				y = "%v"
			}
			return x + y, ok1 || ok2
		}
	}
	return "", false
}

// code of a page: blocks and spans.
func (p *page) code() []string {
	list := slices.Clone(p.spans)
	for _, b := range p.blocks {
		list = append(list, b.text)
	}
	return list
}

// reference reads the code in the first cells of a page's tables.
func reference(t testing.TB, name string) *page {
	t.Helper()
	p := parse(name, read(t, name))
	if len(p.spans) < 20 {
		t.Fatalf("%s has only %d words of code", name, len(p.spans))
	}
	return p
}

// TestFlags: every flag that a page names is one of our programs', or listed as another's.
func TestFlags(t *testing.T) {
	known := map[string]bool{}
	flags := reference(t, "docs/reference/flags.md")
	for _, span := range flags.spans {
		for _, m := range flagName.FindAllStringSubmatch(" "+span, -1) {
			known[m[1]] = true
		}
	}
	for _, name := range files(t, ".go") {
		if strings.HasPrefix(name, "test/lab/cmd/lab/") {
			for _, m := range labFlag.FindAllStringSubmatch(read(t, name), -1) {
				known[m[1]] = true
			}
		}
	}
	for _, some := range []string{"l2-bfd-interval", "leader-elect", "without", "routers"} {
		if !known[some] {
			t.Errorf("--%s was not found among the flags of our programs", some)
		}
	}
	used := map[string]bool{}
	for _, p := range pages(t) {
		for _, m := range flagName.FindAllStringSubmatch(p.source, -1) {
			if used[m[1]] = true; !known[m[1]] && foreignFlags[m[1]] == "" && !strings.HasPrefix(m[1], "zap") {
				t.Errorf("%s: no program of ours has --%s; if it is another's, list it in foreignFlags", p.name, m[1])
			}
		}
		for _, text := range p.code() {
			for _, m := range commandName.FindAllStringSubmatch(text, -1) {
				heading := strings.ReplaceAll("kubectl fairlead "+strings.Replace(m[1], " svc", " service", 1), " ", "-")
				found := false
				for anchor := range flags.anchors {
					found = found || anchor == heading || strings.HasPrefix(anchor, heading+"-")
				}
				if !found {
					t.Errorf("%s: there is no command kubectl fairlead %s", p.name, m[1])
				}
			}
		}
	}
}

// TestMakeTargets: every target of make that a page names is there.
func TestMakeTargets(t *testing.T) {
	rules := "\n" + read(t, "Makefile")
	found := 0
	for _, p := range pages(t) {
		for _, text := range p.code() {
			for _, m := range makeTarget.FindAllStringSubmatch(text, -1) {
				if found++; !strings.Contains(rules, "\n"+m[1]+":") {
					t.Errorf("%s: the Makefile has no target %s", p.name, m[1])
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("only %d targets were found", found)
	}
}

// TestNames: every annotation, condition, label, finalizer and class that a page names is in the code or the manifests.
func TestNames(t *testing.T) {
	known := map[string]bool{"fairlead.io/v1beta1": true, "metallb.io/v1beta1": true, "metallb.io/v1beta2": true}
	add := func(text string) {
		for _, name := range ourName.FindAllString(text, -1) {
			known[name] = true
		}
	}
	for _, text := range literals(t) {
		add(text)
	}
	for _, name := range files(t, ".yaml") {
		if strings.HasPrefix(name, "config/") {
			add(read(t, name))
		}
	}
	found := 0
	for _, p := range pages(t) {
		for _, name := range ourName.FindAllString(p.source, -1) {
			if found++; !known[name] {
				t.Errorf("%s: %s is not in the code, nor in the manifests", p.name, name)
			}
		}
	}
	if found < 50 {
		t.Errorf("only %d names were found", found)
	}
}

// TestMetrics: every metric that a page names is in the code. The variables of the Ansible role begin like metrics.
func TestMetrics(t *testing.T) {
	parts, variables := map[string]bool{}, map[string]bool{}
	for _, text := range literals(t) {
		parts[text] = true
	}
	for _, suffix := range []string{".yml", ".yaml", ".j2"} {
		for _, name := range files(t, suffix) {
			if strings.HasPrefix(name, "config/kubespray/") {
				for _, v := range metricName.FindAllString(read(t, name), -1) {
					variables[v] = true
				}
			}
		}
	}
	exists := func(name string) bool {
		for _, prefix := range []string{"", "fairlead_", "fairlead_l2_", "fairlead_bgp_", "fairlead_ipam_"} {
			if rest, ok := strings.CutPrefix(name, prefix); ok && parts[rest] {
				return true
			}
		}
		return false
	}
	found := 0
	for _, p := range pages(t) {
		for _, at := range metricName.FindAllStringIndex(p.source, -1) {
			name := p.source[at[0]:at[1]]
			if rest := p.source[at[1]:]; variables[name] || strings.HasPrefix(rest, "_") || strings.HasPrefix(rest, "*") { // the beginning of several
				continue
			}
			found++
			ok := exists(name)
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				ok = ok || strings.HasSuffix(name, suffix) && exists(strings.TrimSuffix(name, suffix))
			}
			if !ok {
				t.Errorf("%s: %s is no metric in the code, nor a variable of the Ansible role", p.name, name)
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d metrics were found", found)
	}
}

// TestSentences: what pages say that programs print («It says»), they print. … stands for what varies.
func TestSentences(t *testing.T) {
	var printed []string
	for _, text := range literals(t) {
		printed = append(printed, verb.Split(text, -1)...)
	}
	all := strings.Join(printed, "\x00") // one search for each piece
	found := 0
	for _, p := range pages(t) {
		for _, sentence := range p.says {
			found++
			for piece := range strings.SplitSeq(sentence, "…") {
				if piece = strings.TrimSpace(piece); !strings.Contains(all, piece) {
					t.Errorf("%s: no program prints %q, of %q", p.name, piece, sentence)
				}
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d sentences were found", found)
	}
}

// TestLastErrors: every sentence that a BGP session's last error can be made of is in the guide to troubleshooting.
func TestLastErrors(t *testing.T) {
	said := parse("", read(t, "docs/troubleshooting.md")).says
	found := 0
	for _, text := range literalsOf(t, filepath.Join(repository(t), "bgp/engine/words.go")) {
		for _, piece := range verb.Split(text, -1) {
			piece = strings.Trim(piece, " ,;:.()")
			if len(strings.Fields(piece)) < 4 {
				continue
			}
			if found++; !slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, piece) }) {
				t.Errorf("docs/troubleshooting.md does not say what to do about %q, of %q", piece, text)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d sentences were found", found)
	}
}

// TestReasons: every condition and every reason of one is on a page that says what to do about it.
func TestReasons(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| (?:condition|reason) \\| `([^`]+)` \\|")
	rows := row.FindAllStringSubmatch(read(t, "docs/reference/conditions.md"), -1)
	if len(rows) < 40 {
		t.Fatalf("only %d conditions and reasons were found", len(rows))
	}
	said := slices.Concat(parse("", read(t, "docs/troubleshooting.md")).spans, parse("", read(t, "docs/pools.md")).spans)
	for _, m := range rows {
		if !slices.ContainsFunc(said, func(s string) bool {
			return slices.Contains(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ':' }), m[1])
		}) {
			t.Errorf("neither docs/troubleshooting.md nor docs/pools.md says what to do about %s", m[1])
		}
	}
}
