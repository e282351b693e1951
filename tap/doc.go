// Package tap gives a container its network interface: a TAP device, made on
// the host, moved into the container's network namespace and configured there,
// whose other side is a descriptor that the switch reads and writes.
//
//	host's namespace            :  container's namespace
//	                            :
//	dataplane worker            :   eth1  10.1.1.2/24
//	  Read   Write              :    |
//	    \     /                 :    |
//	   Device.fd ---------------:--- TAP
//	[virtio header][frame]      :
//
// A Device comes about in four ways. Create makes a new TAP. Reopen opens one
// that a former process left in a container, whose interface, addresses and
// routes outlive the switch, and Recover does so where the switch has forgotten
// it. Adopt takes a descriptor that somebody else opened. They differ in one
// thing that matters later: a descriptor opened on the host reports EBADFD when
// the container's namespace ends, one opened inside (Reopen, Recover) keeps the namespace alive and reports nothing. Device.Pins tells which it is; a
// Watcher tells when to let go. Nothing else here holds a namespace: every other
// call opens it, works, and closes it again.
//
// Every frame crosses the descriptor behind a 10-byte virtio header (package
// offload), so a 64 KB TCP super-frame costs one system call.
//
// An Uplink is the other kind of port: a link of the host, which stays the host's,
// attached through a packet socket. InUse asks the machines behind one for an
// address.
//
// What does not belong here: what a frame holds, who may send it, and
// announcing an address (dataplane); which container gets which address, and
// what is kept across a restart (control). Tests that need a Device but no root
// find one in taptest.
package tap
