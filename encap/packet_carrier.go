package encap

// Raw GRE may leave by a packet socket (packet(7), SOCK_DGRAM) as well, which takes
// the very datagrams of the raw socket for a quarter less: no route is looked up, and
// none of the entries that a raw socket with IP_HDRINCL allocates for each datagram to
// a host on the link (FLOWI_FLAG_KNOWN_NH, __mkroute_output in net/ipv4/route.c) is
// made and freed again. It passes by the same things of the host as an egress TAP,
// and the same conditions hold (egress.go), but what concerns cutting.
//
// Connection tracking would forget the tunnel, and a firewall that lets in only what
// answers would then shut out the peer. So once in a while a batch goes by raw socket
// (proof.due), which also shows whether the host still lets it pass.

// packetCarrier sends by packet socket what rawCarrier would send by raw socket.
type packetCarrier struct {
	direct, raw *rawCarrier
}

func newPacketCarrier(u *Underlay, raw *rawCarrier) *packetCarrier {
	direct := newRawCarrier(u)
	direct.packet = true
	return &packetCarrier{direct, raw}
}

func (c *packetCarrier) carry(to *peer, run []Packet) {
	if due := &to.proof[CarrierGRE].due; to.packet == nil || due.Load() {
		due.Store(false)
		c.direct.flush() // order
		c.raw.carry(to, run)
		c.raw.flush()
		return
	}
	c.direct.carry(to, run)
}

func (c *packetCarrier) flush() { c.direct.flush() }
