// Package e2e tests the weft binary from outside: daemons in namespaces that
// stand for hosts, driven by the commands that a user types, and real traffic
// between namespaces that stand for containers.
//
//	container a1                container a2
//	     | eth1                      | eth1
//	+----+--------+            +-----+-------+
//	| host 1 weft |=== GRE ====| host 2 weft |   or Open vSwitch, or the test itself
//	+-------------+  eth0 eth0 +-------------+
//	    192.0.2.1                  192.0.2.2
//
// It has test files only, and needs root. What a test needs beyond that it
// names when it is missing, and is skipped; where the environment variable CI
// is set it fails. WEFT_BIN names a binary to be tested instead of one built
// from the tree. WEFT_TEST_ACCEL (auto or off) is the --accel of every daemon, and
// WEFT_TEST_ENCAP (auto, gre or gre-udp) the encap of every --peer, where a test
// does not set them itself. Tests that mostly wait run side by side, four at once
// unless -parallel says otherwise, after those that load the machine.
package e2e
