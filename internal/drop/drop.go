// Package drop names every way in which a frame can end without being
// transmitted. A frame that enters the switch is forwarded, answered locally,
// or counted under exactly one of these reasons.
//
// It is a leaf: rooms that parse (encap, internal/offload) return a Reason,
// the dataplane counts it. Nothing here counts.
package drop

// Reason says why a frame was dropped. The zero value means that it was not.
type Reason uint8

// Reasons found while a GRE datagram is opened (RFC 2784, RFC 2890).
const (
	None            Reason = iota
	GREShort               // shorter than its own flags demand
	GREVersion             // version other than 0
	GRERouting             // routing present (RFC 1701)
	GREReserved            // bits 4 or 5 set, which RFC 2784 section 2.3 forbids
	GREChecksum            // checksum present and wrong
	GREChecksumMiss        // checksum demanded by configuration and absent
	GREProto               // protocol type that the tunnel does not carry
	GREKeepalive           // protocol type 0: a keepalive, never answered
	GREKey                 // no network has this key with this peer
	GRESeqOld              // sequence number not newer than the last one
	GREPeer                // outer source or destination is not configured
	GREFrag                // fragment that reached the switch unassembled
	GRELoop                // came from the switch itself
	InnerRunt              // inner frame shorter than an Ethernet header, or packet shorter than an IP header
	InnerBig               // inner frame larger than the MTU of where it goes
	InnerSourceMAC         // inner source MAC is multicast or zero
	InnerVLAN              // VLAN tag where none is taken
	ECNCE                  // congestion experienced outside, not ECN-capable inside (RFC 6040)

	L2SourceMAC // source MAC is multicast or zero
	L2LinkLocal // destination 01:80:c2:00:00:0x, never forwarded (802.1D section 7.12.6)
	L2Self      // destination is on the port that it came from
	L2Split     // from a peer to a peer (split horizon)
	L2Spoof     // speaks for another's address, or as a DHCP server or router
	L2Limit     // port may learn no more addresses
	L2Storm     // flooding limit of the port, or a loop blocks it
	L2Isolated  // from an isolated port to an isolated port
	L2VLAN      // tag of a VLAN that is not the port's
	L2NoPort    // nowhere to go: no other port or peer in the domain

	L3Header
	L3Checksum
	L3Source
	L3Dest
	L3TTL
	L3NoRoute
	L3Reject
	L3Neighbour
	L3Big
	L3Options
	L3L2Broadcast
	L3RateLimited
	L3Fragment // fragment for the switch itself that could not be put together
	ARPBad
	NDBad

	TapFull       // the container's queue was full
	TapDown       // the port's link is down, or its container is gone
	TapVirtio     // virtio header that contradicts the frame
	TapShort      // shorter than an Ethernet header
	TxNoBufs      // the kernel had no buffer for the datagram
	TxTooBig      // larger than the underlay's MTU
	TxUnreachable // no route, link down, or refused by the kernel
	TxEgress      // lost behind an egress TAP: the uplink's queue was full, or it was down
	RxOverflow    // lost in the kernel's receive queue, before the switch saw it
	DecapBudget   // over the share of one peer
	numReasons    // keep last
)

var names = [numReasons]string{
	None:     "none",
	GREShort: "gre_short", GREVersion: "gre_version", GRERouting: "gre_routing", GREReserved: "gre_reserved",
	GREChecksum: "gre_csum", GREChecksumMiss: "gre_csum_missing", GREProto: "gre_proto", GREKeepalive: "gre_keepalive",
	GREKey: "gre_key", GRESeqOld: "gre_seq_old", GREPeer: "gre_peer", GREFrag: "gre_frag", GRELoop: "gre_loop",
	InnerRunt: "inner_runt", InnerBig: "inner_big", InnerSourceMAC: "inner_smac", InnerVLAN: "inner_vlan", ECNCE: "ecn_ce",
	L2SourceMAC: "l2_smac", L2LinkLocal: "l2_linklocal", L2Self: "l2_self", L2Split: "l2_split", L2Spoof: "l2_spoof",
	L2Limit: "l2_limit", L2Storm: "l2_storm", L2NoPort: "l2_noport", L2Isolated: "l2_isolated", L2VLAN: "l2_vlan",
	L3Header: "l3_hdr", L3Checksum: "l3_csum", L3Source: "l3_src", L3Dest: "l3_dst", L3TTL: "l3_ttl",
	L3NoRoute: "l3_noroute", L3Reject: "l3_reject", L3Neighbour: "l3_neigh", L3Big: "l3_big", L3Options: "l3_opt",
	L3L2Broadcast: "l3_l2bcast", L3RateLimited: "l3_ratelimited", L3Fragment: "l3_frag", ARPBad: "arp_bad", NDBad: "nd_bad",
	TapFull: "tap_full", TapDown: "tap_down", TapVirtio: "tap_vnet", TapShort: "tap_short",
	TxNoBufs: "tx_nobufs", TxTooBig: "tx_toobig", TxUnreachable: "tx_unreach", TxEgress: "tx_egress",
	RxOverflow: "rx_overflow", DecapBudget: "decap_budget",
}

// Count is the number of reasons, None included: the size of an array indexed by Reason.
const Count = int(numReasons)

// String returns the reason's name as it stands in status, drops and docs.
func (r Reason) String() string {
	if r >= numReasons {
		return "unknown"
	}
	return names[r]
}

// All returns every reason but None, in the order of declaration.
func All() []Reason {
	all := make([]Reason, 0, Count-1)
	for r := None + 1; r < numReasons; r++ {
		all = append(all, r)
	}
	return all
}
