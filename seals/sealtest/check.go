package sealtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/seals"
)

// aad is the additional data of tests that do not vary it.
var aad = []byte("sealtest: additional data")

// patience bounds a call that is expected to be answered.
const patience = 30 * time.Second

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func encrypt(t *testing.T, w wrapping.Wrapper, plain []byte) *wrapping.BlobInfo {
	t.Helper()
	blob, err := w.Encrypt(within(t, patience), plain, wrapping.WithAad(aad))
	if err != nil {
		t.Fatalf("Encrypt: %v", err)
	}
	if blob == nil || bytes.Contains(blob.Ciphertext, plain) && len(plain) > 3 {
		t.Fatal("Encrypt returned no blob, or the plaintext itself")
	}
	return blob
}

func decrypt(t *testing.T, w wrapping.Wrapper, blob *wrapping.BlobInfo, plain []byte) {
	t.Helper()
	got, err := w.Decrypt(within(t, patience), blob, wrapping.WithAad(aad))
	if err != nil {
		t.Fatalf("Decrypt: %v", err)
	}
	if !bytes.Equal(got, plain) {
		t.Fatalf("Decrypt returned %d bytes that are not the plaintext", len(got))
	}
}

// refuse decrypts a blob that must be refused, and checks the error: one of the classes, a remedy,
// and no plaintext.
func refuse(
	t *testing.T,
	what string,
	w wrapping.Wrapper,
	blob *wrapping.BlobInfo,
	data, plain []byte,
	want ...seals.Class,
) {
	t.Helper()
	got, err := w.Decrypt(within(t, patience), blob, wrapping.WithAad(data))
	if err == nil {
		t.Errorf("%s: decrypted (to the plaintext: %v)", what, bytes.Equal(got, plain))
		return
	}
	if got != nil {
		t.Errorf("%s: an error together with %d bytes", what, len(got))
	}
	checkFailure(t, what, err, plain, want...)
}

// checkFailure checks that err has one of the classes and a remedy, and does not show the
// plaintext.
func checkFailure(t *testing.T, what string, err error, plain []byte, want ...seals.Class) {
	t.Helper()
	var f *seals.Failure
	if !errors.As(err, &f) {
		t.Errorf("%s: not classified: %v", what, err)
		return
	}
	if !slices.Contains(want, f.Class) {
		t.Errorf("%s: class %q, want %q: %v", what, f.Class, want, err)
	}
	if f.Remedy == "" {
		t.Errorf("%s: no remedy: %v", what, err)
	}
	if Shows(err.Error(), plain) {
		t.Errorf("%s: the error shows the plaintext", what)
	}
}

// Shows reports whether text contains a secret of at least 4 bytes, raw, in hexadecimal or in
// base64.
func Shows(text string, value []byte) bool {
	if len(value) < 4 {
		return false
	}
	return strings.Contains(text, string(value)) ||
		strings.Contains(strings.ToLower(text), hex.EncodeToString(value)) ||
		strings.Contains(text, base64.RawStdEncoding.EncodeToString(value)) ||
		strings.Contains(text, base64.RawURLEncoding.EncodeToString(value))
}
