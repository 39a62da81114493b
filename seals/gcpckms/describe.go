package gcpckms

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sealgate/sealgate/seals"
)

// inquiry bounds a call that only adds detail to a failure.
const inquiry = 2 * time.Second

// KeyVersion returns the number of the key's primary version. Where the credentials may not read
// the key, it encrypts a byte to learn the version.
func (w *Wrapper) KeyVersion(ctx context.Context) (string, error) {
	k, err := w.key(ctx)
	if status.Code(err) == codes.PermissionDenied {
		blob, err := w.Encrypt(ctx, []byte{0}, wrapping.WithAad([]byte("none: thrown away to learn the key's version")))
		if err != nil {
			return "", err
		}
		return w.VersionOf(blob), nil
	}
	if err != nil {
		return "", w.failure(ctx, "get", err, 0)
	}
	version, ok := w.version(k.GetPrimary().GetName())
	if !ok {
		return "", w.fail(seals.KeyDisabled,
			fmt.Errorf("the key has no primary version, or one of another key: %.300q", k.GetPrimary().GetName()),
			"set a primary version: gcloud kms keys update --primary-version")
	}
	return strconv.FormatUint(version, 10), nil
}

func (w *Wrapper) key(ctx context.Context) (*kmspb.CryptoKey, error) {
	var k *kmspb.CryptoKey
	err := w.conn.do(ctx, func(ctx context.Context, c *kms.KeyManagementClient) (err error) {
		k, err = c.GetCryptoKey(ctx, &kmspb.GetCryptoKeyRequest{Name: w.s.name()})
		return err
	})
	return k, err
}

// ask reads a version, the primary one for 0. It returns nil on any error, because the caller
// already has a failure to report.
func (w *Wrapper) ask(ctx context.Context, version uint64) *kmspb.CryptoKeyVersion {
	ctx, cancel := context.WithTimeout(ctx, inquiry)
	defer cancel()
	if version == 0 {
		k, err := w.key(ctx)
		if err != nil {
			return nil
		}
		return k.GetPrimary()
	}
	v, err := w.readVersion(ctx, version)
	if err != nil {
		return nil
	}
	return v
}

func (w *Wrapper) readVersion(ctx context.Context, version uint64) (*kmspb.CryptoKeyVersion, error) {
	var v *kmspb.CryptoKeyVersion
	err := w.conn.do(ctx, func(ctx context.Context, c *kms.KeyManagementClient) (err error) {
		v, err = c.GetCryptoKeyVersion(ctx,
			&kmspb.GetCryptoKeyVersionRequest{Name: fmt.Sprintf("%s/cryptoKeyVersions/%d", w.s.name(), version)})
		return err
	})
	return v, err
}

// Describe returns the primary version, its state and date of destruction, the protection level and
// the rotation. Where the last decrypted blob is of another version that is not enabled, it returns
// the state and date of that version, because the stored part depends on it. It is one call; two
// while the last blob is of another version.
func (w *Wrapper) Describe(ctx context.Context) (seals.KeyState, error) {
	out := seals.KeyState{ID: w.s.name(), Region: w.s.region, Detail: map[string]string{}}
	k, err := w.key(ctx)
	if status.Code(err) == codes.PermissionDenied {
		out.Detail["degraded"] = "the account may not read the key: grant it roles/cloudkms.viewer on the key"
		return out, nil
	}
	if err != nil {
		return out, w.failure(ctx, "get", err, 0)
	}
	primary := k.GetPrimary()
	number, _ := w.version(primary.GetName())
	if number != 0 {
		out.Version = strconv.FormatUint(number, 10)
	}
	out.Protection = protection(k.GetVersionTemplate().GetProtectionLevel())
	if primary == nil {
		out.State = "without a primary version"
	} else {
		out.Protection = protection(primary.GetProtectionLevel())
		setState(&out, primary)
	}
	if p := k.GetRotationPeriod(); p != nil {
		out.Detail["rotation"] = "every " + days(p.AsDuration())
		if next := k.GetNextRotationTime(); next != nil {
			out.Detail["rotation"] += ", next at " + next.AsTime().UTC().Format(time.RFC3339)
		}
	}
	if p := k.GetPurpose(); p != kmspb.CryptoKey_ENCRYPT_DECRYPT {
		out.Detail["purpose"] = p.String()
	}
	if used := w.used.Load(); used != 0 && used != number {
		if v, err := w.readVersion(ctx, used); err == nil && v.GetState() != kmspb.CryptoKeyVersion_ENABLED {
			setState(&out, v)
			out.Detail["of version"] = strconv.FormatUint(used, 10)
		}
	}
	return out, nil
}

func setState(out *seals.KeyState, v *kmspb.CryptoKeyVersion) {
	switch v.GetState() {
	case kmspb.CryptoKeyVersion_ENABLED:
		out.State = "enabled"
	case kmspb.CryptoKeyVersion_DISABLED:
		out.State = "disabled"
	case kmspb.CryptoKeyVersion_DESTROYED:
		out.State = "destroyed"
	case kmspb.CryptoKeyVersion_DESTROY_SCHEDULED:
		if out.State = "pending deletion"; v.GetDestroyTime() != nil {
			out.DeletionDate = v.GetDestroyTime().AsTime()
		}
	default:
		out.State = words(v.GetState().String())
	}
}

func protection(l kmspb.ProtectionLevel) string {
	if l == kmspb.ProtectionLevel_PROTECTION_LEVEL_UNSPECIFIED {
		return ""
	}
	return words(l.String())
}

func words(s string) string { return strings.ReplaceAll(strings.ToLower(s), "_", " ") }

func days(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.String()
}
