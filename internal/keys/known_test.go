package keys

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"os"
	"strconv"
	"strings"
	"testing"

	_ "crypto/sha1" //nolint:gosec // of RFC 6979's vectors
	_ "crypto/sha512"
)

// answers gives the known answers of a kind, each as its fields.
func answers(t *testing.T, kind string) (out [][]string) {
	t.Helper()
	f, err := os.Open("../../testdata/keys/known-answers.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 0 && fields[0] == kind {
			out = append(out, fields[1:])
		}
	}
	if len(out) == 0 {
		t.Fatalf("no known answers of the kind %q", kind)
	}
	return out
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	if s == "-" {
		return []byte{}
	}
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestKeyWrap(t *testing.T) {
	t.Parallel()
	for _, f := range answers(t, "kwp") {
		kek, plain, wrapped := unhex(t, f[0]), unhex(t, f[1]), unhex(t, f[2])
		if got, err := wrapKWP(kek, plain); err != nil || !bytes.Equal(got, wrapped) {
			t.Errorf("wrapping %s: %x, %v; want %s", f[1], got, err, f[2])
		}
		if got, err := unwrapKWP(kek, wrapped); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("unwrapping %s: %x, %v; want %s", f[2], got, err, f[1])
		}
		for i := range wrapped {
			bad := bytes.Clone(wrapped)
			bad[i] ^= 0x40
			if _, err := unwrapKWP(kek, bad); err == nil {
				t.Errorf("unwrapped %s with byte %d changed", f[2], i)
			}
		}
	}
	for _, f := range answers(t, "kwp-bad") {
		if got, err := unwrapKWP(unhex(t, f[0]), unhex(t, f[1])); err == nil {
			t.Errorf("unwrapped %s, which is invalid, to %x", f[1], got)
		}
	}
	for _, n := range []int{0, 8, 15, 17, maxWrapped + 16} {
		if _, err := unwrapKWP(make([]byte, 32), make([]byte, n)); err == nil {
			t.Errorf("unwrapped %d zero bytes", n)
		}
	}
}

