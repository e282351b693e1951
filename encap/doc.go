// Package encap carries inner frames between hosts in GRE over raw IP sockets.
//
//	 Sender, one per worker                            Receiver, one worker only
//	 inner frame, maybe a super-frame                  inner frame, maybe merged by the kernel
//	      | split, complete checksums                       ^ verify, order, open
//	      v                                                 |
//	+------------+-----------+-------------+           peers' socket     strangers' socket
//	|  outer IP  | GRE + key | inner frame |                ^                  ^
//	+------------+-----------+-------------+                +---- filters -----+ whatever the
//	      |                                                 |                    first refuses
//	      v  sendmmsg, IP_HDRINCL                           |
//	 -----+------------------- underlay, protocol 47 -------+-----
//
// A datagram becomes a peer number here, and a peer number a datagram. Formats:
// RFC 2784 and RFC 2890, outer header as RFC 2003, RFC 6040, RFC 6864 and, over
// IPv6, RFC 7676 want it. The sockets stand once for each version of IP.
//
// What does not belong here: which key is which network, whether an inner frame
// may pass, where it goes, and any counting. Verdicts are drop.Reasons in
// Packet and Datagram; the dataplane counts them.
package encap
