// Package probe sends traffic from one namespace of a lab to another and says
// what arrived: echoes, TCP streams compared byte by byte, numbered datagrams,
// and how fast it went. The demo, the tests and the benchmarks use it where no
// ping, nc or iperf is installed.
//
//	namespace a                         namespace b
//	Ping:  raw ICMP socket  --echo-->   the kernel answers
//	TCP:   writer of a random stream -> reader that knows the stream
//	UDP:   numbered datagrams     --->  reader that counts
//
// Both ends run in the calling process; only their sockets are inside. What was
// built to be probed does not belong here: that is package lab.
package probe