func open(t *testing.T, s Spec, private, public []byte) any {
	t.Helper()
	ref, err := softReference{make([]byte, hmacKeySize), private}.marshal()
	if err != nil {
		t.Fatal(err)
	}
	h, err := NewSoftware(nil).Open(t.Context(), s, Material{Reference: ref, Public: public})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestAEAD decrypts known ciphertexts: encryption chooses its nonces.
func TestAEAD(t *testing.T) {
	t.Parallel()
	aes := map[int]Type{16: AES128GCM, 32: AES256GCM}
	for _, kind := range []string{"gcm", "chacha", "xchacha"} {
		for _, f := range answers(t, kind) {
			key := unhex(t, f[0])
			typ := map[string]Type{"gcm": aes[len(key)], "chacha": ChaCha20Poly1305, "xchacha": XChaCha20Poly1305}[kind]
			e := open(t, Spec{Type: typ}, key, nil).(Encrypter)
			blob := bytes.Join([][]byte{unhex(t, f[1]), unhex(t, f[4]), unhex(t, f[5])}, nil)
			p := CipherParams{AAD: unhex(t, f[3])}
			if got, err := e.Decrypt(t.Context(), nil, blob, p); err != nil || !bytes.Equal(got, unhex(t, f[2])) {
				t.Errorf("%s: %x, %v; want %s", kind, got, err, f[2])
			}
			for i := range blob {
				bad := bytes.Clone(blob)
				bad[i] ^= 1
				if _, err := e.Decrypt(t.Context(), nil, bad, p); err == nil {
					t.Errorf("%s: decrypted with byte %d changed", kind, i)
				}
			}
		}
	}
	for _, f := range answers(t, "chacha-bad") {
		e := open(t, Spec{Type: ChaCha20Poly1305}, unhex(t, f[0]), nil).(Encrypter)
		blob := bytes.Join([][]byte{unhex(t, f[1]), unhex(t, f[4]), unhex(t, f[5])}, nil)
		if _, err := e.Decrypt(t.Context(), nil, blob, CipherParams{AAD: unhex(t, f[3])}); err == nil {
			t.Errorf("decrypted what is invalid: %v", f)
		}
	}
}

func TestCMAC(t *testing.T) {
	t.Parallel()
	types := map[int]Type{16: AES128CMAC, 24: AES192CMAC, 32: AES256CMAC}
	for _, f := range answers(t, "cmac") {
		key := unhex(t, f[0])
		got, err := open(t, Spec{Type: types[len(key)]}, key, nil).(CMACer).CMAC(t.Context(), unhex(t, f[1]))
		if err != nil || !bytes.Equal(got, unhex(t, f[2])) {
			t.Errorf("%x, %v; want %s", got, err, f[2])
		}
	}
}

func TestEd25519(t *testing.T) {
	t.Parallel()
	for _, f := range answers(t, "ed25519") {
		s := open(t, Spec{Type: Ed25519}, unhex(t, f[0]), nil).(Signer)
		public, err := s.Public(t.Context(), nil)
		if err != nil || !bytes.Equal(public.(ed25519.PublicKey), unhex(t, f[1])) {
			t.Errorf("public key %x, %v; want %s", public, err, f[1])
		}
		input, want := unhex(t, f[2]), unhex(t, f[3])
		if sig, err := s.Sign(t.Context(), input, SignParams{Hash: crypto.SHA256}); err != nil || !bytes.Equal(sig, want) {
			t.Errorf("signature %x, %v; want %s", sig, err, f[3])
		}
		forged(t, s, input, want, SignParams{})
	}
}

// TestEd25519Forms: RFC 8032, sections 7.2 and 7.3.
func TestEd25519Forms(t *testing.T) {
	t.Parallel()
	ctx := open(t, Spec{Type: Ed25519}, unhex(t, "0305334e381af78f141cb666f6199f57bc3495335a256a95bd2a55bf546663f6"), nil).(Signer)
	sig, err := ctx.Sign(t.Context(), unhex(t, "f726936d19c800494e3fdaff20b276a8"), SignParams{Domain: []byte("foo")})
	if want := "55a4cc2f70a54e04288c5f4cd1e45a7bb520b36292911876cada7323198dd87a8b36950b95130022907a7fb7c4e9b2d5f6cca685a587b4b21f4b888e4e7edb0d"; err != nil ||
		hex.EncodeToString(sig) != want {
		t.Errorf("Ed25519ctx: %x, %v", sig, err)
	}
	ph := open(t, Spec{Type: Ed25519}, unhex(t, "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42"), nil).(Signer)
	sum := crypto.SHA512.New()
	sum.Write([]byte("abc"))
	p := SignParams{Prehashed: true, Hash: crypto.SHA512}
	sig, err = ph.Sign(t.Context(), sum.Sum(nil), p)
	if want := "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae4131f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406"; err != nil ||
		hex.EncodeToString(sig) != want {
		t.Errorf("Ed25519ph: %x, %v", sig, err)
	}
	forged(t, ph, sum.Sum(nil), sig, p)
}

func TestECDSA(t *testing.T) {
	t.Parallel()
	hashes := map[string]crypto.Hash{
		"sha1": crypto.SHA1, "sha2-224": crypto.SHA224, "sha2-256": crypto.SHA256, "sha2-384": crypto.SHA384,
		"sha2-512": crypto.SHA512,
	}
	for _, f := range answers(t, "ecdsa") {
		typ, err := ParseType(f[0])
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, Spec{Type: typ}, nil, unhex(t, f[2])).(Signer)
		input, sig, p := unhex(t, f[3]), unhex(t, f[4]), SignParams{Hash: hashes[f[1]]}
		if ok, err := s.Verify(t.Context(), input, sig, p); !ok || err != nil {
			t.Errorf("%s %s: %v, %v", f[0], f[1], ok, err)
		}
		raw, err := typ.ECDSARaw(sig)
		if err != nil {
			t.Fatal(err)
		}
		if der, err := typ.ECDSADER(raw); err != nil || !bytes.Equal(der, sig) {
			t.Errorf("%s: from raw %x, %v", f[0], der, err)
		}
		forged(t, s, input, sig, p)
	}
	for _, f := range answers(t, "ecdsa-bad") {
		typ, err := ParseType(f[0])
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, Spec{Type: typ}, nil, unhex(t, f[2])).(Signer)
		if ok, err := s.Verify(t.Context(), unhex(t, f[3]), unhex(t, f[4]), SignParams{Hash: hashes[f[1]]}); ok {
			t.Errorf("%s %s: an invalid signature is valid, %v", f[0], f[1], err)
		}
	}
}

