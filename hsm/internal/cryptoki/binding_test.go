//go:build cgo && !windows

package cryptoki_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
	"github.com/sealgate/sealgate/hsm/softhsm"
)

// openSession opens a logged-in session of a new SoftHSM token through the binding.
func openSession(t *testing.T) (*softhsm.Token, ck.Library, ck.Session) {
	t.Helper()
	tok := softhsm.New(t)
	lib, err := ck.Load(tok.Lib)
	must(t, err)
	for _, slot := range slots(t, lib) {
		if slot.Serial != tok.Serial {
			continue
		}
		s, err := lib.Open(slot.ID, true)
		must(t, err)
		t.Cleanup(func() { must(t, s.Close()) })
		if err := s.Login(ck.User, []byte(tok.PIN)); err != nil && !errors.Is(err, ck.AlreadyLoggedIn) {
			t.Fatal(err)
		}
		return tok, lib, s
	}
	t.Fatalf("no slot has the token %s", tok.Serial)
	return nil, nil, nil
}

func slots(t *testing.T, lib ck.Library) []ck.Slot {
	t.Helper()
	list, err := lib.Slots()
	must(t, err)
	return list
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func aesTemplate(label string) []ck.Attribute {
	return []ck.Attribute{
		ck.Ulong(ck.AttrClass, ck.ClassSecret), ck.Ulong(ck.AttrKeyType, ck.KeyAES), ck.String(ck.AttrLabel, label),
		ck.Bool(ck.AttrEncrypt, true), ck.Bool(ck.AttrDecrypt, true), ck.Bool(ck.AttrSensitive, true),
		ck.Bool(ck.AttrExtractable, false), ck.Bool(ck.AttrToken, false), ck.Bool(ck.AttrPrivate, true),
	}
}

func TestLoadNamesTheMistake(t *testing.T) {
	t.Parallel()
	text := filepath.Join(t.TempDir(), "lib.so")
	must(t, os.WriteFile(text, []byte("not a library"), 0o600))
	for path, want := range map[string]string{
		"/no/such/lib.so": "does not exist",
		os.TempDir():      "is a directory",
		text:              text,
		"libc.so.6":       "without C_GetFunctionList",
	} {
		_, err := ck.Load(path)
		if !errors.Is(err, ck.ErrNotLibrary) || !strings.Contains(err.Error(), want) {
			t.Errorf("Load(%q) = %v; want ErrNotLibrary with %q", path, err, want)
		}
	}
}

func TestSlotDescribesItsToken(t *testing.T) {
	tok, lib, _ := openSession(t)
	for _, s := range slots(t, lib) {
		if s.Serial != tok.Serial {
			continue
		}
		if s.Label != tok.Label || !strings.HasPrefix(s.Manufacturer, "SoftHSM") || strings.HasSuffix(s.Model, " ") ||
			s.Flags&ck.TokenLoginRequired == 0 || s.Firmware == "" {
			t.Errorf("%+v", s)
		}
	}
}

func TestKeyLifeCycle(t *testing.T) {
	_, _, s := openSession(t)
	maker := s.(ck.KeyMaker)
	handle, err := maker.Generate(ck.MechAESKeyGen, append(aesTemplate("life"), ck.Ulong(ck.AttrValueLen, 32)), nil)
	must(t, err)
	// CKA_VALUE (0x11) is sensitive and CKA_MODULUS does not apply: both are absent, and nothing
	// fails.
	const value = 0x11
	found, err := s.Find([]ck.Attribute{ck.String(ck.AttrLabel, "life")},
		[]uint{ck.AttrLabel, ck.AttrExtractable, ck.AttrValueLen, ck.AttrModulus, value}, 4)
	must(t, err)
	if len(found) != 1 || found[0].Handle != handle {
		t.Fatalf("found %+v; want one object with handle %d", found, handle)
	}
	if n, ok := found[0].Ulong(ck.AttrValueLen); !ok || n != 32 {
		t.Errorf("CKA_VALUE_LEN = %d, %t", n, ok)
	}
	if extractable, ok := found[0].Bool(ck.AttrExtractable); !ok || extractable {
		t.Errorf("CKA_EXTRACTABLE = %t, %t", extractable, ok)
	}
	for _, a := range []uint{ck.AttrModulus, value} {
		if v, present := found[0].Attributes[a]; present {
			t.Errorf("attribute 0x%x = %x; want none", a, v)
		}
	}
	must(t, maker.Alter(handle, ck.String(ck.AttrLabel, "renamed")))
	if found, err = s.Find([]ck.Attribute{ck.String(ck.AttrLabel, "renamed")}, nil, 1); err != nil || len(found) != 1 {
		t.Errorf("after C_SetAttributeValue: %v, %v", found, err)
	}
	must(t, maker.Destroy(handle))
	if err := maker.Destroy(handle); !errors.Is(err, ck.ObjectHandleInvalid) {
		t.Errorf("second C_DestroyObject: %v", err)
	}
}

func TestFindStopsAtItsLimit(t *testing.T) {
	_, _, s := openSession(t)
	for range 5 {
		_, err := s.(ck.KeyMaker).Generate(ck.MechAESKeyGen,
			append(aesTemplate("many"), ck.Ulong(ck.AttrValueLen, 16)), nil)
		must(t, err)
	}
	for limit, want := range map[int]int{1: 1, 4: 4, 5: 5, 64: 5} {
		found, err := s.Find([]ck.Attribute{ck.String(ck.AttrLabel, "many")}, nil, limit)
		if err != nil || len(found) != want {
			t.Errorf("limit %d: %d objects, %v; want %d", limit, len(found), err, want)
		}
	}
}

// TestKnownAnswerAESGCM imports the key of test case 16 of the GCM specification (McGrew and
// Viega).
func TestKnownAnswerAESGCM(t *testing.T) {
	_, _, s := openSession(t)
	hexBytes := func(text string) []byte {
		var out []byte
		for i := 0; i < len(text); i += 2 {
			out = append(out, unhex(text[i])<<4|unhex(text[i+1]))
		}
		return out
	}
	key := hexBytes("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308")
	plain := hexBytes("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c" +
		"3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39")
	aad := hexBytes("feedfacedeadbeeffeedfacedeadbeefabaddad2")
	iv := hexBytes("cafebabefacedbaddecaf888")
	want := hexBytes("522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa" +
		"8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662" +
		"76fc6ece0f4e1768cddf8853bb2d551b")
	handle, err := s.(ck.Creator).Create(append(aesTemplate("known"), ck.Attribute{Type: 0x11, Value: key}))
	must(t, err)
	got, err := s.Crypt(ck.Call{
		Operation: ck.Encrypt, Mechanism: ck.MechAESGCM, Key: handle, Input: plain, Size: len(want), IV: iv, AAD: aad,
	})
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("encrypted\n%x; want\n%x", got, want)
	}
	back, err := s.Crypt(ck.Call{
		Operation: ck.Decrypt, Mechanism: ck.MechAESGCM, Key: handle, Input: want, Size: len(want), IV: iv, AAD: aad,
	})
	if err != nil || !bytes.Equal(back, plain) {
		t.Errorf("decrypted %x, %v", back, err)
	}
	if _, err := s.Crypt(ck.Call{
		Operation: ck.Decrypt, Mechanism: ck.MechAESGCM, Key: handle, Input: want, Size: len(want), IV: iv,
		AAD: aad[1:],
	}); err == nil {
		t.Error("decrypted with other additional data")
	}
}

