package recovery

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"pgregory.net/rapid"

	"github.com/sealgate/sealgate/internal/secret"
)

func newShareSet(t interface {
	Helper()
	Fatal(...any)
}, target Target, previous *ShareSet, shares, threshold int) (*ShareSet, []*secret.Bytes) {
	t.Helper()
	c, parts, err := NewShareSet(target, previous, shares, threshold, nil, clock)
	if err != nil {
		t.Fatal(err)
	}
	return c, parts
}

func TestShareSetRecognisesSharesAndKey(t *testing.T) {
	t.Parallel()
	c, shares := newShareSet(t, Recovery, nil, 5, 3)
	for i, s := range shares {
		if n, err := c.Identify(s); err != nil || n != i+1 {
			t.Errorf("share %d is taken for %d, %v", i+1, n, err)
		}
	}
	key, err := Combine(shares[2:])
	if err != nil || !c.VerifyKey(key) {
		t.Fatalf("the combined key is not the share set's, %v", err)
	}
	if private, err := PrivateKey(key); err != nil || !bytes.Equal(private.PublicKey().Bytes(), c.PublicKey) {
		t.Errorf("the public key does not follow from the combined key: %v", err)
	}
	if few, err := Combine(shares[:2]); err != nil || c.VerifyKey(few) {
		t.Errorf("two shares of three passed for the key, or %v", err)
	}
	if c.VerifyKey(shares[0]) || c.VerifyKey(nil) {
		t.Error("what is no key passed for it")
	}
}

func TestShareSetRefusesShares(t *testing.T) {
	t.Parallel()
	first, old := newShareSet(t, Recovery, nil, 3, 2)
	second, now := newShareSet(t, Recovery, first, 3, 2)
	third, _ := newShareSet(t, Recovery, second, 3, 2)
	other, foreign := newShareSet(t, Recovery, nil, 3, 2)
	flipped := now[0].Clone()
	flipped.Expose()[5] ^= 1

	_, err := second.Identify(old[1])
	if !errors.Is(err, ErrShareReplaced) || !strings.Contains(err.Error(),
		"generation 1, which was replaced on 2026-01-02T03:04:05Z") {
		t.Errorf("a share of the generation before: %v", err)
	}
	for name, c := range map[string]struct {
		shareSet *ShareSet
		share    *secret.Bytes
		want     error
	}{
		"of another share set":   {second, foreign[0], ErrShareUnknown},
		"two generations before": {third, old[0], ErrShareUnknown},
		"of the next generation": {first, now[0], ErrShareUnknown},
		"one bit changed":        {second, flipped, ErrShareUnknown},
		"of one left alone":      {other, now[2], ErrShareUnknown},
		"short":                  {second, secret.New(make([]byte, 15)), ErrShareLength},
		"long":                   {second, secret.New(make([]byte, 34)), ErrShareLength},
		"none":                   {second, nil, ErrShareLength},
	} {
		if n, err := c.shareSet.Identify(c.share); n != 0 || !errors.Is(err, c.want) {
			t.Errorf("%s: number %d, %v", name, n, err)
		} else if c.share.Len() > 0 && strings.Contains(err.Error(), hex.EncodeToString(c.share.Expose())) {
			t.Errorf("%s: the error shows the share", name)
		}
	}
	if second.Generation != 2 || third.Generation != 3 || third.Previous.Generation != 2 {
		t.Error("generations are not counted")
	}
}

func TestNewShareSetFails(t *testing.T) {
	t.Parallel()
	if c, shares, err := NewShareSet(Recovery, nil, 3, 1, nil, clock); !errors.Is(err, ErrShape) || c != nil ||
		shares != nil {
		t.Errorf("an impossible shape: %v", err)
	}
	dry := errors.New("dry")
	for _, enough := range []int{0, 31, 32, 63, 64, 79} {
		rnd := iotest.TimeoutReader(bytes.NewReader(make([]byte, enough)))
		if _, _, err := NewShareSet(Barrier, nil, 3, 2, rnd, clock); err == nil {
			t.Errorf("with %d random bytes it worked", enough)
		}
	}
	if _, _, err := NewShareSet(Barrier, nil, 3, 2, iotest.ErrReader(dry), clock); !errors.Is(err, dry) {
		t.Errorf("no randomness: %v", err)
	}
}

func TestShareSetRecordRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "shares")
		k := 1
		if n > 1 {
			k = rapid.IntRange(2, n).Draw(t, "threshold")
		}
		c, _ := newShareSet(t, rapid.SampledFrom([]Target{Barrier, Recovery}).Draw(t, "target"), nil, n, k)
		for i := range c.Holders {
			c.Holders[i].Name = rapid.SampledFrom([]string{"", fmt.Sprintf("Zoë %d", i),
				strings.Repeat("x", MaxName-i)}).Draw(t, "name")
			if rapid.Bool().Draw(t, "proven") {
				c.Holders[i].Proven = clock.Add(time.Duration(i) * time.Hour)
			}
		}
		if rapid.Bool().Draw(t, "second") {
			c, _ = newShareSet(t, c.Target, c, n, k)
		}
		got, err := UnmarshalShareSet(c.Marshal())
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Fatalf("came back different, or %v", err)
		}
	})
}

// TestRecordHasNoSecret looks for every share and for the key in the record.
func TestRecordHasNoSecret(t *testing.T) {
	t.Parallel()
	c, shares := newShareSet(t, Barrier, nil, 5, 3)
	record := c.Marshal()
	key, _ := Combine(shares)
	for _, s := range append(shares, key) {
		if bytes.Contains(record, s.Expose()[:16]) {
			t.Fatal("the record holds a piece of a secret")
		}
	}
}

func TestMarshalPanicsBeyondTheBounds(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*ShareSet){
		"target":     func(c *ShareSet) { c.Target = 9 },
		"holders":    func(c *ShareSet) { c.Holders = c.Holders[1:] },
		"public key": func(c *ShareSet) { c.PublicKey = make([]byte, maxPublicKey+1) },
		"name":       func(c *ShareSet) { c.Holders[0].Name = strings.Repeat("n", MaxName+1) },
		"previous":   func(c *ShareSet) { c.Previous = &Previous{Shares: make([]Verifier, MaxShares+1)} },
	} {
		c, _ := newShareSet(t, Barrier, nil, 3, 2)
		spoil(c)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: a record that cannot be read back was made", name)
				}
			}()
			c.Marshal()
		}()
	}
}

func TestTargetsHaveNames(t *testing.T) {
	t.Parallel()
	if Barrier.String() != "barrier" || Recovery.String() != "recovery" || Target(7).String() != "target 7" {
		t.Error("a target has another name than the command line uses")
	}
}

func TestPublicKeyNeedsAWholeSeed(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 31, 33} {
		if _, err := PublicKey(secret.New(make([]byte, n))); !errors.Is(err, ErrKeyLength) {
			t.Errorf("a seed of %d bytes: %v", n, err)
		}
	}
}

func FuzzUnmarshalShareSet(f *testing.F) {
	for _, v := range fuzzSeeds(f, "shareset-v1.json") {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		c, err := UnmarshalShareSet(record)
		if err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Fatalf("not an ErrRecord: %v", err)
			}
			return
		}
		if !bytes.Equal(c.Marshal(), record) {
			t.Fatal("decoded and encoded again it is another record")
		}
	})
}

func BenchmarkNewShareSet255(b *testing.B) {
	for b.Loop() {
		if _, _, err := NewShareSet(Recovery, nil, 255, 128, nil, clock); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIdentifyAmong255(b *testing.B) {
	c, shares, err := NewShareSet(Recovery, nil, 255, 128, nil, clock)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := c.Identify(shares[200]); err != nil {
			b.Fatal(err)
		}
	}
}
