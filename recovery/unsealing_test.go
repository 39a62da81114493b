package recovery

import (
	"errors"
	"regexp"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/sealgate/sealgate/internal/secret"
)

var uuid4 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestUnsealingCollectsToTheThreshold(t *testing.T) {
	t.Parallel()
	c, shares := newShareSet(t, Barrier, nil, 5, 3)
	u := NewUnsealing(c, nil)
	if u.Nonce() != "" || u.Progress() != 0 {
		t.Error("it begins with a nonce or with progress")
	}
	give := func(s *secret.Bytes, progress int) {
		t.Helper()
		if key, err := u.Give(s); key != nil || err != nil || u.Progress() != progress {
			t.Fatalf("key %v, progress %d, %v", key != nil, u.Progress(), err)
		}
	}
	give(shares[4], 1)
	nonce := u.Nonce()
	if !uuid4.MatchString(nonce) {
		t.Errorf("nonce %q", nonce)
	}
	give(shares[4], 1) // the same again changes nothing
	give(shares[0], 2)
	if u.Nonce() != nonce {
		t.Error("the nonce changed during the attempt")
	}
	wrong := shares[1].Clone()
	wrong.Expose()[0] ^= 1
	if _, err := u.Give(wrong); !errors.Is(err, ErrShareUnknown) || u.Progress() != 2 {
		t.Errorf("a wrong share: %v, progress %d", err, u.Progress())
	}
	key, err := u.Give(shares[2])
	if err != nil || !c.VerifyKey(key) {
		t.Fatalf("the third share gave no key: %v", err)
	}
	if u.Progress() != 0 || u.Nonce() != "" {
		t.Error("shares are kept after the key was given")
	}
	if n, err := c.Identify(shares[4]); n != 5 || err != nil {
		t.Error("the caller's own share was destroyed")
	}
}

func TestUnsealingForgetsOnReset(t *testing.T) {
	t.Parallel()
	c, shares := newShareSet(t, Barrier, nil, 3, 2)
	u := NewUnsealing(c, nil)
	if _, err := u.Give(shares[0]); err != nil {
		t.Fatal(err)
	}
	kept, nonce := u.shares[1], u.Nonce()
	u.Reset()
	if kept.Len() != 0 || u.Progress() != 0 || u.Nonce() != "" {
		t.Error("Reset left something")
	}
	if _, err := u.Give(shares[0]); err != nil || u.Nonce() == nonce || u.Progress() != 1 {
		t.Errorf("a new attempt: nonce as before, or %v", err)
	}
}

func TestUnsealingWithASingleShare(t *testing.T) {
	t.Parallel()
	c, shares := newShareSet(t, Barrier, nil, 1, 1)
	key, err := NewUnsealing(c, nil).Give(shares[0])
	if err != nil || !c.VerifyKey(key) {
		t.Errorf("the only share gave no key: %v", err)
	}
}

func TestUnsealingNoticesARecordThatContradictsItself(t *testing.T) {
	t.Parallel()
	c, shares := newShareSet(t, Barrier, nil, 3, 2)
	c.Key[0] ^= 1
	u := NewUnsealing(c, nil)
	if _, err := u.Give(shares[0]); err != nil {
		t.Fatal(err)
	}
	if key, err := u.Give(shares[1]); key != nil || !errors.Is(err, ErrWrongKey) || u.Progress() != 0 {
		t.Errorf("%v, progress %d", err, u.Progress())
	}
	// Verifiers of two shares with one x: possible only where the record was forged, and refused
	// all the same.
	twin := shares[0].Clone()
	twin.Expose()[0] ^= 1
	c.Holders[1].Verifier = verifierOf(kindShare, c.ID, twin)
	if _, err := u.Give(shares[0]); err != nil {
		t.Fatal(err)
	}
	if _, err := u.Give(twin); !errors.Is(err, ErrDuplicate) || u.Progress() != 0 {
		t.Errorf("two shares of one number: %v, progress %d", err, u.Progress())
	}
}

func TestUnsealingWithoutRandomness(t *testing.T) {
	t.Parallel()
	c, shares := newShareSet(t, Barrier, nil, 3, 2)
	dry := errors.New("dry")
	u := NewUnsealing(c, iotest.ErrReader(dry))
	if _, err := u.Give(shares[0]); !errors.Is(err, dry) || u.Progress() != 0 {
		t.Errorf("%v, progress %d", err, u.Progress())
	}
}

func TestUnsealingByManyAtOnce(t *testing.T) {
	t.Parallel()
	c, shares := newShareSet(t, Barrier, nil, 8, 8)
	u := NewUnsealing(c, nil)
	keys := make(chan *secret.Bytes, len(shares)*2)
	var wg sync.WaitGroup
	for _, s := range shares {
		wg.Go(func() {
			key, err := u.Give(s)
			if err != nil {
				t.Error(err)
			}
			if key != nil {
				keys <- key
			}
		})
		wg.Go(func() { _, _ = u.Nonce(), u.Progress() })
	}
	wg.Wait()
	if len(keys) != 1 || !c.VerifyKey(<-keys) {
		t.Error("eight holders at once did not make one key")
	}
}