func unhex(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

func TestCryptRefusesImpossibleCalls(t *testing.T) {
	_, _, s := openSession(t)
	for name, c := range map[string]ck.Call{
		"no operation": {Mechanism: ck.MechAESGCM, Input: []byte{1}, Size: 32},
		"no input":     {Operation: ck.Encrypt, Mechanism: ck.MechAESGCM, Size: 32},
		"no room":      {Operation: ck.Encrypt, Mechanism: ck.MechAESGCM, Input: []byte{1}},
		"huge room":    {Operation: ck.Encrypt, Mechanism: ck.MechAESGCM, Input: []byte{1}, Size: 1 << 30},
	} {
		if _, err := s.Crypt(c); !errors.Is(err, ck.ArgumentsBad) {
			t.Errorf("%s: %v; want CKR_ARGUMENTS_BAD", name, err)
		}
	}
	if _, err := s.Crypt(ck.Call{Operation: ck.Sign, Mechanism: ck.MechSHA256HMAC, Key: 99, Input: []byte{1},
		Size: 64}); err == nil {
		t.Error("signed with a key that does not exist")
	}
}

func TestMechanismFlags(t *testing.T) {
	_, _, s := openSession(t)
	flags, err := s.(ck.Prober).Mechanism(ck.MechAESGCM)
	if err != nil || flags&(ck.FlagEncrypt|ck.FlagDecrypt) != ck.FlagEncrypt|ck.FlagDecrypt {
		t.Errorf("CKM_AES_GCM: flags 0x%x, %v", flags, err)
	}
	if _, err := s.(ck.Prober).Mechanism(0x80001234); !errors.Is(err, ck.MechanismInvalid) {
		t.Errorf("unknown mechanism: %v", err)
	}
}
