// Command bench measures weft beside what it replaces, on this machine, in one
// run: every round sets up each system in turn in fresh network namespaces,
// puts the same load on it and tears it down again. What it prints is the
// median of the rounds, their spread, and the ratio to the first system of the
// same group.
//
//	round 1:  kernel bridge   weft local   Open vSwitch gre   weft gre
//	round 2:  kernel bridge   weft local   Open vSwitch gre   weft gre
//	...
//
// A row of the table is a system (how two containers are joined: bridge.go,
// openvswitch.go, weft.go) times a load (what they do: tcp.go). To extend it,
// add a value to the lists in systems.go or loads.go. A system that cannot run
// here is named and left out.
//
// It needs root, and runs iperf3 and Open vSwitch where they are installed.
package main
