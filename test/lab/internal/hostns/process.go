//go:build linux

package hostns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Processes lists the numbers, as the machine counts, of the host's processes that run a program: those of its pods too,
// whose PID namespaces are inside the host's. A program is known by the name of its file.
func (i Init) Processes(program string) ([]int, error) {
	return i.processes(program, within)
}

// Daemons is Processes without those of pods.
func (i Init) Daemons(program string) ([]int, error) {
	return i.processes(program, func(pid int, own os.FileInfo) (bool, error) {
		st, err := os.Stat(procPath(pid, "ns/pid"))
		return err == nil && os.SameFile(st, own), nil // it has ended, or is none of this user's
	})
}

func (i Init) processes(program string, belongs func(pid int, own os.FileInfo) (bool, error)) ([]int, error) {
	pids, err := allPIDs()
	if err != nil {
		return nil, err
	}
	own, err := os.Stat(procPath(i.PID, "ns/pid"))
	if err != nil {
		return nil, fmt.Errorf("look for %s on %s: the host's init has ended: %w", program, i.Host, err)
	}
	var found []int
	for _, pid := range pids {
		if !runs(pid, program) {
			continue
		}
		inside, err := belongs(pid, own)
		if err != nil {
			return nil, fmt.Errorf("look for %s on %s: %w", program, i.Host, err)
		}
		if inside {
			found = append(found, pid)
		}
	}
	return found, nil
}

// runs is false for a process that has ended meanwhile and for a zombie.
func runs(pid int, program string) bool {
	exe, err := os.Readlink(procPath(pid, "exe"))
	return err == nil && filepath.Base(strings.TrimSuffix(exe, " (deleted)")) == program
}

// within follows a process's PID namespace upwards until it meets the wanted one or the machine's.
func within(pid int, wanted os.FileInfo) (bool, error) {
	f, err := os.Open(procPath(pid, "ns/pid"))
	if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrNotExist) {
		return false, nil // it has ended
	}
	if err != nil {
		return false, fmt.Errorf("open the PID namespace of process %d: %w", pid, err)
	}
	defer func() { _ = f.Close() }()
	for {
		st, err := f.Stat()
		if err != nil {
			return false, fmt.Errorf("look at the PID namespace of process %d: %w", pid, err)
		}
		if os.SameFile(st, wanted) {
			return true, nil
		}
		parent, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_PARENT)
		if errors.Is(err, unix.EPERM) {
			return false, nil // there is none above that this process may see
		}
		if err != nil {
			return false, fmt.Errorf("find the parent PID namespace of process %d: %w", pid, err)
		}
		if err := f.Close(); err != nil {
			return false, err
		}
		f = os.NewFile(uintptr(parent), "parent PID namespace")
	}
}

// Signal sends a signal to every process of the host that runs the program and tells how many there were.
func (i Init) Signal(program string, sig unix.Signal) (int, error) {
	pids, err := i.Processes(program)
	if err != nil {
		return 0, err
	}
	sent := 0
	for _, pid := range pids {
		ok, err := signalIf(pid, sig, func() bool { return runs(pid, program) })
		if err != nil {
			return sent, fmt.Errorf("send %s to %s (process %d) on %s: %w", unix.SignalName(sig), program, pid, i.Host, err)
		}
		if ok {
			sent++
		}
	}
	return sent, nil
}

// signalIf holds on to the process before it asks whether it is the one meant, so that no other can take its number.
func signalIf(pid int, sig unix.Signal, meant func() bool) (bool, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = unix.Close(fd) }()
	if !meant() {
		return false, nil
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); errors.Is(err, unix.ESRCH) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, nil
}
