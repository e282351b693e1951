package encap

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// randomAddrs returns n sorted addresses, some of them next to each other.
func randomAddrs(r *rand.Rand, n int) []netip.Addr {
	set := map[netip.Addr]bool{}
	for len(set) < n {
		a := netip.AddrFrom4([4]byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})
		set[a] = true
		if len(set) < n && r.IntN(2) == 0 && a.Next().IsValid() {
			set[a.Next()] = true
		}
	}
	var as []netip.Addr
	for a := range set {
		as = append(as, a)
	}
	slices.SortFunc(as, netip.Addr.Compare)
	return as
}

// heads returns the start of an outer header.
func heads(src, dst netip.Addr) []byte {
	b := make([]byte, 24)
	b[0] = 0x45
	binary.BigEndian.PutUint32(b[offsetSrc:], number(src))
	binary.BigEndian.PutUint32(b[offsetDst:], number(dst))
	return b
}

// emulated returns the program as bpf.VM runs it: without the check of the link
// layer's packet type, an extension that it lacks.
func emulated(t *testing.T, prog []bpf.Instruction) *bpf.VM {
	t.Helper()
	vm, err := bpf.NewVM(prog[3:])
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// TestFilter compares both filters with a look into a list.
func TestFilter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 2, 7, 8, 9, 17, 255, 1000, 3000} {
		for _, locals := range []int{0, 1, 3, 255} {
			t.Run(fmt.Sprintf("%d peers, %d local", n, locals), func(t *testing.T) {
				peers, local := randomAddrs(r, n), randomAddrs(r, locals)
				hear, err := peersFilter(local, peers)
				if err != nil {
					t.Fatal(err)
				}
				count, err := strangersFilter(local, peers)
				if err != nil {
					t.Fatal(err)
				}
				hearVM, countVM := emulated(t, hear), emulated(t, count)
				for range 500 {
					src, dst := randomAddrs(r, 1)[0], randomAddrs(r, 1)[0]
					if n > 0 && r.IntN(2) == 0 {
						src = peers[r.IntN(n)]
						if r.IntN(4) == 0 {
							src = src.Next()
						}
					}
					if locals > 0 && r.IntN(4) != 0 {
						dst = local[r.IntN(locals)]
					}
					if !src.IsValid() {
						continue
					}
					want, wantCount := 0, passHeads
					if slices.Contains(peers, src) && (locals == 0 || slices.Contains(local, dst)) {
						want, wantCount = passAll, 0
					}
					datagram := heads(src, dst)
					if got, err := hearVM.Run(datagram); got != want || err != nil {
						t.Fatalf("%s to %s: peers' filter passes %d, %v, want %d", src, dst, got, err, want)
					}
					if got, err := countVM.Run(datagram); got != wantCount || err != nil {
						t.Fatalf("%s to %s: strangers' filter passes %d, %v, want %d", src, dst, got, err, wantCount)
					}
				}
			})
		}
	}
}

// TestFilterDepth: a thousand peers cost about as many compares as DESIGN wants.
func TestFilterDepth(t *testing.T) {
	peers := randomAddrs(rand.New(rand.NewPCG(3, 4)), 1000)
	prog, err := peersFilter(nil, peers)
	if err != nil {
		t.Fatal(err)
	}
	if most := compares(prog); most > 7+leafCompare+1 {
		t.Errorf("%d compares for 1,000 peers, want at most %d", most, 7+leafCompare+1)
	}
	if len(prog) > 2000 {
		t.Errorf("%d instructions for 1,000 peers, want at most 2,000", len(prog))
	}
}

// compares returns the most conditional jumps on any path through a program.
func compares(prog []bpf.Instruction) int {
	most := make([]int, len(prog)+1)
	for i := len(prog) - 1; i >= 0; i-- {
		switch ins := prog[i].(type) {
		case bpf.RetConstant:
		case bpf.Jump:
			most[i] = most[i+1+int(ins.Skip)]
		case bpf.JumpIf:
			most[i] = 1 + max(most[i+1+int(ins.SkipTrue)], most[i+1+int(ins.SkipFalse)])
		default:
			most[i] = most[i+1]
		}
	}
	return most[0]
}

func TestFilterLimits(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	if _, err := peersFilter(nil, randomAddrs(r, 5000)); err == nil || !strings.Contains(err.Error(), "5000 peers") {
		t.Errorf("5,000 peers: got %v", err)
	}
	if _, err := peersFilter(randomAddrs(r, 256), nil); err == nil {
		t.Error("256 local addresses: no error")
	}
}

// TestFilterKernel has the kernel load and run filters, on a socketpair.
func TestFilterKernel(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	local := netip.MustParseAddr("192.0.2.1")
	for _, n := range []int{0, 1, 100, 1000} {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		peers := randomAddrs(r, n)
		prog, err := strangersFilter([]netip.Addr{local}, peers)
		if err != nil {
			t.Fatal(err)
		}
		if err := attach(fds[0], prog); err != nil {
			t.Fatalf("%d peers: %v", n, err)
		}
		for _, src := range append(peers, randomAddrs(r, 50)...) {
			long := append(heads(src, local), make([]byte, 100)...)
			if _, err := unix.Write(fds[1], long); err != nil {
				t.Fatal(err)
			}
			got, err := unix.Read(fds[0], make([]byte, 200))
			if slices.Contains(peers, src) {
				if err != unix.EAGAIN {
					t.Errorf("%d peers: %s passes with %d bytes, %v", n, src, got, err)
				}
			} else if got != passHeads || err != nil {
				t.Errorf("%d peers: %s passes with %d bytes, %v, want %d", n, src, got, err, passHeads)
			}
		}
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
}

func TestDrain(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	for range 3 {
		if _, err := unix.Write(fds[1], make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	if err := drain(fds[0]); err != nil {
		t.Fatal(err)
	}
	if n, err := unix.Read(fds[0], make([]byte, 1000)); err != unix.EAGAIN {
		t.Errorf("read %d bytes, %v, want %v", n, err, unix.EAGAIN)
	}
}
