package gcpckms_test

import (
	"context"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/testkit/gcpkms"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/gcpckms"
)

// TestEveryStatusHasAClass checks class, remedy and number of attempts for every code of gRPC.
func TestEveryStatusHasAClass(t *testing.T) {
	t.Parallel()
	r := newHarness(t, gcpkms.Options{})
	w := r.open()
	blob := encrypt(t, w)
	for _, c := range []struct {
		code, message    string
		encrypt, decrypt seals.Class
		tries            int
	}{
		{"UNAVAILABLE", "", seals.Unreachable, seals.Unreachable, 4},
		{"INTERNAL", "", seals.Unreachable, seals.Unreachable, 4},
		{"ABORTED", "", seals.Unreachable, seals.Unreachable, 4},
		{"DEADLINE_EXCEEDED", "", seals.Unreachable, seals.Unreachable, 1},
		{"CANCELLED", "", seals.Unreachable, seals.Unreachable, 1},
		{"RESOURCE_EXHAUSTED", "", seals.Throttled, seals.Throttled, 1},
		{"PERMISSION_DENIED", "", seals.Denied, seals.Denied, 1},
		{"UNAUTHENTICATED", "", seals.Denied, seals.Denied, 2}, // once more with a new token
		{"NOT_FOUND", "", seals.KeyGone, seals.KeyGone, 1},
		{"UNIMPLEMENTED", "", seals.Misconfigured, seals.Misconfigured, 1},
		{"OUT_OF_RANGE", "", seals.Misconfigured, seals.Misconfigured, 1},
		{"DATA_LOSS", "", seals.Corrupt, seals.Corrupt, 1},
		{"UNKNOWN", "", seals.Unknown, seals.Unknown, 1},
		{"ALREADY_EXISTS", "", seals.Unknown, seals.Unknown, 1},
		{"INVALID_ARGUMENT", "Decryption failed.", seals.Misconfigured, seals.Corrupt, 1},
		{"INVALID_ARGUMENT", "The checksum in field plaintext_crc32c did not match the data in field plaintext.",
			seals.Corrupt, seals.Corrupt, 4},
		{"FAILED_PRECONDITION", "it is not enabled, current state is: DISABLED.", seals.KeyDisabled, seals.KeyDisabled,
			1},
		{"FAILED_PRECONDITION", "it is not enabled, current state is: DESTROYED.", seals.KeyGone, seals.KeyGone, 1},
		{"FAILED_PRECONDITION", "it is not enabled, current state is: DESTROY_SCHEDULED.", seals.PendingDeletion,
			seals.PendingDeletion, 1},
		{"FAILED_PRECONDITION", "it is not enabled, current state is: PENDING_GENERATION.", seals.KeyDisabled,
			seals.KeyDisabled, 1},
		{"FAILED_PRECONDITION", "it is not enabled, current state is: IMPORT_FAILED.", seals.KeyGone, seals.KeyGone, 1},
		{"FAILED_PRECONDITION", "no word of a state", seals.KeyDisabled, seals.KeyDisabled, 1},
		{"FAILED_PRECONDITION", "it has value MAC in field crypto_key.purpose.", seals.Misconfigured,
			seals.Misconfigured, 1},
	} {
		for method, want := range map[string]seals.Class{"Encrypt": c.encrypt, "Decrypt": c.decrypt} {
			before := r.kms.Calls()[method]
			r.inject(gcpkms.Fault{Method: method, Code: c.code, Message: c.message})
			var err error
			if method == "Encrypt" {
				_, err = w.Encrypt(t.Context(), []byte("root key"))
			} else {
				err = decrypt(t, w, blob)
			}
			r.kms.Clear()
			f := seals.Classify(err)
			if f == nil || f.Class != want || f.Remedy == "" || f.Final ||
				!strings.Contains(err.Error(), `seal "gcpckms" "test"`) {
				t.Errorf("%s, %s %q: %v; want class %q", method, c.code, c.message, err, want)
			}
			if strings.Contains(err.Error(), "1970") {
				t.Errorf("an invented date: %v", err)
			}
			if tries := r.kms.Calls()[method] - before; tries != c.tries {
				t.Errorf("%s, %s %q: tried %d times; want %d", method, c.code, c.message, tries, c.tries)
			}
		}
	}
	decrypts(t, w, blob)
}

