package dataplane

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weft/encap"
	"weft/fib"
	"weft/internal/drop"
	"weft/internal/header"
	"weft/internal/policy"
	"weft/tap"
)

// PortID and DomainID number ports and bridge domains, from 1.
type (
	PortID   uint16
	DomainID uint16
)

// PeerID numbers peers, from 1.
type PeerID = encap.PeerID

// maxID is the highest number of a port, peer or domain: fib.Dest has 15 bits.
const maxID = 1<<15 - 1

// Config describes a Switch.
type Config struct {
	Workers  int             // 0: one for every two cores, 1 to 4: containers need the others
	Underlay *encap.Underlay // nil: no tunnels. The Switch does not close it
	Log      *slog.Logger    // nil: slog.Default()
	HostMAC  header.MAC      // from which the switch itself speaks to neighbours and peers; zero: it does not route

	// PortGone is called once for a port whose container or TAP is gone, from
	// a goroutine of its own, possibly after Close. The port must still be removed.
	PortGone func(PortID)

	// Event is called about trouble in the networks, within a second and at
	// most every 2 s about the same, from a goroutine of its own, possibly after
	// Close. nil: nobody wants to know.
	Event func(Event)
}

// Switch moves frames. Its methods may be called from any goroutine and never
// make a worker wait.
type Switch struct {
	cfg      Config
	log      *slog.Logger
	snapshot atomic.Pointer[snapshot]
	workers  []*worker
	start    time.Time
	second   atomic.Uint32 // of the switch's clock; written by tick, read by workers
	moves    moves
	stopTick chan struct{}
	running  sync.WaitGroup // workers and tick

	mu      sync.Mutex         // serialises writers; guards retired and closed
	retired [drop.Count]uint64 // drops of removed ports and peers
	closed  bool
}

// New starts the workers. They run until Close.
func New(cfg Config) (*Switch, error) {
	s, err := build(cfg)
	if err != nil {
		return nil, err
	}
	s.running.Add(len(s.workers) + 1)
	for _, w := range s.workers {
		go w.run() // ends when Close sets stop
	}
	go s.tick() // ends when Close closes stopTick
	return s, nil
}

// build makes a Switch whose workers do not run yet.
func build(cfg Config) (*Switch, error) {
	if cfg.Workers <= 0 {
		cfg.Workers = min(max(runtime.NumCPU()/2, 1), 4)
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &Switch{cfg: cfg, log: cfg.Log, start: time.Now(), stopTick: make(chan struct{})}
	s.second.Store(1)
	s.snapshot.Store(&snapshot{
		ports:   make([]*port, 1),
		peers:   make([]*peer, 1),
		domains: make([]*domain, 1),
		byKey:   map[uint32]*domain{},
		vrfs:    map[uint32]*vrf{},
	})
	for i := range cfg.Workers {
		w, err := newWorker(s, i)
		if err != nil {
			for _, w := range s.workers {
				w.closeDescriptors()
			}
			return nil, fmt.Errorf("start worker %d: %w", i, err)
		}
		s.workers = append(s.workers, w)
	}
	return s, nil
}

// Close stops the workers and waits until none runs. Devices and the underlay
// stay open: they are their owner's.
func (s *Switch) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	close(s.stopTick)
	for _, w := range s.workers {
		w.stop.Store(true)
		w.wake()
	}
	s.running.Wait()
	for _, w := range s.workers {
		w.closeDescriptors()
	}
	return nil
}

// Now returns the second of the switch's monotonic clock by which FDB ages and
// PeerStats are measured. It starts at 1.
func (s *Switch) Now() uint32 { return s.second.Load() }

