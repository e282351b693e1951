package control

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"weft/encap"
	"weft/internal/header"
	"weft/internal/spec"
	"weft/tap"
)

// Apply makes of this host what cfg, read by spec.ParseHost, says: what it names is
// added or changed, what it leaves out is removed, and what is so already is not
// touched. Either all of it is done or nothing. What file and flags of weft run
// declare is not its own: cfg may name that as it is, or leave it out. With dryRun
// nothing is done. The answer says what the differences are, or were.
func (c *Controller) Apply(cfg spec.Config, dryRun bool) (spec.Applied, error) {
	c.asking.Lock()
	defer c.asking.Unlock()
	found := c.findContainers(cfg.Attachments)
	end, err := c.begin()
	if err != nil {
		return spec.Applied{}, err
	}
	defer end()
	p := &applying{c: c, cfg: cfg, found: found, t: &transition{}}
	p.keepThreads()
	if err := p.plan(); err != nil {
		return spec.Applied{}, Cured(err)
	}
	host, err := p.planHost()
	if err != nil {
		return spec.Applied{}, Cured(err)
	}
	got := spec.Applied{DryRun: dryRun, Differences: orEmpty(p.differences(host))}
	if dryRun || p.t.empty(c) && host.empty() && maps.Equal(p.up, c.uplinks) {
		return got, nil
	}
	if err := c.carryOutAll(p.t, host, p.up); err != nil {
		return spec.Applied{}, Cured(fmt.Errorf("apply %s: nothing is changed: %w", cfg.File, err))
	}
	c.locked(func() { c.faults.apply = nil })
	c.followDocker()
	for _, d := range got.Differences {
		c.log.Info("applied", "file", cfg.File, "change", d.String())
	}
	return got, nil
}

// applying plans what a file asks for. Nothing outside of it is changed.
type applying struct {
	c      *Controller
	cfg    spec.Config
	found  map[string]foundContainer // what Docker said, by target
	t      *transition
	stands map[string]*endpoint        // endpoints as they shall be, by network and target's key
	up     map[uplinkKey]*uplink       // uplinks as they shall be
	links  map[uplinkKey]tap.LinkState // of those that are new
}

// at puts the place in the file before an error.
func (p *applying) at(line int, err error) error { return p.cfg.At(line, p.cfg.File, err) }

// keepThreads adds to the file what export leaves out of it, so that an apply does
// not end a bench: where its network stays, the place of a thread does.
func (p *applying) keepThreads() {
	for _, ep := range p.c.endpointList() {
		named := func(a spec.Attach) bool { return a.Network == ep.Network && a.Target == ep.Target }
		stays := p.c.networks[ep.Network].isDeclared() || slices.ContainsFunc(p.cfg.Networks, func(n spec.Network) bool { return n.Name == ep.Network })
		if !ep.target.thread || !stays || p.c.ended(ep) || slices.ContainsFunc(p.cfg.Attachments, named) {
			continue
		}
		a := exportPort(p.c.networks[ep.Network], ep)
		a.Addresses = nil // as they are, or as the network goes
		p.cfg.Attachments = append(slices.Clone(p.cfg.Attachments), a)
	}
}

