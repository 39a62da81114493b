package kmsv2

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	kms "k8s.io/kms/apis/v2"
)

// Finding is one result of [Check].
type Finding struct {
	Level string // "ok", "warn" or "fail"
	Text  string
}

// Dial returns a connection to a plugin, as the API server makes it.
func Dial(socket string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+socket, grpc.WithAuthority("localhost"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		}))
}

// checker asks a plugin, of any maker, what the API server asks.
type checker struct {
	client   kms.KeyManagementServiceClient
	timeout  time.Duration
	findings []Finding
}

func (c *checker) ok(format string, args ...any)   { c.add("ok", format, args...) }
func (c *checker) warn(format string, args ...any) { c.add("warn", format, args...) }
func (c *checker) fail(format string, args ...any) { c.add("fail", format, args...) }

func (c *checker) add(level, format string, args ...any) {
	c.findings = append(c.findings, Finding{level, fmt.Sprintf(format, args...)})
}

// Check reports whether the plugin at a socket keeps what the API server expects of it. It encrypts
// and decrypts random texts and changes nothing. timeout is that of the API server's configuration;
// 0 means its default, 3 s.
func Check(ctx context.Context, socket string, timeout time.Duration) ([]Finding, error) {
	if timeout == 0 {
		timeout = 3 * time.Second
	}
	conn, err := Dial(socket)
	if err != nil {
		return nil, fmt.Errorf("kmsv2: %w", err)
	}
	c := &checker{client: kms.NewKeyManagementServiceClient(conn), timeout: timeout}
	c.checkSocket(socket)
	if status := c.checkStatus(ctx); status != nil {
		if sealed := c.checkEncrypt(ctx, status); sealed != nil {
			c.checkForgeries(ctx, sealed)
			c.checkParallel(ctx, sealed)
		}
		c.checkAgain(ctx, status)
	}
	return c.findings, conn.Close()
}

func (c *checker) checkSocket(socket string) {
	info, err := os.Stat(socket)
	switch {
	case err != nil:
		c.fail("socket: %v", err)
		return
	case info.Mode().Type() != os.ModeSocket:
		c.fail("socket: %s is not a socket", socket)
		return
	case info.Mode().Perm()&0o077 != 0:
		c.warn("socket: mode %04o lets other users call the plugin; 0600 does not", info.Mode().Perm())
	default:
		c.ok("socket: mode %04o", info.Mode().Perm())
	}
	if dir, err := os.Stat(filepath.Dir(socket)); err == nil && dir.Mode().Perm()&0o022 != 0 {
		c.warn("socket: its folder has mode %04o, so that other users can replace the socket", dir.Mode().Perm())
	}
}

// timed runs a call by the API server's timeout and judges its time.
func (c *checker) timed(ctx context.Context, name string, f func(ctx context.Context) error) bool {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	begun := time.Now()
	err := f(ctx)
	took := time.Since(begun).Round(10 * time.Microsecond)
	switch {
	case err != nil:
		c.fail("%s: %v (after %s)", name, err, took)
		return false
	case took > c.timeout/2:
		c.warn("%s: took %s of %s", name, took, c.timeout)
	default:
		c.ok("%s: took %s", name, took)
	}
	return true
}

func (c *checker) checkStatus(ctx context.Context) (s *kms.StatusResponse) {
	if !c.timed(ctx, "Status", func(ctx context.Context) (err error) {
		s, err = c.client.Status(ctx, &kms.StatusRequest{})
		return err
	}) {
		return nil
	}
	if s.GetVersion() != "v2" && s.GetVersion() != "v2beta1" {
		c.fail("Status: version is %q; the API server takes v2", s.GetVersion())
	}
	if s.GetHealthz() != "ok" {
		c.warn("Status: healthz is %q: the API server is not ready, and continues to write", s.GetHealthz())
	}
	if n := len(s.GetKeyId()); n == 0 || n > maxKeyID {
		c.fail("Status: key_id has %d bytes; the API server takes 1 to %d", n, maxKeyID)
		return nil
	}
	c.ok("Status: key_id %s, key_id_hash %s", s.GetKeyId(), HashOf(s.GetKeyId()))
	return s
}

