package control

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// bootID returns what the kernel draws anew at each boot (random(4)).
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return string(bytes.TrimSpace(b)), nil
}

// startTime returns when process pid started, in clock ticks since boot: field
// 22 of /proc/PID/stat (proc_pid_stat(5)). With the boot id it makes a process
// id unique, which alone is given out again. A process that has begun to exit has
// left its namespaces, or will, and counts as ended, though it is listed until its
// parent waits for it.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("find process %d: %w", pid, err)
	}
	end := bytes.LastIndexByte(b, ')') // of field 2, the command, which may hold anything
	fields := bytes.Fields(b[end+1:])
	if len(fields) <= 19 {
		return 0, errors.New("read start time: /proc/PID/stat is short")
	}
	const exiting = 4 // PF_EXITING (linux/sched.h)
	if flags, err := strconv.ParseUint(string(fields[6]), 10, 64); err != nil || flags&exiting != 0 {
		return 0, fmt.Errorf("find process %d: it has ended", pid)
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}
