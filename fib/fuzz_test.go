package fib

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"weft/internal/header"
)

// model is a FDB as the words of the documentation have it.
type model struct {
	capacity int
	ageing   uint32
	entries  map[header.MAC]Entry // Age holds the second of the last frame
}

func (m *model) held(d Dest) (n int) {
	for _, e := range m.entries {
		if e.Kind == Learned && e.Dest == d {
			n++
		}
	}
	return n
}

// victims returns the entries that may have to go for a newcomer at d: learned,
// of the biggest holder, the oldest; a pinned newcomer takes any holder's.
func (m *model) victims(d Dest, pinned bool) (macs []header.MAC) {
	most, oldest := 0, uint32(0)
	for mac, e := range m.entries {
		held := m.held(e.Dest)
		if e.Kind != Learned || !pinned && e.Dest != d && held <= m.held(d) {
			continue
		}
		if held > most || held == most && e.Age < oldest {
			macs, most, oldest = nil, held, e.Age
		}
		if held == most && e.Age == oldest {
			macs = append(macs, mac)
		}
	}
	return macs
}

func (m *model) remove(match func(Entry) bool) (n int) {
	for mac, e := range m.entries {
		if match(e) {
			delete(m.entries, mac)
			n++
		}
	}
	return n
}

// FuzzFDB runs a program of table calls against the model. The table is so
// small that eviction is exact; ties are the table's choice.
func FuzzFDB(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 1, 1, 0, 1, 2, 1, 1, 3, 0, 1, 1, 4, 1, 0})
	f.Add(bytes.Repeat([]byte{0, 1, 1, 0, 2, 1, 0, 3, 2, 8, 9, 0, 0, 4, 2, 0, 5, 2}, 6))
	f.Add(bytes.Repeat([]byte{1, 7, 1, 2, 8, 1, 0, 9, 3, 3, 7, 0, 5, 1, 0, 6, 2, 0, 8, 200, 0}, 4))
	flood := []byte{}
	for n := range byte(40) {
		flood = append(flood, 0, n, 1+n/20, 8, n%4, 0)
	}
	f.Add(flood)
	f.Fuzz(func(t *testing.T, program []byte) {
		now := uint32(0xffff_ff00) // wraps under way
		start := now
		m := &model{capacity: 12, ageing: 20, entries: map[header.MAC]Entry{}}
		fdb := NewFDB(FDBConfig{Capacity: m.capacity, Ageing: m.ageing})
		for len(program) >= 3 && len(m.entries) <= m.capacity {
			op, mac, d := program[0]%9, station(int(program[1]%40)), Dest(program[2]%5)
			program = program[3:]
			if mac == station(39) {
				mac |= 1 << 40 // multicast
			}
			if op == 8 {
				now += uint32(mac & 0xf)
				continue
			}
			m.step(t, fdb, op, mac, d, now, now-start)
			m.compare(t, fdb, now, now-start)
		}
	})
}

// step does one call on both. at is now, counted from the start.
func (m *model) step(t *testing.T, fdb *FDB, op byte, mac header.MAC, d Dest, now, at uint32) {
	old, there := m.entries[mac]
	valid := d != 0 && !mac.IsMulticast()
	switch op {
	case 0, 1, 2: // mostly learning
		kind := Learned
		var out, want Outcome
		if op == 0 {
			out = fdb.Learn(mac, d, now)
		} else {
			kind = Kind(op)
			out = New
			if !fdb.Set(mac, d, kind) {
				out = Full
			}
		}
		switch {
		case op == 0 && (!valid || there && old.Kind != Learned && old.Dest != d):
			want = Pinned
		case !valid || op != 0 && there && old.Kind != Learned && old.Dest != d:
			want = Full // Set knows only false
		case op == 0 && there && old.Kind != Learned:
			want = Known
		case there:
			m.entries[mac] = Entry{mac, d, kind, at}
			if want = New; op == 0 && old.Dest == d {
				want = Known
			} else if op == 0 {
				want = Moved
			}
		default:
			want = m.add(t, fdb, Entry{mac, d, kind, at})
		}
		if out != want {
			t.Fatalf("op %d, %v at %v: got %v, want %v", op, mac, d, out, want)
		}
	case 3:
		if got := fdb.Delete(mac); got != there {
			t.Fatalf("delete: got %v, want %v", got, there)
		}
		delete(m.entries, mac)
	case 4, 5, 6, 7:
		var got, want int
		switch op {
		case 4:
			got = fdb.Flush(d)
			want = m.remove(func(e Entry) bool { return e.Kind == Learned && (d == 0 || e.Dest == d) })
		case 5:
			got = fdb.Sweep(d)
			want = m.remove(func(e Entry) bool { return e.Dest == d })
		case 6:
			got = fdb.Age(now)
			want = m.remove(func(e Entry) bool { return e.Kind == Learned && at-e.Age > m.ageing })
		case 7:
			m.ageing = 10 + uint32(d)
			fdb.SetAgeing(m.ageing)
		}
		if got != want {
			t.Fatalf("op %d %v: removed %d, want %d", op, d, got, want)
		}
	}
}

