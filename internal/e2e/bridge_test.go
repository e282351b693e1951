package e2e

import (
	"bytes"
	"encoding/binary"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// bridge is a naive learning bridge for one domain, the tests' own opinion of
// where a frame goes. Places are names of ports, "peer" is all that is remote.
type bridge struct {
	table map[[6]byte]string
	fixed map[[6]byte]bool // attached: never moves
	size  int              // largest frame
}

func newBridge(size int) *bridge {
	return &bridge{table: map[[6]byte]string{}, fixed: map[[6]byte]bool{}, size: size}
}

// attach fixes a MAC to a port.
func (b *bridge) attach(mac []byte, port string) {
	b.table[[6]byte(mac)] = port
	b.fixed[[6]byte(mac)] = true
}

var linkLocal = []byte{0x01, 0x80, 0xc2, 0x00, 0x00}

// forward says where a frame goes: to a place, "flood", "routers", or nowhere with
// a reason.
func (b *bridge) forward(f []byte, from string) (to, reason string) {
	if len(f) < 14 {
		return "", "inner_runt"
	}
	dst, src := [6]byte(f[:6]), [6]byte(f[6:12])
	switch {
	case src[0]&1 != 0 || src == [6]byte{}:
		if from == "peer" {
			return "", "inner_smac"
		}
		return "", "l2_smac"
	case b.fixed[src] && b.table[src] != from:
		return "", "l2_spoof"
	case from == "peer" && len(f) > b.size && !tagged(f):
		return "", "inner_big"
	}
	b.table[src] = from
	at, known := b.table[dst]
	switch {
	case bytes.Equal(dst[:5], linkLocal) && dst[5] < 16, binary.BigEndian.Uint16(f[12:]) == 0x8808:
		return "", "l2_linklocal"
	case listenerReport(f):
		return "routers", ""
	case dst[0]&1 != 0 || !known:
		return "flood", ""
	case at == from:
		return "", "l2_self"
	}
	return at, ""
}

// tagged reports whether a frame has a VLAN tag, which comes on top of its size.
func tagged(f []byte) bool {
	switch binary.BigEndian.Uint16(f[12:]) {
	case 0x8100, 0x88a8:
		return true
	}
	return false
}

// listenerReport reports whether a frame is one of IGMP or MLD by which a listener
// says what it wants to hear.
func listenerReport(f []byte) bool {
	for _, l := range gopacket.NewPacket(f, layers.LayerTypeEthernet, gopacket.NoCopy).Layers() {
		switch l := l.(type) {
		case *layers.GRE, *layers.UDP: // what is in a tunnel is not for this switch
			return false
		case *layers.MLDv1MulticastListenerReportMessage, *layers.MLDv1MulticastListenerDoneMessage, *layers.MLDv2MulticastListenerReportMessage:
			return true
		case *layers.IGMPv1or2:
			return l.Type != layers.IGMPMembershipQuery
		case *layers.IGMP:
			return l.Type == layers.IGMPMembershipReportV3
		}
	}
	return false
}
