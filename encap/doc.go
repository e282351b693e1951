// Package encap carries inner frames between hosts in GRE over raw IP sockets.
//
//	Sender, one per worker                        Receivers, one worker only
//	inner frame, maybe a super-frame              inner frame, maybe merged by the kernel
//	     | by runs to one peer                          ^ open, verify, order
//	     v                                              |
//	carrier of the peer                           one Receiver for each descriptor
//	     | outer IP + GRE before each segment           ^
//	     v                                              |           Strangers: who is no peer
//	-----+------------------ underlay ------------------+-----------------^ is counted
//
// A Sender has one carrier of each kind (carrier.go), and a peer says which of them
// carries its packets. How datagrams come in, by whichever way, nobody behind a
// Receiver knows (receiver.go). The ways:
//
//	raw_carrier.go, raw_receiver.go    raw sockets, IP_HDRINCL, sendmmsg: a datagram
//	                                   a segment; works everywhere
//	packet_carrier.go                  the same datagrams by packet socket, past the
//	                                   host's rules, where those let them pass
//	udp_carrier.go, udp_receiver.go    GRE-in-UDP, UDP_SEGMENT and UDP_GRO: a message
//	                                   a super-frame; to other weft switches
//	egress_*.go                        super-frames of both to a TAP, uncut, from where
//	                                   the kernel moves them to the uplink (Linux 6.17)
//
// Which carrier passes, and whether a peer is there at all, the hello finds out
// (session.go, hello.go).
//
// A datagram becomes a peer number here, and a peer number a datagram. Formats:
// RFC 2784 and RFC 2890, outer header as RFC 2003, RFC 6040, RFC 6864 and, over
// IPv6, RFC 7676 want it. The sockets stand once for each version of IP.
//
// What does not belong here: which key is which network, whether an inner frame
// may pass, where it goes, and any counting. Verdicts are drop.Reasons in
// Packet and Datagram; the dataplane counts them.
package encap