// TestTransientFailuresAreRetried: a call that fails or returns a damaged answer once or twice is
// retried and succeeds.
func TestTransientFailuresAreRetried(t *testing.T) {
	t.Parallel()
	r := newHarness(t, gcpkms.Options{})
	w := r.open()
	blob := encrypt(t, w)
	for name, f := range map[string]gcpkms.Fault{
		"unavailable": {Code: "UNAVAILABLE"}, "corrupt": {Corrupt: true}, "unverified": {Unverified: true},
		"no checksum": {NoChecksum: true},
		"another key": {OtherName: true},
	} {
		f.Times = 2
		r.inject(f)
		blob2 := encrypt(t, w)
		r.kms.Clear()
		f.Times = 2
		r.inject(f)
		decrypts(t, w, blob)
		r.kms.Clear()
		decrypts(t, w, blob2)
		if blob2.GetKeyInfo().GetFlags() != 1 {
			t.Errorf("%s: version %d", name, blob2.GetKeyInfo().GetFlags())
		}
	}
}

// TestAnswersThatFailTheIntegrityCheck are refused.
func TestAnswersThatFailTheIntegrityCheck(t *testing.T) {
	t.Parallel()
	r := newHarness(t, gcpkms.Options{})
	w := r.open()
	blob := encrypt(t, w)
	for name, f := range map[string]gcpkms.Fault{
		"corrupt": {Corrupt: true}, "unverified": {Unverified: true}, "no checksum": {NoChecksum: true},
		"another key": {OtherName: true},
	} {
		r.inject(f)
		if _, err := w.Encrypt(t.Context(), []byte("root key")); seals.ClassOf(err) != seals.Corrupt {
			t.Errorf("Encrypt, %s: %v; want corrupt", name, err)
		}
		if err := decrypt(t, w, blob); f.Unverified || f.OtherName {
			must(t, err) // an answer to Decrypt has neither
		} else if seals.ClassOf(err) != seals.Corrupt {
			t.Errorf("Decrypt, %s: %v; want corrupt", name, err)
		}
		r.kms.Clear()
	}
}

// TestStateAndDateInError: the error for a version scheduled for destruction contains the date
// where the account may read it, else only the state.
func TestStateAndDateInError(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	r := newHarness(t, gcpkms.Options{Now: func() time.Time { return now }})
	// the clock of the emulator is not this machine's: tokens that are signed do not fit
	r.kms.AddToken("opaque", "sealgate", time.Time{})
	w := opaque(t, r)
	blob := encrypt(t, w)
	r.act("schedule", "root")
	err := decrypt(t, w, blob)
	const date = "2026-12-23T12:00:00Z"
	if f := seals.Classify(err); f == nil || f.Class != seals.PendingDeletion ||
		!strings.Contains(err.Error(), date) || !strings.Contains(f.Remedy, "restore 1 ") {
		t.Errorf("%v; want pending deletion, %s and how to restore version 1", err, date)
	}
	r.grant(0, "cloudkms.cryptoKeyEncrypterDecrypter")
	r.kms.AddToken("opaque", "sealgate", time.Time{})
	if err = decrypt(t, w, blob); seals.ClassOf(err) != seals.PendingDeletion || strings.Contains(err.Error(), date) {
		t.Errorf("%v; want pending deletion, without a date", err)
	}
	now = now.AddDate(0, 0, 31)
	if err = decrypt(t, w, blob); seals.ClassOf(err) != seals.KeyGone {
		t.Errorf("a month later: %v; want key gone", err)
	}
}

// TestWrongPurposeAndMissingKey: causes that the status alone does not distinguish.
func TestWrongPurposeAndMissingKey(t *testing.T) {
	t.Parallel()
	r := newHarness(t, gcpkms.Options{})
	absent := r.open("crypto_key", "absent")
	if _, err := absent.Encrypt(t.Context(), []byte("x")); seals.ClassOf(err) != seals.KeyGone {
		t.Errorf("a key that is not there, with the viewer role: %v", err)
	}
	r.grant(0, "cloudkms.viewer")
	_, err := absent.Encrypt(t.Context(), []byte("x"))
	if f := seals.Classify(err); f == nil || f.Class != seals.Denied ||
		!strings.Contains(f.Remedy, "cryptoKeyEncrypterDecrypter") {
		t.Errorf("without the permission: %v", err)
	}
}

