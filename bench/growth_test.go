package main

import (
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Threads that have ended count too, or a process could run for less than nothing.
func TestRunTimeOfEndedThread(t *testing.T) {
	const work = 20 * time.Millisecond
	before, err := runTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan int)
	go func() { // its thread ends with it, since it is not unlocked
		runtime.LockOSThread()
		for begin := threadTime(); threadTime()-begin < work; {
		}
		ended <- unix.Gettid()
	}()
	task := "/proc/self/task/" + strconv.Itoa(<-ended)
	for range 500 { // until the kernel has taken it away, which it never does with the first thread
		if _, err := os.Stat(task); err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	after, err := runTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after-before < work {
		t.Errorf("run time grew by %v, want at least %v", after-before, work)
	}
}

// threadTime returns how long the calling thread has run.
func threadTime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		panic(err) // every Linux has that clock
	}
	return time.Duration(now.Nano())
}
