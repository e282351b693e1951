package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"weft/internal/lab"
)

// withoutNftablesEnv makes of the test binary a program that runs another for which
// the kernel has no nftables: opening it ends with the error of that number.
const withoutNftablesEnv = "WEFT_TEST_WITHOUT_NFTABLES"

// execWithoutNftables becomes the program in args, behind a filter of system calls.
func execWithoutNftables(errno string, args []string) error {
	n, err := strconv.Atoi(errno)
	if err != nil {
		return err
	}
	runtime.LockOSThread() // the filter is the thread's, and goes with it through exec
	// struct seccomp_data (linux/seccomp.h): nr at 0, arguments from 16, 8 bytes each.
	ld, jeq, ret := uint16(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS), uint16(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K), uint16(unix.BPF_RET|unix.BPF_K)
	filter := []unix.SockFilter{
		{Code: ld, K: 0}, {Code: jeq, K: unix.SYS_SOCKET, Jf: 5},
		{Code: ld, K: 16}, {Code: jeq, K: unix.AF_NETLINK, Jf: 3},
		{Code: ld, K: 32}, {Code: jeq, K: unix.NETLINK_NETFILTER, Jf: 1},
		{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(n)},
		{Code: ret, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err != nil {
		return err
	}
	return unix.Exec(args[0], args, os.Environ())
}

// stateFile is what the switch has on the disk.
func (h *Host) stateFile() string {
	h.t.Helper()
	b, err := os.ReadFile(filepath.Join(h.dir, "state", "state.json"))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(b)
}

// refuses has each command that needs rules fail with one line, and nothing of it
// done: no rule, no setting, no interface, no record.
func (x *exposed) refuses(t *testing.T, want string) {
	t.Helper()
	was, state := x.h1.snapshot(), x.h1.stateFile()
	file := filepath.Join(t.TempDir(), "host.yaml")
	text := strings.Replace(x.h1.Weft("export"), "    vrf: site\n", "    vrf: site\n    expose: [10.10.0.254/24]\n    publish: ['"+x.web.target()+" 2223:22']\n", 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil || !strings.Contains(text, "expose") {
		t.Fatal(err, text)
	}
	for _, line := range []string{"expose blue", "publish blue " + x.web.target() + " 2222:22", "apply -f " + file} {
		oneLine(t, x.h1.CLI(line), 1, want)
		x.h1.same(line, was)
		if now := x.h1.stateFile(); now != state {
			t.Errorf("after %s the state changed:\n%s", line, lab.Changes(state, now))
		}
		if out := x.h1.CLI("status --check"); out.code != 0 {
			t.Errorf("after %s: %s", line, out.err)
		}
	}
}

// The kernel refuses rules: since another program owns the table, since weft may not
// or since the kernel has no nftables.
func TestNftablesRefuses(t *testing.T) {
	t.Parallel()
	x := newExposed(t)
	eventually(t, 20*time.Second, func() string { return x.h1.CLI("status --check").err })
	t.Run("another's table", func(t *testing.T) {
		// Who opens nftables owns what it makes with that flag, until it closes.
		owner, err := x.h1.NS.Start(x.h1.Command(t.Context(), "sh", "-c", `(echo 'add table inet weft { flags owner; }'; sleep 600) | nft -i`))
		if err != nil {
			t.Fatal(err)
		}
		defer owner.Kill()
		eventually(t, 10*time.Second, func() string {
			if !strings.Contains(in(t, x.h1.NS, "nft list tables"), "weft") {
				return "nft makes no table"
			}
			return ""
		})
		x.refuses(t, "another program owns table inet weft")
	})
	eventually(t, 10*time.Second, func() string { return strings.TrimSpace(in(t, x.h1.NS, "nft list tables")) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		errno unix.Errno
		want  string
	}{{unix.EPERM, "CAP_NET_ADMIN"}, {unix.EPROTONOSUPPORT, "this kernel lacks a part of nftables"}} {
		t.Run(tt.errno.Error(), func(t *testing.T) {
			x.h1.Stop()
			x.h1.via, x.h1.env = self, []string{fmt.Sprintf("%s=%d", withoutNftablesEnv, int(tt.errno))}
			x.h1.Restart()
			x.refuses(t, tt.want)

			// Exposed by a run that could, and started by one that cannot.
			x.h1.Stop()
			x.h1.via, x.h1.env = "", nil
			x.h1.Restart()
			was := x.h1.snapshot()
			x.h1.Weft("expose blue")
			good := x.h1.snapshot()
			x.h1.Kill()
			x.h1.via, x.h1.env = self, []string{fmt.Sprintf("%s=%d", withoutNftablesEnv, int(tt.errno))}
			x.h1.Restart()
			if out := x.h1.CLI("status --check"); out.code != 1 || !strings.Contains(out.err, "not set up for what is exposed") || !strings.Contains(out.err, tt.want) {
				t.Errorf("started where nftables is refused: %+v", out)
			}
			oneLine(t, x.h1.CLI("hide blue"), 1, tt.want)
			x.h1.same("hide that is refused", good)
			x.h1.Stop()
			x.h1.via, x.h1.env = "", nil
			x.h1.Restart()
			x.h1.same("back", good)
			x.h1.Weft("hide blue")
			x.h1.same("hide", was)
		})
	}
}
