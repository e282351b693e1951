package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// system is a switch, or a router, under test, with the places around it.
type system struct {
	name   string
	places map[string]*place
	fences map[string]fence
	count  int // fences sent

	drops    func() (map[string]uint64, error) // counts by reason; nil: it names none
	last     map[string]uint64
	listener int                        // socket; 0: none
	do       func(command string) error // changes the configuration; nil: cannot
	close    func()
}

// fence is a frame that goes from one place to another whatever happens, so that
// its arrival means that all before it was done. at is where it is sent, which
// is another place than the one it stands for where that may send nothing.
type fence struct {
	frame []byte
	to    string
}

// fenceMark begins the payload of a fence; a number follows.
const fenceMark = "fence..."

// patience is how long an answer may take.
const patience = 2 * time.Second

// asked reports whether a system can be asked a row.
func (s *system) asked(r *row) bool {
	if s.do == nil && (r.only || r.setup != nil) {
		return false
	}
	if s.name == linuxName && r.notLinux || s.name == ovsName && r.notOVS {
		return false
	}
	if s.name == ovsName && r.at == "peer" && !s.hasPeer(r) {
		return false
	}
	for _, b := range r.before {
		if s.places[b.at] == nil {
			return false
		}
	}
	return s.places[r.at] != nil
}

// hasPeer reports whether what a row sends comes from peers that s has.
func (s *system) hasPeer(r *row) bool {
	for _, f := range r.send {
		if _, ok := s.fences["from "+strconv.Itoa(int(f[15]))]; !ok && f[15] < 9 {
			return false
		}
	}
	return true
}

// knows reports whether s has a place; peers are behind the place "peer".
func (s *system) knows(name string) bool {
	if len(name) == 2 && name[0] == 'p' {
		if s.places["peer"] == nil {
			return false
		}
		_, ok := s.fences["from "+name[1:]]
		return ok
	}
	return s.places[name] != nil
}

// run asks a row.
func (s *system) run(r *row) (o outcome) {
	fail := func(err error) outcome { o.err = err; return o }
	for _, c := range r.setup {
		if err := s.do(c); err != nil {
			return fail(err)
		}
	}
	for _, b := range r.before {
		if err := s.places[b.at].send(b.frame); err != nil {
			return fail(err)
		}
		if err := s.passTwice(b.at); err != nil {
			return fail(err)
		}
	}
	s.discard()
	if err := s.read(); err != nil {
		return fail(err)
	}
	before := s.last
	for _, f := range r.send {
		if err := s.places[r.at].send(f); err != nil {
			return fail(err)
		}
	}
	if err := s.passTwice(r.at); err != nil {
		return fail(err)
	}
	deadline := time.Now().Add(patience)
	if r.slow {
		deadline = deadline.Add(5 * time.Second)
	}
	for {
		o = outcome{out: s.collect(r)}
		if err := s.read(); err != nil {
			return fail(err)
		}
		for reason, n := range s.last {
			if more := n - before[reason]; more > 1 {
				o.drops = append(o.drops, fmt.Sprintf("%d %s", more, reason))
			} else if more == 1 {
				o.drops = append(o.drops, reason)
			}
		}
		slices.Sort(o.drops)
		if s.settled(r, o) || time.Now().After(deadline) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	for _, c := range r.undo {
		if err := s.do(c); err != nil {
			return fail(err)
		}
	}
	return o
}

// settled reports whether nothing more can come: weft's answer is as wanted, a
// slow answer is there, or the fences have passed where nothing is slow.
func (s *system) settled(r *row, o outcome) bool {
	if s.drops != nil {
		return o.at(r.at, s.knows) == r.want
	}
	return !r.slow || len(o.out) > 0
}

// passTwice: what left in one batch with the first fence is out before the second.
func (s *system) passTwice(at string) error {
	if err := s.pass(at); err != nil {
		return err
	}
	return s.pass(at)
}

// pass sends a fence from a place and waits until it is out.
func (s *system) pass(at string) error {
	f, ok := s.fences[at]
	if !ok {
		return fmt.Errorf("no fence from %s", at)
	}
	s.count++
	number := binary.BigEndian.AppendUint32([]byte(fenceMark), uint32(s.count))
	frame := join(f.frame, number, make([]byte, 20))
	if at != "peer" && binary.BigEndian.Uint16(frame[12:]) == unix.ETH_P_IP {
		frame = finish(frame)
	}
	to := s.places[f.to]
	var again time.Time
	for deadline := time.Now().Add(patience); ; {
		if time.Now().After(again) { // a frame before may have taken this one with it
			if err := s.places[at].send(frame); err != nil {
				return err
			}
			again = time.Now().Add(patience / 8)
		}
		to.poll()
		if slices.ContainsFunc(to.frames, func(b []byte) bool { return bytes.Contains(b, number) }) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: a good frame from %s did not arrive at %s", s.name, at, f.to)
		}
		fds := []unix.PollFd{{Fd: int32(to.fd), Events: unix.POLLIN}}
		_, _ = unix.Poll(fds, 20) // an error is seen by the next read
	}
}

// finish sets length and checksum of an IPv4 packet in a frame.
func finish(frame []byte) []byte {
	p := frame[14:]
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint16(p[24:], uint16(len(p)-20))
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], ^sum(p[:20]))
	return frame
}

// warmUp passes every fence, so that what must be learned and resolved once is.
func (s *system) warmUp() error {
	for at := range s.places {
		var err error
		for deadline := time.Now().Add(5 * patience); time.Now().Before(deadline); {
			if err = s.pass(at); err == nil {
				break
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// discard forgets what arrived so far.
func (s *system) discard() {
	for _, p := range s.places {
		p.poll()
		p.frames = nil
	}
}

// read reads the drop counts.
func (s *system) read() (err error) {
	if s.drops != nil {
		s.last, err = s.drops()
	}
	return err
}

// collect describes what a row caused.
func (s *system) collect(r *row) (out []seen) {
	for _, p := range s.places {
		p.poll()
		for _, f := range p.frames {
			marked := bytes.Contains(f, []byte(mark))
			if bytes.Contains(f, []byte(fenceMark)) || !marked && (!r.all || isProbe(f)) {
				continue
			}
			at := p.name
			if p.dst != nil {
				if binary.BigEndian.Uint16(f[12:]) != unix.ETH_P_IP || len(f) < 42 {
					continue // ARP of the host's own
				}
				at = "p" + strconv.Itoa(int(f[33]))
			}
			out = append(out, seen{describe(r, f, at), at})
		}
	}
	return out
}

// isProbe reports whether a frame, in GRE or not, is one by which weft looks for
// loops.
func isProbe(f []byte) bool {
	const inGRE = 14 + 20 + 8
	return f[12] == 0x88 && f[13] == 0xb5 || len(f) > inGRE+14 && f[23] == unix.IPPROTO_GRE && f[inGRE+12] == 0x88 && f[inGRE+13] == 0xb5
}
