package gcpckms_test

import (
	"context"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/sealgate/sealgate/internal/testkit/gcpkms"
	"github.com/sealgate/sealgate/seals"
)

// TestDescribe checks Describe through the states of a key.
func TestDescribe(t *testing.T) {
	t.Parallel()
	r := newHarness(t, gcpkms.Options{})
	r.act("create-hsm", "hardware")
	w := r.open("crypto_key", "hardware")
	next := time.Now().Add(90 * 24 * time.Hour).Truncate(time.Second)
	_, err := r.kms.UpdateCryptoKey(t.Context(), &kmspb.UpdateCryptoKeyRequest{
		CryptoKey: &kmspb.CryptoKey{
			Name: ring + "hardware", NextRotationTime: timestamppb.New(next),
			RotationSchedule: &kmspb.CryptoKey_RotationPeriod{RotationPeriod: durationpb.New(90 * 24 * time.Hour)},
		},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"rotation_period", "next_rotation_time"}},
	})
	must(t, err)
	k := described(t, w.Describe)
	want := "every 90 days, next at " + next.UTC().Format(time.RFC3339)
	if k.ID != ring+"hardware" || k.Version != "1" || k.State != "enabled" || k.Protection != "hsm" ||
		k.Region != "europe-west3" ||
		!k.DeletionDate.IsZero() || k.Detail["rotation"] != want {
		t.Errorf("%+v; want rotation %q", k, want)
	}
	blob := encrypt(t, w)
	if blob.KeyInfo.Mechanism != uint64(kmspb.ProtectionLevel_HSM) || w.VersionOf(blob) != "1" {
		t.Errorf("the blob's key: %v", blob.KeyInfo)
	}
	decrypts(t, w, blob)
	r.act("rotate", "hardware")
	if k = described(t, w.Describe); k.Version != "2" || k.State != "enabled" {
		t.Errorf("rotated: %+v", k)
	}
	// The version that the stored blob needs is reported although another one is the primary.
	r.act("schedule", "hardware/cryptoKeyVersions/1")
	if k = described(t, w.Describe); k.Version != "2" || k.State != "pending deletion" ||
		k.Detail["of version"] != "1" ||
		time.Until(k.DeletionDate).Round(time.Hour) != 30*24*time.Hour {
		t.Errorf("the blob's version is scheduled for destruction: %+v", k)
	}
	for _, c := range []struct{ action, state string }{{"disable", "disabled"}, {"destroy", "destroyed"}} {
		r.act(c.action, "other")
		if k = described(t, r.open("crypto_key", "other").Describe); k.State != c.state {
			t.Errorf("%s: %+v", c.action, k)
		}
	}
}

func described(t *testing.T, ask func(context.Context) (seals.KeyState, error)) seals.KeyState {
	t.Helper()
	k, err := ask(t.Context())
	must(t, err)
	return k
}

// TestWithoutViewPermission: Encrypt and Decrypt need only their role; KeyVersion learns the
// version from an encryption.
func TestWithoutViewPermission(t *testing.T) {
	t.Parallel()
	r := newHarness(t, gcpkms.Options{})
	r.grant(0, "cloudkms.cryptoKeyEncrypterDecrypter")
	w := r.open()
	decrypts(t, w, encrypt(t, w))
	r.act("rotate", "root")
	if v, err := w.KeyVersion(t.Context()); err != nil || v != "2" {
		t.Errorf("KeyVersion is %q, %v", v, err)
	}
	if k := described(t, w.Describe); k.ID != ring+"root" || k.State != "" || k.Detail["degraded"] == "" {
		t.Errorf("Describe: %+v", k)
	}
	r.act("disable", "root")
	if _, err := w.KeyVersion(t.Context()); seals.ClassOf(err) != seals.KeyDisabled {
		t.Errorf("KeyVersion of a disabled key: %v", err)
	}
}

// TestKeyWithoutPrimary: a key with versions of which none encrypts.
func TestKeyWithoutPrimary(t *testing.T) {
	t.Parallel()
	r := newHarness(t, gcpkms.Options{})
	_, err := r.kms.CreateCryptoKey(t.Context(), &kmspb.CreateCryptoKeyRequest{
		Parent: "projects/trial-project/locations/europe-west3/keyRings/seals", CryptoKeyId: "bare",
		SkipInitialVersionCreation: true,
		CryptoKey:                  &kmspb.CryptoKey{Purpose: kmspb.CryptoKey_ENCRYPT_DECRYPT},
	})
	must(t, err)
	w := r.open("crypto_key", "bare")
	_, err = w.Encrypt(t.Context(), []byte("x"), wrapping.WithAad(nil))
	if seals.ClassOf(err) != seals.KeyDisabled {
		t.Errorf("Encrypt: %v", err)
	}
	if _, err := w.KeyVersion(t.Context()); seals.ClassOf(err) != seals.KeyDisabled {
		t.Errorf("KeyVersion: %v", err)
	}
	if k := described(t, w.Describe); k.State == "" || k.State == "enabled" || k.Protection != "software" {
		t.Errorf("Describe: %+v", k)
	}
}
