package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tickTime is the unit of /proc/stat: USER_HZ, 100 on every architecture that
// Linux shows to programs.
const tickTime = 10 * time.Millisecond

// cpuTime returns how long all cores together have been busy since boot
// (proc_stat(5)): user, nice, system, irq and softirq, neither idle nor stolen.
func cpuTime() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	f := strings.Fields(line)
	if len(f) < 8 || f[0] != "cpu" {
		return 0, fmt.Errorf("read CPU time: /proc/stat begins with %q", line)
	}
	var ticks int64
	for _, i := range []int{1, 2, 3, 6, 7} {
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read CPU time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tickTime, nil
}

// procTime returns the CPU time that a process has used (proc_pid_stat(5)).
func procTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	// The name in parentheses may hold anything; fields 14 and 15 are counted from behind it.
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("read CPU time of process %d: too short", pid)
	}
	user, uerr := strconv.ParseInt(f[11], 10, 64)
	system, serr := strconv.ParseInt(f[12], 10, 64)
	if uerr != nil || serr != nil {
		return 0, fmt.Errorf("read CPU time of process %d: no number", pid)
	}
	return time.Duration(user+system) * tickTime, nil
}

// memory returns a line of /proc/PID/status in megabytes: VmHWM is the most that
// was resident so far, VmRSS what is now (proc_pid_status(5)).
func memory(pid int, key string) (float64, error) {
	return megabytes(fmt.Sprintf("/proc/%d/status", pid), key)
}

// kernelMemory returns what the kernel has allocated and cannot give up, in
// megabytes, of the whole machine (proc_meminfo(5)).
func kernelMemory() (float64, error) { return megabytes("/proc/meminfo", "SUnreclaim") }

// megabytes returns the line "KEY: N kB" of a file.
func megabytes(name, key string) (float64, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			if err != nil {
				return 0, fmt.Errorf("read memory: %w", err)
			}
			return kb * 1024 / 1e6, nil
		}
	}
	return 0, fmt.Errorf("read memory: no %s in %s", key, name)
}
