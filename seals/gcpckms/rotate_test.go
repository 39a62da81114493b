package gcpckms_test

import (
	"strings"
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/testkit/gcpkms"
	"github.com/sealgate/sealgate/seals"
)

// TestRotatesItsKey: RotateKey makes a new primary version, by which the seal encrypts at once. The
// old version is scheduled for destruction once, and the one in use never.
func TestRotatesItsKey(t *testing.T) {
	r := newHarness(t, gcpkms.Options{})
	w := r.open()
	r.grant(0, "cloudkms.cryptoKeyEncrypterDecrypter", "cloudkms.viewer")
	if err := w.RotateKey(t.Context()); seals.ClassOf(err) != seals.Denied ||
		!strings.Contains(err.Error(), "roles/cloudkms.admin") {
		t.Fatal(err)
	}
	r.grant(0, "cloudkms.cryptoKeyEncrypterDecrypter", "cloudkms.viewer", "cloudkms.admin")
	old, err := w.Encrypt(t.Context(), []byte("root"))
	must(t, err)
	must(t, w.RotateKey(t.Context()))
	next, err := w.Encrypt(t.Context(), []byte("root"))
	must(t, err)
	if w.VersionOf(next) == w.VersionOf(old) {
		t.Fatal("still encrypts by the old version")
	}
	if _, err := w.DestroyKey(t.Context(), next.KeyInfo, w.VersionOf(next)); err == nil {
		t.Error("the version in use was destroyed")
	}
	for range 2 {
		done, err := w.DestroyKey(t.Context(), old.KeyInfo, w.VersionOf(old))
		if err != nil || !strings.HasPrefix(done, "due for destruction at ") {
			t.Error(done, err)
		}
	}
	if _, err := w.Decrypt(t.Context(), old); seals.ClassOf(err) != seals.PendingDeletion {
		t.Error(err)
	}
	other := &wrapping.KeyInfo{KeyId: "projects/other"}
	if _, err := w.DestroyKey(t.Context(), other, "1"); seals.ClassOf(err) != seals.Misconfigured {
		t.Error(err)
	}
}
