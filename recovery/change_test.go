package recovery

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

func authorityOf(t *testing.T, rnd *rand.ChaCha8) *ShareSet {
	t.Helper()
	authority, _, err := NewShareSet(Recovery, nil, 3, 2, rnd, clock)
	if err != nil {
		t.Fatal(err)
	}
	return authority
}

// TestChangeOfAnAuthorisation: what is authorised is part of the record, in version 2; nothing else
// has a description, and enrolling always has one.
func TestChangeOfAnAuthorisation(t *testing.T) {
	t.Parallel()
	rnd := rand.NewChaCha8([32]byte{7})
	authority := authorityOf(t, rnd)
	start := func(p Purpose, params Params) (*Ceremony, error) {
		return Start(p, authority, params, Origin{By: "ops", Accessor: "acc", Now: clock, Rand: rnd})
	}
	vectors := golden[recordVector](t, "ceremony-v2.json")
	for i, params := range []Params{
		{Change: "remove hsm; policy: any(kms)"}, {Change: "add custodians; policy: any(hsm, custodians)", Enroll: true},
	} {
		c, err := start(PurposeAuthorizeSeals, params)
		if err != nil {
			t.Fatal(err)
		}
		raw := c.Marshal()
		if !bytes.Equal(raw, unhex(t, vectors[i].Record)) {
			t.Errorf("%s: another record: %x", vectors[i].Name, raw)
		}
		again, err := UnmarshalCeremony(raw)
		if err != nil || again.Params.Change != params.Change || again.Params.Enroll != params.Enroll {
			t.Errorf("read as %+v, %v", again, err)
		}
		for cut := range raw {
			if _, err := UnmarshalCeremony(raw[:cut]); !errors.Is(err, ErrRecord) {
				t.Errorf("cut after %d bytes: %v", cut, err)
			}
		}
	}
	for name, c := range map[string]struct {
		purpose Purpose
		params  Params
	}{
		"enrolling without a change": {PurposeAuthorizeSeals, Params{Enroll: true}},
		"raw access with a change":   {PurposeAuthorizeRaw, Params{Change: "x"}},
		"a rekey with a change":      {PurposeRekeyRecovery, Params{Shares: 3, Threshold: 2, Change: "x"}},
		"a token with a change":      {PurposeGenerateRoot, Params{Recipients: []string{"k"}, Change: "x"}},
		"a change that is too long":  {PurposeAuthorizeSeals, Params{Change: strings.Repeat("x", MaxChange+1)}},
	} {
		if _, err := start(c.purpose, c.params); !errors.Is(err, ErrParams) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
