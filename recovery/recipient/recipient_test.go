package recipient

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

var made = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(when time.Time) func() time.Time { return func() time.Time { return when } }

// entity makes a key at the time made, of the algorithm that change asks for.
func entity(t testing.TB, change func(*packet.Config)) *openpgp.Entity {
	t.Helper()
	c := &packet.Config{Time: at(made), Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519}
	if change != nil {
		change(c)
	}
	e, err := openpgp.NewEntity("Alice", "", "alice@example.com", c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func public(t testing.TB, e *openpgp.Entity) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func private(t testing.TB, e *openpgp.Entity) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := e.SerializePrivateWithoutSigning(&b, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func armored(t testing.TB, kind string, raw []byte) string {
	t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, kind, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func base(raw []byte) string { return base64.StdEncoding.EncodeToString(raw) }

// opens decrypts a message with a private key.
func opens(t testing.TB, e *openpgp.Entity, message []byte) string {
	t.Helper()
	m, err := openpgp.ReadMessage(bytes.NewReader(message), openpgp.EntityList{e}, nil, &packet.Config{Time: at(made)})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(m.UnverifiedBody)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

func TestEveryKindOfKeyInEveryForm(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*packet.Config){
		"ed25519 and x25519": nil,
		"RSA 2048":           func(c *packet.Config) { c.Algorithm, c.RSABits = packet.PubKeyAlgoRSA, 2048 },
		"NIST P-256": func(c *packet.Config) {
			c.Algorithm, c.Curve = packet.PubKeyAlgoECDSA,
				packet.CurveNistP256
		},
		"version 6": func(c *packet.Config) { c.V6Keys, c.Algorithm = true, packet.PubKeyAlgoEd25519 },
		"version 6 with AEAD": func(c *packet.Config) {
			c.V6Keys, c.Algorithm, c.AEADConfig = true, packet.PubKeyAlgoEd25519, &packet.AEADConfig{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := entity(t, change)
			raw := public(t, e)
			fingerprint := hex.EncodeToString(e.PrimaryKey.Fingerprint)
			wrapped := base(raw)[:20] + "\r\n  " + base(raw)[20:] + "\n"
			for form, text := range map[string]string{
				"binary":             string(raw),
				"base64":             base(raw),
				"base64, wrapped":    wrapped,
				"armored":            armored(t, openpgp.PublicKeyType, raw),
				"armored, in a mail": "Hello,\nmy key:\n\n" + armored(t, openpgp.PublicKeyType, raw) + "\nbye\n",
				"armored, base64":    base([]byte(armored(t, openpgp.PublicKeyType, raw))),
			} {
				r, err := Parse(text, made)
				if err != nil {
					t.Errorf("%s: %v", form, err)
					continue
				}
				if r.Kind() != PGP || r.Fingerprint() != fingerprint {
					t.Errorf("%s: a %s key of fingerprint %s", form, r.Kind(), r.Fingerprint())
				}
				message, err := r.Encrypt([]byte("00ff a share"))
				if err != nil {
					t.Fatal(err)
				}
				if message[0]&0x80 == 0 || opens(t, e, message) != "00ff a share" {
					t.Errorf("%s: another message came out, or it is not binary", form)
				}
			}
		})
	}
}

func TestCompactKeepsWhatEncryptionNeeds(t *testing.T) {
	t.Parallel()
	e := entity(t, nil)
	config := &packet.Config{Time: at(made), Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519}
	for range 5 {
		if err := e.AddEncryptionSubkey(config); err != nil {
			t.Fatal(err)
		}
		if err := e.AddSigningSubkey(config); err != nil {
			t.Fatal(err)
		}
	}
	friend := entity(t, nil)
	if err := e.SignIdentity("Alice <alice@example.com>", friend, config); err != nil {
		t.Fatal(err)
	}
	if err := e.AddUserId("Alice", "at work", "alice@work.example", config); err != nil {
		t.Fatal(err)
	}
	full := public(t, e)
	r, err := Parse(string(full), made)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Compact()) > len(full)/3 {
		t.Errorf("%d of %d bytes are left", len(r.Compact()), len(full))
	}
	again, err := Parse(r.Compact(), made)
	if err != nil || again.Fingerprint() != r.Fingerprint() || again.Compact() != r.Compact() {
		t.Fatalf("the compact key is another one: %v", err)
	}
	message, err := again.Encrypt([]byte("share"))
	if err != nil || opens(t, e, message) != "share" {
		t.Errorf("the compact key encrypts to somebody else: %v", err)
	}
}

func TestBadPGPKeys(t *testing.T) {
	t.Parallel()
	good := entity(t, nil)
	short := entity(t, func(c *packet.Config) { c.KeyLifetimeSecs = 3600 })
	revoked := entity(t, nil)
	if err := revoked.Revoke(packet.KeySuperseded, "", &packet.Config{Time: at(made)}); err != nil {
		t.Fatal(err)
	}
	subkeyRevoked := entity(t, nil)
	if err := subkeyRevoked.Subkeys[0].Revoke(packet.KeyCompromised, "", &packet.Config{Time: at(made)}); err != nil {
		t.Fatal(err)
	}
	signOnly := entity(t, nil)
	signOnly.Subkeys = nil
	weak := entity(t, func(c *packet.Config) {
		c.Algorithm, c.RSABits, c.MinRSABits = packet.PubKeyAlgoRSA, 1024,
			1023
	})
	other := entity(t, nil)
	foreign := entity(t, nil)
	foreign.Subkeys[0] = other.Subkeys[0] // bound by another key's signature
	raw := public(t, good)
	flipped := slices.Clone(raw)
	flipped[len(flipped)-10] ^= 1
	message, err := openpgp.Encrypt(io.Discard, []*openpgp.Entity{good}, nil, nil, nil, &packet.Config{Time: at(made)})
	if err != nil {
		t.Fatal(err)
	}
	_ = message.Close()

	for name, c := range map[string]struct {
		text string
		now  time.Time
		want error
	}{
		"expired":              {string(public(t, short)), made.Add(2 * time.Hour), ErrExpired},
		"not yet valid":        {string(raw), made.Add(-time.Hour), ErrExpired},
		"revoked":              {string(public(t, revoked)), made.Add(time.Hour), ErrRevoked},
		"its subkey revoked":   {string(public(t, subkeyRevoked)), made.Add(time.Hour), ErrRevoked},
		"for signing alone":    {string(public(t, signOnly)), made, ErrCannotEncrypt},
		"RSA of 1024 bits":     {string(public(t, weak)), made, ErrCannotEncrypt},
		"another's subkey":     {string(public(t, foreign)), made, ErrCannotEncrypt},
		"a bit of its binding": {string(flipped), made, ErrCannotEncrypt},
		"private":              {string(private(t, good)), made, ErrPrivate},
		"private, armored":     {armored(t, openpgp.PrivateKeyType, private(t, good)), made, ErrPrivate},
		"private, base64":      {base(private(t, good)), made, ErrPrivate},
		"private, armored, base64": {base([]byte(armored(t, openpgp.PrivateKeyType, private(t, good)))), made,
			ErrPrivate},
		"private as a public block": {armored(t, openpgp.PublicKeyType, private(t, good)), made, ErrPrivate},
		"public, then private":      {string(append(slices.Clone(raw), private(t, other)...)), made, ErrPrivate},
		"two":                       {string(append(slices.Clone(raw), public(t, other)...)), made, ErrSeveral},
		"two, in one armor": {armored(t, openpgp.PublicKeyType,
			append(slices.Clone(raw), public(t, other)...)), made, ErrSeveral},
		"two armors": {armored(t, openpgp.PublicKeyType, raw) + "\n" + armored(t, openpgp.PublicKeyType,
			public(t, other)),
			made, ErrSeveral},
		"the same twice":    {string(append(slices.Clone(raw), raw...)), made, ErrSeveral},
		"a message's armor": {armored(t, "PGP MESSAGE", raw), made, ErrParse},
		"cut short":         {string(raw[:len(raw)/2]), made, ErrParse},
		"bytes behind it":   {string(raw) + "\xff\xff", made, ErrParse},
		"a damaged armor": {"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!!\n-----END PGP PUBLIC KEY BLOCK-----", made,
			ErrDecode},
		"no key's bytes": {base([]byte("hello, key")), made, ErrDecode},
		"not base64":     {"my key", made, ErrDecode},
		"empty":          {"", made, ErrSize},
		"white space":    {" \n", made, ErrSize},
		"too long":       {strings.Repeat("A", MaxText+1), made, ErrSize},
		"keybase":        {"keybase:alice", made, ErrKeybase},
	} {
		r, err := Parse(c.text, c.now)
		if !errors.Is(err, c.want) || r != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := Parse(string(public(t, short)), made.Add(time.Minute)); err != nil {
		t.Errorf("before it expires: %v", err)
	}
}

// TestAKeyThatWasGoodStaysSo: a ceremony that accepted a key can encrypt to it later.
func TestAKeyThatWasGoodStaysSo(t *testing.T) {
	t.Parallel()
	past := entity(t, func(c *packet.Config) { c.KeyLifetimeSecs = 1 })
	r, err := Parse(string(public(t, past)), made)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := r.Encrypt([]byte("share")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestAge(t *testing.T) {
	t.Parallel()
	plain, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(hybrid.Recipient().String()))
	for text, c := range map[string]struct {
		identity    age.Identity
		fingerprint string
	}{
		plain.Recipient().String():         {plain, plain.Recipient().String()},
		plain.Recipient().String() + " \n": {plain, plain.Recipient().String()},
		hybrid.Recipient().String():        {hybrid, fmt.Sprintf("sha256:%x", sum)},
	} {
		r, err := Parse(text, made)
		if err != nil || r.Kind() != Age || r.Fingerprint() != c.fingerprint ||
			r.Compact() != strings.TrimSpace(text) {
			t.Errorf("%.20q: %+v, %v", text, r, err)
			continue
		}
		message, err := r.Encrypt([]byte("share"))
		if err != nil {
			t.Fatal(err)
		}
		out, err := age.Decrypt(bytes.NewReader(message), c.identity)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(out); err != nil || string(got) != "share" {
			t.Errorf("%.20q: %q, %v", text, got, err)
		}
	}
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"mistyped": {plain.Recipient().String()[:20] + "b" + plain.Recipient().String()[21:], ErrAge},
		"cut":      {plain.Recipient().String()[:40], ErrAge},
		"plugin":   {"age1yubikey1qwt50d05nh5vutpdzmlg5wn80xq5negm4uj9ghv0snvdd3yysf5yw3rhl3t", ErrAge},
		"cut pq":   {hybrid.Recipient().String()[:1000], ErrAge},
		"two":      {plain.Recipient().String() + "\n" + plain.Recipient().String(), ErrSeveral},
		"private":  {plain.String(), ErrPrivate},
		"key file": {"# created: 2026\n# public key: age1x\n" + plain.String() + "\n", ErrPrivate},
		"lower":    {strings.ToLower(plain.String()), ErrPrivate},
		"all zero": {"age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z", ErrCannotEncrypt},
	} {
		r, err := Parse(c.text, made)
		if !errors.Is(err, c.want) || r != nil {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if err != nil && len(c.text) > 10 && strings.Contains(err.Error(), c.text[4:]) {
			t.Errorf("%s: the error repeats the key", name)
		}
	}
}

func TestParseAllNamesTheBadOne(t *testing.T) {
	t.Parallel()
	good := string(public(t, entity(t, nil)))
	if all, err := ParseAll([]string{good, good}, made); err != nil || len(all) != 2 {
		t.Errorf("two good ones: %v", err)
	}
	if _, err := ParseAll([]string{good, "keybase:bob", good}, made); !errors.Is(err, ErrKeybase) ||
		!strings.Contains(err.Error(), "key 2 of 3") {
		t.Errorf("the second is bad: %v", err)
	}
	if _, err := ParseAll(make([]string, MaxKeys+1), made); !errors.Is(err, ErrSize) {
		t.Errorf("too many: %v", err)
	}
	if all, err := ParseAll(nil, made); err != nil || len(all) != 0 {
		t.Errorf("none: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	e := entity(f, nil)
	raw := public(f, e)
	v6 := public(f, entity(f, func(c *packet.Config) { c.V6Keys, c.Algorithm = true, packet.PubKeyAlgoEd25519 }))
	for _, text := range []string{
		string(raw), base(raw), armored(f, openpgp.PublicKeyType, raw), string(v6), string(private(f, e)), "keybase:x",
		"age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj", "AGE-SECRET-KEY-1",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := Parse(text, made)
		if err != nil {
			if r != nil {
				t.Fatal("a recipient with an error")
			}
			return
		}
		if r.Fingerprint() == "" {
			t.Fatal("a key without a fingerprint")
		}
		again, err := Parse(r.Compact(), made)
		if err != nil || again.Fingerprint() != r.Fingerprint() {
			t.Fatalf("the compact key is another: %v", err)
		}
	})
}

func BenchmarkParse255RSA(b *testing.B) {
	raw := string(public(b, entity(b, func(c *packet.Config) { c.Algorithm, c.RSABits = packet.PubKeyAlgoRSA, 2048 })))
	texts := slices.Repeat([]string{raw}, MaxKeys)
	for b.Loop() {
		if _, err := ParseAll(texts, made); err != nil {
			b.Fatal(err)
		}
	}
}
