// Package offload knows what a kernel leaves undone in a frame, and does it.
//
// A container's kernel hands over TCP data in super-frames of up to 64 KB, not
// yet cut and without a checksum, and says so in the virtio header before the
// frame. Another container's kernel takes them the same way. A wire does not,
// and what a wire delivers may have been merged into a super-frame again.
//
//	TAP -> Check -> [virtio header][super-frame] ------------> TAP
//	                      |                        ^
//	                      v                        |
//	               Splitter, Complete        FromWire, Merger
//	                      |                        |
//	                      +---> segments ~ GRE ~ segments, or merged by GRO
//
// Check makes a header that a container had a hand in trustworthy; FromWire
// finds out the header of a frame that came without one, and a Merger joins the
// segments that nobody else did. Everything else relies on a header from Check or
// FromWire and on the frame being the same as then.
//
// Not here: reading and writing TAPs (tap), GRE (encap), what a network's MTU
// is and what becomes of frames that exceed it (dataplane).
package offload