// tick advances the clock and ages the FDBs, so that workers need no clock.
func (s *Switch) tick() {
	defer s.running.Done()
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-s.stopTick:
			return
		case <-t.C:
		}
		now := uint32(time.Since(s.start)/time.Second) + 1
		s.second.Store(now)
		for _, d := range s.snapshot.Load().domains {
			if d != nil {
				d.fdb.Age(now)
				d.neigh.age(now)
			}
		}
		for _, w := range s.workers {
			if w.waits.Load() || w.gathers.Load() {
				w.wake()
			}
		}
		s.tell()
		s.probeLoops(now)
	}
}

// publish makes next the snapshot that workers load with their next batch.
// Called with mu held.
func (s *Switch) publish(next *snapshot) { s.snapshot.Store(next) }

// settle waits until no worker uses a snapshot older than the published one:
// the grace period before a number is reused or a descriptor is closed. Workers
// never wait for it, and a batch takes less than a millisecond. Called with mu held.
func (s *Switch) settle() {
	version := s.snapshot.Load().version
	for _, w := range s.workers {
		for pause := 10 * time.Microsecond; w.version.Load() < version; pause *= 2 {
			time.Sleep(min(pause, time.Millisecond))
		}
	}
}

// DomainConfig describes a bridge domain.
type DomainConfig struct {
	Key      uint32         // GRE key: the network's id, 1 to 2^32-1
	MTU      int            // L3
	Ageing   time.Duration  // 10 s to 1,000,000 s; 0: 300 s
	Capacity int            // most FDB entries; 0: 65,536
	Peers    []encap.PeerID // that share the domain; numbers without a peer are passed over

	Apart bool // no frame goes from a container to another one: not to ports but those of uplinks and the host, nor to peers

	VRF      uint32         // key of the vrf that routes for it; 0: bridged only
	Prefixes []netip.Prefix // of its addresses
	Reserved []netip.Addr   // of somebody behind an uplink, who is no port: ports without addresses may not speak for them
	Gateways []netip.Addr   // the switch's own addresses in it, one of a family at most
}

// AddDomain makes a bridge domain.
func (s *Switch) AddDomain(cfg DomainConfig) (DomainID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.snapshot.Load()
	if old.byKey[cfg.Key] != nil {
		return 0, fmt.Errorf("add domain: key %d is in use", cfg.Key)
	}
	next := old.clone()
	id, err := freeSlot(&next.domains)
	if err != nil {
		return 0, fmt.Errorf("add domain: %w", err)
	}
	d := &domain{id: DomainID(id), network: DomainID(id), key: cfg.Key, neigh: new(neighbours), defence: new(defence)}
	d.fdb = fib.NewFDB(fib.FDBConfig{Capacity: cfg.Capacity, Ageing: uint32(cfg.Ageing / time.Second)})
	d.configure(next, cfg)
	next.setDomain(d)
	s.publish(next)
	return d.id, nil
}

// SetDomain changes MTU, ageing and peers of a domain. Key and capacity stay.
func (s *Switch) SetDomain(id DomainID, cfg DomainConfig) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.snapshot.Load()
	was := old.domain(id)
	if was == nil {
		return fmt.Errorf("set domain: no domain %d", id)
	}
	next := old.clone()
	d := *was
	d.configure(next, cfg)
	if cfg.Ageing > 0 {
		d.fdb.SetAgeing(uint32(cfg.Ageing / time.Second))
	}
	next.setDomain(d.withPorts(next))
	for _, v := range next.vlansOf(id) {
		c := *v
		c.inherit(&d)
		if cfg.Ageing > 0 {
			c.fdb.SetAgeing(uint32(cfg.Ageing / time.Second))
		}
		next.setDomain(c.withPorts(next))
	}
	s.publish(next)
	s.filterUplinks()
	for _, p := range was.peers { // what was learned from a peer that no longer shares the domain
		if !d.shared.has(uint16(p.id)) {
			s.settle()
			for _, d := range append(next.vlansOf(id), &d) {
				d.fdb.Sweep(fib.PeerDest(uint16(p.id)))
			}
		}
	}
	return nil
}

