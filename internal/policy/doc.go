// Package policy says what a port may send: nothing that speaks for another's
// address. A Filter is compiled once for a port, from its MAC and its addresses.
//
//	frame: | dst  src  type | tags |      IPv4, IPv6       |   UDP, ICMP, ND   |
//	               |          0-2            |                      |
//	              MAC      3: inner_vlan   source: l3_src   DHCP server, RA,
//	           (dataplane)                 ARP sender,      redirect: l2_spoof
//	                                       ND target and
//	                                       options: l2_spoof
//
// What a receiver could read in another way than the Filter does is dropped as
// well: IP and ARP that do not parse, extension headers that are cut off, first
// fragments without their upper header (RFC 7113), neighbour discovery in
// fragments (RFC 6980), and IP behind an 802.2 header. What is no IP and no ARP
// is held to its source MAC alone.
//
// Without addresses a Filter leaves IP and ARP addresses open and holds a port
// to the rest: its MAC in ARP and ND, no DHCP server, no router.
//
// Not here: the source MAC, which the dataplane compares first; gateways, which
// no port and no peer may speak for (Claims tells the dataplane what to look
// at); and who is exempt.
package policy
