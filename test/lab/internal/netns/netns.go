//go:build linux

// Package netns makes, enters and removes named network namespaces, and wires them to one LAN. It never touches a
// namespace whose name it was not given, nor any link of the namespace it is called in.
package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir holds the names, where ip-netns(8) looks for them.
const Dir = "/run/netns"

// Path is where a namespace of that name is.
func Path(name string) string { return filepath.Join(Dir, name) }

// OnFreshThread runs fn on an operating system thread that is thrown away afterwards, so that fn may change the
// thread's namespaces without putting them back. The process's main thread is never taken: its namespaces are what
// /proc/PID shows of the whole process.
func OnFreshThread(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		if unix.Gettid() != unix.Getpid() {
			result <- fn()
			return
		}
		// While this goroutine holds the main thread, another one cannot get it.
		result <- OnFreshThread(fn)
		runtime.UnlockOSThread()
	}()
	return <-result
}

// Do runs fn on a thread inside the named namespace. What fn starts in other goroutines is not inside; sockets it opens
// stay in the namespace for ever, wherever they are used.
func Do(name string, fn func() error) error {
	return OnFreshThread(func() error {
		if err := enter(name); err != nil {
			return err
		}
		return fn()
	})
}

func enter(name string) error {
	f, err := os.Open(Path(name))
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", name, err)
	}
	defer func() { _ = f.Close() }()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", name, err)
	}
	return nil
}

// Exists says whether the name holds a namespace, and not only the file a crash left on the way to one.
func Exists(name string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(Path(name), &st); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("look at network namespace %s: %w", name, err)
	}
	return st.Type == unix.NSFS_MAGIC, nil
}

// Ensure makes the namespace if it is not there.
func Ensure(name string) error {
	there, err := Exists(name)
	if err != nil || there {
		return err
	}
	err = OnFreshThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		if err := makeMountPoint(name); err != nil {
			return err
		}
		self := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
		return unix.Mount(self, Path(name), "", unix.MS_BIND, "")
	})
	if err != nil {
		return fmt.Errorf("make network namespace %s: %w", name, err)
	}
	return nil
}

// makeMountPoint tries more than once because removing another lab's last namespace removes an empty Dir.
func makeMountPoint(name string) error {
	var err error
	for range 3 {
		if err = os.MkdirAll(Dir, 0o755); err != nil {
			return err
		}
		var f *os.File
		if f, err = os.OpenFile(Path(name), os.O_CREATE|os.O_RDONLY, 0o400); err == nil {
			return f.Close()
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

// List names the namespaces whose name starts with prefix, and what a crash left of such.
func List(prefix string) ([]string, error) {
	entries, err := os.ReadDir(Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list network namespaces: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Remove takes the name away; the kernel removes the namespace with the last process and name that holds it. Removing
// what is not there is no error.
func Remove(name string) error {
	for {
		err := unix.Unmount(Path(name), unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break // no mount, or none any more
		}
		if err != nil {
			return fmt.Errorf("unmount network namespace %s: %w", name, err)
		}
	}
	if err := os.Remove(Path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove network namespace %s: %w", name, err)
	}
	// An empty folder was made for this name or an earlier one; anything in it, or mounted on it, keeps it.
	if err := os.Remove(Dir); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the empty folder %s: %w", Dir, err)
	}
	return nil
}
