package recovery

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/sealgate/sealgate/internal/secret"
)

// model is a ceremony in a few words: sets of numbers and a phase.
type model struct {
	verification bool
	verifying    bool
	given        map[int]bool
	proven       map[int]bool
	now          time.Time
}

func (m *model) expired() bool { return !m.now.Before(clock.Add(time.Hour)) }

// pair is the ceremony, its model, and the shares of all generations.
type harness struct {
	*model
	c         *Ceremony
	authority *ShareSet
	next      *ShareSet
	older     []*secret.Bytes // of the generation before the authority
	shares    []*secret.Bytes // of the authority: 6, 4 needed
	fresh     []*secret.Bytes // the new ones: 5, 3 needed
}

// TestCeremonyAgainstAModel runs random steps of several actors, with restarts from the record
// between them. At any time exactly one generation is authorised to be in place: the new one only
// once the ceremony says Verified (or, without verification, Authorised).
func TestCeremonyAgainstAModel(t *testing.T) {
	t.Parallel()
	first, older := newShareSet(t, Recovery, nil, 6, 3)
	authority, shares := newShareSet(t, Recovery, first, 6, 4)
	next, fresh := newShareSet(t, Recovery, authority, 5, 3)
	rapid.Check(t, func(t *rapid.T) {
		m := &model{verification: rapid.Bool().Draw(t, "verification"), given: map[int]bool{}, proven: map[int]bool{},
			now: clock}
		c, err := Start(PurposeRekeyRecovery, authority, Params{Shares: 5, Threshold: 3, Verification: m.verification},
			Origin{Now: m.now, Expiry: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		w := &harness{m, c, authority, next, older, shares, fresh}
		t.Repeat(map[string]func(*rapid.T){
			"give":     w.give,
			"verify":   w.verify,
			"await":    w.await,
			"restart":  w.restartVerification,
			"stranger": w.stranger,
			"crash":    w.crash,
			"lost":     w.lost,
			"wait": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.IntRange(0, 8).Draw(t, "minutes")) * time.Minute)
			},
			"": w.agree,
		})
	})
}

// any share of any generation, or one that is none; number is 0 where it is not of the wanted ones.
func (w *harness) share(t *rapid.T, wanted []*secret.Bytes) (*secret.Bytes, int) {
	all := slices.Concat(w.older, w.shares, w.fresh, wanted, wanted, []*secret.Bytes{secret.New(make([]byte, 33))})
	s := all[rapid.IntRange(0, len(all)-1).Draw(t, "share")]
	return s, slices.Index(wanted, s) + 1
}

func (w *harness) give(t *rapid.T) {
	share, number := w.share(t, w.shares)
	_, err := w.c.Give(w.authority, w.c.Nonce, share, w.now)
	switch {
	case w.expired():
		expect(t, err, ErrExpired)
	case w.verifying:
		expect(t, err, ErrVerificationDue)
	case number == 0 && slices.Contains(w.older, share):
		expect(t, err, ErrShareReplaced)
	case number == 0:
		expect(t, err, ErrShareUnknown)
	case w.given[number]:
		expect(t, err, ErrShareRepeated)
	case len(w.given) == 4:
		expect(t, err, ErrAuthorised)
	default:
		expect(t, err, nil)
		w.given[number] = true
	}
}

func (w *harness) verify(t *rapid.T) {
	share, number := w.share(t, w.fresh)
	_, err := w.c.Verify(w.c.VerificationNonce, share, w.now)
	switch {
	case w.expired():
		expect(t, err, ErrExpired)
	case !w.verifying:
		expect(t, err, ErrNotVerifying)
	case number == 0 && slices.Contains(w.shares, share):
		expect(t, err, ErrShareReplaced)
	case number == 0:
		expect(t, err, ErrShareUnknown)
	case w.proven[number]:
		expect(t, err, ErrShareRepeated)
	case len(w.proven) == 3:
		expect(t, err, ErrAuthorised)
	default:
		expect(t, err, nil)
		w.proven[number] = true
	}
}

func (w *harness) await(t *rapid.T) {
	err := w.c.Await(w.next, nil)
	if len(w.given) < 4 || w.verifying || !w.verification {
		expect(t, err, ErrAwait)
		return
	}
	expect(t, err, nil)
	w.verifying = true
}

func (w *harness) restartVerification(t *rapid.T) {
	before := w.c.VerificationNonce
	err := w.c.RestartVerification(nil)
	if !w.verifying {
		expect(t, err, ErrNotVerifying)
		return
	}
	expect(t, err, nil)
	if w.c.VerificationNonce == before {
		t.Fatal("the nonce stayed")
	}
	w.proven = map[int]bool{}
}

// stranger has shares, and no nonce.
func (w *harness) stranger(t *rapid.T) {
	nonce := rapid.SampledFrom([]string{"", "x", "11111111-2222-4333-8444-555555555555"}).Draw(t, "nonce")
	want := ErrNonce
	if w.expired() {
		want = ErrExpired
	}
	_, err := w.c.Give(w.authority, nonce, w.shares[0], w.now)
	expect(t, err, want)
	if want == ErrNonce && !w.verifying {
		want = ErrNotVerifying
	}
	_, err = w.c.Verify(nonce, w.fresh[0], w.now)
	expect(t, err, want)
}

// crash comes back from the record.
func (w *harness) crash(t *rapid.T) {
	c, err := UnmarshalCeremony(w.c.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	w.c = c
}

// lost is a step whose result could not be stored: it was applied to a clone, and leaves nothing
// behind.
func (w *harness) lost(t *rapid.T) {
	d := w.c.Clone()
	for i := range w.shares {
		_, _ = d.Give(w.authority, d.Nonce, w.shares[i], w.now)
	}
	_ = d.Await(w.next, nil)
	for i := range w.fresh {
		_, _ = d.Verify(d.VerificationNonce, w.fresh[i], w.now)
	}
	_ = d.RestartVerification(nil)
}

func (w *harness) agree(t *rapid.T) {
	if w.c.Progress() != len(w.given) || w.c.Authorised() != (len(w.given) == 4) {
		t.Fatalf("progress %d, authorised %v; the model has %d", w.c.Progress(), w.c.Authorised(), len(w.given))
	}
	if len(w.c.Proven) != len(w.proven) || w.c.Verified() != (len(w.proven) == 3) ||
		(w.c.Phase == Verifying) != w.verifying {
		t.Fatalf("phase %d, proven %d, verified %v; the model has %d", w.c.Phase, len(w.c.Proven),
			w.c.Verified(), len(w.proven))
	}
	if w.verifying {
		for i, h := range w.c.Next.Holders {
			if h.Proven.IsZero() == w.proven[i+1] {
				t.Fatalf("new share %d was proven at %v; the model has %v", i+1, h.Proven,
					slices.Collect(maps.Keys(w.proven)))
			}
		}
	}
}

func expect(t *rapid.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%v, want %v", err, want)
	}
}
