package dataplane

import (
	"sync/atomic"

	"weft/fib"
	"weft/internal/header"
)

// An address that two ports or peers use moves with every frame: a duplicate,
// or a loop. Beyond a few moves a second its entry stays where it is for a
// while, and control is told both places. Nothing of this is looked at unless
// Learn says Moved or Pinned.
const (
	movesSecond = 5 // more moves of an address in one second are too many
	holdSeconds = 5
	moveSlots   = 256 // addresses that are watched at a time, in all domains
)

// moves watches the addresses that moved last. Workers share it without a
// lock; where two meet in one slot a move may go uncounted.
type moves struct{ slots [moveSlots]moveSlot }

// moveSlot watches one address.
type moveSlot struct {
	key   atomic.Uint64 // MAC 48 | domain 16
	state atomic.Uint64 // a moveState
	other atomic.Uint32 // fib.Dest where the address was before
	news  atomic.Uint64 // set when the address is held, taken by tick: fib.Dest where 16 | and where else 16
}

// moveState is second 32 | moves in it 16 | fib.Dest 16: the place of the
// address after its last move. With moves = held the entry stays there until
// that second.
type moveState uint64

const held = 0xffff

func newMoveState(second uint32, n uint16, at fib.Dest) moveState {
	return moveState(second)<<32 | moveState(n)<<16 | moveState(at)
}

func (s moveState) second() uint32 { return uint32(s >> 32) }
func (s moveState) moves() uint16  { return uint16(s >> 16) }
func (s moveState) at() fib.Dest   { return fib.Dest(s) }

// holds reports whether the entry must stay where it is at second now.
func (s moveState) holds(now uint32) bool { return s.moves() == held && before(now, s.second()) }

// over reports whether the slot may watch another address.
func (s moveState) over(now uint32) bool { return s.second() != now && !s.holds(now) }

// slot returns the slot of an address.
func (m *moves) slot(key uint64) *moveSlot {
	return &m.slots[key*0x9e37_79b9_7f4a_7c15>>56]
}

// note takes an address that Learn found elsewhere than at from: out is Moved,
// and its entry is at from now, or Pinned.
func (m *moves) note(d *domain, mac header.MAC, from fib.Dest, out fib.Outcome, now uint32) {
	at := from // where the entry is
	if out == fib.Pinned {
		at = d.fdb.Lookup(mac)
	}
	key := uint64(mac)<<16 | uint64(d.id)
	s := m.slot(key)
	if s.key.Load() != key {
		if moveState(s.state.Load()).over(now) {
			s.key.Store(key)
			s.state.Store(uint64(newMoveState(now, 1, at)))
			s.other.Store(0)
		}
		return
	}
	old := moveState(s.state.Load())
	next := newMoveState(now, old.moves()+1, at)
	switch {
	case old.holds(now):
		d.fdb.Learn(mac, old.at(), now) // back
		return
	case old.second() != now || old.moves() == held:
		next = newMoveState(now, 1, at)
	case old.moves() >= movesSecond:
		next = newMoveState(now+holdSeconds, held, at)
	}
	if !s.state.CompareAndSwap(uint64(old), uint64(next)) {
		return // another worker counts
	}
	other := from
	if out == fib.Moved {
		if other = old.at(); other == at { // another worker moved it in between
			other = fib.Dest(s.other.Load())
		}
	}
	s.other.Store(uint32(other))
	if next.moves() == held && other != at && other != 0 {
		s.news.Store(uint64(at)<<16 | uint64(other))
	}
}
