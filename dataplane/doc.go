// Package dataplane moves frames between ports and peers, and routes packets
// between domains.
//
//	tap.Device.Read            encap.Receiver.Recv
//	     |  ingress: virtio header,     |  decap: peer, key -> domain,
//	     |  guards, learn               |  virtio header, learn
//	     +-------------> forward <------+
//	                        |  drop(reason) | one destination | flood |
//	                        |  answered here (local.go) | route (route.go)
//	                     egress list
//	                        |  flushed once per batch: ports first, then peers
//	  tap.Device.Write, WriteV      encap.Sender.Send
//
// A worker is a locked thread with its own epoll set. It takes a batch from one
// port or from the underlay, decides every frame of it, and flushes the egress
// list before it takes the next: a frame never changes hands. Everything on
// that way belongs to the worker; it takes no lock, allocates nothing, and
// meets other workers only in atomic words of the FDB and in write(2). The
// exception is a next hop that has to be asked for (resolve.go, neighbour.go):
// there packets are copied and a table is changed under a lock, within bounds.
//
// Configuration reaches the workers as one immutable snapshot behind an atomic
// pointer (snapshot.go). Numbers of ports and peers are reused only after every
// worker has loaded a newer snapshot (Switch.settle) and the FDB was swept.
//
// What does not belong here: names, addresses and desired state
// (internal/control); headers of the underlay (encap); what a checksum or a
// super-frame is (internal/offload).
package dataplane
