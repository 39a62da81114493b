package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/gcpckms"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// output is what the program prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// program is one that runs.
type program struct {
	endpoint, url string
	stop          func()
}

var addresses = regexp.MustCompile(`gRPC: (\S+)   HTTPS: (\S+) `)

func start(t *testing.T, args ...string) program {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, done := &output{}, make(chan int, 1)
	go func() { done <- run(ctx, append(args, "-listen=127.0.0.1:0", "-http=127.0.0.1:0"), out, out) }()
	stop := sync.OnceFunc(func() {
		cancel()
		if code := <-done; code != 0 {
			t.Errorf("exit code %d: %s", code, out)
		}
	})
	t.Cleanup(stop)
	for until := time.Now().Add(30 * time.Second); time.Now().Before(until); time.Sleep(time.Millisecond) {
		if m := addresses.FindStringSubmatch(out.String()); m != nil {
			if !strings.Contains(out.String(), "emulator") || !strings.Contains(out.String(), "no security product") {
				t.Errorf("it does not say what it is: %s", out)
			}
			return program{m[1], m[2], stop}
		}
	}
	t.Fatalf("it did not start: %s", out)
	return program{}
}

// TestServesAndComesBack: a seal works on it, and what it encrypted decrypts after a restart, by
// the same credentials and certificate.
func TestServesAndComesBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	args := []string{
		"-dir=" + filepath.Join(dir, "clients"), "-state=" + filepath.Join(dir, "state.json"),
		"-account=sealgate=cloudkms.cryptoKeyEncrypterDecrypter,roles/cloudkms.viewer@projects/trial-project/locations/global/keyRings/sealgate",
		"-key=projects/trial-project/locations/global/keyRings/sealgate/cryptoKeys/root",
		"-key=projects/trial-project/locations/global/keyRings/sealgate/cryptoKeys/hard=hsm",
	}
	var blobs []*wrapping.BlobInfo
	for range 2 {
		p := start(t, args...)
		for i, key := range []string{"root", "hard"} {
			w, err := gcpckms.New(seals.Config{Name: "s", Params: map[string]string{
				"project": "trial-project", "region": "global", "key_ring": "sealgate", "crypto_key": key, "endpoint": p.endpoint,
				"tls_ca_cert": filepath.Join(dir, "clients", "ca.pem"),
				"credentials": filepath.Join(dir, "clients", "sealgate.json"),
			}})
			if err != nil {
				t.Fatal(err)
			}
			if len(blobs) <= i {
				blob, err := w.Encrypt(t.Context(), []byte("root key"))
				if err != nil {
					t.Fatal(err)
				}
				blobs = append(blobs, blob)
			}
			if got, err := w.Decrypt(t.Context(), blobs[i]); err != nil || string(got) != "root key" {
				t.Errorf("%s: %q, %v", key, got, err)
			}
			if err := w.(*gcpckms.Wrapper).Close(); err != nil {
				t.Error(err)
			}
		}
		var out output
		if code := run(t.Context(), []string{"-dir=" + filepath.Join(dir, "clients"), "-check=" + p.url + "/healthz"},
			&out, &out); code != 0 {
			t.Errorf("health check of one that serves: %d %s", code, &out)
		}
		p.stop()
		if code := run(t.Context(), []string{"-dir=" + filepath.Join(dir, "clients"), "-check=" + p.url + "/healthz"},
			&out, &out); code != 1 {
			t.Errorf("health check of one that does not: %d", code)
		}
	}
	for file, want := range map[string]os.FileMode{
		"clients/sealgate.json": 0o600, "clients/tls.key": 0o600, "clients/admin-token": 0o600, "clients/ca.pem": 0o644,
		"state.json": 0o600,
	} {
		if info, err := os.Stat(filepath.Join(dir, file)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want %v", file, info, err, want)
		}
	}
}

// TestCertificateOfOnesOwn is used, and handed to clients.
func TestCertificateOfOnesOwn(t *testing.T) {
	t.Parallel()
	first, second := t.TempDir(), t.TempDir()
	start(t, "-dir="+first).stop()
	p := start(t, "-dir="+second, "-tls-cert="+filepath.Join(first, "ca.pem"), "-tls-key="+filepath.Join(first, "tls.key"))
	var out output
	if code := run(t.Context(), []string{"-dir=" + second, "-check=" + p.url + "/healthz"}, &out, &out); code != 0 {
		t.Errorf("%d %s", code, &out)
	}
}

func TestCommandLinesThatCannotBeMeant(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken")
	if err := os.MkdirAll(broken, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"sealgate.json", "admin-token"} {
		if err := os.WriteFile(filepath.Join(broken, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-help"}, 0, "no security product"},
		{nil, 2, "-dir is required"},
		{[]string{"-dir=" + dir, "more"}, 2, "only flags"},
		{[]string{"-dir=" + dir, "-tls-cert=x"}, 2, "belong together"},
		{[]string{"-dir=" + dir, "-account=sealgate"}, 2, "NAME=ROLE"},
		{[]string{"-dir=" + dir, "-account=sealgate=owner"}, 2, "no such grant"},
		{[]string{"-dir=" + dir, "-key=projects/trial-project/locations/global/keyRings/r/cryptoKeys/k=soft"}, 2, "hsm or software"},
		{[]string{"-dir=" + dir, "-key=nonsense", "-listen=127.0.0.1:0", "-http=127.0.0.1:0"}, 1, "resource type"},
		{[]string{"-dir=" + dir, "-listen=nowhere:x", "-http=127.0.0.1:0"}, 1, "listen"},
		{[]string{"-dir=" + dir, "-http=nowhere:x"}, 1, "listen"},
		{[]string{"-dir=" + dir, "-tls-cert=/nowhere", "-tls-key=/nowhere"}, 1, "/nowhere"},
		{[]string{"-dir=" + dir, "-account=Bad=cloudkms.viewer", "-listen=127.0.0.1:0", "-http=127.0.0.1:0"},
			1, "account's name"},
		{[]string{"-dir=" + broken}, 1, "admin-token is empty"},
		{[]string{"-dir=/nowhere/at/all", "-check=https://127.0.0.1:1/healthz"}, 1, "ca.pem"},
	} {
		var out output
		if code := run(t.Context(), c.args, &out, &out); code != c.code || !strings.Contains(out.String(), c.want) {
			t.Errorf("%q: %d %s; want %d with %q", c.args, code, &out, c.code, c.want)
		}
	}
}
