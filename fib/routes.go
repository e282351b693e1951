package fib

import (
	"iter"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/gaissmai/bart"
)

// HopKind says which fields of a NextHop count. The zero value is no next hop.
type HopKind uint8

// Kinds of next hops.
const (
	HopConnected HopKind = iota + 1 // deliver in Domain
	HopPeer                         // send to the peer Dest
	HopAddr                         // send to whoever has the address Via
)

// NextHop is where a route leads: a plain value, comparable with ==.
type NextHop struct {
	Kind   HopKind
	Dest   Dest       // of HopPeer
	Domain uint16     // number of the bridge domain, of HopConnected
	Via    netip.Addr // of HopAddr
}

// Routes maps IPv4 and IPv6 prefixes to next hops, longest prefix first, for
// one vrf. The zero value is empty and ready; it must not be copied.
//
// Lookup, Match, Get, All and Len may run on any goroutine: they load one
// pointer to an immutable table, take no lock and never wait for a writer.
// Insert, Delete and Update serialise on a mutex, build a new table that shares
// what did not change, and publish it at once; the garbage collector takes the
// old one when its last reader is done.
//
// IPv4-mapped IPv6 addresses and prefixes (RFC 4291 section 2.5.5.2) are those
// of IPv4, zones do not count, and bits of a prefix beyond its length neither.
type Routes struct {
	table atomic.Pointer[bart.Table[NextHop]] // written with mu held, read by all; nil is empty

	mu sync.Mutex // serialises writers
}

var noRoutes bart.Table[NextHop]

// Lookup returns the next hop of the longest prefix that contains a, and
// whether there is one. No allocation, no lock.
func (r *Routes) Lookup(a netip.Addr) (NextHop, bool) {
	t := r.table.Load()
	if t == nil {
		return NextHop{}, false
	}
	return t.Lookup(a.Unmap())
}

// Match is Lookup for people: it returns the prefix too.
func (r *Routes) Match(a netip.Addr) (netip.Prefix, NextHop, bool) {
	a = a.Unmap().WithZone("")
	return r.load().LookupPrefixLPM(netip.PrefixFrom(a, a.BitLen()))
}

// Get returns the next hop of exactly p, and whether there is one.
func (r *Routes) Get(p netip.Prefix) (NextHop, bool) {
	return r.load().Get(unmap(p))
}

// All ranges over the routes as they are now, sorted by address, then by
// length, IPv4 before IPv6. Changes during the loop are allowed and not seen.
func (r *Routes) All() iter.Seq2[netip.Prefix, NextHop] { return r.load().AllSorted() }

// Len returns the number of routes.
func (r *Routes) Len() int { return r.load().Size() }

// Insert adds a route or replaces its next hop. It reports false, and changes
// nothing, when p is no valid prefix.
func (r *Routes) Insert(p netip.Prefix, hop NextHop) (ok bool) {
	r.Update(func(b *Batch) { ok = b.Insert(p, hop) })
	return ok
}

// Delete removes the route of exactly p and reports whether there was one.
func (r *Routes) Delete(p netip.Prefix) (ok bool) {
	r.Update(func(b *Batch) { ok = b.Delete(p) })
	return ok
}

// Update runs change and publishes all that it did to the Batch at once:
// readers see all of it or none. If change panics, nothing is published. It must
// not call Insert, Delete or Update of r, nor keep the Batch.
func (r *Routes) Update(change func(*Batch)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := Batch{table: r.load()}
	change(&b)
	if b.changes > 0 {
		r.table.Store(b.table)
	}
}

func (r *Routes) load() *bart.Table[NextHop] {
	if t := r.table.Load(); t != nil {
		return t
	}
	return &noRoutes
}

// Batch collects the changes of one Update.
type Batch struct {
	table   *bart.Table[NextHop]
	changes int
	private bool // table is a copy of our own: change it in place
}

// Copying the path to one prefix costs 5 to 30 us, a change in place some 0.5 us
// and copying the whole table 0.15 to 0.3 us for each of its routes. So a batch
// goes over to a whole copy once it has changed one route in this many.
const wholeCopyShare = 64

// Insert is Routes.Insert, seen when Update returns.
func (b *Batch) Insert(p netip.Prefix, hop NextHop) bool {
	if !p.IsValid() {
		return false
	}
	if p = unmap(p); b.inPlace() {
		b.table.Insert(p, hop)
	} else {
		b.table = b.table.InsertPersist(p, hop)
	}
	return true
}

// Delete is Routes.Delete, seen when Update returns.
func (b *Batch) Delete(p netip.Prefix) bool {
	p = unmap(p)
	if _, ok := b.table.Get(p); !ok {
		return false
	}
	if b.inPlace() {
		b.table.Delete(p)
	} else {
		b.table = b.table.DeletePersist(p)
	}
	return true
}

// Get is Routes.Get, but sees what the batch did so far.
func (b *Batch) Get(p netip.Prefix) (NextHop, bool) { return b.table.Get(unmap(p)) }

// Len is Routes.Len, but sees what the batch did so far.
func (b *Batch) Len() int { return b.table.Size() }

// Clear deletes every route.
func (b *Batch) Clear() {
	b.table, b.private = new(bart.Table[NextHop]), true
	b.changes++
}

// inPlace counts a change and reports whether to make it in place.
func (b *Batch) inPlace() bool {
	b.changes++
	if !b.private && b.changes > b.table.Size()/wholeCopyShare {
		b.table, b.private = b.table.Clone(), true
	}
	return b.private
}

// unmap returns an IPv4-mapped prefix as the IPv4 prefix that it means. A
// shorter one that contains all of them stays IPv6.
func unmap(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p
}
