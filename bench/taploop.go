package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"weft/internal/header"
	"weft/internal/lab"
	"weft/internal/offload"
	"weft/tap"
)

// bareLoop is the ceiling of any switch that reads and writes TAPs: what is read
// from the one is written to the other, unlooked at.
func bareLoop() system {
	return system{
		id: "tap-loop", name: "bare TAP read/write loop", group: oneHost, needs: nothing,
		setUp: func(ctx context.Context, b *bed) (from, to container, err error) {
			host, err := b.Host("host1")
			if err != nil {
				return from, to, err
			}
			var c [2]*lab.NS
			var args []string
			for i, p := range []netip.Prefix{addr1, addr2} {
				if c[i], err = b.Host([]string{"c1", "c2"}[i]); err != nil {
					return from, to, err
				}
				args = append(args, c[i].Path()+"="+p.String())
			}
			if err := startChild(ctx, b, host, "", "child-tap-loop", args...); err != nil {
				return from, to, err
			}
			return containers(c, addr1, addr2)
		},
	}
}

// tapLoop makes two TAPs, NAMESPACE=ADDRESS each, and joins them for ever.
func tapLoop(args []string, _ io.Reader, out io.Writer) error {
	if len(args) != 2 {
		return errors.New("want two of NAMESPACE=ADDRESS")
	}
	var devs [2]*tap.Device
	for i, arg := range args {
		path, addr, _ := strings.Cut(arg, "=")
		p, err := netip.ParsePrefix(addr)
		if err != nil {
			return err
		}
		ns, err := tap.OpenNamespace(path)
		if err != nil {
			return err
		}
		devs[i], err = tap.Create(ns, tap.Config{IfName: "eth1", MAC: header.MAC(0x0200_0000_0001 + i), MTU: 1500, Addrs: []netip.Prefix{p}}, nil)
		if err != nil {
			return err
		}
	}
	fmt.Fprintln(out, childReady)
	runtime.LockOSThread()
	return loop(devs)
}

// loopBatch is how many frames are taken from one TAP before the other has its turn.
const loopBatch = 64

// loop goes on until a TAP is gone.
func loop(devs [2]*tap.Device) error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(epoll)
	for i, d := range devs {
		ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, d.FD(), &ev); err != nil {
			return err
		}
	}
	buf := make([]byte, offload.HeaderLen+offload.MaxFrame)
	events := make([]unix.EpollEvent, 2)
	for {
		n, err := unix.EpollWait(epoll, events, -1)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return err
		}
		for _, ev := range events[:max(n, 0)] {
			from, to := devs[ev.Fd], devs[1-ev.Fd]
			for range loopBatch {
				n, err := from.Read(buf)
				if errors.Is(err, syscall.EBADFD) {
					return err
				}
				if err != nil {
					break
				}
				_ = to.Write(buf[:n]) // a link that is not up yet loses it
			}
		}
	}
}
