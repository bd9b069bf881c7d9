//go:build linux

package cgroup

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestHierarchies(t *testing.T) {
	for name, tc := range map[string]struct {
		mountinfo string
		want      []string
	}{
		"version 1": {
			mountinfo: "25 24 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n26 25 0:23 / /sys/fs/cgroup/cpu rw shared:1 - cgroup cgroup rw,cpu\n27 25 0:24 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			want:      []string{"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/unified"},
		},
		"version 2, seen twice": {
			mountinfo: "26 25 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n28 25 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
			want:      []string{"/sys/fs/cgroup"},
		},
		"none": {mountinfo: "25 24 0:22 / / rw - ext4 /dev/vda rw\nnonsense\n"},
	} {
		if got := hierarchies(tc.mountinfo); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestEnsureAndRemove(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	top := fmt.Sprintf("fairlead-cgtest-%d", os.Getpid())
	t.Cleanup(func() {
		if err := Remove(ctx, top); err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		if err := Ensure(top + "/node1"); err != nil {
			t.Fatal(err)
		}
	}
	dirs, err := List(top + "/node1")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("List = %q, %v", dirs, err)
	}
	// Every hierarchy takes a process, and Remove outlasts its death.
	cmd := exec.Command("/bin/sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Appendf(nil, "%d", cmd.Process.Pid), 0); err != nil {
			t.Errorf("%s takes no process: %v", dir, err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	removed := make(chan error, 1)
	go func() { removed <- Remove(ctx, top) }()
	if err := cmd.Wait(); err == nil {
		t.Error("the killed process ended without an error")
	}
	if err := <-removed; err != nil {
		t.Error(err)
	}
	if left, err := List(top); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}
