package encap

import (
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"weft/internal/header"
)

// packetPath is how a peer is reached by packet socket.
type packetPath struct {
	src  netip.Addr                // outer source
	name unix.RawSockaddrLinklayer // link, next hop
}

// openPacket adds packet sockets, one for each version of IP. Where the kernel has
// none, raw sockets have to do.
func (u *Underlay) openPacket(cfg *Config) {
	for _, f := range u.families {
		var err error
		if f.packet, err = openPacket(cfg); err != nil {
			u.log.Warn("no packet socket", "err", err)
		}
	}
}

// openPacket opens a packet socket that only sends: of protocol 0 nothing is queued.
func openPacket(cfg *Config) (int, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open packet socket: %w", err)
	}
	if err := setBuffer(cfg, fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// newPacketPath returns the way out by a link to a next hop.
func newPacketPath(src netip.Addr, link int, hop header.MAC) *packetPath {
	etherType := etherTypeOf(src)
	swapped := etherType<<8 | etherType>>8 // little-endian machines only
	p := &packetPath{src: src, name: unix.RawSockaddrLinklayer{
		Family: unix.AF_PACKET, Protocol: swapped, Ifindex: int32(link), Halen: 6,
	}}
	hop.Put(p.name.Addr[:])
	return p
}

// destination returns the link and the next hop as msg_name and msg_namelen of
// struct msghdr take them.
func (p *packetPath) destination() (*byte, uint32) {
	return (*byte)(unsafe.Pointer(&p.name)), unix.SizeofSockaddrLinklayer
}

// etherTypeOf returns the EtherType of packets from an address.
func etherTypeOf(a netip.Addr) uint16 {
	if a.Is6() {
		return header.TypeIPv6
	}
	return header.TypeIPv4
}

func (p *packetPath) equal(o *packetPath) bool {
	return (p == nil) == (o == nil) && (p == nil || *p == *o)
}
