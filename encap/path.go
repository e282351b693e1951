package encap

import (
	"sync/atomic"
	"time"
)

// Carrier is what carries a tunnel's GRE packets over the underlay.
type Carrier uint8

// Carriers. Both are always heard.
const (
	CarrierGRE Carrier = iota // IP protocol 47 (RFC 2784)
	CarrierUDP                // GRE-in-UDP (RFC 8086)

	carriers = 2
)

// String returns the carrier's name, as the option encap has it.
func (c Carrier) String() string {
	if c == CarrierUDP {
		return "gre-udp"
	}
	return "gre"
}

// PathState says whether a peer can be reached.
type PathState uint8

// States of a path. Only the hello of another weft tells; to anybody else the
// path stays PathUnknown.
const (
	PathUnknown PathState = iota
	PathUp
	PathDown
)

// String returns the state's name.
func (s PathState) String() string { return [...]string{"unknown", "up", "down"}[s] }

// Path is what the hello knows of the way to a peer.
type Path struct {
	Weft  bool // the peer has answered a hello
	State PathState
	Why   string        // State is what it is; empty: nothing to say
	Since time.Time     // the last change of State; zero: it never changed
	Heard time.Time     // when the peer's last hello came; zero: never
	RTT   time.Duration // round trip of hellos, smoothed (RFC 6298 section 2); 0: not measured

	Carrier    Carrier   // in use towards the peer
	CarrierWhy string    // it is in use
	MTU        int       // the longest datagram that passes, in bytes, as far as it is known to be less than the link's MTU; else 0
	MTUSince   time.Time // when that was found; zero: it never was
}

// way is what the hello knows of the way to a peer. The hello writes it, anyone
// reads it.
type way struct {
	mtu  atomic.Uint32        // Path.MTU
	path atomic.Pointer[Path] // nil: nothing known yet

	doubt atomic.Uint32 // 1 + the MTU that an ICMP error claimed since the hello last looked; 0: none did
}

// claim notes the MTU that an ICMP error tells of the way. Anyone can forge such an
// error, so it only has the hello look. Any goroutine.
func (w *way) claim(mtu int) {
	claimed := uint32(mtu) + 1
	for {
		was := w.doubt.Load()
		if was != 0 && was <= claimed || w.doubt.CompareAndSwap(was, claimed) {
			return
		}
	}
}

// Path returns what the hello knows of the way to a peer; the zero Path where
// there is no such peer. Any goroutine.
func (u *Underlay) Path(id PeerID) Path {
	p := u.peers.Load().peer(id)
	if p == nil {
		return Path{}
	}
	if known := p.way.path.Load(); known != nil {
		return *known
	}
	return Path{Carrier: p.wire}
}

// setWire says by which carrier the peers of a way are spoken to.
func (u *Underlay) setWire(w *way, c Carrier) {
	u.changePeers(func(p *peer) {
		if p.way == w {
			p.wire = c
		}
	})
}
