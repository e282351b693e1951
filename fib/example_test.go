package fib_test

import (
	"fmt"
	"net/netip"
	"sync"

	"weft/fib"
	"weft/internal/header"
)

// Workers look up and learn on their own, each frame, with nothing but the FDB
// itself between them. Control pins addresses and ages the table meanwhile.
func ExampleFDB() {
	var (
		fdb     = fib.NewFDB(fib.FDBConfig{})
		client  = header.MAC(0x02_00_00_00_00_0a)
		server  = header.MAC(0x02_00_00_00_00_0b)
		port1   = fib.PortDest(1)
		port2   = fib.PortDest(2)
		far     = fib.PeerDest(1)
		workers sync.WaitGroup
	)
	fdb.Set(server, port2, fib.Attached) // control: a container was attached

	for range 4 { // four workers that see the same two stations
		workers.Go(func() {
			for second := range uint32(60) { // once per batch: one load of the clock
				fdb.Learn(client, port1, second)
				if fdb.Lookup(server) != port2 {
					panic("an attached address never moves")
				}
				fdb.Learn(server, far, second) // somebody pretends: Pinned
			}
		})
	}
	workers.Wait()

	fmt.Println(fdb.Lookup(client), fdb.Lookup(server), fdb.Lookup(0x02_00_00_00_00_0c))
	fmt.Println(fdb.Learn(client, far, 60)) // live migration: one compare-and-swap
	for _, e := range fdb.Entries(100) {
		fmt.Println(e.MAC, e.Dest, e.Kind, e.Age)
	}
	fmt.Println(fdb.Age(360), fdb.Age(361)) // silent for 300 s: not yet; 301 s: gone

	// Output:
	// port 1 port 2 nowhere
	// moved
	// 02:00:00:00:00:0a peer 1 learned 40
	// 02:00:00:00:00:0b port 2 attached 0
	// 0 1
}

// Readers take no lock: they load a pointer to a table that nobody changes any
// more. A writer builds the next table beside it and publishes it at once.
func ExampleRoutes() {
	var (
		routes  fib.Routes // ready to use
		readers sync.WaitGroup
		host1   = fib.NextHop{Kind: fib.HopPeer, Dest: fib.PeerDest(1)}
		host2   = fib.NextHop{Kind: fib.HopPeer, Dest: fib.PeerDest(2)}
		subnet  = netip.MustParsePrefix("172.17.2.0/24")
		station = netip.MustParseAddr("172.17.2.9")
	)
	routes.Insert(subnet, host1)
	for range 4 {
		readers.Go(func() {
			for range 1000 {
				if hop, ok := routes.Lookup(station); !ok || hop != host1 && hop != host2 {
					panic("between two tables there is never none")
				}
			}
		})
	}
	routes.Update(func(b *fib.Batch) { // subnet moves from host1 to host2
		b.Delete(subnet)
		b.Insert(subnet, host2)
		b.Insert(netip.MustParsePrefix("172.17.0.0/16"), host1)
	})
	readers.Wait()

	for p, hop := range routes.All() {
		fmt.Println(p, hop.Dest)
	}
	p, hop, _ := routes.Match(netip.MustParseAddr("::ffff:172.17.3.1"))
	fmt.Println(p, hop.Dest)

	// Output:
	// 172.17.0.0/16 peer 1
	// 172.17.2.0/24 peer 2
	// 172.17.0.0/16 peer 1
}
