package recovery

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/sealgate/sealgate/internal/secret"
)

// slowMul is the field's multiplication as the textbook has it, bit by bit with branches.
func slowMul(a, b byte) byte {
	var r byte
	for range 8 {
		if b&1 == 1 {
			r ^= a
		}
		high := a&0x80 != 0
		a <<= 1
		if high {
			a ^= 0x1b
		}
		b >>= 1
	}
	return r
}

func TestFieldAgreesWithTextbook(t *testing.T) {
	t.Parallel()
	for a := range 256 {
		for b := range 256 {
			if got, want := mul(byte(a), byte(b)), slowMul(byte(a), byte(b)); got != want {
				t.Fatalf("%d * %d = %d, want %d", a, b, got, want)
			}
		}
		want := byte(1)
		if a == 0 {
			want = 0
		}
		if got := slowMul(byte(a), inverse(byte(a))); got != want {
			t.Fatalf("%d times its inverse is %d", a, got)
		}
	}
}

func TestRandomStreamsAreIndependent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.Uint64().Draw(t, "a")
		b := rapid.Byte().Draw(t, "b")
		m := masks(b)
		got := scale(a, &m)
		for i := range 8 {
			if byte(got>>(8*i)) != slowMul(byte(a>>(8*i)), b) {
				t.Fatalf("byte %d of %x * %x is wrong: %x", i, a, b, got)
			}
		}
	})
}

func TestAnyThresholdRecombinesAndFewerNever(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, MaxShares).Draw(t, "shares")
		k := rapid.IntRange(2, min(n, 40)).Draw(t, "threshold")
		key := secret.New(rapid.SliceOfN(rapid.Byte(), minKey, maxKey).Draw(t, "key"))
		shares, err := Split(key, n, k, nil)
		if err != nil || len(shares) != n {
			t.Fatalf("%d shares, %v", len(shares), err)
		}
		shares = rapid.Permutation(shares).Draw(t, "order")
		more := rapid.IntRange(k, min(n, k+3)).Draw(t, "given")
		if got, err := Combine(shares[:more]); err != nil || !got.Equal(key) {
			t.Fatalf("%d of %d shares, %d needed, gave another key, or %v", more, n, k, err)
		}
		if k == 2 {
			return // one share cannot be combined at all
		}
		if got, err := Combine(shares[:k-1]); err != nil || got.Equal(key) {
			t.Fatalf("%d shares gave the key away, or %v", k-1, err)
		}
	})
}

func BenchmarkSplit(b *testing.B) {
	for _, s := range [][2]int{{5, 3}, {255, 128}} {
		b.Run(fmt.Sprintf("%d-of-%d", s[1], s[0]), func(b *testing.B) {
			key, _ := secret.Random(nil, maxKey)
			for b.Loop() {
				if _, err := Split(key, s[0], s[1], nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCombine(b *testing.B) {
	for _, s := range [][2]int{{5, 3}, {255, 128}} {
		b.Run(fmt.Sprintf("%d-of-%d", s[1], s[0]), func(b *testing.B) {
			key, _ := secret.Random(nil, maxKey)
			shares, err := Split(key, s[0], s[1], nil)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := Combine(shares[:s[1]]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
