package fib

import "strconv"

// Dest is where the FDB sends a frame: a port or a peer. The zero value is nowhere.
type Dest uint16

const peerBit Dest = 1 << 15

// PortDest returns the destination of port id, 1 to 32,767.
func PortDest(id uint16) Dest { return Dest(id) }

// PeerDest returns the destination of peer id, 1 to 32,767.
func PeerDest(id uint16) Dest { return Dest(id) | peerBit }

// IsPeer reports whether d is a peer rather than a port.
func (d Dest) IsPeer() bool { return d&peerBit != 0 }

// ID returns the port's or the peer's number.
func (d Dest) ID() uint16 { return uint16(d &^ peerBit) }

// String returns "port 7", "peer 7" or, for zero, "nowhere". For logs and tests.
func (d Dest) String() string {
	switch {
	case d == 0:
		return "nowhere"
	case d.IsPeer():
		return "peer " + strconv.Itoa(int(d.ID()))
	}
	return "port " + strconv.Itoa(int(d.ID()))
}

// Kind says how an entry came to be and who may change it.
type Kind uint8

// Kinds of entries.
const (
	Learned  Kind = iota // from a frame's source address; ages, moves
	Attached             // the address of an attached port; never ages, never moves by traffic
	Static               // set by the user; never ages, never moves by traffic
)

// String returns "learned", "attached" or "static".
func (k Kind) String() string {
	switch k {
	case Learned:
		return "learned"
	case Attached:
		return "attached"
	case Static:
		return "static"
	}
	return "kind " + strconv.Itoa(int(k))
}

// Outcome says what Learn did.
type Outcome uint8

// Outcomes of Learn.
const (
	Known  Outcome = iota // nothing to do, or the age was refreshed
	New                   // an entry was made
	Moved                 // a learned entry now points elsewhere
	Pinned                // the address is attached or static elsewhere, or no station's address; nothing changed
	Full                  // no room, and fairness refused it; nothing changed
)

// String returns the outcome in lower case, for tests.
func (o Outcome) String() string {
	names := [...]string{"known", "new", "moved", "pinned", "full"}
	if int(o) < len(names) {
		return names[o]
	}
	return "outcome " + strconv.Itoa(int(o))
}
