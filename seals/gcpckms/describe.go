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

// inquiry bounds a question that only makes a failure clearer.
const inquiry = 2 * time.Second

// KeyVersion is the number of the key's primary version. Credentials that may not look at the key encrypt a byte to learn it.
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
		return "", w.failure(ctx, "look at", err, 0)
	}
	version, ok := w.version(k.GetPrimary().GetName())
	if !ok {
		return "", w.fail(seals.KeyDisabled, fmt.Errorf("the key has no primary version, or one of another key: %.300q", k.GetPrimary().GetName()),
			"make a version the primary one: gcloud kms keys update --primary-version")
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

// ask looks at a version; at the primary one for 0. It returns nil where that is not possible: there is a failure to tell of already.
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
	v, err := w.look(ctx, version)
	if err != nil {
		return nil
	}
	return v
}

func (w *Wrapper) look(ctx context.Context, version uint64) (*kmspb.CryptoKeyVersion, error) {
	var v *kmspb.CryptoKeyVersion
	err := w.conn.do(ctx, func(ctx context.Context, c *kms.KeyManagementClient) (err error) {
		v, err = c.GetCryptoKeyVersion(ctx, &kmspb.GetCryptoKeyVersionRequest{Name: fmt.Sprintf("%s/cryptoKeyVersions/%d", w.s.name(), version)})
		return err
	})
	return v, err
}

// Describe tells the primary version, its state, when it will be destroyed, the protection level and the rotation. Where the blob that was decrypted
// last is of another version and that one is not enabled, its state and date are told instead: what is stored needs it. It is one
// call; two while the last blob is of another version.
func (w *Wrapper) Describe(ctx context.Context) (seals.KeyState, error) {
	out := seals.KeyState{ID: w.s.name(), Region: w.s.region, Detail: map[string]string{}}
	k, err := w.key(ctx)
	if status.Code(err) == codes.PermissionDenied {
		out.Detail["degraded"] = "the account may not look at the key: give it roles/cloudkms.viewer on it"
		return out, nil
	}
	if err != nil {
		return out, w.failure(ctx, "look at", err, 0)
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
		tell(&out, primary)
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
		if v, err := w.look(ctx, used); err == nil && v.GetState() != kmspb.CryptoKeyVersion_ENABLED {
			tell(&out, v)
			out.Detail["of version"] = strconv.FormatUint(used, 10)
		}
	}
	return out, nil
}

func tell(out *seals.KeyState, v *kmspb.CryptoKeyVersion) {
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
