// Package ovs starts an Open vSwitch of its own inside a network namespace,
// with the userspace datapath, so that tests and benchmarks have an independent
// GRE speaker on the other host. It needs root and the Debian package
// openvswitch-switch, but no kernel module and no running service.
//
//	namespace of a host                             namespace of a container
//	+-------------------------------------------+   +--------+
//	| br-phy (netdev)         br-int (netdev)   |   |        |
//	|  underlay link, address  gre0, container -|---|- eth1  |
//	| ovsdb-server  ovs-vswitchd                |   +--------+
//	+-------------------------------------------+
//
// A tunnel port on br-int sends through the bridge that holds the route to
// remote_ip, so the underlay link must be a port of br-phy, and its address must
// move to br-phy itself: Underlay does both. Open vSwitch's userspace datapath
// reads unfinished checksums as wrong ones: switch checksum offload off on every
// veth whose other end is attached to it (ethtool -K DEV tx off).
//
// Making namespaces and links does not belong here: that is package lab.
package ovs
