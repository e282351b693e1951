package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// outcome is what came of a row on one system.
type outcome struct {
	out   []seen
	drops []string // reasons; nil where the system names none
	err   error
}

// seen is a frame that came out.
type seen struct{ what, place string }

// at gives what came out, each with its places, and the drop reasons in
// brackets. What came back where it was sent has no place.
func (o outcome) at(from string, known func(place string) bool) string {
	if o.err != nil {
		return "error: " + o.err.Error()
	}
	var whats []string
	places := map[string][]string{}
	for _, s := range o.out {
		if !known(s.place) {
			continue
		}
		if !slices.Contains(whats, s.what) {
			whats = append(whats, s.what)
		}
		places[s.what] = append(places[s.what], s.place)
	}
	var parts []string
	for _, w := range whats {
		p := places[w]
		slices.Sort(p)
		if n := len(p); n > 1 && p[0] == p[n-1] { // more than once at one place
			w, p = fmt.Sprintf("%d times %s", n, w), p[:1]
		}
		if len(p) == 1 && p[0] == from {
			parts = append(parts, w)
		} else {
			parts = append(parts, w+": "+strings.Join(p, " "))
		}
	}
	slices.Sort(parts)
	text := strings.Join(parts, ", ")
	switch {
	case text == "" && len(o.drops) == 0:
		return "nothing"
	case text == "":
		return "drop " + strings.Join(o.drops, " ")
	case len(o.drops) > 0:
		text += " (" + strings.Join(o.drops, " ") + ")"
	}
	return text
}

// silent makes the answers of systems that name no drop reasons comparable.
func silent(text string) string {
	if i := strings.LastIndex(text, " ("); i >= 0 {
		text = text[:i]
	}
	if text == "nothing" || strings.HasPrefix(text, "drop ") {
		return "drop"
	}
	return text
}

// describe says what a frame is, beside those that were sent.
func describe(r *row, f []byte, place string) string {
	if r.see != nil {
		return r.see(r, f, place)
	}
	if place[0] == 'p' && len(place) == 2 { // what a peer gets
		return describeOuter(r, f)
	}
	return describeInner(r, f)
}

// describeInner describes a frame as a container would see it.
func describeInner(r *row, f []byte) string {
	for _, s := range r.send {
		if r.at == "peer" {
			if bytes.HasSuffix(s, f) {
				return "forward"
			}
		} else if bytes.Equal(s, f) {
			return "forward"
		} else if len(s) < 60 && len(f) == 60 && bytes.HasPrefix(f, s) {
			return "forward padded"
		}
	}
	if len(f) < 14 {
		return fmt.Sprintf("%x", f)
	}
	payload := f[14:]
	switch binary.BigEndian.Uint16(f[12:]) {
	case unix.ETH_P_ARP:
		return describeARP(f[:6], payload)
	case unix.ETH_P_IP:
		return describe4(r, payload)
	case unix.ETH_P_IPV6:
		return describe6(r, payload)
	}
	return "changed"
}

// describeOuter looks into GRE.
func describeOuter(r *row, f []byte) string {
	ip := f[14:]
	if ip[9] != unix.IPPROTO_GRE {
		return describe4(r, ip)
	}
	g := ip[int(ip[0]&15)*4:]
	inner, proto := greInner(g)
	if proto != 0x6558 {
		inner = join(make([]byte, 12), binary.BigEndian.AppendUint16(nil, proto), inner)
	}
	return describeInner(r, inner)
}

// greInner returns what a GRE header is in front of.
func greInner(g []byte) (inner []byte, proto uint16) {
	n := 4
	for _, bit := range []byte{0x80, 0x20, 0x10} {
		if g[0]&bit != 0 {
			n += 4
		}
	}
	return g[n:], binary.BigEndian.Uint16(g[2:])
}