func TestMLDSA(t *testing.T) {
	t.Parallel()
	for _, f := range answers(t, "mldsa") {
		set, err := strconv.Atoi(f[0])
		if err != nil {
			t.Fatal(err)
		}
		s := open(t, Spec{Type: MLDSA, ParameterSet: set}, unhex(t, f[1]), nil).(Signer)
		public, err := s.Public(t.Context(), nil)
		if sum := sha256.Sum256(public.(MLDSAPublicKey)); err != nil || hex.EncodeToString(sum[:]) != f[2] {
			t.Errorf("ML-DSA-%d: the public key has the SHA-256 %x, %v", set, sum, err)
		}
		input, p := unhex(t, f[3]), SignParams{Domain: unhex(t, f[4])}
		sig, err := s.Sign(t.Context(), input, p)
		if sum := sha256.Sum256(sig); err != nil || hex.EncodeToString(sum[:]) != f[5] {
			t.Errorf("ML-DSA-%d: the signature has the SHA-256 %x, %v", set, sum, err)
		}
		forged(t, s, input, sig, p)
	}
}

// forged checks that a signature is valid as it is, and not with a byte more, less, or changed.
func forged(t *testing.T, s Signer, input, sig []byte, p SignParams) {
	t.Helper()
	valid := func(input, sig []byte, p SignParams) bool {
		ok, err := s.Verify(context.WithoutCancel(t.Context()), input, sig, p)
		return ok && err == nil
	}
	if !valid(input, sig, p) {
		t.Errorf("the signature %x is not valid", sig)
	}
	for _, bad := range [][]byte{nil, {}, sig[:len(sig)-1], append(bytes.Clone(sig), 0), append([]byte{0}, sig...),
		make([]byte, len(sig))} {
		if valid(input, bad, p) {
			t.Errorf("%x is valid", bad)
		}
	}
	for i := 0; i < len(sig); i += 1 + len(sig)/16 {
		bad := bytes.Clone(sig)
		bad[i] ^= 0x04
		if valid(input, bad, p) {
			t.Errorf("valid with byte %d changed", i)
		}
	}
	if valid(append(bytes.Clone(input), 0), sig, p) && !p.Prehashed {
		t.Error("the signature is that of another input")
	}
}

// TestMalleableECDSA are the classes of forgeries of project Wycheproof that the bytes of a
// signature can have: values out of range, encodings that are not DER, numbers of the wrong sign.
func TestMalleableECDSA(t *testing.T) {
	t.Parallel()
	f := answers(t, "ecdsa")[2] // P-256 with SHA-256
	s := open(t, Spec{Type: ECDSAP256}, nil, unhex(t, f[2])).(Signer)
	input, sig := unhex(t, f[3]), unhex(t, f[4])
	p := SignParams{Hash: crypto.SHA256}
	if f[1] != "sha2-256" || sig[0] != 0x30 {
		t.Fatal("not the expected vector")
	}
	order := "00ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"
	bad := map[string]string{
		"r and s are 0":        "3006020100020100",
		"r is 0":               "3026020100" + hex.EncodeToString(sig[len(sig)-35:]),
		"r and s are 1":        "3006020101020101",
		"r is -1":              "30060201ff020101",
		"r and s are n":        "3046" + "0221" + order + "0221" + order,
		"empty integers":       "300402000200",
		"no integers":          "3000",
		"a long length":        "308144" + hex.EncodeToString(sig[2:]),
		"an indefinite length": "3080" + hex.EncodeToString(sig[2:]) + "0000",
		"trailing bytes":       hex.EncodeToString(sig) + "0500",
		"trailing inside":      "30" + hex.EncodeToString([]byte{sig[1] + 2}) + hex.EncodeToString(sig[2:]) + "0500",
		"a SET":                "31" + hex.EncodeToString(sig[1:]),
		"padded r":             "3047" + "022200" + hex.EncodeToString(sig[4:]),
		"real numbers":         "30060901010901 01",
		"nothing":              "",
	}
	for name, text := range bad {
		raw, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := s.Verify(t.Context(), input, raw, p); ok {
			t.Errorf("%s: valid, %v", name, err)
		}
	}
}

