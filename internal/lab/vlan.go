package lab

import (
	"fmt"
	"runtime"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Tag makes an interface of n one of a VLAN, as a VLAN device on it would be, on kernels
// without such devices: the kernel puts the tag on whatever leaves by it, super-frames
// too, takes it off what comes in with it, and drops all else that comes in.
func (n *NS) Tag(ifname string, vid uint16) error {
	err := n.Do(func() error {
		link, err := netlink.LinkByName(ifname)
		if err != nil {
			return err
		}
		err = netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_CLSACT, Handle: netlink.MakeHandle(0xffff, 0)}})
		if err != nil {
			return fmt.Errorf("add clsact: %w", err)
		}
		for _, f := range []struct {
			parent uint32
			prog   []uint64
		}{{netlink.HANDLE_MIN_EGRESS, pushTag(vid)}, {netlink.HANDLE_MIN_INGRESS, popTag(vid)}} {
			fd, err := loadClassifier(f.prog)
			if err != nil {
				return fmt.Errorf("load program: %w", err)
			}
			err = netlink.FilterAdd(&netlink.BpfFilter{
				FilterAttrs: netlink.FilterAttrs{LinkIndex: link.Attrs().Index, Parent: f.parent, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1},
				Fd:          fd, Name: "tag", DirectAction: true,
			})
			_ = unix.Close(fd) // the filter holds it
			if err != nil {
				return fmt.Errorf("add filter: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("tag %s in %s with VLAN %d: %w", ifname, n.name, vid, err)
	}
	return nil
}

// insn is an instruction of eBPF (struct bpf_insn, linux/bpf.h).
func insn(code, dst, src uint8, off int16, imm int32) uint64 {
	return uint64(code) | uint64(dst|src<<4)<<8 | uint64(uint16(off))<<16 | uint64(uint32(imm))<<32
}

// Codes of instructions, helpers and answers of a classifier (linux/bpf_common.h,
// linux/bpf.h, linux/pkt_cls.h), and the offset of vlan_tci in struct __sk_buff.
const (
	loadWord = 0x61 // BPF_LDX | BPF_MEM | BPF_W
	mov      = 0xb7 // BPF_ALU64 | BPF_MOV | BPF_K
	and      = 0x57 // BPF_ALU64 | BPF_AND | BPF_K
	jne      = 0x55 // BPF_JMP | BPF_JNE | BPF_K
	call     = 0x85
	exit     = 0x95

	vlanPush, vlanPop = 18, 19 // bpf_skb_vlan_push, bpf_skb_vlan_pop
	actOK, actShot    = 0, 2   // TC_ACT_OK, TC_ACT_SHOT
	vlanTCI           = 24
)

func pushTag(vid uint16) []uint64 {
	return []uint64{
		insn(mov, 2, 0, 0, 0x0081), // ETH_P_8021Q in network order
		insn(mov, 3, 0, 0, int32(vid)),
		insn(call, 0, 0, 0, vlanPush),
		insn(mov, 0, 0, 0, actOK),
		insn(exit, 0, 0, 0, 0),
	}
}

func popTag(vid uint16) []uint64 {
	return []uint64{
		insn(loadWord, 2, 1, vlanTCI, 0),
		insn(and, 2, 0, 0, 0xfff),
		insn(jne, 2, 0, 3, int32(vid)),
		insn(call, 0, 0, 0, vlanPop),
		insn(mov, 0, 0, 0, actOK),
		insn(exit, 0, 0, 0, 0),
		insn(mov, 0, 0, 0, actShot),
		insn(exit, 0, 0, 0, 0),
	}
}

// loadClassifier loads a program for tc-bpf(8) and returns its descriptor (bpf(2)).
func loadClassifier(prog []uint64) (int, error) {
	license := []byte("GPL\x00")
	attr := struct {
		kind, count    uint32
		insns, license unsafe.Pointer
		_              [128]byte
	}{kind: 3, count: uint32(len(prog)), insns: unsafe.Pointer(&prog[0]), license: unsafe.Pointer(&license[0])} // BPF_PROG_TYPE_SCHED_CLS
	fd, _, errno := unix.Syscall(unix.SYS_BPF, 5, uintptr(unsafe.Pointer(&attr)), 128) // BPF_PROG_LOAD
	runtime.KeepAlive(prog)
	runtime.KeepAlive(license)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}
