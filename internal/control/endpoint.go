package control

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"weft/dataplane"
	"weft/internal/header"
	"weft/internal/spec"
	"weft/tap"
)

// endpoint is a container's place in a network. It is up while the switch has a
// port for it, and else waits, with its addresses, for attach or a restart.
type endpoint struct {
	endpointRecord
	target target

	dev     *tap.Device // nil while down
	port    dataplane.PortID
	forget  func() // ends the watch of a namespace that dev pins; may be nil
	timers  []*time.Timer
	leaving bool   // of the host: being hidden
	down    string // why dev is nil; empty while it is being attached
	since   time.Time

	dropped     uint64 // by the kernel since the port is up, as last read
	droppedBase uint64 // what the TAP had counted when the port came up
}

// endpointKey tells endpoints apart: one target has one place in a network.
type endpointKey struct{ network, target string } // the target's key

func (ep *endpoint) key() endpointKey { return endpointKey{ep.Network, ep.target.key} }

func (ep *endpoint) namespace() tap.Namespace { return ep.Life.namespace(ep.target.path) }

// where returns the target that r was attached at. Docker is not asked.
func (r endpointRecord) where() (target, error) {
	t, err := parseTarget(r.Target)
	if t.isDocker() {
		t = dockerTarget(t.dockerName(), r.Life.Container, r.Life.PID)
	}
	return t, err
}

// config returns the TAP as the container is to see it.
func (ep *endpoint) config() tap.Config {
	return tap.Config{IfName: ep.IfName, MAC: ep.MAC, MTU: ep.MTU, Addrs: ep.Addresses, Gateways: ep.Gateways}
}

// addrs returns ep's addresses without their lengths.
func (ep *endpoint) addrs() []netip.Addr {
	list := make([]netip.Addr, len(ep.Addresses))
	for i, p := range ep.Addresses {
		list[i] = p.Addr()
	}
	return list
}

// endpointList returns all endpoints, by network and target.
func (c *Controller) endpointList() []*endpoint {
	list := make([]*endpoint, 0, len(c.endpoints))
	for _, ep := range c.endpoints {
		list = append(list, ep)
	}
	slices.SortFunc(list, func(a, b *endpoint) int {
		if d := strings.Compare(a.Network, b.Network); d != 0 {
			return d
		}
		return strings.Compare(a.target.key, b.target.key)
	})
	return list
}

// endpointsOf returns the endpoints of a network.
func (c *Controller) endpointsOf(network string) []*endpoint {
	return slices.DeleteFunc(c.endpointList(), func(ep *endpoint) bool { return ep.Network != network })
}

// portName returns the name that ep's port has now.
func (c *Controller) portName(ep *endpoint) string {
	var alike []*endpoint // on which its name depends
	for _, other := range c.endpoints {
		if other.target.base == ep.target.base {
			alike = append(alike, other)
		}
	}
	return portNames(alike)[ep]
}

