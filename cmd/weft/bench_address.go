package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"weft/internal/header"
	"weft/internal/spec"
	"weft/tap"
)

// Hosts do not tell each other which addresses they gave out, and without a
// range of their own all would give out the same. A guest then draws its address
// at random, and asks the whole network whether somebody has it.

// How many addresses are asked for at once, and how often.
const (
	drawnAtOnce = 16
	drawRounds  = 4
)

// drawsFrom returns the prefix that a guest draws its address from; an invalid
// one where the user named the address, or the network has a range that is this
// host's, so that the switch gives the next free one.
func (b *bencher) drawsFrom(ctx context.Context, network string) (netip.Prefix, error) {
	if b.address.Prefix.IsValid() {
		return netip.Prefix{}, nil
	}
	networks, err := b.client().Networks(ctx)
	if err != nil {
		return netip.Prefix{}, err
	}
	i := slices.IndexFunc(networks, func(n spec.NetworkStatus) bool { return n.Name == network })
	if i < 0 {
		return netip.Prefix{}, fmt.Errorf("network %q is not known; weft network ls lists them", network)
	}
	if n := networks[i]; n.Range == "" && len(n.Prefixes) > 0 {
		return n.Prefixes[0], nil
	}
	return netip.Prefix{}, nil
}

// draw returns an address of prefix that no port of this host has, and for which
// nobody in the network answers. It asks from where the guest will be, which is
// attached without an address meanwhile: one that had it would tell everybody,
// who would take it for true.
func (g *guest) draw(ctx context.Context, at spec.Attach, prefix netip.Prefix) ([]spec.Address, error) {
	ports, err := g.b.client().Ports(ctx)
	if err != nil {
		return nil, err
	}
	taken := map[netip.Addr]bool{}
	for _, p := range ports {
		for _, a := range p.Addresses {
			taken[a.Addr()] = taken[a.Addr()] || p.Network == at.Network
		}
	}
	at.NoAddress, at.AllowSpoof = true, true // it asks from a station of its own
	if _, err := g.b.client().Attach(ctx, at); err != nil {
		return nil, err
	}
	for range drawRounds {
		addrs := drawn(prefix, taken)
		held, err := g.inUse(at.IfName, addrs)
		if err != nil {
			return nil, err
		}
		for _, a := range addrs {
			if _, ok := held[a]; !ok {
				return []spec.Address{{Prefix: netip.PrefixFrom(a, prefix.Bits())}}, g.b.client().Detach(ctx, at.Network, at.Target)
			}
			taken[a] = true
		}
	}
	return nil, fmt.Errorf("network %q: no address was found that nobody has: name one with --address, or give this host a range with weft network set %s --range", at.Network, at.Network)
}

// inUse returns which of addrs somebody in the network has.
func (g *guest) inUse(ifname string, addrs []netip.Addr) (held map[netip.Addr]header.MAC, err error) {
	const local = 0x02 << 40 // locally administered (IEEE 802-2014 section 8.4.4)
	station := header.MAC(local | rand.Uint64N(1<<40))
	err = g.place(func() error {
		link, err := tap.LookupLink(ifname)
		if err != nil {
			return err
		}
		held, err = tap.InUse(ifname, link, 0, station, addrs)
		return err
	})
	return held, err
}

// drawn returns some addresses of p at random that are not taken.
func drawn(p netip.Prefix, taken map[netip.Addr]bool) (list []netip.Addr) {
	for n := 0; n < 1000 && len(list) < drawnAtOnce; n++ { // where most are taken it gives up some day
		if a := randomIn(p); !taken[a] && !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// randomIn returns an address of p, neither its first nor its last one where
// there are others.
func randomIn(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	host := p.Addr().BitLen() - p.Bits()
	n := rand.Uint64()
	if host < 64 && host > 1 {
		n = 1 + rand.Uint64N(1<<host-2)
	} else if host <= 1 {
		n = rand.Uint64N(1 << host)
	}
	for i := len(b) - 1; i >= 0 && n > 0; i-- {
		b[i] |= byte(n)
		n >>= 8
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
