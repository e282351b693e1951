package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/lab"
)

// place is a spot from which frames are sent into a system, and where they
// come out: a raw socket on an interface inside a namespace.
type place struct {
	name   string
	fd     int
	dst    net.HardwareAddr // place "peer": of the host; sent packets get it in front
	frames [][]byte         // received and not yet looked at
	buf    []byte
}

// ignoreOutgoing is PACKET_IGNORE_OUTGOING of linux/if_packet.h.
const ignoreOutgoing = 23

// open opens a socket on an interface.
func open(name string, ns *lab.NS, ifname string) (*place, error) {
	p := &place{name: name, buf: make([]byte, 1<<17)}
	err := ns.Do(func() (err error) {
		ifi, err := net.InterfaceByName(ifname)
		if err != nil {
			return err
		}
		if p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return err
		}
		_ = unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20)
		all := uint16(unix.ETH_P_ALL)
		return errors.Join(
			unix.SetsockoptInt(p.fd, unix.SOL_PACKET, ignoreOutgoing, 1),
			unix.SetsockoptInt(p.fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1),
			unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: ifi.Index}))
	})
	if err != nil {
		return nil, fmt.Errorf("open place %s: %w", name, err)
	}
	return p, nil
}

func (p *place) close() { unix.Close(p.fd) }

// send sends one frame; at the link to the peers, one IPv4 packet.
func (p *place) send(b []byte) error {
	if p.dst != nil {
		b = join(p.dst, mac(peerMAC), []byte{8, 0}, b)
	}
	for {
		_, err := unix.Write(p.fd, b)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.ENOBUFS) {
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			return fmt.Errorf("send %d bytes at %s: %w", len(b), p.name, err)
		}
		return nil
	}
}

// poll moves what arrived into frames.
func (p *place) poll() {
	oob := make([]byte, 128)
	for {
		n, oobn, _, _, err := unix.Recvmsg(p.fd, p.buf, oob, unix.MSG_DONTWAIT)
		if err != nil {
			return
		}
		if f := retag(p.buf[:n], oob[:oobn]); !isHello(f) {
			p.frames = append(p.frames, f)
		}
	}
}

// isHello tells the path hello, which a switch sends to its peers at times of its
// own: GRE with key 0 and the local experimental protocol 0x88b5, also in UDP to
// port 4754. No row sends such a thing.
func isHello(f []byte) bool {
	const outerEnd = 14 + 20 // Ethernet and IPv4 without options, as weft sends it
	if len(f) < outerEnd+8 || f[12] != 8 || f[13] != 0 || f[14] != 0x45 {
		return false
	}
	gre := f[outerEnd:]
	if f[14+9] == unix.IPPROTO_UDP && binary.BigEndian.Uint16(gre[2:]) == 4754 {
		gre = gre[8:]
	} else if f[14+9] != unix.IPPROTO_GRE {
		return false
	}
	return bytes.HasPrefix(gre, []byte{0x20, 0, 0x88, 0xb5, 0, 0, 0, 0})
}

// retag copies a frame and puts its outer VLAN tag back, which the kernel took
// out into struct tpacket_auxdata (packet(7)).
func retag(f, oob []byte) []byte {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err == nil && len(msgs) == 1 && msgs[0].Header.Type == unix.PACKET_AUXDATA && len(msgs[0].Data) >= 20 {
		aux := msgs[0].Data
		if binary.NativeEndian.Uint32(aux)&unix.TP_STATUS_VLAN_VALID != 0 {
			return tag(f, binary.NativeEndian.Uint16(aux[18:]), binary.NativeEndian.Uint16(aux[16:]))
		}
	}
	return append([]byte(nil), f...)
}
