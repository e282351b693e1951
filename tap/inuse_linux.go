package tap

import (
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"weft/internal/header"
	"weft/internal/offload"
	"weft/internal/rawdev"
)

// How a LAN is asked. RFC 5227 section 1.1 would take seconds, for hosts that
// have just been plugged in; this one has been there for a while.
const (
	inUseProbes = 3
	inUsePause  = 100 * time.Millisecond // behind each
)

// InUse asks the machines behind the link name, which s is the state of, in its
// VLAN where vlan is not 0, whether they have the addresses, and returns the MAC
// of each that somebody has. It speaks from the station from, which has none of
// them, by ARP probes (RFC 5227 section 2.1) and neighbour solicitations without
// a source (RFC 4862 section 5.4). It takes 0.3 s; silence means no.
func InUse(name string, s LinkState, vlan int, from header.MAC, addrs []netip.Addr) (map[netip.Addr]header.MAC, error) {
	prog, err := rawdev.PacketFilter{VLAN: vlan, Own: []header.MAC{from}}.Assemble()
	if err != nil {
		return nil, err
	}
	fd, err := rawdev.OpenPacket(s.Index, prog)
	if err != nil {
		return nil, fmt.Errorf("ask behind link %s: %w", name, err)
	}
	u := FromPacketSocket(fd, vlan, nil)
	defer u.Close()
	a := asker{u: u, from: from, addrs: addrs, found: map[netip.Addr]header.MAC{}, buf: make([]byte, TagRoom+offload.HeaderLen+offload.MaxFrame)}
	for range inUseProbes {
		if err := a.ask(); err != nil {
			return nil, fmt.Errorf("ask behind link %s: %w", name, err)
		}
		a.listen(time.Now().Add(inUsePause))
	}
	return a.found, nil
}

// asker is one call of InUse.
type asker struct {
	u     *Uplink
	from  header.MAC
	addrs []netip.Addr
	found map[netip.Addr]header.MAC
	buf   []byte
}

// ask sends one probe for each address without an answer.
func (a *asker) ask() error {
	for _, addr := range a.addrs {
		if _, ok := a.found[addr]; ok {
			continue
		}
		frame := header.AddressProbe(a.from, addr)
		err := a.u.Send(append(make([]byte, offload.HeaderLen), frame...))
		if err != nil && err != syscall.ENOBUFS && err != syscall.EAGAIN { // there are more to come
			return err
		}
	}
	return nil
}

// listen takes answers until end.
func (a *asker) listen(end time.Time) {
	for {
		left := time.Until(end)
		if left <= 0 || len(a.found) == len(a.addrs) {
			return
		}
		fds := []unix.PollFd{{Fd: int32(a.u.FD()), Events: unix.POLLIN}}
		if n, _ := unix.Poll(fds, int(left/time.Millisecond)+1); n <= 0 {
			continue
		}
		b, _, err := a.u.Receive(a.buf)
		if err == nil && len(b) >= offload.HeaderLen+header.EthernetLen {
			a.hear(b[offload.HeaderLen:])
		}
	}
}

// hear notes who says that it has one of the addresses, or is about to take it.
func (a *asker) hear(eth header.Ethernet) {
	addr, mac, ok := header.SpeaksFor(eth)
	if !ok || mac == a.from {
		return
	}
	for _, want := range a.addrs {
		if want == addr {
			a.found[addr] = mac
		}
	}
}
