package recovery

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
)

func start(t *testing.T, authority *ShareSet) *Ceremony {
	t.Helper()
	c, err := Start(PurposeRekeyRecovery, authority, Params{Shares: 7, Threshold: 4}, Origin{By: "root", Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCeremonyGathersShares(t *testing.T) {
	t.Parallel()
	shareSet, shares := newShareSet(t, Recovery, nil, 5, 3)
	c := start(t, shareSet)
	if !uuid4.MatchString(c.Nonce) || c.Required != 3 || c.Phase != Collecting ||
		!c.Expires.Equal(clock.Add(DefaultExpiry)) {
		t.Errorf("it starts as %+v", c)
	}
	for i, number := range []int{4, 1, 5} {
		if c.Authorised() {
			t.Errorf("authorised by %d shares", i)
		}
		got, err := c.Give(shareSet, c.Nonce, shares[number-1], clock.Add(time.Minute))
		if err != nil || got != number || c.Progress() != i+1 {
			t.Fatalf("share %d is number %d, progress %d, %v", number, got, c.Progress(), err)
		}
	}
	if !c.Authorised() || !slices.Equal(c.Numbers(), []int{4, 1, 5}) {
		t.Errorf("not authorised by three, or by others: %v", c.Numbers())
	}
	if _, err := c.Give(shareSet, c.Nonce, shares[1], clock); !errors.Is(err, ErrAuthorised) || c.Progress() != 3 {
		t.Errorf("one share more: %v", err)
	}
}

func TestCeremonyRefusesInOrder(t *testing.T) {
	t.Parallel()
	first, old := newShareSet(t, Recovery, nil, 5, 3)
	shareSet, shares := newShareSet(t, Recovery, first, 5, 3)
	next, _ := newShareSet(t, Recovery, shareSet, 5, 3)
	c := start(t, shareSet)
	if _, err := c.Give(shareSet, c.Nonce, shares[0], clock); err != nil {
		t.Fatal(err)
	}
	wrong := shares[1].Clone()
	wrong.Expose()[0] ^= 1
	late := clock.Add(DefaultExpiry)
	other := start(t, shareSet)
	before := c.Marshal()
	for _, r := range []struct {
		name      string
		authority *ShareSet
		nonce     string
		share     *secret.Bytes
		now       time.Time
		want      error
	}{
		{"all wrong, and late", next, "x", wrong, late, ErrExpired},
		{"late", shareSet, c.Nonce, shares[1], late, ErrExpired},
		{"all wrong", next, "x", wrong, clock, ErrNonce},
		{"no nonce", shareSet, "", shares[1], clock, ErrNonce},
		{"another ceremony's nonce", shareSet, other.Nonce, shares[1], clock, ErrNonce},
		{"nonce in capitals", shareSet, strings.ToUpper(c.Nonce), shares[1], clock, ErrNonce},
		{"shares replaced meanwhile", next, c.Nonce, shares[1], clock, ErrAuthorityChanged},
		{"no shares any more", nil, c.Nonce, shares[1], clock, ErrAuthorityChanged},
		{"wrong share", shareSet, c.Nonce, wrong, clock, ErrShareUnknown},
		{"share of the generation before", shareSet, c.Nonce, old[1], clock, ErrShareReplaced},
		{"short share", shareSet, c.Nonce, secret.New(make([]byte, 3)), clock, ErrShareLength},
		{"no share", shareSet, c.Nonce, nil, clock, ErrShareLength},
		{"the same share again", shareSet, c.Nonce, shares[0], clock, ErrShareRepeated},
	} {
		_, err := c.Give(r.authority, r.nonce, r.share, r.now)
		if !errors.Is(err, r.want) {
			t.Errorf("%s: %v, want %v", r.name, err, r.want)
		}
		if err != nil && (strings.Contains(err.Error(), c.Nonce) || strings.Contains(err.Error(), other.Nonce)) {
			t.Errorf("%s: the error discloses a nonce", r.name)
		}
		if !bytes.Equal(c.Marshal(), before) {
			t.Errorf("%s: a refused share changed the ceremony", r.name)
		}
	}
}

// of gives parameters a shape: so many shares, all of them needed.
func of(shares int, p Params) Params {
	p.Shares, p.Threshold = shares, shares
	return p
}

func TestStartByTarget(t *testing.T) {
	t.Parallel()
	unseal, _ := newShareSet(t, Barrier, nil, 5, 3)
	device, _ := newShareSet(t, Recovery, nil, 3, 2)
	shape := Params{Shares: 7, Threshold: 4}
	for name, c := range map[string]struct {
		purpose   Purpose
		authority *ShareSet
		params    Params
		want      error
		says      string
	}{
		"barrier, unseal shares": {PurposeRekeyBarrier, unseal, shape, nil, ""},
		"barrier, device":        {PurposeRekeyBarrier, device, shape, nil, ""},
		"barrier, no shares":     {PurposeRekeyBarrier, nil, shape, nil, ""},
		"recovery, device":       {PurposeRekeyRecovery, device, shape, nil, ""},
		"recovery, no shares":    {PurposeRekeyRecovery, nil, shape, nil, ""},
		"recovery, unseal shares": {PurposeRekeyRecovery, unseal, shape, ErrPurpose,
			"recovery rekeying not supported"},
		"unknown":                   {"make-coffee", unseal, shape, ErrPurpose, `"make-coffee"`},
		"barrier, unseal, no shape": {PurposeRekeyBarrier, unseal, Params{}, ErrShape, "shares must be at least one"},
		"recovery, no shape": {PurposeRekeyRecovery, device, Params{Shares: 3}, ErrShape,
			"threshold must be at least one"},
		"barrier, device, encrypted": {PurposeRekeyBarrier, device, Params{Recipients: []string{"k"}},
			ErrParams, "PGP key encryption not supported"},
		"barrier, device, backup": {PurposeRekeyBarrier, device, Params{Backup: true}, ErrParams,
			"key backup not supported"},
		"barrier, device, verification": {PurposeRekeyBarrier, device, Params{Verification: true},
			ErrParams, "requiring verification not supported"},
		"barrier, device, holders": {PurposeRekeyBarrier, device, Params{Holders: []string{"a"}},
			ErrParams, "naming holders not supported"},
		"backup of what is not encrypted": {PurposeRekeyRecovery, device, of(1, Params{Backup: true}), ErrParams,
			"cannot request a backup"},
		"too few recipients": {PurposeRekeyRecovery, device,
			of(3, Params{Recipients: []string{"k"}, Fingerprints: []string{"f"}}),
			ErrParams, "count mismatch between number of provided PGP keys"},
		"too few holders": {PurposeRekeyRecovery, device, of(3, Params{Holders: []string{"a"}}), ErrParams,
			"count mismatch"},
		"a holder without end": {PurposeRekeyRecovery, device,
			of(1, Params{Holders: []string{strings.Repeat("a", MaxName+1)}}),
			ErrParams, "name"},
		"a recipient without end": {PurposeRekeyRecovery, device,
			of(1, Params{Recipients: []string{strings.Repeat("a", maxRecipient+1)}, Fingerprints: []string{"f"}}),
			ErrParams, "public key"},
		"two recipients, one fingerprint": {PurposeRekeyRecovery, device,
			of(2, Params{Recipients: []string{"k", "l"}, Fingerprints: []string{"f"}}), ErrParams, "fingerprints"},
		"a fingerprint of nothing": {PurposeRekeyRecovery, device, of(1, Params{Fingerprints: []string{"f"}}),
			ErrParams, "fingerprints"},
		"a fingerprint without end": {PurposeRekeyRecovery, device,
			of(1, Params{Recipients: []string{"k"}, Fingerprints: []string{strings.Repeat("f", MaxFingerprint+1)}}),
			ErrParams, "fingerprint"},
		"two holders of one name": {PurposeRekeyRecovery, device, of(2, Params{Holders: []string{"eve", "eve"}}),
			ErrParams, `two holders are named "eve"`},
		"a one-time password for shares": {PurposeRekeyRecovery, device, of(2, Params{OTP: "x"}), ErrParams,
			"for tokens"},
		"barrier, device, password": {PurposeRekeyBarrier, device, Params{OTP: "x"}, ErrParams,
			"one-time password not supported"},
	} {
		got, err := Start(c.purpose, c.authority, c.params, Origin{Now: clock})
		if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		if _, err := UnmarshalCeremony(got.Marshal()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		keyOnly := c.purpose == PurposeRekeyBarrier && c.authority != unseal
		if keyOnly != (got.Params.Shares == 0) {
			t.Errorf("%s: %d new shares", name, got.Params.Shares)
		}
		if (c.authority == nil) != got.Authorised() {
			t.Errorf("%s: authorised at once: %v", name, got.Authorised())
		}
	}
}

func TestStartChecksItsOrigin(t *testing.T) {
	t.Parallel()
	shareSet, _ := newShareSet(t, Recovery, nil, 3, 2)
	dry := errors.New("dry")
	for name, o := range map[string]Origin{
		"a name without end": {By: strings.Repeat("x", maxText+1), Now: clock},
		"an expiry before":   {Now: clock, Expiry: -time.Second},
	} {
		if _, err := Start(PurposeRekeyRecovery, shareSet, Params{Shares: 1, Threshold: 1}, o); !errors.Is(err,
			ErrParams) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Start(PurposeRekeyRecovery, shareSet, Params{Shares: 1, Threshold: 1},
		Origin{Now: clock, Rand: iotest.ErrReader(dry)}); !errors.Is(err, dry) {
		t.Errorf("no randomness: %v", err)
	}
}

// TestLargestCeremonyFitsItsRecord fills every list to its bound.
func TestLargestCeremonyFitsItsRecord(t *testing.T) {
	t.Parallel()
	shareSet, shares := newShareSet(t, Recovery, nil, MaxShares, MaxShares)
	params := Params{Shares: MaxShares, Threshold: 2, Verification: true, Backup: true}
	for i := range MaxShares {
		params.Recipients = append(params.Recipients, strings.Repeat("r", maxRecipients/MaxShares))
		params.Fingerprints = append(params.Fingerprints, strings.Repeat("f", MaxFingerprint))
		params.Holders = append(params.Holders, fmt.Sprintf("%0*d", MaxName, i))
	}
	c, err := Start(PurposeRekeyRecovery, shareSet, params, Origin{By: strings.Repeat("b", maxText), Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range shares {
		if _, err := c.Give(shareSet, c.Nonce, s, clock); err != nil {
			t.Fatal(err)
		}
	}
	record := c.Marshal()
	if got, err := UnmarshalCeremony(record); err != nil || len(record) > maxRecord || !reflect.DeepEqual(got, c) {
		t.Errorf("%d bytes came back different, or %v", len(record), err)
	}
	params.Recipients[7] += strings.Repeat("r", MaxShares)
	if _, err := Start(PurposeRekeyRecovery, shareSet, params, Origin{Now: clock}); !errors.Is(err, ErrParams) {
		t.Errorf("more than fits: %v", err)
	}
}

func TestCloneIsIndependent(t *testing.T) {
	t.Parallel()
	shareSet, shares := newShareSet(t, Recovery, nil, 3, 3)
	c := start(t, shareSet)
	if _, err := c.Give(shareSet, c.Nonce, shares[0], clock); err != nil {
		t.Fatal(err)
	}
	d := c.Clone()
	if !reflect.DeepEqual(c, d) {
		t.Fatal("the clone differs")
	}
	if _, err := d.Give(shareSet, d.Nonce, shares[1], clock); err != nil {
		t.Fatal(err)
	}
	if c.Progress() != 1 || d.Progress() != 2 {
		t.Error("a step of the clone changed the original")
	}
}

func FuzzUnmarshalCeremony(f *testing.F) {
	for _, v := range append(fuzzSeeds(f, "ceremony-v1.json"), fuzzSeeds(f, "ceremony-v2.json")...) {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, record []byte) {
		c, err := UnmarshalCeremony(record)
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
