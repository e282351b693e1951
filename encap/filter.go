package encap

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"
)

// Socket filters (socket(7), SO_ATTACH_FILTER) keep strangers from peers while
// they are still in the kernel.
const (
	passAll     = 0x40000 // more than any datagram
	passHeads   = 24      // outer IPv4 header and GRE flags, for the socket that only counts
	maxFilter   = 4096    // instructions that the kernel takes (BPF_MAXINSNS)
	maxSkip     = 255     // instructions that a conditional jump reaches
	maxLocal    = 255
	leafCompare = 8 // addresses compared one after another at the end of the tree
)

// dropAll is the filter of a socket that must not fill up yet, or never.
var dropAll = []bpf.Instruction{bpf.RetConstant{Val: 0}}

// verdicts are the bytes of a datagram that a filter lets pass.
type verdicts struct{ peer, stranger uint32 }

// layout says where a filter finds the outer addresses.
type layout struct {
	src, dst uint32 // offsets
	words    int    // of 4 bytes in an address
}

// atNetwork is the offset from which a filter sees the network header, wherever
// the datagram begins for it (SKF_NET_OFF, linux/filter.h).
const atNetwork = 0xfff0_0000

// layoutOf: a raw socket's filter sees an IPv4 header at offset 0, but the GRE
// header over IPv6.
func layoutOf(v6 bool) layout {
	if v6 {
		return layout{src: atNetwork + 8, dst: atNetwork + 24, words: 4}
	}
	return layout{src: 12, dst: 16, words: 1}
}

// peersFilter passes whole datagrams of peers to a local address.
func peersFilter(v6 bool, local, peers []netip.Addr) ([]bpf.Instruction, error) {
	return layoutOf(v6).filter(local, peers, verdicts{peer: passAll})
}

// strangersFilter passes the heads of all that peersFilter refuses.
func strangersFilter(v6 bool, local, peers []netip.Addr) ([]bpf.Instruction, error) {
	return layoutOf(v6).filter(local, peers, verdicts{stranger: passHeads})
}

// filter tells peers from strangers. local may be empty: then any unicast
// address of the host will do. peers must be sorted.
func (l layout) filter(local, peers []netip.Addr, v verdicts) ([]bpf.Instruction, error) {
	if len(local) > maxLocal {
		return nil, fmt.Errorf("more than %d local addresses", maxLocal)
	}
	head := l.checkDestination(local, v)
	// Longer leaves cost compares but save instructions.
	for leaf := leafCompare; leaf < maxSkip; leaf *= 2 {
		prog := append(head[:len(head):len(head)], l.checkWord(0, peers, leaf, v)...)
		if len(prog) <= maxFilter {
			return prog, nil
		}
	}
	return nil, fmt.Errorf("%d peers are more than a socket filter of %d instructions holds", len(peers), maxFilter)
}

// checkDestination refuses what was not sent to this host alone, broadcast and
// multicast included, and, where local addresses are set, not to one of them.
func (l layout) checkDestination(local []netip.Addr, v verdicts) []bpf.Instruction {
	const packetHost = 0 // PACKET_HOST (packet(7))
	prog := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: packetHost, SkipTrue: 1},
		bpf.RetConstant{Val: v.stranger},
	}
	if len(local) == 0 {
		return prog
	}
	size := 2*l.words + 1 // instructions for each address
	for i, a := range local {
		for word := range l.words {
			next := size - 2*(word+1)
			prog = append(prog,
				bpf.LoadAbsolute{Off: l.dst + uint32(4*word), Size: 4},
				bpf.JumpIf{Cond: bpf.JumpEqual, Val: l.word(a, word), SkipFalse: uint8(next)})
		}
		prog = append(prog, bpf.Jump{Skip: uint32((len(local)-i-1)*size + 1)})
	}
	return append(prog, bpf.RetConstant{Val: v.stranger})
}

// checkWord tells whether the source is one of peers, which agree in the words
// before this one.
func (l layout) checkWord(word int, peers []netip.Addr, leaf int, v verdicts) []bpf.Instruction {
	load := bpf.LoadAbsolute{Off: l.src + uint32(4*word), Size: 4}
	return append([]bpf.Instruction{load}, l.tree(word, peers, leaf, v)...)
}

// tree is a binary tree over one word of the sorted addresses of peers, so that a
// thousand of them cost about ten compares. The word is in the accumulator.
func (l layout) tree(word int, peers []netip.Addr, leaf int, v verdicts) []bpf.Instruction {
	if len(peers) == 0 {
		return []bpf.Instruction{bpf.RetConstant{Val: v.stranger}}
	}
	if word == l.words-1 && len(peers) <= leaf {
		return l.leaf(word, peers, v)
	}
	first := l.word(peers[0], word)
	if first == l.word(peers[len(peers)-1], word) {
		return append([]bpf.Instruction{
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: first, SkipTrue: 1},
			bpf.RetConstant{Val: v.stranger},
		}, l.checkWord(word+1, peers, leaf, v)...)
	}
	half := l.half(word, peers)
	low, high := l.tree(word, peers[:half], leaf, v), l.tree(word, peers[half:], leaf, v)
	prog := make([]bpf.Instruction, 0, 2+len(low)+len(high))
	if len(low) <= maxSkip {
		prog = append(prog, bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: l.word(peers[half], word), SkipTrue: uint8(len(low))})
	} else { // too far for a conditional jump
		prog = append(prog,
			bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: l.word(peers[half], word), SkipFalse: 1},
			bpf.Jump{Skip: uint32(len(low))})
	}
	return append(append(prog, low...), high...)
}

// leaf compares the last word with that of one peer after another.
func (l layout) leaf(word int, peers []netip.Addr, v verdicts) []bpf.Instruction {
	n := len(peers)
	prog := make([]bpf.Instruction, 0, n+2)
	for i, a := range peers {
		prog = append(prog, bpf.JumpIf{Cond: bpf.JumpEqual, Val: l.word(a, word), SkipTrue: uint8(n - i)})
	}
	return append(prog, bpf.RetConstant{Val: v.stranger}, bpf.RetConstant{Val: v.peer})
}

// half returns where to cut peers in two, those with the same word kept together.
// There are at least two words.
func (l layout) half(word int, peers []netip.Addr) int {
	at := len(peers) / 2
	middle := l.word(peers[at], word)
	for at > 0 && l.word(peers[at-1], word) == middle {
		at--
	}
	for at == 0 || l.word(peers[at], word) == l.word(peers[at-1], word) {
		at++
	}
	return at
}

// word returns a part of an address as a filter compares it.
func (l layout) word(a netip.Addr, word int) uint32 {
	b := a.AsSlice()
	return binary.BigEndian.Uint32(b[4*word:])
}