func (p *applying) plan() error {
	p.t.desired = desired{networks: map[string]*network{}, peers: map[string]*peer{}, routes: newRouteTable()}
	for _, step := range []func() error{p.networks, p.peers, p.routes, p.checkKept, p.planUplinks, p.ports, p.checkUplinks, p.entries} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// isDeclared reports whether an object belongs to the configuration of weft run.
func (n *network) isDeclared() bool { return n.origin == declared && !n.kept }

// declaredElsewhere refuses a change of a declared object.
func (p *applying) declaredElsewhere(line int, kind, name string, was fmt.Stringer) error {
	return p.at(line, fmt.Errorf("%s %q is declared in %s as %s: change it there and restart weft run, or take it out here", kind, name, p.c.opt.Source, was))
}

func (p *applying) networks() error {
	next := p.t.desired.networks
	for name, n := range p.c.networks {
		if n.isDeclared() {
			next[name] = n
		}
	}
	for _, n := range p.cfg.Networks {
		if err := n.Validate(); err != nil {
			return p.at(n.Line, err)
		}
		want := &network{Network: settle(n), origin: byAPI}
		was := p.c.networks[n.Name]
		switch {
		case was != nil && was.isDeclared() && same(was.Network, want.Network):
			continue
		case was != nil && was.isDeclared():
			return p.declaredElsewhere(n.Line, "network", n.Name, was)
		case was != nil && !was.kept && same(was.Network, want.Network):
			want = was
		}
		for _, other := range next {
			if err := clash(want.Network, other.Network); err != nil {
				return p.at(n.Line, err)
			}
		}
		next[n.Name] = want
	}
	return nil
}

func (p *applying) peers() error {
	own, err := p.c.ownAddrs()
	if err != nil {
		return err
	}
	next := p.t.desired.peers
	for name, was := range p.c.peers {
		if was.origin == declared {
			next[name] = was
		}
	}
	taken := map[encap.PeerID]bool{}
	for _, was := range p.c.peers {
		taken[was.id] = true
	}
	for _, add := range p.cfg.Peers {
		if err := add.Validate(); err != nil {
			return p.at(add.Line, err)
		}
		want := &peer{Peer: orderPeer(add), origin: byAPI}
		was := p.c.peers[add.Name]
		switch {
		case was != nil && was.String() == want.String():
			want = was
		case was != nil && was.origin == declared:
			return p.declaredElsewhere(add.Line, "peer", add.Name, was)
		case was != nil && was.Address == want.Address:
			want.id, want.last = was.id, was.last
		default:
			if want.id, err = lowestFree(taken); err != nil {
				return p.at(add.Line, err)
			}
			taken[want.id] = true
		}
		if err := checkPeer(want, next, p.t.desired.networks, own, p.c.opt.Config.Local); err != nil {
			return p.at(add.Line, err)
		}
		next[add.Name] = want
	}
	return nil
}

func (p *applying) routes() error {
	next := p.t.desired
	for was := range p.c.desired.routes.all() {
		if was.origin == declared || p.cfg.KeepRoutes {
			next.routes.set(was)
		}
	}
	lines := map[routeKey]int{}
	for _, r := range p.cfg.Routes {
		if err := r.Validate(); err != nil {
			return p.at(r.Line, err)
		}
		resolved, err := next.resolve(r)
		if err != nil {
			return p.at(r.Line, fmt.Errorf("route %s: %w", r.Prefix, err))
		}
		want := newRoute(resolved, byAPI)
		want.Line = 0
		if line := lines[want.key()]; line > 0 {
			return p.at(r.Line, fmt.Errorf("route %s stands on line %d already, in vrf %q: take one out", r.Prefix, line, want.VRF))
		}
		lines[want.key()] = r.Line
		if was := next.routes.get(want.key()); was != nil { // which is declared
			if was.Via != want.Via {
				return p.declaredElsewhere(r.Line, "route", r.Prefix.String(), was)
			}
			continue
		}
		next.routes.set(want)
	}
	all := next.vrfs()
	for _, r := range next.routeList() {
		if line := lines[r.key()]; line > 0 {
			if err := next.problem(all, r); err != nil {
				return p.at(line, fmt.Errorf("route %s: %w", r.Prefix, err))
			}
		}
	}
	return nil
}

// checkKept refuses to take from declared peers and routes what they need.
func (p *applying) checkKept() error {
	for _, name := range sortedKeys(p.t.desired.peers) {
		pr := p.t.desired.peers[name]
		_, now := carried(pr, p.c.desired.networks)
		if _, then := carried(pr, p.t.desired.networks); pr.origin == declared && now == nil && then != nil {
			return p.at(0, fmt.Errorf("peer %q, which is declared in %s: %w", name, p.c.opt.Source, then))
		}
	}
	for _, r := range p.c.broken(p.t.desired) {
		why := p.t.desired.problem(p.t.desired.vrfs(), r)
		if p.cfg.KeepRoutes && r.origin != declared {
			return p.at(0, fmt.Errorf("route %s, which stays since the file says routes: keep: %w", r.Prefix, why))
		}
		if r.origin == declared {
			return p.at(0, fmt.Errorf("route %s, which is declared in %s: %w", r.Prefix, p.c.opt.Source, why))
		}
	}
	return nil
}

// wanted is an attachment of the file on its way to an endpoint.
type wanted struct {
	spec.Attach
	t     target
	was   *endpoint // that has the place now; nil: none, or another container had it
	place *place
	mac   header.MAC // 0: derived, or what it has
}

func (w *wanted) name() string { return fmt.Sprintf("port %s", w.Target) }

// ports plans endpoints: those that stay and change, that come, and that go.
func (p *applying) ports() error {
	byNetwork := map[string][]*wanted{}
	p.stands = map[string]*endpoint{}
	seen := map[endpointKey]int{}
	for _, a := range p.cfg.Attachments {
		w, err := p.wanted(a)
		if err != nil {
			return p.at(a.Line, fmt.Errorf("attachment of %q: %w", a.Target, err))
		}
		key := endpointKey{a.Network, w.t.key}
		if line := seen[key]; line > 0 {
			return p.at(a.Line, fmt.Errorf("attachment of %q: line %d attaches it to network %q already", a.Target, line, a.Network))
		}
		seen[key] = a.Line
		byNetwork[a.Network] = append(byNetwork[a.Network], w)
	}
	for _, name := range sortedKeys(byNetwork) {
		if err := p.portsOf(p.t.desired.networks[name], byNetwork[name]); err != nil {
			return err
		}
	}
	kept := map[*endpoint]bool{}
	for _, a := range p.t.alter {
		kept[a.ep] = true
	}
	for _, ep := range p.c.endpointList() {
		if ep.Host == nil && !kept[ep] {
			p.t.remove = append(p.t.remove, ep)
		}
	}
	return nil
}

// find returns what a target means, and its namespace; there says why that cannot
// be entered now.
func (p *applying) find(text string) (t target, ns tap.Namespace, there, err error) {
	if f, ok := p.found[text]; ok {
		return f.t, f.ns, f.err, nil
	}
	if t, err = parseTarget(text); err == nil {
		ns, there = p.c.sys.namespace(t.path)
	}
	return t, ns, there, err
}

// wanted finds what an attachment means here.
func (p *applying) wanted(a spec.Attach) (*wanted, error) {
	if err := a.Validate(); err != nil {
		return nil, err
	}
	n := p.t.desired.networks[a.Network]
	if n == nil {
		return nil, fmt.Errorf("network %q does not exist: add it under networks", a.Network)
	}
	t, ns, there, err := p.find(a.Target)
	if err != nil {
		return nil, err
	}
	mac, err := askedMAC(a)
	if err != nil {
		return nil, err
	}
	a.IfName = cmp.Or(a.IfName, spec.DefaultIfName)
	w := &wanted{Attach: a, t: t, mac: mac}
	rec := endpointRecord{Network: n.Name, Target: t.text, IfName: a.IfName, MTU: a.MTU, OwnMTU: a.MTU != 0, AllowSpoof: a.AllowSpoof, Isolated: a.Isolated, VLAN: a.VLAN, Trunk: a.Trunk, MACLimit: a.MACLimit, Storm: a.Storm}
	w.was = p.c.endpointOf(n.Name, t)
	switch err = there; {
	case err != nil && (w.was == nil || p.c.ended(w.was)):
		return nil, err
	case err == nil && ns.Dev == p.c.hostNS.Dev && ns.Ino == p.c.hostNS.Ino:
		return nil, fmt.Errorf("that is the network namespace of this host itself: name a container's")
	case w.was != nil && (p.c.ended(w.was) || err == nil && (ns.Dev != w.was.Life.Device || ns.Ino != w.was.Life.Inode)):
		rec.MAC = w.was.MAC // another container took the place
		w.place = &place{rec: rec, addrs: slices.Clone(w.was.Addresses)}
		w.was = nil
	case w.was != nil && w.was.IfName != a.IfName: // a TAP is not renamed, but made anew
		rec.MAC = w.was.MAC
		w.place = moved(p.c.networks[n.Name].Network, n, w.was.endpointRecord)
		w.place.rec = rec
		w.was = nil
	}
	if w.was != nil {
		rec.Life, rec.MAC = w.was.Life, w.was.MAC
		w.place = moved(p.c.networks[n.Name].Network, n, w.was.endpointRecord)
		w.place.rec = rec
	} else if rec.Life, err = p.c.lifeOf(t, ns); err != nil {
		return nil, err
	}
	if w.place == nil || w.was == nil && !p.fits(n, w.place) {
		w.place = &place{free: n.Prefixes}
	}
	w.place.rec = rec
	if len(a.Addresses) > 0 || a.NoAddress {
		w.place.addrs, w.place.free = nil, nil
		for _, addr := range a.Addresses {
			if _, ok := n.prefixFor(addr.Prefix.Addr()); !ok {
				return nil, fmt.Errorf("address %s lies outside of network %s", addr, n)
			}
			if err := checkLength(n, addr); err != nil {
				return nil, err
			}
			w.place.addrs = append(w.place.addrs, addr.Prefix)
		}
	}
	return w, nil
}

// fits reports whether all addresses of a place are still in the network.
func (p *applying) fits(n *network, pl *place) bool {
	return !slices.ContainsFunc(pl.addrs, func(a netip.Prefix) bool {
		_, ok := n.prefixFor(a.Addr())
		return !ok
	})
}

// portsOf plans the endpoints of one network.
func (p *applying) portsOf(n *network, list []*wanted) error {
	places := make([]*place, len(list))
	for i, w := range list {
		places[i] = w.place
	}
	all, names := places, func(i int) string { return list[i].name() }
	if host := p.keptHost(n.Name); host != nil {
		all = append(slices.Clone(places), host)
		names = func(i int) string {
			if i == len(list) {
				return "the host"
			}
			return list[i].name()
		}
	}
	if i, err := p.c.allotUnheld(n, p.lansOf(n.Name), all, names); err != nil {
		return p.at(list[min(max(i, 0), len(list)-1)].Line, err)
	}
	macs := map[header.MAC]string{}
	for _, w := range list {
		if err := p.complete(n, w, list, places); err != nil {
			return p.at(w.Line, fmt.Errorf("attachment of %q: %w", w.Target, err))
		}
		mac := w.place.rec.MAC
		if other := macs[mac]; other != "" {
			return p.at(w.Line, fmt.Errorf("attachment of %q: MAC %s is that of %s too: give one of them another", w.Target, mac, other))
		}
		macs[mac] = w.name()
		if err := p.stand(w); err != nil {
			return p.at(w.Line, fmt.Errorf("attachment of %q: %w", w.Target, err))
		}
	}
	return nil
}

// complete fills in what follows from a port's addresses.
func (p *applying) complete(n *network, w *wanted, list []*wanted, places []*place) error {
	c, rec := p.c, &w.place.rec
	rec.Addresses = w.place.addrs
	rec.Gateways = chooseGateways(n.in(rec.VLAN), w.Attach.Addresses, rec.Addresses)
	if w.was != nil && len(w.Attach.Addresses) == 0 {
		eps := make([]*endpoint, len(list))
		for i := range list {
			if eps[i] = list[i].was; eps[i] == nil {
				eps[i] = &endpoint{}
			}
		}
		var err error
		if rec.Gateways, err = followGateways(c.networks[n.Name].Network, n, w.was.endpointRecord, rec.Addresses, eps, places); err != nil {
			return err
		}
	}
	switch {
	case rec.OwnMTU:
	case w.was != nil && !w.was.OwnMTU && c.networks[n.Name].MTU == n.MTU && w.was.sameVLANs(rec.vlans()):
		rec.MTU = w.was.MTU // fixed at attach
	default:
		rec.MTU = c.portMTU(p.t.desired, n, *rec)
	}
	if least := leastMTU(rec.Addresses); rec.MTU < least {
		if rec.OwnMTU {
			return fmt.Errorf("MTU %d is too small for its addresses: at least %d is needed", rec.MTU, least)
		}
		rec.MTU = least
	}
	if w.mac != 0 {
		rec.MAC = w.mac
	}
	if rec.MAC == 0 {
		rec.MAC = defaultMAC(n.ID, firstAddr(rec.Addresses), c.opt.Config.Name, w.t.text)
	}
	switch rec.MAC {
	case gatewayMAC(n.ID):
		return fmt.Errorf("MAC %s is that of the gateway of network %q: choose another", rec.MAC, n.Name)
	case hostMAC(c.opt.Config.Name):
		return fmt.Errorf("MAC %s is that of this switch itself: choose another", rec.MAC)
	}
	return nil
}

// stand takes the port into the plan, where its interface's name is free.
func (p *applying) stand(w *wanted) error {
	rec := w.place.rec
	for _, other := range p.stands {
		if other.IfName == rec.IfName && other.Life.Device == rec.Life.Device && other.Life.Inode == rec.Life.Inode {
			return fmt.Errorf("interface %s in the container is that of network %q too: give one of them another ifname", rec.IfName, other.Network)
		}
	}
	ep := &endpoint{endpointRecord: rec, target: w.t}
	if w.was != nil {
		p.t.alter = append(p.t.alter, alteration{ep: w.was, was: w.was.endpointRecord, next: rec})
	} else {
		p.t.add = append(p.t.add, ep)
	}
	p.stands[rec.Network+" "+w.t.key] = ep
	return nil
}

// entries plans the static FDB entries.
func (p *applying) entries() error {
	p.t.statics = []staticRecord{}
	for _, s := range p.cfg.FDB {
		rec, err := p.entry(s)
		if err != nil {
			return p.at(s.Line, fmt.Errorf("entry of %q: %w", s.MAC, err))
		}
		p.t.statics = append(p.t.statics, rec)
	}
	sortStatics(p.t.statics)
	return nil
}

func (p *applying) entry(s spec.Static) (staticRecord, error) {
	n := p.t.desired.networks[s.Network]
	if n == nil {
		return staticRecord{}, fmt.Errorf("network %q does not exist: add it under networks", s.Network)
	}
	mac, err := spec.ParseMAC(s.MAC)
	if err != nil {
		return staticRecord{}, err
	}
	rec := staticRecord{Network: n.Name, VLAN: s.VLAN, MAC: mac}
	for _, ep := range p.stands {
		if ep.Network == n.Name && ep.MAC == mac {
			return rec, fmt.Errorf("it is the address of port %s, which needs no entry", ep.Target)
		}
	}
	if name, ok := strings.CutPrefix(s.To, "peer:"); ok {
		pr := p.t.desired.peers[name]
		switch {
		case pr == nil:
			return rec, fmt.Errorf("peer %q does not exist: add it under peers", name)
		case !pr.shares(n.Name, p.t.desired.networks):
			return rec, fmt.Errorf("peer %q does not share network %q", name, n.Name)
		}
		rec.Peer = name
		return rec, nil
	}
	if device, ok := strings.CutPrefix(s.To, spec.ToUplink); ok {
		if p.up[uplinkKey{n.Name, device}] == nil {
			return rec, fmt.Errorf("network %q has no uplink %s: add it under uplinks", n.Name, device)
		}
		rec.Target = s.To
		return rec, nil
	}
	if s.To == hostTargetName && s.VLAN == 0 && p.hostIn(n.Name) {
		rec.Target = s.To
		return rec, nil
	}
	t, _, _, err := p.find(s.To)
	if err != nil {
		return rec, err
	}
	ep := p.stands[n.Name+" "+t.key]
	if ep == nil {
		return rec, fmt.Errorf("%s is not attached to network %q: add it under attachments", s.To, n.Name)
	}
	if !ep.in(s.VLAN) {
		return rec, fmt.Errorf("%s is attached %s, and is not in %s", s.To, ep.vlans(), vlanName(s.VLAN))
	}
	rec.Target = t.text
	return rec, nil
}

// differences lists what is not as the file says, by kind and name.
func (p *applying) differences(host *hostChange) (list []spec.Difference) {
	c, t := p.c, p.t
	add := func(kind string, was, now string) {
		switch {
		case was == now:
		case was == "":
			list = append(list, spec.Difference{Op: "+", Kind: kind, Now: now})
		case now == "":
			list = append(list, spec.Difference{Op: "-", Kind: kind, Was: was})
		default:
			list = append(list, spec.Difference{Op: "~", Kind: kind, Was: was, Now: now})
		}
	}
	compare := func(kind string, was, now map[string]string) {
		both := maps.Clone(was)
		maps.Copy(both, now)
		for _, name := range sortedKeys(both) {
			add(kind, was[name], now[name])
		}
	}
	compare("network", texts(shown(c.desired.networks)), texts(shown(t.desired.networks)))
	compare("peer", texts(c.desired.peers), texts(t.desired.peers))
	compare("route", routeTexts(c.desired.routes), routeTexts(t.desired.routes))
	exposed, ports := p.hostTexts(host)
	compare("exposed network", c.exposedTexts(), exposed)
	compare("published port", c.publishedTexts(), ports)
	compare("port", portTexts(slices.Collect(maps.Values(c.endpoints))), portTexts(slices.Collect(maps.Values(p.stands))))
	compare("uplink", uplinkTexts(c.uplinks), uplinkTexts(p.up))
	compare("fdb", staticTexts(c.statics), staticTexts(t.statics))
	return list
}

// shown returns networks as they are written.
func shown(all map[string]*network) map[string]spec.Network {
	list := map[string]spec.Network{}
	for name, n := range all {
		list[name] = unsettle(n.Network)
	}
	return list
}

// texts returns how each object of m is written, by its key.
func texts[K comparable, V fmt.Stringer](m map[K]V) map[string]string {
	all := map[string]string{}
	for key, v := range m {
		all[fmt.Sprint(key)] = v.String()
	}
	return all
}

// routeTexts is texts for routes.
func routeTexts(t routeTable) map[string]string {
	all := make(map[string]string, t.len())
	for r := range t.all() {
		all[fmt.Sprint(r.key())] = r.String()
	}
	return all
}

// portTexts describes endpoints, by network and target.
func portTexts(eps []*endpoint) map[string]string {
	all := map[string]string{}
	for _, ep := range eps {
		if ep.Host != nil {
			continue
		}
		s := fmt.Sprintf("%s in %s: %s, %s, MAC %s, MTU %d", ep.Target, ep.Network, joinText(ep.Addresses), ep.IfName, ep.MAC, ep.MTU)
		if len(ep.Gateways) > 0 {
			s += ", default route via " + joinText(ep.Gateways)
		}
		if ep.OwnMTU {
			s += ", MTU of its own"
		}
		if ep.AllowSpoof {
			s += ", allow-spoof"
		}
		if ep.Isolated {
			s += ", isolated"
		}
		if ep.VLAN != 0 {
			s += fmt.Sprintf(", vlan %d", ep.VLAN)
		}
		if ep.Trunk != "" {
			s += ", trunk " + string(ep.Trunk)
		}
		if ep.MACLimit != nil {
			s += fmt.Sprintf(", mac-limit %d", *ep.MACLimit)
		}
		if ep.Storm != nil {
			s += fmt.Sprintf(", storm %d", *ep.Storm)
		}
		all[ep.Network+" "+ep.target.key] = s
	}
	return all
}

func joinText[T fmt.Stringer](list []T) string {
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = v.String()
	}
	return strings.Join(words, " ")
}

// staticTexts describes static entries, by network and address.
func staticTexts(list []staticRecord) map[string]string {
	all := map[string]string{}
	for _, s := range list {
		in := s.Network
		if s.VLAN != 0 {
			in += fmt.Sprintf(" VLAN %d", s.VLAN)
		}
		all[in+" "+s.MAC.String()] = fmt.Sprintf("%s in %s to %s", s.MAC, in, s.to())
	}
	return all
}

// to returns where s leads to, as a file for apply has it.
func (s staticRecord) to() string {
	if s.Peer != "" {
		return "peer:" + s.Peer
	}
	return s.Target
}
