package header

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// naiveSum adds word by word, as RFC 1071 section 4.1 does.
func naiveSum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		w := uint32(b[i]) << 8
		if i+1 < len(b) {
			w |= uint32(b[i+1])
		}
		sum += w
		for sum > 0xffff {
			sum = sum&0xffff + sum>>16
		}
	}
	return uint16(sum)
}

func TestSum(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 300)
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	ones := make([]byte, 300)
	for i := range ones {
		ones[i] = 0xff
	}
	fills := map[string][]byte{"random": random, "ones": ones, "zeros": make([]byte, 300)}
	for name, fill := range fills {
		for start := range 9 { // every alignment
			for n := range len(fill) - start {
				b := fill[start : start+n]
				if got, want := Sum(b), uint32(naiveSum(b)); got != want {
					t.Fatalf("%s: Sum of %d bytes from %d = %#x, want %#x", name, n, start, got, want)
				}
			}
		}
	}
}

func TestFold(t *testing.T) {
	tests := []struct {
		sum  uint32
		want uint16
	}{
		{0, 0}, {0xffff, 0xffff}, {0x1_0000, 1}, {0x1_ffff, 1}, {0xffff_0000, 0xffff}, {0xffff_ffff, 0xffff}, {0xfffe_0001, 0xffff},
	}
	for _, tt := range tests {
		if got := Fold(tt.sum); got != tt.want {
			t.Errorf("Fold(%#x) = %#x, want %#x", tt.sum, got, tt.want)
		}
	}
}

// Every TTL and every neighbour of it in the same word, against a fresh sum.
func TestUpdate(t *testing.T) {
	h := make([]byte, 20)
	IPv4Fields{TOS: 0x10, Length: 1500, ID: 0x1234, TTL: 64, Protocol: ProtoTCP,
		Src: addr4(10, 0, 0, 1), Dst: addr4(10, 0, 0, 2)}.Put(h)
	for word := range 0x10000 {
		binary.BigEndian.PutUint16(h[8:], uint16(word))
		binary.BigEndian.PutUint16(h[10:], 0)
		check := ^naiveSum(h)
		binary.BigEndian.PutUint16(h[10:], check)
		for _, next := range []uint16{uint16(word) - 0x100, ^uint16(word), 0, 0xffff} {
			got := Update(check, uint16(word), next)
			binary.BigEndian.PutUint16(h[8:], next)
			binary.BigEndian.PutUint16(h[10:], got)
			if naiveSum(h) != 0xffff {
				t.Fatalf("Update(%#x, %#x, %#x) = %#x, which does not verify", check, word, next, got)
			}
		}
	}
}

func FuzzSum(f *testing.F) {
	f.Add([]byte(nil), 0)
	f.Add([]byte{0xff, 0xff, 0x00, 0x01, 0x80}, 1)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		if got, want := Sum(b), uint32(naiveSum(b)); got != want {
			t.Errorf("Sum = %#x, want %#x", got, want)
		}
		if cut < 0 || cut > len(b) {
			return
		}
		cut &^= 1 // a sum may be cut at any even place
		if got, want := Fold(Sum(b[:cut])+Sum(b[cut:])), naiveSum(b); got != want {
			t.Errorf("sum in two parts = %#x, want %#x", got, want)
		}
	})
}

func BenchmarkSum(b *testing.B) {
	for _, n := range []int{20, 40, 64, 1500, 65535} {
		buf := make([]byte, n)
		for i := range buf {
			buf[i] = byte(i * 7)
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(int64(n))
			for b.Loop() {
				Sum(buf)
			}
		})
	}
}
