package cosign

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/testkit"
)

// remote is a key of which only the digest and the signature pass, as of one in an HSM.
type remote struct {
	crypto.Signer
	err error
}

func (r remote) Sign(_ io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	return r.Signer.Sign(rand.Reader, digest, o)
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestSignWith: a key of each type signs as a holder does, and ssh-keygen verifies it.
func TestSignWith(t *testing.T) {
	t.Parallel()
	testkit.Require(t, "ssh-keygen")
	_, edwards, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	ec := func(c elliptic.Curve) crypto.Signer {
		return must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(c, rand.Reader))
	}
	for kind, key := range map[string]crypto.Signer{
		"ed25519": edwards, "p256": ec(elliptic.P256()), "p384": ec(elliptic.P384()), "p521": ec(elliptic.P521()),
		"rsa": must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048)),
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			name := DeviceName("pkcs11/" + kind)
			s, err := SignWith(head, name, remote{Signer: key}, at)
			if err != nil {
				t.Fatal(err)
			}
			line, print, err := PublicKey(key.Public())
			if err != nil {
				t.Fatal(err)
			}
			if got, err := Verify(head, s); err != nil || got != print || s.PublicKey != line || s.Name != name ||
				!IsDevice(s.Name) {
				t.Errorf("verified as %q of %q, %v; want %q of %q", got, s.PublicKey, err, print, line)
			}
			if _, err := Verify(other, s); !errors.Is(err, ErrSignature) {
				t.Errorf("another record: %v", err)
			}
			dir := t.TempDir()
			allowed, signature := filepath.Join(dir, "allowed"), filepath.Join(dir, "sig")
			for file, text := range map[string]string{allowed: name + " " + line + "\n", signature: s.Signature} {
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.Command("ssh-keygen", "-Y", "verify", "-n", Namespace, "-I", name, "-f", allowed, "-s", signature)
			cmd.Stdin = bytes.NewReader(Statement(head))
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), print) {
				t.Errorf("ssh-keygen: %v\n%s", err, out)
			}
		})
	}
}

func TestSignWithRefuses(t *testing.T) {
	t.Parallel()
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	curve := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	for what, key := range map[string]crypto.Signer{"a short RSA key": short, "an unknown curve": curve} {
		if _, err := SignWith(head, "device:a/b", key, at); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", what, err)
		}
	}
	away := errors.New("away")
	good := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	if _, err := SignWith(head, "device:a/b", remote{good, away}, at); !errors.Is(err, away) {
		t.Errorf("a device that fails: %v", err)
	}
}