// configure sets what may change of a domain.
func (d *domain) configure(s *snapshot, cfg DomainConfig) {
	d.mtu, d.vrf, d.prefixes, d.apart = cfg.MTU, cfg.VRF, cfg.Prefixes, cfg.Apart
	d.gw = newGateway(d.key, cfg.Gateways)
	d.reserved = make(map[netip.Addr]bool, len(cfg.Reserved))
	for _, a := range cfg.Reserved {
		d.reserved[a] = true
	}
	d.share(s, cfg.Peers)
}

// share sets the peers of d to those of ids that s has.
func (d *domain) share(s *snapshot, ids []encap.PeerID) {
	d.peers, d.shared = nil, nil
	for _, id := range ids {
		if p := s.peer(id); p != nil && !d.shared.has(uint16(id)) {
			d.peers = append(d.peers, p)
			d.shared.add(uint16(id))
		}
	}
}

// RemoveDomain removes a domain that has no ports.
func (s *Switch) RemoveDomain(id DomainID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.snapshot.Load()
	d := old.domain(id)
	if d == nil {
		return fmt.Errorf("remove domain: no domain %d", id)
	}
	for _, p := range old.ports {
		if p != nil && p.network == id {
			return fmt.Errorf("remove domain: port %d is attached", p.id)
		}
	}
	next := old.clone()
	next.domains[id] = nil
	delete(next.byKey, d.key)
	next.setOwn() // its gateway's addresses are nobody's now
	s.publish(next)
	s.settle()
	return nil
}

// FDB returns the domain's table, nil where there is no such domain: entries
// are shown, added and flushed there.
func (s *Switch) FDB(id DomainID) *fib.FDB {
	if d := s.snapshot.Load().domain(id); d != nil {
		return d.fdb
	}
	return nil
}

// PortConfig describes a port.
type PortConfig struct {
	Device     *tap.Device
	Domain     DomainID     // of its network
	VLAN       uint16       // of its untagged frames, 1 to 4094; 0: none, they are the network's
	Trunk      []uint16     // VLANs that it has tagged, without VLAN; none: it is no trunk
	MAC        header.MAC   // attached address
	Addrs      []netip.Addr // attached addresses; none: it may use any that no other port has
	MTU        int          // L3: larger frames are dropped, both ways
	AllowSpoof bool         // may send from any address, and learns
	Isolated   bool         // no frame goes from an isolated port to another one of this host
	FloodRate  int          // frames a second to all, to a group and to unknown addresses, each; 0: DefaultFloodRate; negative: no limit
	Stations   int          // addresses that are learned from it; 0: DefaultStations; negative: as many as the FDB takes
	Host       bool         // of the host, which forwards: it may send IP from any address outside the vrf, too
}

