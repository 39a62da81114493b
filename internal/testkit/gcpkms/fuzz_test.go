package gcpkms

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func part(t testing.TB, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	must(t, err)
	return base64.RawURLEncoding.EncodeToString(raw)
}

func sign(t testing.TB, c claims) string {
	t.Helper()
	body := part(t, map[string]string{"alg": "RS256", "typ": "JWT"}) + "." + part(t, c)
	sum := sha256.Sum256([]byte(body))
	sig, err := rsa.SignPKCS1v15(rand.Reader, rsaKey(), crypto.SHA256, sum[:])
	must(t, err)
	return body + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func unsigned(t testing.TB, c claims) string {
	t.Helper()
	return part(t, map[string]string{"alg": "none"}) + "." + part(t, c) + "."
}

// FuzzName: a name that is taken reads back as it was, and is of one kind.
func FuzzName(f *testing.F) {
	for _, s := range []string{
		place, place + "/keyRings/r", theKey, v1, "projects/example.com:proj-ect/locations/us-east1",
		"projects/123/locations/eur3", "",
		"projects/trial-project/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/0", place + "/",
		strings.Repeat("a/", 6),
		"projects/trial-project/locations/global/keyRings/r/cryptoKeys/k/cryptoKeyVersions/18446744073709551616",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := parse(s)
		if !ok {
			return
		}
		if n.String() != s || strings.Count(s, "/") != 3+2*int(n.kind()) {
			t.Errorf("%q reads as %q, kind %d", s, n, n.kind())
		}
	})
}

// TestNames: what the grammar takes and what it does not.
func TestNames(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]bool{
		place: true, place + "/keyRings/r": true, theKey: true, v1: true, theKey + "/cryptoKeyVersions/4711": true,
		"projects/example.com:trial-project/locations/global": true, "projects/123456/locations/global": true,
		"projects/trial/locations/global": false, "projects/Trial-Project/locations/global": false,
		"projects/trial-project-/locations/global": false,
		"projects/trial-project/locations/GLOBAL":  false, "/" + place: false, place + "/": false, place +
			"/keyrings/r": false, v1 + "/x/y": false,
		theKey + "/cryptoKeyVersions/0": false, theKey + "/cryptoKeyVersions/01": false, theKey +
			"/cryptoKeyVersions/-1": false, "": false,
		theKey + "/cryptoKeyVersions/9223372036854775808": false, place + "/keyRings//cryptoKeys/k": false, place +
			"/keyRings": false,
	} {
		if _, ok := parse(s); ok != want {
			t.Errorf("%q: %t, want %t", s, ok, want)
		}
	}
}

// FuzzDecrypt: no ciphertext but the one that was made decrypts, and none does harm.
func FuzzDecrypt(f *testing.F) {
	s, err := New(Options{})
	must(f, err)
	must(f, s.Act("create", theKey))
	res, err := s.Encrypt(f.Context(), &kmspb.EncryptRequest{Name: theKey, Plaintext: []byte("plain")})
	must(f, err)
	good := string(res.GetCiphertext())
	f.Add(res.GetCiphertext())
	f.Add([]byte{0x0a, hintLen})
	f.Add(append(append([]byte{0x0a, hintLen}, res.GetCiphertext()[2:2+hintLen]...), 0x12, 0xff, 0xff, 0xff, 0xff,
		0xff, 0xff, 0xff, 0xff, 0xff, 0x01))
	f.Fuzz(func(t *testing.T, sealed []byte) {
		_, err := s.Decrypt(t.Context(), &kmspb.DecryptRequest{Name: theKey, Ciphertext: sealed})
		if (err == nil) != (string(sealed) == good) || err != nil && status.Code(err) != codes.InvalidArgument {
			t.Errorf("%x: %v", sealed, err)
		}
	})
}

// FuzzToken: nothing that is not signed by an account is a JWT.
func FuzzToken(f *testing.F) {
	s, err := New(Options{})
	must(f, err)
	must(f, s.SetAccount("owner", &rsaKey().PublicKey))
	now := time.Now()
	good := sign(f, claims{Issuer: "owner" + domain, Issued: now.Unix(), Expires: now.Add(time.Hour).Unix()})
	f.Add(good)
	f.Add("a.b.c")
	f.Add("")
	f.Fuzz(func(t *testing.T, token string) {
		if _, _, err := s.signed(token); err == nil && !strings.HasPrefix(token, good[:strings.LastIndex(good, ".")]) {
			t.Errorf("%q was taken for a JWT", token)
		}
	})
}
