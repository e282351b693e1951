package encap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"
)

// Socket filters (socket(7), SO_ATTACH_FILTER) keep strangers from peers while
// they are still in the kernel. A raw socket's filter sees the outer IPv4 header
// at offset 0.
const (
	passAll     = 0x40000 // more than any datagram
	passHeads   = 24      // outer header and GRE flags, for the socket that only counts
	maxFilter   = 4096    // instructions that the kernel takes (BPF_MAXINSNS)
	maxSkip     = 255     // instructions that a conditional jump reaches
	offsetSrc   = 12
	offsetDst   = 16
	leafCompare = 8 // addresses compared one after another at the end of the tree
)

// dropAll is the filter of a socket that must not fill up yet, or never.
var dropAll = []bpf.Instruction{bpf.RetConstant{Val: 0}}

// verdicts are the bytes of a datagram that a filter lets pass.
type verdicts struct{ peer, stranger uint32 }

// peersFilter passes whole datagrams of peers to a local address.
func peersFilter(local, peers []netip.Addr) ([]bpf.Instruction, error) {
	return filter(local, peers, verdicts{peer: passAll})
}

// strangersFilter passes the heads of all that peersFilter refuses.
func strangersFilter(local, peers []netip.Addr) ([]bpf.Instruction, error) {
	return filter(local, peers, verdicts{stranger: passHeads})
}

// filter tells peers from strangers. local may be empty: then any unicast
// address of the host will do. peers must be sorted.
func filter(local, peers []netip.Addr, v verdicts) ([]bpf.Instruction, error) {
	head, err := checkDestination(local, v)
	if err != nil {
		return nil, err
	}
	head = append(head, bpf.LoadAbsolute{Off: offsetSrc, Size: 4})
	sources := make([]uint32, len(peers))
	for i, a := range peers {
		sources[i] = number(a)
	}
	// Longer leaves cost compares but save instructions.
	for leaf := leafCompare; leaf < maxSkip; leaf *= 2 {
		prog := append(head[:len(head):len(head)], checkSource(sources, leaf, v)...)
		if len(prog) <= maxFilter {
			return prog, nil
		}
	}
	return nil, fmt.Errorf("%d peers are more than a socket filter of %d instructions holds", len(peers), maxFilter)
}

// checkDestination refuses what was not sent to this host alone, broadcast and
// multicast included, and, where local addresses are set, not to one of them.
func checkDestination(local []netip.Addr, v verdicts) ([]bpf.Instruction, error) {
	const packetHost = 0 // PACKET_HOST (packet(7))
	prog := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: packetHost, SkipTrue: 1},
		bpf.RetConstant{Val: v.stranger},
	}
	if len(local) == 0 {
		return prog, nil
	}
	if len(local) > maxSkip {
		return nil, errors.New("more than 255 local addresses")
	}
	prog = append(prog, bpf.LoadAbsolute{Off: offsetDst, Size: 4})
	for i, a := range local {
		prog = append(prog, bpf.JumpIf{Cond: bpf.JumpEqual, Val: number(a), SkipTrue: uint8(len(local) - i)})
	}
	return append(prog, bpf.RetConstant{Val: v.stranger}), nil
}

// checkSource is a binary tree over the sorted addresses of peers, so that a
// thousand of them cost about ten compares. The address is in the accumulator.
func checkSource(peers []uint32, leaf int, v verdicts) []bpf.Instruction {
	if n := len(peers); n <= leaf {
		prog := make([]bpf.Instruction, 0, n+2)
		for i, a := range peers {
			prog = append(prog, bpf.JumpIf{Cond: bpf.JumpEqual, Val: a, SkipTrue: uint8(n - i)})
		}
		return append(prog, bpf.RetConstant{Val: v.stranger}, bpf.RetConstant{Val: v.peer})
	}
	half := len(peers) / 2
	low, high := checkSource(peers[:half], leaf, v), checkSource(peers[half:], leaf, v)
	prog := make([]bpf.Instruction, 0, 2+len(low)+len(high))
	if len(low) <= maxSkip {
		prog = append(prog, bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: peers[half], SkipTrue: uint8(len(low))})
	} else { // too far for a conditional jump
		prog = append(prog,
			bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: peers[half], SkipFalse: 1},
			bpf.Jump{Skip: uint32(len(low))})
	}
	return append(append(prog, low...), high...)
}

// number returns an IPv4 address as a filter compares it.
func number(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}
