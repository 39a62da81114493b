package recovery

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

// TestSameRandomnessMakesTheGoldenCeremonies pins what is behind the bytes of the good records.
func TestSameRandomnessMakesTheGoldenCeremonies(t *testing.T) {
	t.Parallel()
	made := goldenCeremonies(t)
	for _, v := range golden[recordVector](t, "ceremony-v1.json") {
		if v.Error != "" {
			continue
		}
		c := made[v.Name]
		if c == nil || !bytes.Equal(c.Marshal(), unhex(t, v.Record)) {
			t.Errorf("%s: the same steps give another record", v.Name)
		}
		delete(made, v.Name)
	}
	for name := range made {
		t.Errorf("%s: no golden record", name)
	}
}

func goldenCeremonies(t *testing.T) map[string]*Ceremony {
	t.Helper()
	rnd := rand.NewChaCha8([32]byte{4, 5, 6})
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	authority, shares, err := NewShareSet(Recovery, nil, 5, 3, rnd, clock)
	do(err)
	start := func(p Purpose, authority *ShareSet, params Params, o Origin) *Ceremony {
		o.Now, o.Rand = clock, rnd
		c, err := Start(p, authority, params, o)
		do(err)
		return c
	}
	give := func(c *Ceremony, n int) {
		_, err := c.Give(authority, c.Nonce, shares[n-1], clock.Add(time.Duration(n)*time.Minute))
		do(err)
	}
	out := map[string]*Ceremony{}
	keep := func(name string, c *Ceremony) { out[name] = c.Clone() }

	c := start(PurposeRekeyRecovery, authority, Params{Shares: 7, Threshold: 4},
		Origin{By: "root", Accessor: "abcABC123"})
	keep("just started", c)
	give(c, 3)
	give(c, 1)
	keep("2 of 3 given", c)
	keep("nothing required", start(PurposeRekeyBarrier, nil, Params{}, Origin{}))
	keep("a root token with a one-time password", start(PurposeGenerateRoot, authority,
		Params{OTP: "twenty-six characters, see"}, Origin{TokenLen: 26}))
	keep("a recovery token for a key", start(PurposeRecoveryToken, authority,
		Params{Recipients: []string{"key one"}, Fingerprints: []string{"one"}}, Origin{By: "ops"}))

	c = start(PurposeRekeyRecovery, authority, Params{
		Shares: 2, Threshold: 2, Verification: true, Backup: true,
		Recipients: []string{"key one", "key two"}, Fingerprints: []string{"one", "two"},
		Holders: []string{"alice", "Zoë"},
	}, Origin{By: "ops", Accessor: "xyz", Expiry: time.Hour})
	keep("with everything that parameters have", c)
	next, fresh, err := NewShareSet(Recovery, authority, 2, 2, rnd, clock.Add(time.Hour))
	do(err)
	do(next.NameHolders(c.Params.Holders))
	for n := range 3 {
		give(c, n+1)
	}
	do(c.Await(next, rnd))
	keep("verification begins", c)
	_, err = c.Verify(c.VerificationNonce, fresh[1], clock.Add(30*time.Minute))
	do(err)
	keep("1 of 2 verified", c)
	return out
}
