// Package header reads and writes protocol headers in place: each one is a
// view, a named byte slice with accessors at fixed offsets.
//
//	frame: | dst src type | tags |  IPv4, IPv6 or ARP  | TCP, UDP or ICMP | payload |
//	        ParseEthernet  L3()     ParseIPv4 ...  Upper() ParseTCP ...
//
// ParseX is the only place where lengths are checked; the accessors behind it
// are not checked and inline. A view borrows the bytes that it was parsed from,
// and nothing here allocates, except where a function returns a whole frame.
// Views are values without state: any goroutine may use them, as long as nobody
// writes the bytes underneath.
//
// Not here: virtio headers and segmentation (internal/offload), GRE (encap),
// and any decision about what to do with a packet (dataplane).
package header
