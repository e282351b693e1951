package encap

// UDPSenders returns the sockets that GRE-in-UDP leaves by to one version of IP.
func (u *Underlay) UDPSenders(v6 bool) []int {
	for _, f := range u.families {
		if f.v6 == v6 {
			return f.udp.send[:]
		}
	}
	return nil
}

// FailEgress says that the kernel does not carry a carrier's super-frames by egress
// TAP after all, as the self-test would have.
func (u *Underlay) FailEgress(c Carrier, err error) {
	u.egress.fail(c, err)
	u.egress.look()
}

// LosePacketLink makes the packet socket send by a link that there is not.
func (u *Underlay) LosePacketLink() {
	u.changePeers(func(p *peer) {
		if p.packet != nil {
			lost := *p.packet
			lost.name.Ifindex = 1 << 30
			p.packet = &lost
		}
	})
}
