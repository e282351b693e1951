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

// randomAddrs returns n sorted addresses, some of them next to each other, and
// many IPv6 ones in the same networks.
func randomAddrs(r *rand.Rand, v6 bool, n int) []netip.Addr {
	set := map[netip.Addr]bool{}
	for len(set) < n {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:], r.Uint64())
		binary.BigEndian.PutUint64(b[8:], r.Uint64())
		if r.IntN(4) != 0 {
			copy(b[:8], []byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, byte(r.IntN(2))})
		}
		if r.IntN(4) != 0 {
			copy(b[8:12], []byte{0, 0, 0, byte(r.IntN(2))})
		}
		a := netip.AddrFrom16(b)
		if !v6 {
			a = netip.AddrFrom4([4]byte(b[12:]))
		}
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

// heads returns the start of an outer header, as the kernel's network header.
func heads(src, dst netip.Addr) []byte {
	if src.Is6() {
		b := make([]byte, 44)
		b[0] = 0x60
		copy(b[8:], src.AsSlice())
		copy(b[24:], dst.AsSlice())
		return b
	}
	b := make([]byte, 24)
	b[0] = 0x45
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	return b
}

// emulated returns the program as bpf.VM runs it: without two extensions that it
// lacks, the check of the link layer's packet type, and offsets that count from
// the network header.
func emulated(t *testing.T, prog []bpf.Instruction) *bpf.VM {
	t.Helper()
	prog = slices.Clone(prog[3:])
	for i, ins := range prog {
		if load, ok := ins.(bpf.LoadAbsolute); ok && load.Off >= atNetwork {
			load.Off -= atNetwork
			prog[i] = load
		}
	}
	vm, err := bpf.NewVM(prog)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

// filterCases are numbers of peers; more IPv6 ones do not fit.
var filterCases = map[bool][]int{
	false: {0, 1, 2, 7, 8, 9, 17, 255, 1000, 3000},
	true:  {0, 1, 2, 7, 8, 9, 17, 255, 400},
}

// TestFilter compares both filters with a look into a list.
func TestFilter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for v6, sizes := range filterCases {
		for _, n := range sizes {
			for _, locals := range []int{0, 1, 3, 100} {
				t.Run(fmt.Sprintf("v6=%v, %d peers, %d local", v6, n, locals), func(t *testing.T) {
					checkFilters(t, r, v6, randomAddrs(r, v6, n), randomAddrs(r, v6, locals))
				})
			}
		}
	}
}

func checkFilters(t *testing.T, r *rand.Rand, v6 bool, peers, local []netip.Addr) {
	hear, err := peersFilter(v6, local, peers)
	if err != nil {
		t.Fatal(err)
	}
	count, err := strangersFilter(v6, local, peers)
	if err != nil {
		t.Fatal(err)
	}
	hearVM, countVM := emulated(t, hear), emulated(t, count)
	for range 500 {
		src, dst := randomAddrs(r, v6, 1)[0], randomAddrs(r, v6, 1)[0]
		if len(peers) > 0 && r.IntN(2) == 0 {
			src = near(r, peers[r.IntN(len(peers))])
		}
		if len(local) > 0 && r.IntN(4) != 0 {
			dst = near(r, local[r.IntN(len(local))])
		}
		want, wantCount := 0, passHeads
		if slices.Contains(peers, src) && (len(local) == 0 || slices.Contains(local, dst)) {
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
}

// near returns a, or sometimes an address that differs from it in one bit.
func near(r *rand.Rand, a netip.Addr) netip.Addr {
	if r.IntN(4) != 0 {
		return a
	}
	b := a.AsSlice()
	b[r.IntN(len(b))] ^= 1 << r.IntN(8)
	a, _ = netip.AddrFromSlice(b)
	return a
}

// TestFilterDepth: a thousand peers cost about as many compares as DESIGN wants.
func TestFilterDepth(t *testing.T) {
	peers := randomAddrs(rand.New(rand.NewPCG(3, 4)), false, 1000)
	prog, err := peersFilter(false, nil, peers)
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

// TestFilterNumbered: a thousand IPv6 peers fit where they differ in the last
// word only, and cost few compares.
func TestFilterNumbered(t *testing.T) {
	peers := []netip.Addr{netip.MustParseAddr("2001:db8::1")}
	for len(peers) < 1000 {
		peers = append(peers, peers[len(peers)-1].Next())
	}
	prog, err := peersFilter(true, nil, peers)
	if err != nil {
		t.Fatal(err)
	}
	if most := compares(prog); most > 3+7+leafCompare+1 {
		t.Errorf("%d compares, want at most %d", most, 3+7+leafCompare+1)
	}
}

func TestFilterLimits(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, v6 := range []bool{false, true} {
		if _, err := peersFilter(v6, nil, randomAddrs(r, v6, 5000)); err == nil || !strings.Contains(err.Error(), "5000 peers") {
			t.Errorf("5,000 peers: got %v", err)
		}
		if _, err := peersFilter(v6, randomAddrs(r, v6, 256), nil); err == nil {
			t.Error("256 local addresses: no error")
		}
	}
}

// TestFilterKernel has the kernel load and run filters, on a socketpair.
func TestFilterKernel(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for v6, local := range map[bool]netip.Addr{false: netip.MustParseAddr("192.0.2.1"), true: netip.MustParseAddr("2001:db8::1")} {
		for _, n := range []int{0, 1, 100, 400} {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			peers := randomAddrs(r, v6, n)
			prog, err := strangersFilter(v6, []netip.Addr{local}, peers)
			if err != nil {
				t.Fatal(err)
			}
			if err := attach(fds[0], prog); err != nil {
				t.Fatalf("%d peers: %v", n, err)
			}
			for _, src := range append(peers, randomAddrs(r, v6, 50)...) {
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
