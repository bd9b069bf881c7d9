package kubespray

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// boolean is a part of a condition that is true or false, and nothing that is taken for it.
var boolean = regexp.MustCompile(`\| bool$|==|!=|<|>| in | is |^ansible_(check|diff)_mode$`)

// TestConditions: ansible-core 2.19 fails where a condition is no boolean; 2.14, with which most tests run, does not.
func TestConditions(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "kubespray", "roles", "fairlead", "tasks", "*.yml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tasks: %v", err)
	}
	checked := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var tasks []any
		if err := yaml.Unmarshal(text, &tasks); err != nil {
			t.Fatal(err)
		}
		conditions(tasks, func(where string, value any) {
			if _, ok := value.(bool); ok {
				return
			}
			s, ok := value.(string)
			if !ok {
				t.Errorf("%s: %s is %v, and no text", filepath.Base(file), where, value)
			}
			for _, part := range regexp.MustCompile(` (and|or) `).Split(s, -1) {
				checked++
				if part = strings.TrimPrefix(strings.Trim(part, "() "), "not "); !boolean.MatchString(strings.Trim(part, "() ")) {
					t.Errorf("%s: %s %q: %q is no boolean for ansible-core 2.19: write %s | bool", filepath.Base(file), where, s, part, part)
				}
			}
		})
	}
	if checked < 20 {
		t.Errorf("only %d conditions were found", checked)
	}
}

// conditions of tasks, and of those in blocks.
func conditions(v any, see func(where string, value any)) {
	switch v := v.(type) {
	case []any:
		for _, x := range v {
			conditions(x, see)
		}
	case map[string]any:
		for key, x := range v {
			switch key {
			case "when", "changed_when", "failed_when", "until", "that":
				see(key, x)
			default:
				conditions(x, see)
			}
		}
	}
}
