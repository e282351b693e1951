package control

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"

	"weft/internal/header"
)

// What is derived here goes onto the wire and into containers, and other hosts
// derive the same: none of it may ever change.

// nameID returns the id of a vrf, and of a network whose user gave none: the
// first 24 bits of the SHA-256 of its name; 1 in the place of 0.
func nameID(name string) uint32 {
	sum := sha256.Sum256([]byte(name))
	return max(1, binary.BigEndian.Uint32(sum[:])>>8)
}

// defaultMAC returns the address of a port whose user gave none: 02, then a hash
// of the network's id and the port's first address; without an address, of id,
// host and target.
func defaultMAC(id uint32, addr netip.Addr, host, target string) header.MAC {
	b := binary.BigEndian.AppendUint32(nil, id)
	if addr.IsValid() {
		b = append(b, addr.AsSlice()...)
	} else {
		b = append(b, host+"\x00"+target...)
	}
	sum := sha256.Sum256(b)
	if sum[0] == gatewayOctet { // 02:57 belongs to gateways
		sum[0]++
	}
	return localMAC(sum[:])
}

// hostMAC returns the address from which the switch of a host itself speaks: 02,
// then a hash of the host's name.
func hostMAC(host string) header.MAC {
	sum := sha256.Sum256([]byte(host))
	if sum[0] == gatewayOctet { // 02:57 belongs to gateways
		sum[0]++
	}
	return localMAC(sum[:])
}

// gatewayOctet is the second octet of every gateway's MAC.
const gatewayOctet = 0x57

// gatewayMAC returns the address of the gateway of network id, on every host the same.
func gatewayMAC(id uint32) header.MAC { return 0x0200_0000_0000 | gatewayOctet<<32 | header.MAC(id) }

// localMAC returns 02, which marks a locally administered unicast address, and
// the first five octets of b.
func localMAC(b []byte) header.MAC {
	return header.MACFrom([]byte{0x02, b[0], b[1], b[2], b[3], b[4]})
}