// AddPort attaches a device to a domain and starts reading it. The device stays
// the caller's, who closes it after RemovePort.
func (s *Switch) AddPort(cfg PortConfig) (PortID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, errors.New("add port: switch is closed")
	}
	old := s.snapshot.Load()
	d := old.domain(cfg.Domain)
	if d == nil || d.vid != 0 {
		return 0, fmt.Errorf("add port: no domain %d", cfg.Domain)
	}
	if cfg.MAC == gatewayMAC(d.key) || cfg.MAC == s.cfg.HostMAC {
		return 0, fmt.Errorf("add port: %v is the switch's own address", cfg.MAC)
	}
	for _, a := range cfg.Addrs {
		if d.gw.has(a) {
			return 0, fmt.Errorf("add port: %v is the gateway's address", a)
		}
	}
	next := old.clone()
	id, err := freeSlot(&next.ports)
	if err != nil {
		return 0, fmt.Errorf("add port: %w", err)
	}
	p := &port{
		id: PortID(id), device: cfg.Device, network: d.id, domain: d.id, trunk: newVLANSet(cfg.Trunk), worker: s.idlestWorker(old),
		mac: cfg.MAC, addrs: cfg.Addrs, mtu: cfg.MTU, allowSpoof: cfg.AllowSpoof, isolated: cfg.Isolated,
		host: cfg.Host, filter: newFilter(cfg.MAC, cfg.Addrs, cfg.Host), flooding: new(flooding), floodRate: cmp.Or(cfg.FloodRate, DefaultFloodRate), loop: new(looping),
		stations: stationsOf(cfg), gone: new(atomic.Bool), counters: make([]portCounters, len(s.workers)),
	}
	vids := cfg.Trunk
	if cfg.VLAN != 0 {
		vids = append(slices.Clone(vids), cfg.VLAN)
	}
	if d, err = next.openVLANs(d, vids); err != nil {
		return 0, fmt.Errorf("add port: %w", err)
	}
	if cfg.VLAN != 0 {
		p.domain = d.vlans[cfg.VLAN]
	}
	if p.trunk != nil {
		p.tagged = policy.New(p.mac, nil)
	}
	if !next.pin(p) {
		return 0, fmt.Errorf("add port: %v is another port's address, or the table is full", p.mac)
	}
	next.ports[id] = p
	next.rejoin(d.id)
	s.publish(next)
	s.filterUplinks()
	if err := s.workers[p.worker].watch(cfg.Device.FD(), sourcePort, int32(id)); err != nil {
		s.publish(withoutPort(next, p))
		s.settle()
		s.sweep(p)
		return 0, fmt.Errorf("add port: %w", err)
	}
	return p.id, nil
}

// stationsOf returns how many addresses the FDB learns from a port.
func stationsOf(cfg PortConfig) int {
	if cfg.Stations < 0 {
		return math.MaxInt
	}
	return cmp.Or(cfg.Stations, DefaultStations)
}

// newFilter returns what holds a port, or that of the host, to its addresses.
func newFilter(mac header.MAC, addrs []netip.Addr, host bool) *policy.Filter {
	if host {
		return policy.NewForwarding(mac, addrs)
	}
	return policy.New(mac, addrs)
}

// RemovePort stops reading the port's device, waits until no worker uses it,
// and sweeps the FDB. Afterwards the caller may close the device.
func (s *Switch) RemovePort(id PortID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.snapshot.Load()
	p := old.port(id)
	if p == nil {
		return fmt.Errorf("remove port: no port %d", id)
	}
	s.publish(withoutPort(old.clone(), p))
	s.workers[p.worker].unwatch(p.fd())
	s.settle()
	for _, p := range []*port{p, old.port(p.twin)} {
		if p != nil {
			stats := p.stats()
			s.retire(&stats.Drops)
			s.sweep(p)
		}
	}
	s.filterUplinks()
	return nil
}

// withPorts returns a copy of d with the ports that s has for it.
func (d *domain) withPorts(s *snapshot) *domain {
	c := *d
	c.ports, c.uplinks, c.routers, c.isolates, c.attached = nil, nil, nil, c.apart, map[netip.Addr]*port{}
	for _, p := range s.ports {
		if p == nil || !d.has(p) {
			continue
		}
		c.ports = append(c.ports, p)
		c.isolates = c.isolates || p.isolated
		if p.uplink != nil {
			c.uplinks = append(c.uplinks, p)
		}
		if d.mayRoute(p) {
			c.routers = append(c.routers, p)
		}
		if p.domain == d.id { // in the VLANs of a trunk it has others, or none
			for _, a := range p.addrs {
				c.attached[a] = p
			}
		}
	}
	return &c
}

// withoutPort takes p out of s, which is not published yet.
func withoutPort(s *snapshot, p *port) *snapshot {
	next := s.clone()
	next.ports[p.id], next.ports[p.twin] = nil, nil // no port has number 0
	next.closeVLANs(p.network)
	next.rejoin(p.network)
	return next
}

