package main

// metric is one figure of a system.
type metric struct {
	id, name, unit string
	digits         int  // behind the point
	lower          bool // is better
}

// metrics in the order in which they are shown.
var metrics = []metric{
	{id: "tcp1", name: "TCP 1 stream", unit: "Gbit/s", digits: 2},
	{id: "tcp4", name: "TCP 4 streams", unit: "Gbit/s", digits: 2},
	{id: "both", name: "TCP both ways at once", unit: "Gbit/s", digits: 2},
	{id: "udp", name: "UDP 18 B received", unit: "kpps", digits: 1},
	{id: "p50", name: "TCP round trip p50", unit: "us", digits: 1, lower: true},
	{id: "p99", name: "TCP round trip p99", unit: "us", digits: 1, lower: true},
	{id: "cpu", name: "CPU per GB", unit: "s", digits: 2, lower: true},
	{id: "memory", name: "memory of a switch", unit: "MB", digits: 1, lower: true},
	{id: "iperf3", name: "TCP 1 stream, iperf3", unit: "Gbit/s", digits: 2},
}

// readings are what one round of a system gave, by metric.
type readings map[string]float64

// comparison is a ratio that is worth a line of its own.
type comparison struct{ metric, system, reference string }

// comparisons are shown where both systems ran; ids of systems.
var comparisons = []comparison{
	{"tcp1", "weft-local", "bridge"},
	{"tcp1", "weft-local", "tap-loop"},
	{"tcp1", "tap-loop", "bridge"},
	{"tcp1", "weft-udp", "vxlan"},
	{"tcp1", "weft-gre", "vxlan"},
	{"tcp1", "weft-gre-plain", "vxlan"},
	{"tcp1", "weft-gre", "ovs"},
	{"tcp1", "weft-gre-plain", "ovs"},
	{"tcp1", "weft-udp", "wireguard"},
	{"udp", "weft-gre", "vxlan"},
	{"udp", "weft-udp", "vxlan"},
	{"p50", "weft-gre", "vxlan"},
	{"p50", "weft-udp", "vxlan"},
	{"cpu", "weft-gre", "vxlan"},
	{"cpu", "weft-udp", "vxlan"},
}
