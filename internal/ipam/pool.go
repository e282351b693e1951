package ipam

import (
	"fmt"
	"net/netip"
)

// Pool hands out the addresses of one prefix. It is for one goroutine.
type Pool struct {
	prefix      netip.Prefix
	first, last netip.Addr // that Next chooses from
	taken       map[netip.Addr]string
}

// New returns a pool over prefix, from which Next gives the addresses from
// first to last; where both are zero, all of the prefix. The network and
// broadcast addresses of IPv4 (but see RFC 3021 for /31) and the subnet-router
// anycast address of IPv6 (RFC 4291 section 2.6.1; RFC 6164 for /127) are
// never given out.
func New(prefix netip.Prefix, first, last netip.Addr) (*Pool, error) {
	if !prefix.IsValid() || prefix != prefix.Masked() {
		return nil, fmt.Errorf("prefix %s: host bits are set: maybe you meant %s", prefix, prefix.Masked())
	}
	p := &Pool{prefix: prefix, taken: map[netip.Addr]string{}}
	low, high := prefix.Addr(), lastOf(prefix)
	if hostBits := low.BitLen() - prefix.Bits(); hostBits > 1 {
		p.taken[low] = "the network's own address"
		if low.Is4() {
			p.taken[high] = "the broadcast address"
		} else {
			p.taken[low] = "the routers' anycast address"
		}
	}
	if !first.IsValid() && !last.IsValid() {
		first, last = low, high
	}
	switch {
	case !prefix.Contains(first):
		return nil, fmt.Errorf("range: %s lies outside %s", first, prefix)
	case !prefix.Contains(last):
		return nil, fmt.Errorf("range: %s lies outside %s", last, prefix)
	case last.Less(first):
		return nil, fmt.Errorf("range: %s comes after %s: swap them", first, last)
	}
	p.first, p.last = first, last
	return p, nil
}

// Contains reports whether a lies in the pool's prefix.
func (p *Pool) Contains(a netip.Addr) bool { return p.prefix.Contains(a) }

// Claim takes a, which may lie outside the range, for holder. It fails when a
// lies outside the prefix or is taken; the error names the holder.
func (p *Pool) Claim(a netip.Addr, holder string) error {
	if !p.prefix.Contains(a) {
		return fmt.Errorf("address %s lies outside %s", a, p.prefix)
	}
	if by, ok := p.taken[a]; ok {
		return fmt.Errorf("address %s is taken by %s", a, by)
	}
	p.taken[a] = holder
	return nil
}

// Next returns the lowest free address of the range without taking it. It
// looks at no more addresses than are taken, and one.
func (p *Pool) Next() (netip.Addr, error) {
	for a := p.first; a.IsValid() && !p.last.Less(a); a = a.Next() {
		if _, ok := p.taken[a]; !ok {
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no free address between %s and %s", p.first, p.last)
}

// lastOf returns the highest address of prefix.
func lastOf(prefix netip.Prefix) netip.Addr {
	b := prefix.Addr().AsSlice()
	for bit := prefix.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
