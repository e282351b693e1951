package encap

import "sync/atomic"

// Sequence numbers (RFC 2890 section 2.2) count per peer and key, from 0, modulo
// 2^32. Both sides keep them in small tables of fixed size; sequenceKeys is more
// networks than two hosts are likely to share with the option on.
const sequenceKeys = 256

// numbers hands out the sequence numbers of one peer. Any worker calls next.
type numbers struct {
	slots [sequenceKeys]numberSlot
	rest  atomic.Uint32 // counts for all keys that found no slot: numbers with gaps, still ascending
}

type numberSlot struct {
	owner atomic.Uint64 // key + 1; 0: free. Written once
	next  atomic.Uint32
}

// next returns the number for one more datagram with this key; 0 stands for no key.
func (n *numbers) next(key uint32) uint32 {
	owner := uint64(key) + 1
	for i := range n.slots {
		s := &n.slots[(int(key)+i)%sequenceKeys]
		got := s.owner.Load()
		if got == 0 && s.owner.CompareAndSwap(0, owner) {
			got = owner
		} else if got == 0 { // another worker took it, maybe for this very key
			got = s.owner.Load()
		}
		if got == owner {
			return s.next.Add(1) - 1
		}
	}
	return n.rest.Add(1) - 1
}

const (
	// lateWindow is how far behind the last number a datagram counts as late.
	// One further behind comes from a peer that started again.
	lateWindow = 1024

	// lateRun is how many late datagrams in unbroken sequence prove that the
	// peer started again less than lateWindow numbers ago.
	lateRun = 8
)

// order remembers the last sequence number that one peer sent with each key.
// Only the Receiver uses it.
type order struct {
	slots [sequenceKeys]orderSlot
}

type orderSlot struct {
	used bool
	run  uint8 // late datagrams in unbroken sequence
	key  uint32
	last uint32 // accepted
	late uint32 // the last one that was not
}

// late reports whether a datagram must be dropped because a newer one of the
// same key was accepted before it. Gaps are accepted at once: nothing is kept
// back to be sorted. A key that finds no slot is not ordered.
func (o *order) late(key, seq uint32) bool {
	for i := range o.slots {
		s := &o.slots[(int(key)+i)%sequenceKeys]
		if !s.used {
			*s = orderSlot{used: true, key: key, last: seq}
			return false
		}
		if s.key == key {
			return s.drops(seq)
		}
	}
	return false
}

// drops decides about one datagram. A peer that restarts begins at 0 again and
// must be heard at once, though most of what it sends then looks late.
func (s *orderSlot) drops(seq uint32) bool {
	ahead := int32(seq - s.last)
	restarted := ahead < -lateWindow || seq == 0 && s.last != 0
	if ahead <= 0 && !restarted {
		s.run++
		if seq != s.late+1 {
			s.run = 1
		}
		s.late = seq
		if s.run < lateRun {
			return true
		}
	}
	s.last, s.run = seq, 0
	return false
}