// add puts a new entry into the model, evicting the one that the table evicted.
func (m *model) add(t *testing.T, fdb *FDB, e Entry) Outcome {
	if len(m.entries) == m.capacity {
		victims := m.victims(e.Dest, e.Kind != Learned)
		if len(victims) == 0 {
			return Full
		}
		var gone []header.MAC
		for mac := range m.entries {
			if fdb.Lookup(mac) == 0 {
				gone = append(gone, mac)
			}
		}
		if len(gone) != 1 || !slices.Contains(victims, gone[0]) {
			t.Fatalf("evicted %v, want one of %v", gone, victims)
		}
		delete(m.entries, gone[0])
	}
	m.entries[e.MAC] = e
	return New
}

func (m *model) compare(t *testing.T, fdb *FDB, now, at uint32) {
	for n := range 40 {
		if got, want := fdb.Lookup(station(n)), m.entries[station(n)].Dest; got != want {
			t.Fatalf("lookup of station %d: got %v, want %v", n, got, want)
		}
	}
	got := fdb.Entries(now)
	if len(got) != len(m.entries) || fdb.Len() != len(got) {
		t.Fatalf("%d entries, size %d, want %d", len(got), fdb.Len(), len(m.entries))
	}
	learned := make(map[Dest]int)
	for _, e := range m.entries {
		if e.Kind == Learned {
			learned[e.Dest]++
		}
	}
	for d := range Dest(5) {
		if got, want := fdb.Count(d), learned[d]; got != want {
			t.Fatalf("count of %v: got %d, want %d", d, got, want)
		}
	}
	for _, e := range got {
		want := m.entries[e.MAC]
		if want.Kind == Learned {
			want.Age = at - want.Age
		} else {
			want.Age = 0
		}
		if e != want {
			t.Fatalf("entry: got %v, want %v", e, want)
		}
	}
}

// FuzzRoutes runs a program of route changes, single and in batches, against a
// map, and looks up addresses around the changed prefixes.
func FuzzRoutes(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 8, 10, 1, 0, 16, 10, 1, 1, 16, 10, 1})
	f.Add([]byte{2, 40, 10, 1, 3, 97, 10, 1, 0x82, 0, 10, 1, 1, 0, 0, 0})
	f.Add(bytes.Repeat([]byte{0, 0, 0, 0, 4, 24, 10, 3, 2, 96, 1, 1, 5, 24, 10, 3}, 3))
	f.Fuzz(func(t *testing.T, program []byte) {
		var r Routes
		want := naive{}
		for n := 0; len(program) >= 4; n++ {
			op, bits, x, y := program[0], int(program[1]), program[2], program[3]
			program = program[4:]
			a := fuzzAddr(op, x, y)
			p := netip.PrefixFrom(a, bits%(a.BitLen()+2)) // sometimes one bit too many
			hop := NextHop{Kind: HopPeer, Dest: Dest(n)}
			q := canonical(p)
			_, there := want[q]
			insert := func(p netip.Prefix, hop NextHop) {
				if r.Insert(p, hop) != p.IsValid() {
					t.Fatalf("insert %v: want %v", p, p.IsValid())
				}
				if p.IsValid() {
					want[canonical(p)] = hop
				}
			}
			switch op & 7 >> 1 {
			case 0, 1:
				insert(p, hop)
			case 2:
				if got := r.Delete(p); got != there {
					t.Fatalf("delete %v: got %v, want %v", p, got, there)
				}
				delete(want, q)
			case 3:
				r.Update(func(b *Batch) {
					for i := range x % 8 {
						if s := netip.PrefixFrom(fuzzAddr(op, x, i), bits%(a.BitLen()+1)); i%3 == 2 {
							b.Delete(s)
							delete(want, canonical(s))
						} else {
							b.Insert(s, hop)
							want[canonical(s)] = hop
						}
					}
				})
			}
			got, ok := r.Get(p)
			if hop, there := want[q]; got != hop || ok != there {
				t.Fatalf("get %v: got %v %v, want %v %v", p, got, ok, hop, there)
			}
			want.check(t, &r, a, a.Next(), a.Prev(), last(p), last(p).Next(), netip.AddrFrom16(a.As16()))
		}
		want.compare(t, &r)
	})
}

// fuzzAddr spreads two bytes over an IPv4, IPv6 or IPv4-mapped address.
func fuzzAddr(op, x, y byte) netip.Addr {
	v4 := netip.AddrFrom4([4]byte{x, y, x ^ y, y &^ x})
	switch op >> 6 {
	case 0, 1:
		return v4
	case 2:
		return netip.AddrFrom16(v4.As16())
	}
	return netip.AddrFrom16([16]byte{0: 0x20, 1: x, 2: y, 7: x, 15: y})
}
