package rawdev

import (
	"fmt"

	"golang.org/x/net/bpf"

	"weft/internal/header"
)

// PacketFilter says which frames of a link a packet socket lets through:
//
//	                      to one station           to a group
//	received for host     no: the host has it      -
//	received otherwise    for an own station       not from an own station
//	sent by the host      for an own station       not from an own station
//
// What an own station sends to a group comes back to the socket where the switch
// handed it to the host.
type PacketFilter struct {
	VLAN int          // only frames with this tag, 1 to 4094; 0: all
	Own  []header.MAC // stations on the switch's side of the link
	Open bool         // there are others besides: frames for every station pass, and from every one
}

// MaxOwn is how many stations a filter names; with more it has to be Open.
const MaxOwn = 256

// Offsets of the addresses in a frame, and the two types of struct sockaddr_ll
// that matter (linux/if_packet.h).
const (
	offDst, offSrc, offType = 0, 6, 12

	packetHost = 0 // PACKET_HOST: to the link's own address
)

// Assemble returns the program.
func (f PacketFilter) Assemble() ([]bpf.RawInstruction, error) {
	if len(f.Own) > MaxOwn {
		return nil, fmt.Errorf("assemble packet filter: %d stations, at most %d are possible", len(f.Own), MaxOwn)
	}
	var p []bpf.Instruction
	p = append(p,
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: packetHost, SkipTrue: 1},
		refuse,
	)
	if f.VLAN != 0 {
		p = append(p, ofVLAN(f.VLAN)...)
	}
	if f.Open {
		p = append(p, pass)
	} else {
		unicast := append(among(offDst, f.Own, pass), refuse)
		p = append(p,
			bpf.LoadAbsolute{Off: offDst, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: 1, SkipTrue: 1}, // the group bit
			bpf.Jump{Skip: uint32(len(among(offSrc, f.Own, refuse))) + 1},
		)
		p = append(append(p, among(offSrc, f.Own, refuse)...), pass)
		p = append(p, unicast...)
	}
	raw, err := bpf.Assemble(p)
	if err != nil {
		return nil, fmt.Errorf("assemble packet filter: %w", err)
	}
	return raw, nil
}

var (
	pass   = bpf.RetConstant{Val: 1 << 20} // longer than any frame
	refuse = bpf.RetConstant{Val: 0}
)

// ofVLAN refuses frames that do not have the tag vid, beside the frame, as
// received ones have it, or in it.
func ofVLAN(vid int) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 2},
		bpf.LoadExtension{Num: bpf.ExtVLANTag},
		bpf.Jump{Skip: 4},
		bpf.LoadAbsolute{Off: offType, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: header.TypeVLAN, SkipTrue: 1},
		refuse,
		bpf.LoadAbsolute{Off: offType + 2, Size: 2},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0x0fff},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(vid), SkipTrue: 1},
		refuse,
	}
}

// among ends the program with verdict where the address at off is one of macs,
// and else goes on behind itself.
func among(off uint32, macs []header.MAC, verdict bpf.Instruction) []bpf.Instruction {
	low := bpf.LoadAbsolute{Off: off + 2, Size: 4}
	p := []bpf.Instruction{low}
	for _, m := range macs {
		p = append(p,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(m), SkipTrue: 4},
			bpf.LoadAbsolute{Off: off, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(m >> 32), SkipTrue: 1},
			verdict,
			low, // the upper half was another's
		)
	}
	return p
}
