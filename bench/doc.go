// Command bench measures weft beside what it replaces, on this machine, in one
// run: every round sets up each system in turn in fresh network namespaces,
// puts the same loads on it and tears it down again. What it prints is the
// median of the rounds, their spread, and the ratio to the first system of the
// same group, round by round, because a machine that others use drifts.
//
//	round 1:  kernel bridge  bare TAP loop  weft local | kernel routing  VXLAN  ...  weft routed
//	round 2:  kernel bridge  bare TAP loop  weft local | kernel routing  VXLAN  ...  weft routed
//	...
//
// A system is how two containers are joined (kernel.go, taploop.go,
// openvswitch.go, wireguard.go, weft.go; the list is in systems.go); a load is
// what they do (loads.go); a metric is what a load measures (metrics.go). A
// system that cannot run here is named and left out.
//
// `bench growth` (growth.go) measures how one switch grows: ports, peers,
// routes, stations. tables_test.go measures the tables alone.
//
// It needs root, and runs Open vSwitch where it is installed.
package main
