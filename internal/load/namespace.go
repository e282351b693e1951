package load

import (
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is the Place behind an nsfs file, such as /run/netns/web or
// /proc/4711/ns/net. Sockets keep it alive until they are closed; the Place
// itself holds nothing.
func Namespace(path string) Place {
	return func(f func() error) error {
		done := make(chan error, 1)
		go func() { // ends with f; where the way back fails, its thread ends with it
			runtime.LockOSThread()
			back, err := inside(path, f)
			if back {
				runtime.UnlockOSThread()
			}
			done <- err
		}()
		return <-done
	}
}

// inside runs f with the calling thread in the namespace at path. Where back is
// false the thread could not return.
func inside(path string, f func() error) (back bool, err error) {
	origin, err := netns.Get()
	if err != nil {
		return true, fmt.Errorf("open own namespace: %w", err)
	}
	defer origin.Close()
	target, err := netns.GetFromPath(path)
	if err != nil {
		return true, fmt.Errorf("open namespace %s: %w", path, err)
	}
	defer target.Close()
	if err := netns.Set(target); err != nil {
		return true, fmt.Errorf("enter namespace %s: %w", path, err)
	}
	err = f()
	return netns.Set(origin) == nil, err
}

// NewNamespace makes a network namespace that has no name and ends with the
// process or with remove. path leads to it until then.
func NewNamespace() (path string, remove func(), err error) {
	made, end := make(chan error, 1), make(chan struct{})
	go func() { // ends with remove; its thread, never unlocked, ends with it
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		made <- err
		if err == nil {
			<-end
		}
	}()
	if err := <-made; err != nil {
		return "", nil, fmt.Errorf("make network namespace: %w", err)
	}
	return path, func() { close(end) }, nil
}
