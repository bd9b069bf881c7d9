//go:build linux

package hostns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/test/lab/internal/cgroup"
	"fairlead.io/fairlead/test/lab/internal/netns"
)

const (
	readyWord = "ready"
	readyFD   = 3
	scratch   = "/run/.lab" // on the host's own /run, only while the init prepares the host
)

// ownLib lists what of /var/lib is the host's own. True: kept on disk, in the host's folder; false: gone when the host
// restarts, as the address reservations of pods must be.
var ownLib = map[string]bool{"kubelet": true, "containerd": true, "cni": false}

// tunables are what kubelet would write into the machine's kernel when it finds other values. The host sees these
// instead, so kubelet is content and the machine keeps its own.
var tunables = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// RunInit is the life of an init: it prepares the host's mounts, reports on file descriptor 3, and reaps orphans for
// ever. It returns only when the host cannot be prepared.
func RunInit(spec Spec) error {
	report := os.NewFile(readyFD, "report")
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	if err := prepare(spec); err != nil {
		_, writeErr := report.WriteString(err.Error())
		return errors.Join(err, writeErr, report.Close())
	}
	if _, err := report.WriteString(readyWord); err != nil {
		return fmt.Errorf("report readiness: %w", err)
	}
	if err := report.Close(); err != nil {
		return fmt.Errorf("report readiness: %w", err)
	}
	for {
		// One signal may stand for several children.
		for {
			pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
			if errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil || pid <= 0 {
				break
			}
		}
		<-children
	}
}

func prepare(spec Spec) error {
	if os.Getpid() != 1 {
		return fmt.Errorf("%s is only run as a host's first process", InitCommand)
	}
	steps := []struct {
		what string
		do   func() error
	}{
		{"keep mounts from the machine", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"let go of other namespaces", forgetNamespaces},
		{"enter a control group", func() error { return enterCgroup(spec.Cgroup) }},
		{"mount /proc", func() error {
			return unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		}},
		{"mount /run", mountRun},
		{"mount /sys", func() error { return mountSys(spec.Cgroup) }},
		{"leave the root of control groups", leaveCgroupRoot},
		{"mount /var/log", func() error { return bindOwn(filepath.Join(spec.Dir, "log"), "/var/log") }},
		{"mount /var/lib", func() error { return shadowLib("/var/lib", spec.Dir) }},
		{"mount parts of /etc", func() error { return bindEtc(filepath.Join(spec.Dir, "etc")) }},
		{"hide kernel tunables", hideTunables},
		{"set the host name", func() error { return unix.Sethostname([]byte(spec.Host)) }},
		// kubelet wants its volumes' mounts to reach containers.
		{"share mounts within the host", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "") }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("host %s: %s: %w", spec.Host, s.what, err)
		}
	}
	return nil
}

// forgetNamespaces drops the copies of named network namespaces that came with the machine's mounts: a copy would keep
// a namespace alive after its owner has removed it.
func forgetNamespaces() error {
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(info)) {
		fields := strings.Fields(line)
		if len(fields) < 5 || (fields[4] != netns.Dir && !strings.HasPrefix(fields[4], netns.Dir+"/")) {
			continue
		}
		// A mount may have gone together with the one below it.
		if err := unix.Unmount(fields[4], unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", fields[4], err)
		}
	}
	return nil
}

func mountRun() error {
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return err
	}
	for _, dir := range []string{netns.Dir, "/run/lock", "/run/tmp", scratch} {
		if err := os.Mkdir(dir, 0o750); err != nil {
			return err
		}
	}
	return nil
}

// enterCgroup makes the group the root of the host's cgroup namespace. Only the calling thread changes namespace: it must be
// the main thread, whose namespaces are what others find in /proc and enter.
func enterCgroup(group string) error {
	if unix.Gettid() != unix.Getpid() {
		return errors.New("the init does not run on its main thread")
	}
	if err := cgroup.Join(group); err != nil {
		return err
	}
	return unix.Unshare(unix.CLONE_NEWCGROUP)
}

