package e2e

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
)

// Every frame of every capture comes from the peer in GRE, and every GRE packet
// of them as it is, from the peer and from a stranger.
func TestCapturesFromUnderlay(t *testing.T) {
	files := captureFiles(t)
	s := newSolo(t, 9000, "")
	heard := newCapture(t, s.c2.NS, "eth1")
	br := newBridge(9000 - 50 + 14)
	for _, c := range []*Container{s.c1, s.c2} {
		ifi, err := c.Interface("eth1")
		if err != nil {
			t.Fatal(err)
		}
		br.attach(ifi.HardwareAddr, c.Name())
	}
	before := s.h.settled()
	want := newTally()
	for _, file := range files {
		for _, f := range readCapture(t, file) {
			s.inject(want, br, f)
		}
	}
	want.check(s.h, before, s.h.settled())
	checkCopies(t, withoutAnnouncements(heard.stop()), want.copies)
	t.Logf("%d datagrams from %d captures, dropped %v, %d delivered", want.frames, len(files), want.drops, len(want.copies))
}

var stranger = netip.MustParseAddr("192.0.2.99")

// inject sends what a captured frame is good for.
func (s *solo) inject(want *tally, br *bridge, f []byte) {
	s.t.Helper()
	packets := [][]byte{teb(netID, f)}
	if gre := greOf(f); gre != nil {
		s.send(stranger, gre)
		want.add("gre_peer", nil)
		packets = append(packets, gre)
		if keyed := rekey(gre); keyed != nil {
			packets = append(packets, keyed)
		}
	}
	for _, gre := range packets {
		if len(gre) > 9000-20 {
			continue // larger than any packet on the underlay
		}
		reason, inner := verdict(gre, netID)
		var copied []byte
		if reason == "" {
			var to string
			switch to, reason = br.forward(inner, "peer"); to {
			case "flood":
				copied = inner
			case "routers": // c1 and c2 are none
				reason = "l2_noport"
			}
		}
		s.send(addr2, gre)
		want.add(reason, copied)
	}
}

func (s *solo) send(src netip.Addr, gre []byte) {
	s.t.Helper()
	s.wire.send(src, addr1, gre)
}

// greOf returns the GRE packet in a captured frame, from the GRE header on; nil
// where there is none or only a fragment of it.
func greOf(f []byte) []byte {
	at := 14
	for len(f) > at && tagged(f[at-14:]) {
		at += 4
	}
	if len(f) < at+20 || binary.BigEndian.Uint16(f[at-2:]) != 0x0800 || f[at]>>4 != 4 || f[at+9] != 47 {
		return nil
	}
	ip := f[at:]
	ihl, total := int(ip[0]&15)*4, int(binary.BigEndian.Uint16(ip[2:]))
	if ihl < 20 || total < ihl || total > len(ip) || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
		return nil
	}
	return ip[ihl:total]
}

// rekey returns a GRE packet that has a key and no checksum with the key of net1.
func rekey(gre []byte) []byte {
	if len(gre) < 8 || gre[0]&0xa0 != 0x20 || gre[1]&7 != 0 {
		return nil
	}
	g := append([]byte(nil), gre...)
	binary.BigEndian.PutUint32(g[4:], netID)
	return g
}

// A container that may open packet sockets sends every frame of every capture:
// through a port that allows any address, and through one that does not.
func TestCapturesFromContainer(t *testing.T) {
	for _, tt := range []struct {
		name, options string
	}{{"guarded", ""}, {"allow-spoof", "--allow-spoof"}} {
		t.Run(tt.name, func(t *testing.T) {
			files := captureFiles(t)
			s := newSolo(t, 9000, tt.options)
			heard := newCapture(t, s.c2.NS, "eth1")
			br := newBridge(9000 - 50 + 14)
			ifi, err := s.c2.Interface("eth1")
			if err != nil {
				t.Fatal(err)
			}
			br.attach(ifi.HardwareAddr, "c2")
			send := newSender(t, s.c1.NS, "eth1")
			before := s.h.settled()
			want := newTally()
			for _, file := range files {
				if strings.HasSuffix(file, "1kxun.pcap") {
					continue // TestOfficeTrace has it
				}
				for _, f := range readCapture(t, file) {
					if len(f) < 14 || len(f) > 8950+14 {
						continue // the container's own kernel refuses it
					}
					to, reason := br.forward(f, "c1")
					if tt.options == "" && reason != "l2_smac" {
						to, reason = "", "l2_spoof"
					}
					send.send(f)
					switch to {
					case "":
						want.add(reason, nil)
					case "routers": // behind the peer
						want.add("", nil)
					default:
						want.add("", f)
					}
				}
			}
			want.check(s.h, before, s.h.settled())
			checkCopies(t, withoutAnnouncements(heard.stop()), want.copies)
			t.Logf("%d frames from %d captures, dropped %v, %d delivered", want.frames, len(files), want.drops, len(want.copies))
		})
	}
}
