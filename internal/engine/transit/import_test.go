package transit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/secret"
)

// wrap wraps a key for the engine as a client of its own would.
func wrap(t *testing.T, e *engine, h crypto.Hash, key []byte) string {
	t.Helper()
	block, _ := pem.Decode([]byte(e.get("public_key", "GET", "wrapping_key", "")))
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	out, err := keys.WrapFor(public.(*rsa.PublicKey), h, secret.Copy(key))
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(out)
}

func pkcs8(t *testing.T, k any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func publicPEM(t *testing.T, k crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pemText("PUBLIC KEY", der)
}

func TestImport(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sized := func(n int) []byte { return slices.Repeat([]byte{7}, n) }
	refused := func(path string, want string, pairs ...any) {
		t.Helper()
		if a := e.do("POST", path, body(pairs...)); a.status != 400 || a.body != want {
			t.Errorf("%s: %d %q; want %q", path, a.status, a.body, want)
		}
	}
	e.must("POST", "keys/aes/import", body("ciphertext", wrap(t, e, crypto.SHA256, sized(32)), "exportable", true))
	if got := e.must("GET", "export/encryption-key/aes",
		"")["keys"].(map[string]any)["1"]; got != base64.StdEncoding.EncodeToString(sized(32)) {
		t.Errorf("exported %v", got)
	}
	k := e.must("GET", "keys/aes", "")
	if k["imported_key"] != true || k["imported_key_allow_rotation"] != false {
		t.Errorf("%v", k)
	}
	refused("keys/aes/rotate", multi("imported key aes does not allow rotation within Vault")) // row 94
	e.must("POST", "keys/hmac/import", body("type", "hmac", "ciphertext", wrap(t, e, crypto.SHA512, sized(48)),
		"hash_function", "SHA512",
		"allow_rotation", true))
	e.must("POST", "keys/hmac/rotate", "")
	if k := e.must("GET", "keys/hmac", ""); k["key_size"] != 48.0 || k["latest_version"] != 2.0 {
		t.Errorf("%v", k)
	}
	// Rows 91 to 93.
	refused("keys/x/import", multi("crypto/rsa: decryption error"), "ciphertext", wrap(t, e, crypto.SHA1, sized(32)))
	refused("keys/x/import", multi("provided ciphertext is too short"), "ciphertext", "AAAA")
	refused("keys/x/import", multi("error importing key: invalid key size 16 bytes for key type aes256-gcm96"),
		"ciphertext", wrap(t, e, crypto.SHA256, sized(16)))
	refused("keys/x/import", multi("error importing key: invalid curve: expected P-384, got P-256"),
		"type", "ecdsa-p384", "ciphertext", wrap(t, e, crypto.SHA256, pkcs8(t, p256)))
	if a := e.do("GET", "keys/x", ""); a.status != 404 {
		t.Errorf("a refused import has made a key: %+v", a)
	}
	// Row 95: a public key first, its private part later.
	e.must("POST", "keys/ec/import", body("type", "ecdsa-p256", "public_key", publicPEM(t, p256.Public())))
	refused("sign/ec", multi("requested version for signing does not contain a private part"), "input", "YQ==")
	refused("keys/ec/import_version",
		multi("error importing key: the private key does not belong to the public key of version 1"),
		"version", 1, "ciphertext", wrap(t, e, crypto.SHA256, pkcs8(t, other)))
	e.must("POST", "keys/ec/import_version", body("version", 1, "ciphertext", wrap(t, e, crypto.SHA256, pkcs8(t, p256))))
	refused("keys/ec/import_version", multi("version 1 of the key has a private part already"),
		"version", 1, "ciphertext", wrap(t, e, crypto.SHA256, pkcs8(t, p256)))
	sig := e.get("signature", "POST", "sign/ec", `{"input":"YQ=="}`)
	der, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(sig, "vault:v1:"))
	if err != nil {
		t.Fatal(err)
	}
	sum := crypto.SHA256.New()
	sum.Write([]byte("a"))
	if !ecdsa.VerifyASN1(&p256.PublicKey, sum.Sum(nil), der) {
		t.Error("the imported key signs otherwise")
	}
	e.must("POST", "keys/ec/import_version", body("ciphertext", wrap(t, e, crypto.SHA256, pkcs8(t, other))))
	if k := e.must("GET", "keys/ec", ""); k["latest_version"] != 2.0 {
		t.Errorf("%v", k["latest_version"])
	}
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	template := &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "server", Organization: []string{"us"}}, DNSNames: []string{"a.example"},
		IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)},
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	given, err := x509.CreateCertificateRequest(rand.Reader, template, own)
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"rsa-2048", "ecdsa-p384", "ed25519"} {
		e.must("POST", "keys/"+kind, body("type", kind))
		block,
			_ :=
			pem.Decode([]byte(e.get("csr", "POST", "keys/"+kind+"/csr", body("csr", pemText("CERTIFICATE REQUEST", given)))))
		r, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.CheckSignature(); err != nil || r.Subject.String() != template.Subject.String() ||
			!slices.Equal(r.DNSNames, template.DNSNames) ||
			len(r.IPAddresses) != 1 {
			t.Errorf("%s: %v, %s %v %v", kind, err, r.Subject, r.DNSNames, r.IPAddresses)
		}
		const other = "1 error occurred:\n\t* failed to persist certificate chain: leaf certificate public key does not " +
			"match the selected " +
			"key version\n\n"
		leaf, ca := issue(t, r.PublicKey, false), issue(t, r.PublicKey, true)
		e.must("POST", "keys/"+kind+"/set-certificate", body("certificate_chain", leaf+ca))
		if got := e.must("GET", "export/certificate-chain/"+kind, "")["keys"].(map[string]any)["1"]; got != leaf+ca {
			t.Errorf("%s: chain %v", kind, got)
		}
		v := e.must("GET", "keys/"+kind, "")["keys"].(map[string]any)["1"].(map[string]any)
		if v["certificate_chain"] != leaf+ca {
			t.Errorf("%s: described with %v", kind, v["certificate_chain"])
		}
		refused := func(want, chain string) {
			t.Helper()
			if a := e.do("POST", "keys/"+kind+"/set-certificate", body("certificate_chain", chain)); a.status != 400 ||
				a.body != want {
				t.Errorf("%s: %d %q", kind, a.status, a.body)
			}
		}
		refused("failed to persist certificate chain: certificate in the first element is not a valid leaf certificate",
			ca+leaf)
		refused(other, issue(t, ofSameKind(t, kind), false))
	}
}