// annotationForm is that of the API server: a lower-case domain name of two labels at least.
var annotationForm = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$`)

// sealedSeed is a text and what the plugin made of it.
type sealedSeed struct {
	text []byte
	*kms.EncryptResponse
}

func (c *checker) checkEncrypt(ctx context.Context, s *kms.StatusResponse) *sealedSeed {
	seed := &sealedSeed{text: make([]byte, 32)}
	if _, err := rand.Read(seed.text); err != nil {
		c.fail("random numbers: %v", err)
		return nil
	}
	if !c.timed(ctx, "Encrypt", func(ctx context.Context) (err error) {
		seed.EncryptResponse, err = c.client.Encrypt(ctx, &kms.EncryptRequest{Plaintext: seed.text, Uid: "check"})
		return err
	}) {
		return nil
	}
	if n := len(seed.GetCiphertext()); n == 0 || n > maxCiphertext {
		c.fail("Encrypt: the ciphertext has %d bytes; the API server takes 1 to %d", n, maxCiphertext)
	}
	if bytes.Contains(seed.GetCiphertext(), seed.text) {
		c.fail("Encrypt: the ciphertext contains the plaintext")
	}
	if seed.GetKeyId() != s.GetKeyId() {
		c.fail("Encrypt: key_id is %q, and Status has returned %q: the API server drops the answer", seed.GetKeyId(),
			s.GetKeyId())
	}
	size := 0
	for name, v := range seed.GetAnnotations() {
		size += len(name) + len(v)
		if !annotationForm.MatchString(name) {
			c.fail("Encrypt: the annotation %q is not a domain name in lower case", name)
		}
	}
	if size > 32<<10 {
		c.fail("Encrypt: annotations of %d bytes; the API server takes 32 KiB", size)
	}
	back, ok := []byte(nil), false
	c.timed(ctx, "Decrypt", func(ctx context.Context) (err error) {
		back, err = c.decrypt(ctx, seed.GetCiphertext(), seed.GetKeyId(), seed)
		ok = err == nil
		return err
	})
	if ok && !bytes.Equal(back, seed.text) {
		c.fail("Decrypt: another text than was encrypted")
	}
	return seed
}

func (c *checker) decrypt(ctx context.Context, ciphertext []byte, keyID string, s *sealedSeed) ([]byte, error) {
	r, err := c.client.Decrypt(ctx, &kms.DecryptRequest{Ciphertext: ciphertext, Uid: "check", KeyId: keyID,
		Annotations: s.GetAnnotations()})
	return r.GetPlaintext(), err
}

// checkForgeries sends what must not open.
func (c *checker) checkForgeries(ctx context.Context, s *sealedSeed) {
	ctx, cancel := context.WithTimeout(ctx, 3*c.timeout)
	defer cancel()
	forged := bytes.Clone(s.GetCiphertext())
	forged[len(forged)-6] ^= 2
	if back, err := c.decrypt(ctx, forged, s.GetKeyId(), s); err == nil {
		c.fail("Decrypt: a changed ciphertext opens to %d bytes", len(back))
	} else {
		c.ok("Decrypt: a changed ciphertext is refused")
	}
	if _, err := c.decrypt(ctx, s.GetCiphertext(), "another-key-id", s); err == nil {
		c.warn("Decrypt: the ciphertext opens under another key_id: it is not bound to it")
	} else {
		c.ok("Decrypt: the ciphertext is bound to its key_id")
	}
}

// checkParallel makes parallel calls, as a restart of an API server does.
func (c *checker) checkParallel(ctx context.Context, s *sealedSeed) {
	const callers, calls = 16, 10
	var mu sync.Mutex
	failed := 0
	var wg sync.WaitGroup
	begun := time.Now()
	for range callers {
		wg.Go(func() {
			for range calls {
				ctx, cancel := context.WithTimeout(ctx, c.timeout)
				back, err := c.decrypt(ctx, s.GetCiphertext(), s.GetKeyId(), s)
				cancel()
				if err != nil || !bytes.Equal(back, s.text) {
					mu.Lock()
					failed++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	rate := float64(callers*calls-failed) / time.Since(begun).Seconds()
	if failed > 0 {
		c.fail("Decrypt: %d of %d calls by %d callers at once failed", failed, callers*calls, callers)
		return
	}
	c.ok("Decrypt: %.0f calls/s by %d callers at once", rate, callers)
}

// checkAgain compares a second Status: a key_id that changes without a rotation makes the API
// server rewrite everything.
func (c *checker) checkAgain(ctx context.Context, first *kms.StatusResponse) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	s, err := c.client.Status(ctx, &kms.StatusRequest{})
	switch {
	case err != nil:
		c.fail("Status, second call: %v", err)
	case s.GetKeyId() != first.GetKeyId():
		c.warn("Status, second call: another key_id: has the key been rotated meanwhile?")
	default:
		c.ok("Status, second call: the same key_id")
	}
}