// TestUnresponsivePeers: a peer that accepts connections only, one that answers no call, and one
// that loses answers. Each call ends by its deadline.
func TestUnresponsivePeers(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	r := newHarness(t, gcpkms.Options{})
	silent := r.open("endpoint", l.Addr().String())
	w := r.open()
	blob := encrypt(t, w)
	r.inject(gcpkms.Fault{Method: "Decrypt", Lose: true})
	r.inject(gcpkms.Fault{Method: "Encrypt", DelayMS: 60_000})
	t.Cleanup(r.kms.Clear)
	for name, call := range map[string]func(context.Context) error{
		"no greeting": func(ctx context.Context) error { _, err := silent.Encrypt(ctx, []byte("x")); return err },
		"lost": func(ctx context.Context) error {
			_, err := w.Decrypt(ctx, blob, wrapping.WithAad([]byte("aad")))
			return err
		},
		"late": func(ctx context.Context) error { _, err := w.Encrypt(ctx, []byte("x")); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		began := time.Now()
		err := call(ctx)
		cancel()
		if took := time.Since(began); seals.ClassOf(err) != seals.Unreachable || took > 30*time.Second {
			t.Errorf("%s: after %s: %v", name, took, err)
		}
	}
}

// TestTimeoutOfTheStanza ends a call whose context has no deadline.
func TestTimeoutOfTheStanza(t *testing.T) {
	t.Parallel()
	r := newHarness(t, gcpkms.Options{})
	w := r.open("timeout", "200ms")
	r.inject(gcpkms.Fault{Unresponsive: true})
	t.Cleanup(r.kms.Clear)
	if _, err := w.Encrypt(t.Context(), []byte("x")); seals.ClassOf(err) != seals.Unreachable {
		t.Errorf("%v; want unreachable", err)
	}
}

// TestUntrustedServer: nothing is sent to a server whose certificate is not of the configured CA. A
// corrected file needs no restart.
func TestUntrustedServer(t *testing.T) {
	t.Parallel()
	r := newHarness(t, gcpkms.Options{})
	right, err := os.ReadFile(r.ca)
	must(t, err)
	other, _, err := gcpkms.SelfSigned([]string{"127.0.0.1"}, time.Now())
	must(t, err)
	w := r.open()
	for name, content := range map[string]string{"missing": "", "no certificate": "nonsense",
		"another": string(other)} {
		must(t, os.Remove(r.ca))
		if content != "" {
			must(t, os.WriteFile(r.ca, []byte(content), 0o600))
		}
		for range 2 {
			_, err = w.Encrypt(t.Context(), []byte("x"))
			if f := seals.Classify(err); f == nil || f.Class != seals.Misconfigured ||
				!strings.Contains(err.Error(), "tls_ca_cert") {
				t.Errorf("%s: %v; want misconfigured", name, err)
			}
		}
		if r.calls() != 0 {
			t.Error("the server was called")
		}
		must(t, os.WriteFile(r.ca, right, 0o600))
	}
	decrypts(t, w, encrypt(t, w))
}

// TestCloseEndsCalls: calls in progress end, later calls fail.
func TestCloseEndsCalls(t *testing.T) {
	t.Parallel()
	r := newHarness(t, gcpkms.Options{})
	w := r.open()
	r.inject(gcpkms.Fault{Unresponsive: true})
	t.Cleanup(r.kms.Clear)
	done := make(chan error)
	go func() {
		_, err := w.Encrypt(context.Background(), []byte("x"))
		done <- err
	}()
	for r.calls() == 0 {
		select {
		case err := <-done:
			t.Fatalf("an unresponsive peer: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	must(t, w.Close())
	if err := <-done; seals.ClassOf(err) != seals.Unreachable {
		t.Errorf("the call in progress: %v", err)
	}
	if _, err := w.Encrypt(t.Context(), []byte("x")); seals.ClassOf(err) != seals.Unreachable ||
		!strings.Contains(err.Error(), "closed") {
		t.Errorf("a later call: %v", err)
	}
}

// TestTooLarge: data that the service would refuse is not sent.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	r := newHarness(t, gcpkms.Options{})
	w := r.open()
	for name, c := range map[string][2][]byte{
		"nothing": {nil, nil}, "plaintext": {make([]byte, gcpckms.MaxPlaintext+1), nil},
		"data": {{1}, make([]byte, gcpckms.MaxPlaintext+1)},
	} {
		if _, err := w.Encrypt(t.Context(), c[0], wrapping.WithAad(c[1])); seals.ClassOf(err) != seals.Misconfigured {
			t.Errorf("%s: %v", name, err)
		}
	}
	if r.calls() != 0 {
		t.Error("a request was sent")
	}
	r.act("create-hsm", "hardware")
	if _, err := r.open("crypto_key", "hardware").Encrypt(t.Context(), make([]byte, 8<<10),
		wrapping.WithAad([]byte{1})); seals.ClassOf(err) != seals.Misconfigured {
		t.Errorf("8 KiB and a byte with an HSM's key: %v", err)
	}
	full := make([]byte, gcpckms.MaxPlaintext)
	blob, err := w.Encrypt(t.Context(), full, wrapping.WithAad(full))
	must(t, err)
	if plain, err := w.Decrypt(t.Context(), blob, wrapping.WithAad(full)); err != nil || len(plain) != len(full) {
		t.Errorf("the maximum: %d bytes, %v", len(plain), err)
	}
}
