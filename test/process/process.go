// Package process tells what a running program costs, and where it listens.
package process

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// CPU is the processor time that a process has had since it started, in hundredths of a second.
func CPU(pid int) (time.Duration, error) {
	sum, err := ticks(pid, 14, 15) // utime and stime
	if err != nil {
		return 0, fmt.Errorf("read the processor time of a process: %w", err)
	}
	return sum, nil
}

// Started is how long the machine ran when a process started, in hundredths of a second.
func Started(pid int) (time.Duration, error) {
	since, err := ticks(pid, 22) // starttime
	if err != nil {
		return 0, fmt.Errorf("read when a process started: %w", err)
	}
	return since, nil
}

// ticks is the sum of some of the fields of a process's stat, by their numbers in proc(5).
func ticks(pid int, numbers ...int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the program's name may have anything in it
	fields := strings.Fields(rest)                // from the third on
	var sum time.Duration
	for _, i := range numbers {
		if i-3 >= len(fields) {
			return 0, fmt.Errorf("process %d: %q", pid, stat)
		}
		n, err := strconv.Atoi(fields[i-3])
		if err != nil {
			return 0, fmt.Errorf("process %d: %w", pid, err)
		}
		sum += time.Duration(n) * 10 * time.Millisecond
	}
	return sum, nil
}

// Resident is the memory that a process has now, in bytes.
func Resident(pid int) (int64, error) {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory of a process: %w", err)
	}
	var size, resident int64 // in pages (proc(5))
	if _, err := fmt.Sscan(string(statm), &size, &resident); err != nil {
		return 0, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	return resident * int64(os.Getpagesize()), nil
}

// Listening is where a process accepts TCP connections, of those sockets that are in its network namespace.
func Listening(pid int) ([]netip.AddrPort, error) {
	dir := fmt.Sprintf("/proc/%d", pid)
	files, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return nil, fmt.Errorf("read the files of a process: %w", err)
	}
	own := map[string]bool{} // sockets
	for _, f := range files {
		target, err := os.Readlink(filepath.Join(dir, "fd", f.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // it may have been closed
			return nil, fmt.Errorf("read the files of a process: %w", err)
		}
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	var list []netip.AddrPort
	for _, name := range []string{"tcp", "tcp6"} {
		raw, err := os.ReadFile(filepath.Join(dir, "net", name))
		if err != nil {
			return nil, fmt.Errorf("read the sockets of a process: %w", err)
		}
		for line := range strings.Lines(string(raw)) {
			// sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode (proc(5)); 0A is TCP_LISTEN.
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != "0A" || !own[f[9]] {
				continue
			}
			ap, err := socketAddress(f[1])
			if err != nil {
				return nil, err
			}
			list = append(list, ap)
		}
	}
	return list, nil
}

// socketAddress reads an address of /proc/net/tcp: words of 32 bits in the machine's order, and the port.
func socketAddress(s string) (netip.AddrPort, error) {
	words, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(words)
	n, err2 := strconv.ParseUint(port, 16, 16)
	if err := errors.Join(err, err2); err != nil {
		return netip.AddrPort{}, fmt.Errorf("read the address %q of a socket: %w", s, err)
	}
	for i := 0; i+4 <= len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("read the address %q of a socket: it has %d bytes", s, len(raw))
	}
	return netip.AddrPortFrom(addr, uint16(n)), nil
}
