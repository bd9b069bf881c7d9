//go:build linux

// Package hostns keeps a lab's host alive and starts programs on it. A host is a network namespace together with a PID,
// a mount, a UTS and a cgroup namespace, all held by one init process: killing the init ends every process of the host, containers
// included, and takes the host's mounts with it, so nothing ever has to guess which process or mount was the lab's.
// The package decides neither addresses nor what runs on a host.
package hostns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/test/lab/internal/cgroup"
	"fairlead.io/fairlead/test/lab/internal/netns"
)

// InitCommand is the hidden subcommand that runs RunInit. Its arguments tell whose init a process is.
const InitCommand = "_init"

// Spec says which host an init holds.
type Spec struct {
	Lab  string
	Host string
	// Dir is the host's folder on disk. What the host sees at /var/log, in its part of /var/lib, and in those folders of /etc that are in the
	// folder etc here, is in here.
	Dir string
	// Cgroup is the host's control group, such as fairlead-lab/node1. The host sees it as the root of all.
	Cgroup string
}

// Args are the arguments of the init's process.
func (s Spec) Args() []string {
	return []string{InitCommand, "--lab=" + s.Lab, "--host=" + s.Host, "--dir=" + s.Dir, "--cgroup=" + s.Cgroup}
}

// ParseArgs is the reverse of Args.
func ParseArgs(args []string) (Spec, error) {
	var s Spec
	if len(args) != 5 || args[0] != InitCommand {
		return s, fmt.Errorf("arguments %q are not those of an init", args)
	}
	for i, f := range []struct {
		prefix string
		to     *string
	}{{"--lab=", &s.Lab}, {"--host=", &s.Host}, {"--dir=", &s.Dir}, {"--cgroup=", &s.Cgroup}} {
		value, ok := strings.CutPrefix(args[i+1], f.prefix)
		if !ok || value == "" {
			return s, fmt.Errorf("arguments %q are not those of an init", args)
		}
		*f.to = value
	}
	return s, nil
}

// Init is a running init.
type Init struct {
	Spec
	PID int
}

// Inits finds the inits of a lab, whoever started them and whatever a crash took away, among all processes.
func Inits(lab string) (map[string]Init, error) {
	pids, err := allPIDs()
	if err != nil {
		return nil, err
	}
	found := map[string]Init{}
	for _, pid := range pids {
		spec, ok := initSpec(pid)
		if ok && spec.Lab == lab {
			found[spec.Host] = Init{Spec: spec, PID: pid}
		}
	}
	return found, nil
}

// initSpec reads a process's arguments; a process that has ended, or is a zombie, has none.
func initSpec(pid int) (Spec, bool) {
	raw, err := os.ReadFile(procPath(pid, "cmdline"))
	if err != nil || len(raw) == 0 {
		return Spec{}, false
	}
	args := strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00")
	spec, err := ParseArgs(args[1:])
	return spec, err == nil
}

func allPIDs() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	names, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func procPath(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}

// Spawn starts a host's init in the named network namespace and returns when the host is ready for programs. The
// executable must call RunInit when its arguments are an init's.
func Spawn(executable, namespace string, spec Spec) (Init, error) {
	ready, report, err := os.Pipe()
	if err != nil {
		return Init{}, fmt.Errorf("start the init of %s: %w", spec.Host, err)
	}
	defer func() { _ = ready.Close() }() // it is only read
	cmd := exec.CommandContext(context.Background(), executable, spec.Args()...)
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{report}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS}
	// What an earlier init of this host has left in the group died with it.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := errors.Join(cgroup.Remove(ctx, spec.Cgroup), cgroup.Ensure(spec.Cgroup)); err != nil {
		return Init{}, fmt.Errorf("start the init of %s: %w", spec.Host, err)
	}
	err = netns.Do(namespace, cmd.Start)
	err = errors.Join(err, report.Close())
	if err != nil {
		return Init{}, fmt.Errorf("start the init of %s: %w", spec.Host, err)
	}
	go func() { _ = cmd.Wait() }() // reaps it if this process outlives it; how it ended is told by what it reported
	text, err := io.ReadAll(ready)
	if err != nil {
		return Init{}, fmt.Errorf("hear from the init of %s: %w", spec.Host, err)
	}
	if string(text) != readyWord {
		return Init{}, fmt.Errorf("start the init of %s: %s", spec.Host, strings.TrimSpace(string(text)))
	}
	return Init{Spec: spec, PID: cmd.Process.Pid}, nil
}

// Start starts cmd on the host, in all of its namespaces. It stays in the caller's control group. Its folder is the caller's unless set;
// Wait and the rest of exec.Cmd work as ever.
func (i Init) Start(cmd *exec.Cmd) error {
	if cmd.Dir == "" {
		dir, err := os.Getwd()
		if err != nil {
			return fmt.Errorf("start %s on %s: %w", cmd.Path, i.Host, err)
		}
		cmd.Dir = dir
	}
	err := netns.OnFreshThread(func() error {
		if err := i.enter(); err != nil {
			return err
		}
		return cmd.Start()
	})
	if err != nil {
		return fmt.Errorf("start %s on %s: %w", filepath.Base(cmd.Path), i.Host, err)
	}
	return nil
}

// enter moves the calling thread; processes it starts are then on the host. The thread itself stays outside of the PID
// namespace, which only children join.
func (i Init) enter() error {
	kinds := []struct {
		name string
		flag int
	}{{"net", unix.CLONE_NEWNET}, {"uts", unix.CLONE_NEWUTS}, {"pid", unix.CLONE_NEWPID}, {"cgroup", unix.CLONE_NEWCGROUP}, {"mnt", unix.CLONE_NEWNS}}
	files := make([]*os.File, 0, len(kinds))
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	for _, k := range kinds {
		f, err := os.Open(procPath(i.PID, "ns/"+k.name))
		if err != nil {
			return fmt.Errorf("open the %s namespace: %w", k.name, err)
		}
		files = append(files, f)
	}
	// The process number might have been given to another process before the files were open, not afterwards.
	if spec, ok := initSpec(i.PID); !ok || spec != i.Spec {
		return errors.New("the host's init has ended")
	}
	// The thread must not share its root and working folder with others when it changes mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare the file system attributes: %w", err)
	}
	for n, k := range kinds {
		if err := unix.Setns(int(files[n].Fd()), k.flag); err != nil {
			return fmt.Errorf("enter the %s namespace: %w", k.name, err)
		}
	}
	return nil
}

// Path is where a path of the host is seen from outside.
func (i Init) Path(path string) string {
	return filepath.Join(procPath(i.PID, "root"), path)
}

// Kill ends the host and waits until the kernel has taken down all its processes.
func (i Init) Kill(timeout time.Duration) error {
	fd, err := unix.PidfdOpen(i.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end host %s: %w", i.Host, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if spec, ok := initSpec(i.PID); !ok || spec != i.Spec {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end host %s: %w", i.Host, err)
	}
	// An init becomes a zombie, and its pidfd readable, only after every process in its PID namespace is gone.
	deadline := time.Now().Add(timeout)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("end host %s: its processes have not ended within %s", i.Host, timeout)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("end host %s: %w", i.Host, err)
		}
		if n > 0 {
			return nil
		}
	}
}
