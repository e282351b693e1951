// Package lab builds throwaway networks on this machine: network namespaces
// that stand for hosts and containers, veth links between them, a bridge where
// more than two hosts share an underlay, and processes that run inside.
//
//	l := lab.New()
//	h1, h2 := l.Host("host1"), l.Host("host2")      /run/netns/weft-<pid>-<hex>-host1
//	l.Link(End{h1, "eth0", ...}, End{h2, "eth0", ...})
//
//	host1 --eth0-------------eth0-- host2            two hosts: one veth pair
//	host1 --eth0--[ switch ]--eth0-- host2           more: a bridge in a namespace of its own
//	                  |
//	                 eth0 host3
//
// The demo, the tests and the benchmarks share it. It needs root and no other
// program. Everything that a Lab made goes away with Close; what a killed run
// left behind is recognised by the process id in its name and goes away with
// Sweep.
//
// What does not belong here: anything that knows of weft. Probing what was
// built is the task of lab/probe.
package lab
