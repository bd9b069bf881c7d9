// Package process tells what a running program costs.
package process

import (
	"fmt"
	"os"
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
