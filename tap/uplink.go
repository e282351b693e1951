package tap

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"weft/internal/header"
	"weft/internal/offload"
	"weft/internal/rawdev"
)

// TagRoom is what Receive needs in its buffer beyond a virtio header and a
// frame, to put a VLAN tag back.
const TagRoom = header.VLANLen

// Uplink is a link of the host, such as its network card, attached through a
// packet socket (packet(7)). The link stays the host's, with its addresses and
// connections.
//
//	    Receive: from the LAN, and what the host sends
//	   +----------------------------------------------+
//	   |                                              |
//	Uplink --Send--> link ===== LAN                   |
//	   |              ^ as if it came in there        |
//	 Host() --> TAP --+--> the host's stack ----------+
//
// What is for the host itself can not be sent by the link, since it would leave
// to the LAN. It is written to a TAP whose ingress is redirected to the link's
// (tc-mirred(8)): for the host it came in by the link.
//
// One goroutine at a time may Receive, any number may Send beside it, each with
// buffers of its own. Close is for when none of them is under way.
type Uplink struct {
	fd   atomic.Int32 // -1 once closed
	host *Device      // the TAP; nil: none
	vlan uint16       // frames have this tag on the link, and none here; 0: tags pass unread

	filter   rawdev.PacketFilter // as the kernel has it
	filtered bool                // false: the descriptor is no packet socket

	// Of Receive.
	msg     unix.Msghdr
	iov     unix.Iovec
	name    unix.RawSockaddrLinklayer
	control [64]byte
}

// FromPacketSocket returns an Uplink over fd, with host as the way to the host. It
// is the seam for tests: any non-blocking datagram socket will do, each of whose
// messages is [virtio header][frame]; nothing is filtered. The Uplink owns both.
func FromPacketSocket(fd, vlan int, host *Device) *Uplink {
	u := &Uplink{vlan: uint16(vlan), host: host}
	u.fd.Store(int32(fd))
	u.msg.Iov, u.msg.Iovlen = &u.iov, 1
	u.msg.Name, u.msg.Control = (*byte)(unsafe.Pointer(&u.name)), &u.control[0]
	return u
}

// FD returns the descriptor, non-blocking, for epoll(7); -1 once closed.
func (u *Uplink) FD() int { return int(u.fd.Load()) }

// Host returns the way to the host's own stack: what is written there reaches it
// as if the link had received it. Nothing ever has to be read. The Uplink closes
// it; nil where there is none.
func (u *Uplink) Host() *Device { return u.host }

// SetFilter says which frames Receive returns. own are the stations on this side
// of the link; with open, or with more than rawdev.MaxOwn of them, there are
// others too. Without SetFilter there are no stations: only what is for all
// comes in. Not beside another SetFilter.
func (u *Uplink) SetFilter(own []header.MAC, open bool) error {
	f := rawdev.PacketFilter{VLAN: int(u.vlan), Own: own, Open: open}
	if len(own) > rawdev.MaxOwn || open {
		f.Own, f.Open = nil, true
	}
	if f.Open == u.filter.Open && slices.Equal(f.Own, u.filter.Own) {
		return nil
	}
	prog, err := f.Assemble()
	if err == nil && u.filtered {
		err = rawdev.SetFilter(u.FD(), prog)
	}
	if err != nil {
		return fmt.Errorf("set filter of uplink: %w", err)
	}
	u.filter = f
	return nil
}

// Receive reads one frame without waiting. It lies in buf behind its virtio
// header, which the kernel wrote, with its VLAN tag in it, or without the one
// that all frames of the Uplink have; buf takes TagRoom more than both. sent says
// that the host sent the frame by the link, where it left to the LAN already.
// Errors are bare syscall.Errno: EAGAIN when there is nothing, ENETDOWN once when
// the link went down or away, EINVAL for a frame that a virtio header cannot
// describe, EMSGSIZE for one that did not fit; those two are lost.
func (u *Uplink) Receive(buf []byte) (frame []byte, sent bool, err error) {
	const at = TagRoom
	u.iov.Base = &buf[at]
	u.iov.SetLen(len(buf) - at)
	for {
		u.msg.Namelen = uint32(unsafe.Sizeof(u.name))
		u.msg.SetControllen(len(u.control))
		u.msg.Flags = 0
		n, _, errno := syscall.RawSyscall(unix.SYS_RECVMSG, uintptr(u.fd.Load()), uintptr(unsafe.Pointer(&u.msg)), 0)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno != 0:
			return nil, false, errno
		case u.msg.Flags&unix.MSG_TRUNC != 0:
			return nil, false, syscall.EMSGSIZE
		case n == 0: // only a socket whose other end is closed
			return nil, false, syscall.ENETDOWN
		}
		frame = buf[at : at+int(n)]
		break
	}
	sent = u.msg.Namelen > 0 && u.name.Pkttype == packetOutgoing
	if len(frame) < offload.HeaderLen+header.EthernetLen {
		return frame, sent, nil
	}
	tci, tpid, tagged := u.tag()
	switch {
	case u.vlan == 0 && tagged:
		frame = insertTag(buf[:at+len(frame)], tpid, tci)
	case u.vlan != 0 && !tagged && isTag(frame):
		frame = removeTag(frame)
	}
	return frame, sent, nil
}

