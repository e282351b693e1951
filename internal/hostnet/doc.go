// Package hostnet sets up the host around the switch: what lets the host and the
// world beyond it talk with containers through the TAP of an exposed network.
//
//	LAN, Internet           this host                            switch
//	     |                                                          |
//	   eth0 --- forwarding (sysctl) --- weft-blue (TAP, port of kind host)
//	     |                                   |
//	     +-- table inet weft (nftables)      +-- kernel routes to the prefixes of the vrf
//	         prerouting   published ports: DNAT
//	         forward      who may not pass
//	         postrouting  SNAT
//	     +-- DOCKER-USER, where Docker's own rules would drop what passes
//	     +-- listeners, by which the host itself reaches published ports
//
// A Plan says what shall be. Apply makes it so, step by step, each of which may
// be done again: after a crash anywhere in between, Apply with the same plan
// ends at the same place. Check finds and repairs what others changed since. A
// plan with nothing in it takes everything away.
//
// What does not belong here: which network is exposed, and with which address
// (control holds that, and keeps the former values of sysctls on the disk before
// they are changed), the TAP itself (tap), and frames (dataplane).
package hostnet
