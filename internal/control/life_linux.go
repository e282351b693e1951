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
// id unique, which alone is given out again.
func startTime(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, fmt.Errorf("find process %d: %w", pid, err)
	}
	end := bytes.LastIndexByte(b, ')') // of field 2, the command, which may hold anything
	if fields := bytes.Fields(b[end+1:]); len(fields) > 19 {
		return strconv.ParseUint(string(fields[19]), 10, 64)
	}
	return 0, errors.New("read start time: /proc/PID/stat is short")
}
