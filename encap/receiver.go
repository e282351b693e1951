package encap

import "weft/internal/drop"

// Headroom is how many bytes a Receiver leaves free before Datagram.Frame.
const Headroom = 64

// Datagram is what came from the underlay, opened.
type Datagram struct {
	Peer   PeerID // 0 where the source is no peer
	Proto  uint16
	Key    uint32
	HasKey bool
	TOS    uint8       // of the outer header, for MergeECN; 0 where unknown
	Frame  []byte      // inner frame, of a whole header at least, or what Proto says is an IP packet; borrowed until the next Recv
	Buf    []byte      // Headroom bytes that may be overwritten, then Frame
	Reason drop.Reason // why it must be dropped, and Frame, Buf are nil; None: not decided here
	hello  GRE         // what may be one; else nil
}

// Receiver reads one descriptor on which datagrams arrive. Each way of carrying
// them has its own, one for each version of IP, and all yield the same. Exactly
// one worker uses all Receivers of an Underlay, so that order is kept and
// sequence numbers are checked without a lock.
type Receiver interface {
	// FD returns the descriptor to wait on for datagrams, with EPOLLIN, and for
	// ICMP errors, with EPOLLERR.
	FD() int

	// Recv reads a batch without waiting; an empty one when nothing is there. What
	// it returns is borrowed until the next Recv. An error of the socket is
	// returned when it persists.
	Recv() ([]Datagram, error)

	// Errors reads what hosts and routers said about datagrams to peers, a bounded
	// number at a time, and calls f with an *ICMPError for each entry that names a
	// peer: a hint, never proof, since ICMP can be forged. It is called when FD is
	// ready with EPOLLERR.
	Errors(f func(PeerID, error))

	// Overflow returns how many datagrams of peers the kernel dropped for want of
	// room since the last call. It is cheap to call after every Recv.
	Overflow() uint64
}

// Receivers returns all Receivers. The list never changes.
func (u *Underlay) Receivers() []Receiver {
	var rs []Receiver
	for _, f := range u.families {
		rs = append(rs, f.receiver)
	}
	for _, f := range u.families {
		if f.inUDP != nil {
			rs = append(rs, f.inUDP)
		}
	}
	return rs
}
