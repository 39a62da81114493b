package gcpkms

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestStateOutlivesARestart: what was encrypted before decrypts, and states are those of before;
// what is destroyed is gone from the file.
func TestStateOutlivesARestart(t *testing.T) {
	t.Parallel()
	path, ctx := filepath.Join(t.TempDir(), "state.json"), context.Background()
	open := func() *Service {
		s, err := New(Options{State: path})
		must(t, err)
		return s
	}
	s := open()
	must(t, s.Act("create", theKey))
	res, err := s.Encrypt(ctx, &kmspb.EncryptRequest{Name: theKey, Plaintext: []byte("plain")})
	must(t, err)
	must(t, s.Act("rotate", theKey))
	must(t, s.Act("schedule", theKey))
	s = open()
	got, err := s.Decrypt(ctx, &kmspb.DecryptRequest{Name: theKey, Ciphertext: res.GetCiphertext()})
	if err != nil || string(got.GetPlaintext()) != "plain" || got.GetUsedPrimary() {
		t.Errorf("after a restart: %v, %v", got, err)
	}
	k, err := s.GetCryptoKey(ctx, &kmspb.GetCryptoKeyRequest{Name: theKey})
	if err != nil || k.GetPrimary().GetState() != scheduled || k.GetPrimary().GetDestroyTime() == nil {
		t.Errorf("after a restart: %v, %v", k, err)
	}
	must(t, s.Act("destroy", v1))
	data, err := os.ReadFile(path)
	must(t, err)
	if n := bytes.Count(data, []byte(`"material"`)); n != 1 || !bytes.Contains(data, []byte("no security product")) {
		t.Errorf("the file holds %d keys' material, or does not say what it is:\n%s", n, data)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	s = open()
	if _, err := s.Decrypt(ctx, &kmspb.DecryptRequest{Name: theKey,
		Ciphertext: res.GetCiphertext()}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("a destroyed version after a restart: %v", err)
	}
}

// TestStateFilesThatAreRefused: open to others, of another version, damaged.
func TestStateFilesThatAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, c := range map[string]struct {
		content string
		mode    os.FileMode
		want    string
	}{
		"open":    {`{"version":1}`, 0o644, "chmod 600"},
		"later":   {`{"version":2}`, 0o600, "version 2"},
		"damaged": {`{"version":`, 0o600, "JSON"},
		"names":   {`{"version":1,"rings":{"nonsense":{}}}`, 0o600, "nonsense"},
		"keys": {`{"version":1,"rings":{"` + place +
			`/keyRings/r":{"keys":{"k":{"versions":[{"state":1,"material":"AAA="}]}}}}}`,
			0o600, "invalid key size"},
	} {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(c.content), c.mode))
		must(t, os.Chmod(path, c.mode))
		if _, err := New(Options{State: path}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
	s, err := New(Options{State: filepath.Join(dir, "no", "such", "folder")})
	must(t, err)
	if err := s.Act("create", theKey); status.Code(err) != codes.Internal {
		t.Errorf("a state that cannot be written: %v", err)
	}
}

// TestFaults: those that change answers, and those that keep them.
func TestFaults(t *testing.T) {
	t.Parallel()
	r := newHarness(t, Options{})
	sealed := r.sealed(theKey)
	for name, f := range map[string]Fault{
		"corrupt": {Corrupt: true}, "no checksum": {NoChecksum: true}, "unverified": {Unverified: true},
		"another name": {OtherName: true},
	} {
		f.Times = 2
		must(t, r.s.Inject(f))
		e, err := r.c.Encrypt(t.Context(), &kmspb.EncryptRequest{
			Name: theKey, Plaintext: []byte("p"), PlaintextCrc32C: checksum([]byte("p")),
			AdditionalAuthenticatedDataCrc32C: checksum(nil)})
		must(t, err)
		d, err := r.decrypt(theKey, sealed, nil)
		must(t, err)
		wrong := e.GetCiphertextCrc32C().GetValue() != checksum(e.GetCiphertext()).GetValue()
		wrongToo := d.GetPlaintextCrc32C().GetValue() != checksum(d.GetPlaintext()).GetValue()
		if wrong != (f.Corrupt || f.NoChecksum) || wrongToo != wrong ||
			e.GetVerifiedPlaintextCrc32C() == f.Unverified || (e.GetName() == v1) == f.OtherName {
			t.Errorf("%s: %v, %v", name, e, d)
		}
	}
	if _, err := r.decrypt(theKey, sealed, nil); err != nil {
		t.Errorf("after the faults: %v", err)
	}
	for name, f := range map[string]Fault{"unresponsive": {Unresponsive: true}, "lost": {Lose: true},
		"late": {DelayMS: 60_000}} {
		must(t, r.s.Inject(f))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := r.c.Encrypt(ctx, &kmspb.EncryptRequest{Name: theKey, Plaintext: []byte("p")})
		cancel()
		if status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%s: %v", name, err)
		}
		r.s.Clear()
	}
	r.v.Away()
	if _, err := r.decrypt(theKey, sealed, nil); status.Code(err) != codes.Unavailable {
		t.Errorf("away: %v", err)
	}
	must(t, r.v.Back())
	must(t, r.v.Back())
}