// differs says what of a, which may leave things open, is not as ep has it.
func (ep *endpoint) differs(a spec.Attach) error {
	const cure = "detach it first to change that"
	if a.NoAddress && len(ep.Addresses) > 0 {
		return fmt.Errorf("it is attached with address %v, not without: %s", ep.Addresses, cure)
	}
	if len(a.Addresses) > 0 {
		want := make([]string, len(a.Addresses))
		for i, addr := range a.Addresses {
			want[i] = addr.Prefix.String()
			if addr.Gateway.IsValid() && !slices.Contains(ep.Gateways, addr.Gateway) {
				return fmt.Errorf("it is attached with default route %v, not %s: %s", ep.Gateways, addr.Gateway, cure)
			}
		}
		have := make([]string, len(ep.Addresses))
		for i, p := range ep.Addresses {
			have[i] = p.String()
		}
		if slices.Sort(want); !slices.Equal(want, slices.Sorted(slices.Values(have))) {
			return fmt.Errorf("it is attached with address %s, not %s: %s", strings.Join(have, " "), strings.Join(want, " "), cure)
		}
	}
	mac, err := askedMAC(a)
	switch {
	case err != nil:
		return err
	case mac != 0 && mac != ep.MAC:
		return fmt.Errorf("it is attached with MAC %s, not %s: %s", ep.MAC, mac, cure)
	case a.IfName != "" && a.IfName != ep.IfName:
		return fmt.Errorf("it is attached as interface %s, not %s: %s", ep.IfName, a.IfName, cure)
	case a.MTU != 0 && a.MTU != ep.MTU:
		return fmt.Errorf("it is attached with MTU %d, not %d: %s", ep.MTU, a.MTU, cure)
	case a.Isolated && !ep.Isolated:
		return fmt.Errorf("it is attached without --isolated: %s", cure)
	case !a.Isolated && ep.Isolated:
		return fmt.Errorf("it is attached with --isolated: %s", cure)
	case a.AllowSpoof && !ep.AllowSpoof:
		return fmt.Errorf("it is attached without --allow-spoof: %s", cure)
	case !a.AllowSpoof && ep.AllowSpoof:
		return fmt.Errorf("it is attached with --allow-spoof: %s", cure)
	case a.VLAN != 0 && a.VLAN != ep.VLAN, a.Trunk != "" && a.Trunk != ep.Trunk:
		return fmt.Errorf("it is attached %s, not %s: %s", ep.vlans(), vlans{a.VLAN, a.Trunk}, cure)
	case a.MACLimit != nil && *a.MACLimit != limitOf(ep.MACLimit, spec.DefaultMACLimit):
		return fmt.Errorf("it is attached with --mac-limit %d, not %d: %s", limitOf(ep.MACLimit, spec.DefaultMACLimit), *a.MACLimit, cure)
	case a.Storm != nil && *a.Storm != limitOf(ep.Storm, spec.DefaultStorm):
		return fmt.Errorf("it is attached with --storm %d, not %d: %s", limitOf(ep.Storm, spec.DefaultStorm), *a.Storm, cure)
	}
	return nil
}

// limitOf returns a limit, or what it is where none was asked for.
func limitOf(asked *int, standard int) int {
	if asked == nil {
		return standard
	}
	return *asked
}

// sameLimits reports whether two ports were asked for with the same limits.
func (r endpointRecord) sameLimits(o endpointRecord) bool {
	return limitOf(r.MACLimit, spec.DefaultMACLimit) == limitOf(o.MACLimit, spec.DefaultMACLimit) &&
		limitOf(r.Storm, spec.DefaultStorm) == limitOf(o.Storm, spec.DefaultStorm)
}

// askedMAC returns the MAC that a asks for; 0 where it leaves that open.
func askedMAC(a spec.Attach) (header.MAC, error) {
	if a.MAC == "" {
		return 0, nil
	}
	return spec.ParseMAC(a.MAC)
}

