// Package rawdev opens the descriptors through which frames enter and leave
// the kernel, and wraps the ioctls they need. It knows nothing of containers,
// networks or what a frame holds.
//
//	/dev/net/tun --OpenTUN--> fd --AttachTAP--> queue of a TAP --SetVirtio--> super-frames
//	link of the host --OpenPacket--> fd --SetFilter(PacketFilter)--> frames that are wanted
//
// What does not belong here: moving or configuring an interface (tap), reading
// and writing frames (tap), sockets of the underlay (encap).
package rawdev
