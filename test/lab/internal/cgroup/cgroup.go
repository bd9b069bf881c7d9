//go:build linux

// Package cgroup makes and removes the lab's own control groups, in version 1 and version 2 hierarchies alike. Each host's
// containers live below one of them, so that all that a lab leaves there is found by one name. It sets no limit.
package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// hierarchies lists where control groups are mounted.
func hierarchies(mountinfo string) []string {
	var points []string
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 {
			continue
		}
		if fsType, _, _ := strings.Cut(after, " "); fsType != "cgroup" && fsType != "cgroup2" {
			continue
		}
		if point := fields[4]; !slices.Contains(points, point) {
			points = append(points, point)
		}
	}
	return points
}

// Hierarchies lists where control groups are mounted: one folder in version 2, one per controller in version 1.
func Hierarchies() ([]string, error) {
	info, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list the cgroup hierarchies: %w", err)
	}
	points := hierarchies(string(info))
	if len(points) == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted: kubelet needs /sys/fs/cgroup")
	}
	return points, nil
}

// Ensure makes the group, such as lab/node1, in every hierarchy, and gives it all controllers.
func Ensure(group string) error { return makeGroup(group, true) }

// Make is Ensure without controllers, for a group beside processes.
func Make(group string) error { return makeGroup(group, false) }

func makeGroup(group string, controllers bool) error {
	points, err := Hierarchies()
	if err != nil {
		return err
	}
	for _, point := range points {
		dir := point
		for step := range strings.SplitSeq(group, "/") {
			if controllers {
				if err := passControllers(dir); err != nil {
					return fmt.Errorf("make cgroup %s in %s: %w", step, dir, err)
				}
			}
			dir = filepath.Join(dir, step)
			if err := os.Mkdir(dir, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("make cgroup %s: %w", dir, err)
			}
			if err := inheritCPUs(dir); err != nil {
				return fmt.Errorf("make cgroup %s: %w", dir, err)
			}
		}
	}
	return nil
}

// Join moves the calling process into a group, in every hierarchy.
func Join(group string) error {
	points, err := Hierarchies()
	if err != nil {
		return err
	}
	for _, point := range points {
		if err := os.WriteFile(filepath.Join(point, group, "cgroup.procs"), []byte("0"), 0); err != nil {
			return fmt.Errorf("join cgroup %s: %w", filepath.Join(point, group), err)
		}
	}
	return nil
}

// passControllers lets a version 2 group's children have what it has. A group with processes of its own refuses.
func passControllers(dir string) error {
	has, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // version 1
	}
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(has)) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+name), 0); err != nil {
			return fmt.Errorf("pass controller %s on from %s: %w", name, dir, err)
		}
	}
	return nil
}

// inheritCPUs fills a version 1 cpuset, which is born empty and takes no process until it is filled.
func inheritCPUs(dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(own)) != "" {
			continue
		}
		parent, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // version 2, just below the root
		}
		if err != nil {
			return err
		}
		if strings.TrimSpace(string(parent)) == "" {
			continue // version 2, where empty means as the parent
		}
		if err := os.WriteFile(filepath.Join(dir, name), parent, 0); err != nil {
			return err
		}
	}
	return nil
}

// List names what exists of a group, in all hierarchies.
func List(group string) ([]string, error) {
	points, err := Hierarchies()
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, point := range points {
		dir := filepath.Join(point, group)
		if _, err := os.Stat(dir); err == nil {
			dirs = append(dirs, dir)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look at cgroup %s: %w", dir, err)
		}
	}
	return dirs, nil
}

// Remove removes a group and all below it. Its processes must have been killed; Remove waits until they have ended, as
// long as ctx lets it.
func Remove(ctx context.Context, group string) error {
	dirs, err := List(group)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		for {
			err := removeTree(dir)
			if err == nil {
				break
			}
			if !errors.Is(err, unix.EBUSY) {
				return fmt.Errorf("remove cgroup %s: %w", dir, err)
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("remove cgroup %s: processes are still in it: %w", dir, err)
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
	return nil
}

// removeTree removes folders from the leaves up; the files in them are the kernel's and go with them.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
