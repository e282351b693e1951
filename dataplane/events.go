package dataplane

import (
	"weft/fib"
	"weft/internal/header"
)

// EventKind says what an Event is about.
type EventKind uint8

// Kinds of events.
const (
	EventFlap EventKind = iota + 1 // one address is used in two places
	EventLoop                      // a port is blocked because it is part of a loop
)

// Event is trouble that a worker found and that a user should hear of. It is
// told again while it lasts: a flap every 5 s, a loop every 2 s.
type Event struct {
	Kind   EventKind
	Domain DomainID   // of the network
	VLAN   uint16     // of it, in which an address is in two places; 0: the untagged one
	MAC    header.MAC // of EventFlap: the address
	At     fib.Dest   // of EventFlap: where its entry stays for 5 s; of EventLoop: the port that is blocked for 30 s
	Other  fib.Dest   // where else the address was seen; by which port the loop leaves the switch, At itself where it is one port
}

// takeEvents returns what happened since the last call.
func (s *Switch) takeEvents() (list []Event) {
	for i := range s.moves.slots {
		m := &s.moves.slots[i]
		if news := m.news.Swap(0); news != 0 {
			key := m.key.Load() // nobody else's yet: the address is held
			d := s.snapshot.Load().domain(DomainID(key))
			if d == nil { // it went meanwhile
				continue
			}
			list = append(list, Event{
				Kind: EventFlap, Domain: d.network, VLAN: d.vid, MAC: header.MAC(key >> 16), At: fib.Dest(news >> 16), Other: fib.Dest(news),
			})
		}
	}
	for _, p := range s.snapshot.Load().ports {
		if p != nil && p.loop.news.Load() && p.loop.news.Swap(false) {
			other := fib.PortDest(uint16(p.loop.via.Load()))
			if other == 0 {
				other = fib.Dest(p.loop.viaPeer.Load())
			}
			list = append(list, Event{Kind: EventLoop, Domain: p.network, At: fib.PortDest(uint16(p.id)), Other: other})
		}
	}
	return list
}

// tell hands events to whoever wants to know. Called by tick.
func (s *Switch) tell() {
	list := s.takeEvents()
	if len(list) == 0 || s.cfg.Event == nil {
		return
	}
	go func() { // owner: the callback; ends when it has returned for each
		for _, e := range list {
			s.cfg.Event(e)
		}
	}()
}

// probeLoops has worker 0 look for loops. Called by tick.
func (s *Switch) probeLoops(now uint32) {
	if s.cfg.HostMAC == 0 || now%probeEvery != 0 {
		return
	}
	for _, d := range s.snapshot.Load().domains {
		if d != nil && d.canLoop() {
			s.workers[0].probing.Store(true)
			s.workers[0].wake()
			return
		}
	}
}
