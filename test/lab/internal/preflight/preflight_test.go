//go:build linux

package preflight

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMissingPackages(t *testing.T) {
	got, err := missingPackages("# comment\n\na prog-a\nb /lib/b\nc prog-c\n", func(s string) bool { return s == "prog-a" })
	if err != nil || !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("missing %q, %v, want b and c", got, err)
	}
	if _, err := missingPackages("alone\n", func(string) bool { return true }); err == nil {
		t.Error("a line of one word gave no error")
	}
	if _, err := missingPackages(debianPackages, func(string) bool { return true }); err != nil {
		t.Errorf("the real list: %v", err)
	}
}

func TestCheckNamesAllThatIsMissing(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "etcd"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	err := Check(t.Context(), Needs{Tools: dir, Programs: []string{"etcd", "kubelet", "kubectl"}, Images: []string{filepath.Join(dir, "pause.tar")}, ProxyMode: "nftables"})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"kubelet, kubectl", "make tools", "pause.tar", "make lab-images"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "etcd") {
		t.Errorf("error %q names what is there", err)
	}
}

// The machine that runs the lab's tests can run the lab.
func TestKernel(t *testing.T) {
	for _, mode := range []string{"nftables", "iptables"} {
		if err := kernel(t.Context(), Needs{ProxyMode: mode, Routers: true}); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
}
