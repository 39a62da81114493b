package hsm

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

func TestFallsBackToCBCWithHMAC(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.add(ck.KeyGeneric, "mac")
	f.mechanisms = []uint{ck.MechAESCBCPad, ck.MechSHA256HMAC}
	tok := f.token(nil)
	defer shut(t, tok)
	if err := trip(t.Context(), f.key(tok, nil)); !errors.Is(err, ErrMechanism) ||
		!strings.Contains(err.Error(), "CKM_AES_GCM") {
		t.Errorf("without an HMAC key: %v, want ErrMechanism", err)
	}
	k := f.key(tok, func(s *KeySpec) { s.HMACLabel = "mac" })
	works(t, k)
	info, err := k.Describe(t.Context())
	if err != nil || info.Mechanism != AESCBCPad || info.HMACMechanism != SHA256HMAC || info.HMACURI == "" {
		t.Errorf("%+v, %v", info, err)
	}
}

func TestMechanismsThatDoNotAuthenticate(t *testing.T) {
	t.Parallel()
	tok := newFake(t).token(nil)
	defer shut(t, tok)
	for _, spec := range []KeySpec{
		{Label: "wrap", Mechanism: ck.MechRSAPKCS}, {Label: "wrap", Mechanism: ck.MechAESCBC},
		{Label: "wrap", Mechanism: ck.MechAESCBCPad}, {Label: "wrap", HMACMechanism: 1},
		{Label: "wrap", OAEPHash: 1}, {},
	} {
		if _, err := tok.Key(spec); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v, want ErrConfig", spec, err)
		}
	}
}

func TestGeneratedKeyIsCheckedAndDestroyed(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]ck.Attribute{
		"extractable":   ck.Bool(ck.AttrExtractable, true),
		"not sensitive": ck.Bool(ck.AttrSensitive, false),
		"session key":   ck.Bool(ck.AttrToken, false),
		"short":         ck.Ulong(ck.AttrValueLen, 16),
		"other label":   ck.String(ck.AttrLabel, "else"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.spoil = []ck.Attribute{spoil}
			tok := f.token(nil)
			defer shut(t, tok)
			err := tok.Generate(t.Context(), Template{Kind: AES256, Label: "new"})
			if !errors.Is(err, ErrKeyAttributes) || f.counted("destroy") != 1 || len(f.objects) != 1 {
				t.Errorf("%v, %d destroyed, %d objects", err, f.counted("destroy"), len(f.objects))
			}
		})
	}
}

// FuzzSealed gives Decrypt every shape of ciphertext: it must answer with an error of its own, and
// malformed input must not cause a retry.
func FuzzSealed(f *testing.F) {
	f.Add(uint(ck.MechAESGCM), uint(0), make([]byte, 12), make([]byte, 48), []byte{}, []byte{}, []byte("aad"))
	f.Add(uint(ck.MechAESCBCPad), uint(ck.MechSHA256HMAC), make([]byte, 16), make([]byte, 48), make([]byte, 32),
		[]byte{}, []byte("aad"))
	f.Add(uint(ck.MechRSAOAEP), uint(ck.MechSHA256), make([]byte, 12), make([]byte, 48), []byte{}, make([]byte, 256),
		[]byte{})
	lib := newFake(&testing.T{})
	lib.add(ck.KeyGeneric, "mac")
	tok := lib.token(nil)
	f.Cleanup(func() { _ = tok.Close() })
	k := lib.key(tok, func(s *KeySpec) { s.HMACLabel = "mac" })
	f.Fuzz(func(t *testing.T, mechanism, hash uint, iv, ct, mac, wrapped, aad []byte) {
		s := &Sealed{Mechanism: mechanism, Hash: hash, IV: iv, Ciphertext: ct, MAC: mac, WrappedKey: wrapped}
		before := bytes.Clone(ct)
		_, err := k.Decrypt(t.Context(), s, aad)
		if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrKeyType) &&
			!errors.Is(err, ErrTooLarge) {
			t.Errorf("%+v: %v", s, err)
		}
		if !bytes.Equal(before, ct) {
			t.Error("Decrypt changed its input")
		}
		if n := tok.Stats().Attached; n > 1 {
			t.Errorf("%d logins: bad data caused a retry", n)
		}
	})
}

func TestNonExtractableIsRequired(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		attributes map[uint]bool
		fits       bool
		says       string
	}{
		"kept": {map[uint]bool{ck.AttrSensitive: true, ck.AttrExtractable: false, ck.AttrLocal: true}, true,
			"not extractable"},
		"imported": {map[uint]bool{ck.AttrSensitive: true, ck.AttrExtractable: false, ck.AttrLocal: false}, true,
			"imported"},
		"extractable":   {map[uint]bool{ck.AttrSensitive: true, ck.AttrExtractable: true}, false, "extractable"},
		"not sensitive": {map[uint]bool{ck.AttrSensitive: false, ck.AttrExtractable: false}, false, "not sensitive"},
		"not reported":  {nil, false, "no such attributes"},
	} {
		f := newFake(t)
		f.set(func() {
			for a, v := range c.attributes {
				for _, o := range f.objects {
					o.Attributes[a] = ck.Bool(a, v).Value
				}
			}
		})
		tok := f.token(nil)
		k := f.key(tok, func(s *KeySpec) { s.NonExtractable = true })
		_, err := k.Encrypt(t.Context(), []byte("secret"), nil)
		if c.fits && err != nil || !c.fits && (!errors.Is(err, ErrKeyProtection) ||
			!strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", name, err)
		}
		info, err := f.key(tok, nil).Describe(t.Context())
		if err != nil || info.Protection.Kept() != c.fits {
			t.Errorf("%s: %+v, %v", name, info.Protection, err)
		}
		shut(t, tok)
	}
}