// idlestWorker returns the worker that reads the fewest ports. The one that
// reads the underlay counts as if it had one more.
func (s *Switch) idlestWorker(snap *snapshot) (best int) {
	ports := make([]int, len(s.workers))
	if s.cfg.Underlay != nil {
		ports[0]++
	}
	for _, p := range snap.ports {
		if p != nil {
			ports[p.worker]++
		}
	}
	for i, n := range ports {
		if n < ports[best] {
			best = i
		}
	}
	return best
}

// PeerConfig describes a peer as the switch sees it.
type PeerConfig struct {
	encap.Peer
	Domain DomainID // the one domain of a keyless peer; 0 otherwise
	VRF    uint32   // the vrf of a keyless peer's bare IP; 0 otherwise
	MTU    int      // L3, of bare IP to it; 0: what the link takes
}

// SetPeers replaces the peers, in the underlay too. A peer keeps its counters
// as long as its ID stays; what was learned from one that goes is forgotten.
func (s *Switch) SetPeers(peers []PeerConfig) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cfg.Underlay == nil {
		return errors.New("set peers: the switch has no underlay")
	}
	under := make([]encap.Peer, 0, len(peers))
	for _, p := range peers {
		if p.ID == 0 || p.ID > maxID {
			return fmt.Errorf("set peers: number %d is out of range", p.ID)
		}
		under = append(under, p.Peer)
	}
	if err := s.cfg.Underlay.SetPeers(under); err != nil {
		return fmt.Errorf("set peers: %w", err)
	}
	old := s.snapshot.Load()
	next := old.clone()
	clear(next.peers)
	for _, cfg := range peers {
		for int(cfg.ID) >= len(next.peers) {
			next.peers = append(next.peers, nil)
		}
		p := &peer{id: cfg.ID, domain: cfg.Domain, vrf: cfg.VRF, mtu: cfg.MTU}
		if p.mtu == 0 {
			p.mtu = s.cfg.Underlay.Room(cfg.ID, encap.ProtoIPv4) - header.EthernetLen
		}
		if was := old.peer(cfg.ID); was != nil {
			p.health, p.counters = was.health, was.counters
		} else {
			p.health, p.counters = new(health), make([]peerCounters, len(s.workers))
		}
		next.peers[cfg.ID] = p
	}
	for _, d := range next.domains {
		if d != nil {
			ids := make([]encap.PeerID, len(d.peers))
			for i, p := range d.peers {
				ids[i] = p.id
			}
			c := *d
			c.share(next, ids)
			next.setDomain(&c)
		}
	}
	s.publish(next)
	s.filterUplinks()
	s.settle()
	for _, was := range old.peers {
		if was != nil && next.peer(was.id) == nil {
			stats := was.stats()
			s.retire(&stats.Drops)
			for _, d := range next.domains {
				if d != nil {
					d.fdb.Sweep(fib.PeerDest(uint16(was.id)))
				}
			}
		}
	}
	return nil
}

// retire keeps the drops of a port or peer that is removed, so that the totals
// by reason still add up. Called with mu held.
func (s *Switch) retire(drops *[drop.Count]uint64) {
	for r, n := range drops {
		s.retired[r] += n
	}
}

// portGone tells the owner once that p's device is dead.
func (s *Switch) portGone(p *port) {
	if s.cfg.PortGone != nil && p.gone.CompareAndSwap(false, true) {
		go s.cfg.PortGone(p.id) // owner: the callback; ends when it returns
	}
}

// freeSlot returns the lowest free number of table, at least 1, and makes room for it.
func freeSlot[T any](table *[]*T) (int, error) {
	for i := 1; i < len(*table); i++ {
		if (*table)[i] == nil {
			return i, nil
		}
	}
	if len(*table) > maxID {
		return 0, fmt.Errorf("all %d numbers are in use", maxID)
	}
	*table = append(*table, nil)
	return len(*table) - 1, nil
}