// Lost returns how many frames the kernel dropped since the last call because
// they were not read in time. One goroutine at a time.
func (u *Uplink) Lost() uint64 {
	n, err := rawdev.PacketDrops(u.FD())
	if err != nil { // not a packet socket
		return 0
	}
	return n
}

// packetOutgoing is PACKET_OUTGOING of linux/if_packet.h.
const packetOutgoing = 4

// tag returns the VLAN tag that the kernel took from the frame just read
// (struct tpacket_auxdata, linux/if_packet.h).
func (u *Uplink) tag() (tci, tpid uint16, ok bool) {
	const (
		statusVLAN, statusTPID = 1 << 4, 1 << 6 // TP_STATUS_VLAN_VALID, TP_STATUS_VLAN_TPID_VALID
		size                   = 20
	)
	if int(u.msg.Controllen) < unix.CmsgLen(size) {
		return 0, 0, false
	}
	h := (*unix.Cmsghdr)(unsafe.Pointer(&u.control[0]))
	if h.Level != unix.SOL_PACKET || h.Type != unix.PACKET_AUXDATA {
		return 0, 0, false
	}
	aux := u.control[unix.CmsgLen(0):]
	status := binary.NativeEndian.Uint32(aux)
	if status&statusVLAN == 0 {
		return 0, 0, false
	}
	tci, tpid = binary.NativeEndian.Uint16(aux[16:]), header.TypeVLAN
	if status&statusTPID != 0 {
		tpid = binary.NativeEndian.Uint16(aux[18:])
	}
	return tci, tpid, true
}

// macsEnd is where the addresses of a frame behind its virtio header end.
const macsEnd = offload.HeaderLen + 12

// isTag reports whether the frame behind a virtio header begins with a tag.
func isTag(b []byte) bool {
	typ := binary.BigEndian.Uint16(b[macsEnd:])
	return (typ == header.TypeVLAN || typ == header.TypeQinQ) && len(b) >= macsEnd+2*header.VLANLen
}

// insertTag puts a tag into the frame that begins, with its virtio header,
// header.VLANLen bytes into buf, and returns it.
func insertTag(buf []byte, tpid, tci uint16) []byte {
	copy(buf, buf[header.VLANLen:header.VLANLen+macsEnd])
	binary.BigEndian.PutUint16(buf[macsEnd:], tpid)
	binary.BigEndian.PutUint16(buf[macsEnd+2:], tci)
	offload.ParseHeader(buf).Shift(header.VLANLen).Put(buf)
	return buf
}

// removeTag takes the tag out of a frame behind its virtio header and returns it.
func removeTag(b []byte) []byte {
	copy(b[header.VLANLen:], b[:macsEnd])
	b = b[header.VLANLen:]
	offload.ParseHeader(b).Shift(-header.VLANLen).Put(b)
	return b
}

// Send sends one frame behind its virtio header by the link, without waiting; buf
// is the caller's again on return. The kernel cuts what the link cannot. Errors
// are bare syscall.Errno: EAGAIN and ENOBUFS when queues are full, EMSGSIZE
// beyond the link's MTU, ENETDOWN or ENXIO when the link is down or gone.
func (u *Uplink) Send(buf []byte) error {
	if u.vlan == 0 {
		return u.send(buf, nil)
	}
	if len(buf) < macsEnd {
		return syscall.EINVAL
	}
	var head [macsEnd + header.VLANLen]byte
	copy(head[:], buf[:macsEnd])
	binary.BigEndian.PutUint16(head[macsEnd:], header.TypeVLAN)
	binary.BigEndian.PutUint16(head[macsEnd+2:], u.vlan)
	offload.ParseHeader(head[:]).Shift(header.VLANLen).Put(head[:])
	err := u.send(head[:], buf[macsEnd:])
	runtime.KeepAlive(&head) // the kernel's pointer to it is none that the compiler sees
	return err
}

// send sends a frame in one or two parts.
func (u *Uplink) send(head, rest []byte) error {
	iov := [2]syscall.Iovec{{Base: &head[0], Len: uint64(len(head))}}
	parts := 1
	if len(rest) > 0 {
		iov[1] = syscall.Iovec{Base: &rest[0], Len: uint64(len(rest))}
		parts = 2
	}
	for {
		_, _, errno := syscall.RawSyscall(syscall.SYS_WRITEV, uintptr(u.fd.Load()), uintptr(unsafe.Pointer(&iov[0])), uintptr(parts))
		switch errno {
		case 0:
			return nil
		case syscall.EINTR:
		default:
			return errno
		}
	}
}

// Close takes the link out of promiscuous mode, unless somebody else wants it,
// and deletes the TAP. A second call does nothing.
func (u *Uplink) Close() error {
	fd := u.fd.Swap(-1)
	if fd < 0 {
		return nil
	}
	err := unix.Close(int(fd))
	if u.host != nil {
		if herr := u.host.Close(); err == nil {
			err = herr
		}
	}
	return err
}