func describeARP(dst, a []byte) string {
	if len(a) < 28 {
		return "short ARP"
	}
	sender, target := netip.AddrFrom4([4]byte(a[14:18])), netip.AddrFrom4([4]byte(a[24:28]))
	text := fmt.Sprintf("ARP request for %s from %s", target, sender)
	if a[7] == 2 {
		text = fmt.Sprintf("ARP reply %s is at %s", sender, net.HardwareAddr(a[8:14]))
	}
	if dst[0]&1 != 0 {
		text += ", broadcast"
	}
	return text
}

func describe4(r *row, p []byte) string {
	n := int(p[0]&15) * 4
	length := int(binary.BigEndian.Uint16(p[2:]))
	src := netip.AddrFrom4([4]byte(p[12:16]))
	wrong := ""
	if sum(p[:n]) != 0xffff {
		wrong = " WRONG CHECKSUM"
	}
	m := p[n:length]
	if p[9] == unix.IPPROTO_ICMP && len(m) >= 8 && slices.Contains([]byte{0, 3, 4, 5, 11, 12}, m[0]) && !r.sends(m) {
		if sum(m) != 0xffff {
			wrong = " WRONG CHECKSUM"
		}
		switch {
		case m[0] == 0:
			return fmt.Sprintf("echo reply from %s, %d bytes%s", src, len(m)-8, wrong)
		case m[0] == 3 && m[1] == 4:
			return fmt.Sprintf("ICMP 3/4 mtu %d from %s%s", binary.BigEndian.Uint16(m[6:]), src, wrong)
		}
		return fmt.Sprintf("ICMP %d/%d from %s%s", m[0], m[1], src, wrong)
	}
	text := fmt.Sprintf("routed ttl %d", p[8])
	if !r.sends(m) {
		text += fmt.Sprintf(" len %d", length)
		if off := binary.BigEndian.Uint16(p[6:]); off&0x3fff != 0 {
			text += fmt.Sprintf(" at %d", int(off&0x1fff)*8)
		}
	}
	if len(p) > length {
		text += " with padding"
	}
	return text + wrong
}

func describe6(r *row, p []byte) string {
	m := p[40:]
	src := netip.AddrFrom16([16]byte(p[8:24]))
	if p[6] == unix.IPPROTO_ICMPV6 && len(m) >= 8 && !r.sends(m) {
		wrong := ""
		if sum(pseudo6(src.String(), netip.AddrFrom16([16]byte(p[24:40])).String(), p[6], m)) != 0xffff {
			wrong = " WRONG CHECKSUM"
		}
		switch {
		case m[0] == 2:
			return fmt.Sprintf("ICMPv6 2/0 mtu %d from %s%s", binary.BigEndian.Uint32(m[4:]), src, wrong)
		case m[0] < 128:
			return fmt.Sprintf("ICMPv6 %d/%d from %s%s", m[0], m[1], src, wrong)
		case m[0] == 129:
			return fmt.Sprintf("echo reply from %s, %d bytes%s", src, len(m)-8, wrong)
		case m[0] == 136 && len(m) >= 24:
			return fmt.Sprintf("advertisement of %s to %s, flags %x%s",
				netip.AddrFrom16([16]byte(m[8:24])), netip.AddrFrom16([16]byte(p[24:40])), m[4]>>4, wrong)
		}
		return fmt.Sprintf("ICMPv6 %d/%d%s", m[0], m[1], wrong)
	}
	return fmt.Sprintf("routed hops %d", p[7])
}

// sends reports whether a row sends a packet with this payload.
func (r *row) sends(payload []byte) bool {
	for _, s := range r.send {
		if bytes.Contains(s, payload) {
			return true
		}
	}
	return false
}

// seeOuter describes a GRE packet with its header.
func seeOuter(r *row, f []byte, place string) string {
	if place[0] != 'p' {
		return describeInner(r, f)
	}
	ip := f[14:]
	g := ip[int(ip[0]&15)*4:]
	text := fmt.Sprintf("%x", g[:4])
	if g[0]&0x20 != 0 {
		at := 4 + int(g[0]>>7)*4
		text += fmt.Sprintf(" key %d", binary.BigEndian.Uint32(g[at:]))
	}
	return text + ", " + describeOuter(r, f)
}