// TestMalleableEd25519: S must be below the order of the group (RFC 8032, section 5.1.7).
func TestMalleableEd25519(t *testing.T) {
	t.Parallel()
	f := answers(t, "ed25519")[2]
	s := open(t, Spec{Type: Ed25519}, unhex(t, f[0]), nil).(Signer)
	sig := unhex(t, f[3])
	order := unhex(t, "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
	carry := 0
	for i := range order {
		sum := int(sig[32+i]) + int(order[i]) + carry
		sig[32+i], carry = byte(sum), sum>>8
	}
	if ok, err := s.Verify(t.Context(), unhex(t, f[2]), sig, SignParams{}); ok || err != nil {
		t.Errorf("S + L: %v, %v", ok, err)
	}
	// A point of small order with S = 0 is no signature of this key.
	small := make([]byte, 64)
	small[0] = 1
	if ok, err := s.Verify(t.Context(), unhex(t, f[2]), small, SignParams{}); ok || err != nil {
		t.Errorf("a point of small order: %v, %v", ok, err)
	}
}

// TestForgedRSA are Wycheproof's classes for RSA: signatures and blocks that are numbers out of
// range, or made for another padding.
func TestForgedRSA(t *testing.T) {
	t.Parallel()
	m, err := NewSoftware(nil).Generate(t.Context(), Spec{Type: RSA2048})
	if err != nil {
		t.Fatal(err)
	}
	opened, err := NewSoftware(nil).Open(t.Context(), Spec{Type: RSA2048}, m)
	if err != nil {
		t.Fatal(err)
	}
	h := opened.(*rsaHandle)
	input := []byte("message")
	pss, pkcs1 := SignParams{Hash: crypto.SHA256}, SignParams{Hash: crypto.SHA256, PKCS1: true}
	for name, p := range map[string]SignParams{"PSS": pss, "PKCS #1 v1.5": pkcs1} {
		sig, err := h.Sign(t.Context(), input, p)
		if err != nil {
			t.Fatal(name, err)
		}
		forged(t, h, input, sig, p)
		other := pss
		if name == "PSS" {
			other = pkcs1
		}
		if ok, _ := h.Verify(t.Context(), input, sig, other); ok {
			t.Errorf("a %s signature is valid by another padding", name)
		}
		p.Hash = crypto.SHA512
		if ok, _ := h.Verify(t.Context(), input, sig, p); ok {
			t.Errorf("a %s signature is valid by another hash", name)
		}
	}
	n := h.public.N.Bytes()
	for name, block := range map[string][]byte{"the modulus": n, "0": make([]byte, 256), "short": n[:255],
		"long": append([]byte{0}, n...), "none": nil} {
		for _, pkcs := range []bool{false, true} {
			if out, err := h.Decrypt(t.Context(), nil, block, CipherParams{PKCS1: pkcs}); err == nil {
				t.Errorf("%s decrypts to %x", name, out)
			}
		}
	}
	if public, err := x509.ParsePKIXPublicKey(m.Public); err != nil || !h.public.Equal(public) {
		t.Errorf("the stored public key is another: %v", err)
	}
}