// newEndpoint works out what a asks for in the namespace ns of t, and refuses
// what is not possible. It changes nothing.
func (c *Controller) newEndpoint(n *network, t target, ns tap.Namespace, a spec.Attach) (*endpoint, error) {
	ep := &endpoint{target: t, endpointRecord: endpointRecord{
		Network: n.Name, Target: t.text, IfName: a.IfName, MTU: a.MTU, OwnMTU: a.MTU != 0, AllowSpoof: a.AllowSpoof, Isolated: a.Isolated,
		VLAN: a.VLAN, Trunk: a.Trunk, MACLimit: a.MACLimit, Storm: a.Storm,
	}}
	if err := c.checkVLANs(n.Name, ep.endpointRecord); err != nil {
		return nil, err
	}
	if ep.IfName == "" {
		ep.IfName = spec.DefaultIfName
	}
	if ep.MTU == 0 {
		ep.MTU = c.portMTU(c.desired, n, ep.endpointRecord)
	}
	var err error
	if !a.NoAddress {
		if ep.Addresses, err = c.chooseAddresses(n.in(ep.VLAN), a.Addresses); err != nil {
			return nil, err
		}
	}
	if least := leastMTU(ep.Addresses); ep.MTU < least {
		return nil, fmt.Errorf("MTU %d is too small for its addresses: at least %d is needed", ep.MTU, least)
	}
	ep.Gateways = chooseGateways(n.in(ep.VLAN), a.Addresses, ep.Addresses)
	if ep.MAC, err = askedMAC(a); err != nil {
		return nil, err
	}
	if ep.MAC == 0 {
		ep.MAC = defaultMAC(n.ID, firstAddr(ep.Addresses), c.opt.Config.Name, t.text)
	}
	if err := c.checkMAC(n, ep.MAC); err != nil {
		return nil, err
	}
	if ep.Life, err = c.lifeOf(t, ns); err != nil {
		return nil, err
	}
	return ep, c.checkIfName(ep)
}

// firstAddr returns the first of a port's addresses; invalid where it has none.
func firstAddr(list []netip.Prefix) netip.Addr {
	if len(list) == 0 {
		return netip.Addr{}
	}
	return list[0].Addr()
}

// checkMAC refuses a MAC that something in n has already.
func (c *Controller) checkMAC(n *network, mac header.MAC) error {
	const cure = "choose another with --mac"
	if mac == gatewayMAC(n.ID) {
		return fmt.Errorf("MAC %s is that of the gateway of network %q: %s", mac, n.Name, cure)
	}
	if mac == hostMAC(c.opt.Config.Name) {
		return fmt.Errorf("MAC %s is that of this switch itself: %s", mac, cure)
	}
	for _, ep := range c.endpoints {
		if ep.Network == n.Name && ep.MAC == mac {
			return fmt.Errorf("MAC %s is that of port %s in network %q: %s", mac, c.portName(ep), n.Name, cure)
		}
	}
	if u := c.hasLinkMAC(n.Name, mac); u != nil {
		return fmt.Errorf("MAC %s is that of link %s, which network %q has as uplink: %s", mac, u.Device, n.Name, cure)
	}
	for _, s := range c.statics {
		if s.Network == n.Name && s.MAC == mac {
			return fmt.Errorf("MAC %s has a static entry in the FDB of network %q: remove that with weft fdb rm %s %s, or %s", mac, n.Name, n.Name, mac, cure)
		}
	}
	return nil
}

// checkIfName refuses an interface name that another port in ep's container has.
func (c *Controller) checkIfName(ep *endpoint) error {
	for _, other := range c.endpoints {
		if other.dev != nil && other.key() != ep.key() && other.IfName == ep.IfName &&
			other.Life.Device == ep.Life.Device && other.Life.Inode == ep.Life.Inode {
			return fmt.Errorf("interface %s in the container belongs to network %q: choose another name with -i", ep.IfName, other.Network)
		}
	}
	return nil
}

// lifeOf returns what tells the container that is at t now from a later one.
func (c *Controller) lifeOf(t target, ns tap.Namespace) (life, error) {
	l := life{BootID: c.boot, Device: ns.Dev, Inode: ns.Ino, Container: t.container}
	if t.isDocker() {
		l.PID = t.pid
	}
	var err error
	if t.pid != 0 {
		l.StartTime, err = c.sys.startTime(t.pid)
	}
	return l, err
}

// ended reports whether the process that ep is named by is gone for good. Its
// number may be another process's by now. A Docker container can come back.
func (c *Controller) ended(ep *endpoint) bool {
	if ep.target.pid == 0 || ep.target.isDocker() {
		return false
	}
	started, err := c.sys.startTime(ep.target.pid)
	return err != nil || started != ep.Life.StartTime || c.boot != ep.Life.BootID
}