func ofSameKind(t *testing.T, kind string) crypto.PublicKey {
	t.Helper()
	var k crypto.Signer
	var err error
	switch kind {
	case "rsa-2048":
		k, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ed25519":
		_, k, err = ed25519.GenerateKey(rand.Reader)
	default:
		k, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return k.Public()
}

// issue makes a certificate for a public key.
func issue(t *testing.T, public crypto.PublicKey, ca bool) string {
	t.Helper()
	_, issuer, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"}, NotAfter: time.Now().Add(time.Hour), IsCA: ca,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, public, issuer)
	if err != nil {
		t.Fatal(err)
	}
	return pemText("CERTIFICATE", der)
}

// TestOtherTypes: CMAC, ML-DSA and Ed25519ph, which OpenBao lacks, with backups of the first two.
func TestOtherTypes(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	more := `"exportable":true,"allow_plaintext_backup":true,`
	valid := func(key string, pairs ...any) {
		t.Helper()
		for _, input := range []string{"YQ==", "Yg=="} {
			a := e.do("POST", "verify/"+key, body(append(pairs, "input", input)...))
			if want := input == "YQ=="; a.status != 200 || strings.Contains(a.body, "true") != want {
				t.Errorf("%s of %s: %d %s", key, input, a.status, a.body)
			}
		}
	}
	for _, kind := range []string{"aes128-cmac", "aes192-cmac", "aes256-cmac"} {
		e.must("POST", "keys/"+kind, `{`+more+`"type":"`+kind+`"}`)
		mac := e.get("cmac", "POST", "cmac/"+kind+"/12", `{"input":"YQ=="}`)
		e.must("POST", "restore/b-"+kind, body("backup", e.get("backup", "GET", "backup/"+kind, "")))
		valid("b-"+kind, "cmac", mac, "mac_length", 12)
		if a := e.do("POST", "verify/"+kind, body("cmac", mac, "input", "YQ==")); !strings.Contains(a.body, "false") {
			t.Errorf("a MAC of another length is valid: %s", a.body)
		}
		if a := e.do("POST", "cmac/"+kind+"/4", `{"input":"YQ=="}`); a.status != 400 {
			t.Errorf("a MAC of 4 bytes: %+v", a)
		}
	}
	for _, set := range []string{"44", "65", "87"} {
		name := "mldsa" + set
		e.must("POST", "keys/"+name, `{`+more+`"type":"ml-dsa","parameter_set":"`+set+`"}`)
		sig := e.get("signature", "POST", "sign/"+name, `{"input":"YQ==","signature_context":"Yw=="}`)
		e.must("POST", "restore/b-"+name, body("backup", e.get("backup", "GET", "backup/"+name, "")))
		valid("b-"+name, "signature", sig, "signature_context", "Yw==")
		if a := e.do("POST", "verify/"+name, body("signature", sig, "input", "YQ==")); !strings.Contains(a.body, "false") {
			t.Errorf("valid in another context: %s", a.body)
		}
		if a := e.do("POST", "keys/"+name+"/csr", ""); a.status != 400 {
			t.Errorf("csr: %+v", a)
		}
	}
	e.must("POST", "keys/ed", `{"type":"ed25519"}`)
	sum := base64.StdEncoding.EncodeToString(make([]byte, 64))
	ph := e.get("signature", "POST", "sign/ed/sha2-512", body("input", sum, "prehashed", true))
	if plain := e.get("signature", "POST", "sign/ed", body("input", sum)); plain == ph {
		t.Error("Ed25519ph gives the signature of Ed25519")
	}
	a := e.do("POST", "verify/ed/sha2-512", body("input", sum, "prehashed", true, "signature", ph))
	if !strings.Contains(a.body, "true") {
		t.Errorf("%s", a.body)
	}
}

// TestPaddingSchemes: RSA with PKCS #1 v1.5, and from one padding to the other.
func TestPaddingSchemes(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.must("POST", "keys/k", `{"type":"rsa-2048"}`)
	c := e.get("ciphertext", "POST", "encrypt/k", `{"plaintext":"YQ==","padding_scheme":"pkcs1v15"}`)
	if got := e.get("plaintext", "POST", "decrypt/k", body("ciphertext", c, "padding_scheme", "pkcs1v15")); got != "YQ==" {
		t.Errorf("%q", got)
	}
	if a := e.do("POST", "decrypt/k", body("ciphertext", c)); a.status != 400 {
		t.Errorf("decrypted by OAEP: %+v", a)
	}
	c = e.get("ciphertext", "POST", "rewrap/k", body("ciphertext", c, "decrypt_padding_scheme", "pkcs1v15"))
	if got := e.get("plaintext", "POST", "decrypt/k", body("ciphertext", c)); got != "YQ==" {
		t.Errorf("%q", got)
	}
	if a := e.do("POST", "encrypt/k", `{"plaintext":"YQ==","padding_scheme":"foo"}`); a.status != 400 ||
		!strings.Contains(a.body, `"oaep" or "pkcs1v15"`) {
		t.Errorf("%+v", a)
	}
}