// mountSys shows the host's own network devices, and of the control groups only the host's: whatever kubelet and
// containerd make at the top of them is below the lab's group.
func mountSys(group string) error {
	const top = "/sys/fs/cgroup"
	if err := unix.Mount("tmpfs", scratch, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755"); err != nil {
		return err
	}
	points, err := cgroup.Hierarchies()
	if err != nil {
		return err
	}
	for _, point := range points {
		rel, err := filepath.Rel(top, point)
		if err != nil || !filepath.IsLocal(rel) {
			return fmt.Errorf("control groups are mounted at %s, which is not below %s", point, top)
		}
		target := filepath.Join(scratch, rel)
		if err := os.MkdirAll(target, 0o750); err != nil {
			return err
		}
		if err := unix.Mount(filepath.Join(point, group), target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", point, err)
		}
	}
	if err := copyLinks(top, scratch); err != nil {
		return err
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	// With version 2 the group itself is mounted over the empty folder.
	return unix.Mount(scratch, top, "", unix.MS_MOVE, "")
}

// copyLinks keeps the short names of version 1 hierarchies that hold two controllers.
func copyLinks(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		target, err := os.Readlink(filepath.Join(from, e.Name()))
		if err != nil {
			return err
		}
		if err := os.Symlink(target, filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// leaveCgroupRoot makes room: version 2 gives no controller to the children of a group that has processes of its own.
func leaveCgroupRoot() error {
	const leaf = "init"
	if err := cgroup.Make(leaf); err != nil {
		return err
	}
	return cgroup.Join(leaf)
}

func bindOwn(source, target string) error {
	if err := os.MkdirAll(source, 0o750); err != nil {
		return err
	}
	return unix.Mount(source, target, "", unix.MS_BIND, "")
}

// bindEtc puts the folders in own, if there are any, over those in /etc of the same names.
func bindEtc(own string) error {
	entries, err := os.ReadDir(own)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := unix.Mount(filepath.Join(own, e.Name()), filepath.Join("/etc", e.Name()), "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", e.Name(), err)
		}
	}
	return nil
}

// shadowLib replaces the folder by one that has the same entries, except that those in ownLib are the host's: they need
// not be on the machine, and nothing of them stays there.
func shadowLib(dir, own string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", scratch, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return err
	}
	for _, e := range entries {
		if _, ok := ownLib[e.Name()]; ok {
			continue
		}
		if err := passThrough(filepath.Join(dir, e.Name()), filepath.Join(scratch, e.Name()), e.Type()); err != nil {
			return fmt.Errorf("pass %s through: %w", e.Name(), err)
		}
	}
	for name, kept := range ownLib {
		target := filepath.Join(scratch, name)
		if err := os.Mkdir(target, 0o750); err != nil {
			return err
		}
		if kept {
			if err := bindOwn(filepath.Join(own, name), target); err != nil {
				return fmt.Errorf("bind %s: %w", name, err)
			}
		}
	}
	return unix.Mount(scratch, dir, "", unix.MS_MOVE, "")
}

func passThrough(source, target string, kind fs.FileMode) error {
	switch {
	case kind&fs.ModeSymlink != 0:
		to, err := os.Readlink(source)
		if err != nil {
			return err
		}
		return os.Symlink(to, target)
	case kind.IsDir():
		if err := os.Mkdir(target, 0o750); err != nil {
			return err
		}
	default:
		if err := os.WriteFile(target, nil, 0o600); err != nil {
			return err
		}
	}
	return unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, "")
}

func hideTunables() error {
	for name, value := range tunables {
		actual := filepath.Join("/proc/sys", name)
		if _, err := os.Stat(actual); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		shown := filepath.Join("/run/tunables", name)
		if err := os.MkdirAll(filepath.Dir(shown), 0o750); err != nil {
			return err
		}
		if err := os.WriteFile(shown, []byte(value+"\n"), 0o600); err != nil {
			return err
		}
		if err := unix.Mount(shown, actual, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}
