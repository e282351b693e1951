// Package encaptest makes an encap.Underlay without root and without a network:
// its sockets are socketpairs whose other ends, the Wire, the test holds.
//
//	Underlay: Sender --send--+                  +-- Wire.Read     whole outer datagrams
//	                         |   socketpairs    |
//	          Receiver <-----+------------------+-- Wire.Inject
//	          Strangers <----+                  |
//	                                            +-- Join          to other Wires, by outer address
//
// The descriptors are real ones: they work in an epoll set, and the socket
// filters that tell peers from strangers run in the kernel on them as well. What
// a network does and a socketpair does not: fragments, merging (GRO), MTU, ICMP
// errors, filling in a source address, and taking away the outer IPv6 header.
package encaptest
