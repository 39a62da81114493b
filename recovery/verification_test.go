package recovery

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
)

// awaiting is a ceremony at its verification: 5 new shares of which 3 are needed; the old ones were
// 3 of which 2 were needed.
func awaiting(t *testing.T) (c *Ceremony, authority *ShareSet, old, fresh []*secret.Bytes) {
	t.Helper()
	authority, old = newShareSet(t, Recovery, nil, 3, 2)
	c, err := Start(PurposeRekeyRecovery, authority, Params{
		Shares: 5, Threshold: 3, Verification: true, Holders: []string{"a", "b", "c", "d", "e"},
		Recipients: []string{"1", "2", "3", "4", "5"}, Fingerprints: []string{"f1", "f2", "f3", "f4", "f5"},
	}, Origin{Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range old[:2] {
		if _, err := c.Give(authority, c.Nonce, s, clock); err != nil {
			t.Fatal(err)
		}
	}
	next, fresh := newShareSet(t, Recovery, authority, 5, 3)
	if err := next.NameHolders(c.Params.Holders); err != nil {
		t.Fatal(err)
	}
	if err := c.Await(next, nil); err != nil {
		t.Fatal(err)
	}
	return c, authority, old, fresh
}

func TestVerificationProvesTheNewShares(t *testing.T) {
	t.Parallel()
	c, _, _, fresh := awaiting(t)
	if c.Phase != Verifying || !uuid4.MatchString(c.VerificationNonce) || c.VerificationNonce == c.Nonce ||
		c.Verified() {
		t.Fatalf("it begins as %+v", c)
	}
	if c.Params.Recipients != nil || len(c.Params.Fingerprints) != 5 {
		t.Error("the keys stayed, or their fingerprints did not")
	}
	later := clock.Add(time.Hour)
	for i, number := range []int{4, 1, 5} {
		if c.Verified() {
			t.Errorf("verified by %d shares", i)
		}
		if got, err := c.Verify(c.VerificationNonce, fresh[number-1], later); err != nil || got != number ||
			len(c.Proven) != i+1 {
			t.Fatalf("share %d is number %d, progress %d, %v", number, got, len(c.Proven), err)
		}
	}
	if !c.Verified() || !slices.Equal(names(c.Proven, c.Next), []string{"d", "a", "e"}) {
		t.Errorf("not verified by three, or by others: %v", names(c.Proven, c.Next))
	}
	for i, h := range c.Next.Holders {
		if proven := h.Proven.Equal(later); proven != slices.Contains([]int{4, 1, 5}, i+1) {
			t.Errorf("share %d was proven at %v", i+1, h.Proven)
		}
	}
	if _, err := c.Verify(c.VerificationNonce, fresh[1], later); !errors.Is(err, ErrAuthorised) {
		t.Errorf("one share more: %v", err)
	}
}

func TestVerificationRefusesInOrder(t *testing.T) {
	t.Parallel()
	c, _, old, fresh := awaiting(t)
	if _, err := c.Verify(c.VerificationNonce, fresh[0], clock); err != nil {
		t.Fatal(err)
	}
	wrong := fresh[1].Clone()
	wrong.Expose()[0] ^= 1
	late := clock.Add(DefaultExpiry)
	before := c.Marshal()
	for _, r := range []struct {
		name  string
		nonce string
		share *secret.Bytes
		now   time.Time
		want  error
		says  string
	}{
		{"all wrong, and late", "x", wrong, late, ErrExpired, "start it again"},
		{"all wrong", "x", wrong, clock, ErrNonce, "nonce"},
		{"no nonce", "", fresh[1], clock, ErrNonce, "nonce"},
		{"the nonce of the rekey", c.Nonce, fresh[1], clock, ErrNonce, "nonce"},
		{"wrong share", c.VerificationNonce, wrong, clock, ErrShareUnknown, "not one of the new shares"},
		{"old share", c.VerificationNonce, old[0], clock, ErrShareReplaced, "one of the old shares"},
		{"short share", c.VerificationNonce, secret.New(make([]byte, 3)), clock, ErrShareLength, "16 bytes"},
		{"the same share again", c.VerificationNonce, fresh[0], clock, ErrShareRepeated,
			"during this verify operation"},
	} {
		_, err := c.Verify(r.nonce, r.share, r.now)
		if !errors.Is(err, r.want) || !strings.Contains(err.Error(), r.says) {
			t.Errorf("%s: %v, want %v", r.name, err, r.want)
		}
		if err != nil && (strings.Contains(err.Error(), c.Nonce) ||
			strings.Contains(err.Error(), c.VerificationNonce)) {
			t.Errorf("%s: the error discloses a nonce", r.name)
		}
		if !bytes.Equal(c.Marshal(), before) {
			t.Errorf("%s: a refused share changed the ceremony", r.name)
		}
	}
}

func TestGivingIsOverWhenVerificationIsDue(t *testing.T) {
	t.Parallel()
	c, authority, old, _ := awaiting(t)
	_, err := c.Give(authority, c.Nonce, old[2], clock)
	if !errors.Is(err, ErrVerificationDue) || strings.Contains(err.Error(), c.VerificationNonce) {
		t.Errorf("an old share: %v", err)
	}
	if _, err := c.Give(authority, c.VerificationNonce, old[2], clock); !errors.Is(err, ErrNonce) {
		t.Errorf("with the verification's nonce: %v", err)
	}
}

func TestRestartVerification(t *testing.T) {
	t.Parallel()
	c, _, _, fresh := awaiting(t)
	if _, err := c.Verify(c.VerificationNonce, fresh[0], clock); err != nil {
		t.Fatal(err)
	}
	before := c.VerificationNonce
	err := c.RestartVerification(iotest.ErrReader(errors.New("dry")))
	if err == nil || c.VerificationNonce != before || len(c.Proven) != 1 {
		t.Errorf("without randomness: %v", err)
	}
	if err := c.RestartVerification(nil); err != nil {
		t.Fatal(err)
	}
	if len(c.Proven) != 0 || c.VerificationNonce == before || !c.Next.Holders[0].Proven.IsZero() {
		t.Error("something is left of it")
	}
	if _, err := c.Verify(before, fresh[0], clock); !errors.Is(err, ErrNonce) {
		t.Errorf("the nonce before: %v", err)
	}
	if _, err := c.Verify(c.VerificationNonce, fresh[0], clock); err != nil {
		t.Errorf("the same share: %v", err)
	}
}

func TestAwaitOnlyWhatTheCeremonyMakes(t *testing.T) {
	t.Parallel()
	authority, old := newShareSet(t, Recovery, nil, 3, 2)
	ready := func(p Params) *Ceremony {
		c, err := Start(PurposeRekeyRecovery, authority, p, Origin{Now: clock})
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range old[:2] {
			if _, err := c.Give(authority, c.Nonce, s, clock); err != nil {
				t.Fatal(err)
			}
		}
		return c
	}
	params := Params{Shares: 5, Threshold: 3, Verification: true}
	good, _ := newShareSet(t, Recovery, authority, 5, 3)
	barrier, _ := newShareSet(t, Barrier, nil, 5, 3)
	other, _ := newShareSet(t, Recovery, authority, 5, 4)
	early := start(t, authority)
	again := ready(params)
	if err := again.Await(good, nil); err != nil {
		t.Fatal(err)
	}
	for name, a := range map[string]struct {
		c    *Ceremony
		next *ShareSet
	}{
		"not authorised":    {early, good},
		"not asked for":     {ready(Params{Shares: 5, Threshold: 3}), good},
		"twice":             {again, good},
		"nothing":           {ready(params), nil},
		"another target":    {ready(params), barrier},
		"another threshold": {ready(params), other},
		"the old shares":    {ready(Params{Shares: 3, Threshold: 2, Verification: true}), authority},
	} {
		before := a.c.Marshal()
		if err := a.c.Await(a.next, nil); !errors.Is(err, ErrAwait) || !bytes.Equal(a.c.Marshal(), before) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := early.Verify("", old[0], clock); !errors.Is(err, ErrNotVerifying) {
		t.Errorf("verifying before: %v", err)
	}
	if err := early.RestartVerification(nil); !errors.Is(err, ErrNotVerifying) || early.Verified() {
		t.Errorf("restarting before: %v", err)
	}
	c := ready(params)
	if err := c.Await(good, iotest.ErrReader(errors.New("dry"))); err == nil || c.Phase != Collecting {
		t.Errorf("without randomness: %v", err)
	}
}

// TestNobodysSharesAreRequired is the first rekey of a store that was made without recovery shares.
func TestNobodysSharesAreRequired(t *testing.T) {
	t.Parallel()
	c, err := Start(PurposeRekeyRecovery, nil, Params{Shares: 2, Threshold: 2, Verification: true}, Origin{Now: clock})
	if err != nil || !c.Authorised() || c.Required != 0 {
		t.Fatalf("%+v, %v", c, err)
	}
	next, fresh := newShareSet(t, Recovery, nil, 2, 2)
	if err := c.Await(next, nil); err != nil {
		t.Fatal(err)
	}
	for _, s := range fresh {
		if c, err = UnmarshalCeremony(c.Marshal()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Verify(c.VerificationNonce, s, clock); err != nil {
			t.Fatal(err)
		}
	}
	if !c.Verified() {
		t.Error("not verified")
	}
	if _, err := c.Give(nil, c.Nonce, fresh[0], clock); err == nil {
		t.Error("a share was taken where none is required")
	}
}

func TestCloneOfAVerificationIsIndependent(t *testing.T) {
	t.Parallel()
	c, _, _, fresh := awaiting(t)
	d := c.Clone()
	if !reflect.DeepEqual(c, d) {
		t.Fatal("the clone differs")
	}
	if _, err := d.Verify(d.VerificationNonce, fresh[0], clock); err != nil {
		t.Fatal(err)
	}
	if len(c.Proven) != 0 || !c.Next.Holders[0].Proven.IsZero() {
		t.Error("a step of the clone changed the original")
	}
}

func TestTokensNeedSharesAndAWayToTheirHolder(t *testing.T) {
	t.Parallel()
	unseal, _ := newShareSet(t, Barrier, nil, 5, 3)
	device, _ := newShareSet(t, Recovery, nil, 3, 2)
	otp := strings.Repeat("o", 26)
	for name, r := range map[string]struct {
		authority *ShareSet
		params    Params
		want      error
	}{
		"password, unseal shares":  {unseal, Params{OTP: otp}, nil},
		"password, device":         {device, Params{OTP: otp}, nil},
		"key":                      {device, Params{Recipients: []string{"k"}}, nil},
		"key with its fingerprint": {device, Params{Recipients: []string{"k"}, Fingerprints: []string{"f"}}, nil},
		"both: the password wins":  {device, Params{OTP: otp, Recipients: []string{"k"}}, nil},
		"no shares":                {nil, Params{OTP: otp}, ErrPurpose},
		"neither":                  {unseal, Params{}, ErrParams},
		"two keys":                 {unseal, Params{Recipients: []string{"k", "l"}}, ErrParams},
		"an empty key":             {unseal, Params{Recipients: []string{""}}, ErrParams},
		"two fingerprints": {unseal, Params{Recipients: []string{"k"}, Fingerprints: []string{"f", "g"}},
			ErrParams},
		"short password": {unseal, Params{OTP: otp[1:]}, ErrOTPLength},
		"long password":  {unseal, Params{OTP: otp + "o"}, ErrOTPLength},
		"shares":         {unseal, Params{OTP: otp, Shares: 1, Threshold: 1}, ErrParams},
		"holders":        {unseal, Params{OTP: otp, Holders: []string{"a"}}, ErrParams},
		"verification":   {unseal, Params{OTP: otp, Verification: true}, ErrParams},
		"backup":         {unseal, Params{OTP: otp, Backup: true}, ErrParams},
	} {
		for _, p := range []Purpose{PurposeGenerateRoot, PurposeRecoveryToken} {
			c, err := Start(p, r.authority, r.params, Origin{Now: clock, TokenLen: 26})
			if !errors.Is(err, r.want) {
				t.Errorf("%s, %s: %v", p, name, err)
			}
			if err != nil {
				continue
			}
			if c.Authorised() || c.Params.OTP != "" && c.Params.Recipients != nil {
				t.Errorf("%s, %s: %+v", p, name, c)
			}
			if again, err := UnmarshalCeremony(c.Marshal()); err != nil || !reflect.DeepEqual(again, c) {
				t.Errorf("%s, %s: came back different, or %v", p, name, err)
			}
		}
	}
	if _, err := Start(PurposeGenerateRoot, unseal, Params{OTP: strings.Repeat("o", MaxOTP+1)},
		Origin{Now: clock}); !errors.Is(err, ErrOTPLength) {
		t.Errorf("a password without end: %v", err)
	}
}
