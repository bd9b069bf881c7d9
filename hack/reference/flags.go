package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// option of a program, as its help shows it.
type option struct{ name, kind, fallback, usage string }

func flagsPage(ctx context.Context) (string, error) {
	dir, err := os.MkdirTemp("", "fairlead-reference-")
	if err != nil {
		return "", fmt.Errorf("make a folder for the programs: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is in the folder for what may go
	if _, err := output(ctx, "go", "build", "-o", dir, "./cmd/..."); err != nil {
		return "", fmt.Errorf("build the programs: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, header, "what the programs say to --help")
	b.WriteString("# Flags\n\nOf each program, with their defaults. A flag stands in `args` of the container: `- --drain-time=20s` ([how](../quick-start.md#changes-of-your-own)). " +
		"Flags of `--zap-` are of the log.\n")
	for _, program := range []string{"fairlead-controller", "fairlead-speaker"} {
		help, err := output(ctx, filepath.Join(dir, program), "--help")
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "\n## %s\n", program)
		table(&b, goFlags(help))
	}
	if err := plugin(ctx, &b, filepath.Join(dir, "kubectl-fairlead"), nil); err != nil {
		return "", err
	}
	return b.String(), nil
}

// output of a program, in an environment that changes none of its defaults.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "NODE_NAME=") }), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("run %s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func table(b *strings.Builder, list []option) {
	if len(list) == 0 {
		b.WriteString("\nIt has no flags of its own.\n")
		return
	}
	b.WriteString("\n| flag | value | default | meaning |\n|---|---|---|---|\n")
	slices.SortFunc(list, func(x, y option) int {
		return strings.Compare(strings.TrimLeft(x.name, "-"), strings.TrimLeft(y.name, "-"))
	})
	for _, o := range list {
		fallback := o.fallback
		if fallback != "" {
			fallback = code(fallback)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", code(o.name), cell(o.kind), fallback, cell(o.usage))
	}
}

var (
	goFlag      = regexp.MustCompile(`^  -([A-Za-z][A-Za-z0-9-]*)(?: (\S+))?(?:\t(.*))?$`)
	cobraFlag   = regexp.MustCompile(`^\s+(?:(-\w), )?(--[a-z0-9-]+)(?: (\S+))?\s{2,}(\S.*)$`)
	withDefault = regexp.MustCompile(`^(.*) \(default (.*)\)$`)
)

// goFlags reads what package flag prints.
func goFlags(help string) (list []option) {
	for line := range strings.SplitSeq(help, "\n") {
		if m := goFlag.FindStringSubmatch(line); m != nil {
			list = append(list, option{name: "--" + m[1], kind: m[2], usage: m[3]})
		} else if len(list) > 0 && strings.HasPrefix(line, "    \t") {
			last := &list[len(list)-1]
			last.usage = strings.TrimSpace(last.usage + " " + strings.TrimSpace(line))
		}
	}
	for i := range list {
		list[i].split()
	}
	return list
}

func (o *option) split() {
	if m := withDefault.FindStringSubmatch(o.usage); m != nil {
		o.usage, o.fallback = m[1], m[2]
		if text, err := strconv.Unquote(m[2]); err == nil {
			o.fallback = text
		}
	}
}

// plugin writes of a command of kubectl-fairlead and of all below it, as cobra shows them.
func plugin(ctx context.Context, b *strings.Builder, program string, path []string) error {
	help, err := output(ctx, program, append(slices.Clone(path), "--help")...)
	if err != nil {
		return err
	}
	about, rest, found := strings.Cut(help, "\nUsage:\n")
	if !found {
		return errors.New("kubectl-fairlead shows no usage for " + strings.Join(path, " "))
	}
	var commands []string
	var list []option
	usage, section := "", "Usage:"
	for line := range strings.SplitSeq(rest, "\n") {
		switch {
		case strings.HasSuffix(line, ":") && !strings.HasPrefix(line, " "):
			section = line
		case section == "Usage:" && usage == "":
			usage = strings.TrimSpace(line)
		case section == "Available Commands:" && strings.HasPrefix(line, "  "):
			commands = append(commands, strings.Fields(line)[0])
		case section == "Flags:" || section == "Global Flags:" && len(path) == 0:
			m := cobraFlag.FindStringSubmatch(line)
			if m == nil || m[2] == "--help" {
				continue
			}
			o := option{name: m[2], kind: m[3], usage: m[4]}
			if m[1] != "" {
				o.name = m[1] + ", " + m[2]
			}
			o.split()
			list = append(list, o)
		}
	}
	name := strings.Join(append([]string{"kubectl fairlead"}, path...), " ")
	if len(path) == 0 {
		fmt.Fprintf(b, "\n## %s\n\nThese may stand with every command. The program is called `kubectl-fairlead`, and kubectl finds it in the `PATH`.\n", name)
		table(b, list)
	} else if len(commands) == 0 {
		usage = strings.Replace(strings.TrimSuffix(usage, " [flags]"), "kubectl-fairlead", "kubectl fairlead", 1)
		fmt.Fprintf(b, "\n## %s\n\n`%s`\n\n%s\n", name, usage, strings.TrimSpace(about))
		table(b, list)
	}
	for _, c := range commands {
		if c == "help" || c == "completion" { // cobra's own
			continue
		}
		if err := plugin(ctx, b, program, append(slices.Clone(path), c)); err != nil {
			return err
		}
	}
	return nil
}
