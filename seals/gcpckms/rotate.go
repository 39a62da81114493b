package gcpckms

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sealgate/sealgate/seals"
)

var (
	_ seals.KeyRotator   = (*Wrapper)(nil)
	_ seals.KeyDestroyer = (*Wrapper)(nil)
)

// rotatePoll is the time between requests for the state of a version that is being made.
const rotatePoll = 250 * time.Millisecond

// RotateKey makes a version of the key and makes it the primary one. It needs
// cloudkms.cryptoKeyVersions.create and cloudkms.cryptoKeys.update.
func (w *Wrapper) RotateKey(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.s.timeout)
	defer cancel()
	var made *kmspb.CryptoKeyVersion
	err := w.conn.do(ctx, func(ctx context.Context, c *kms.KeyManagementClient) (err error) {
		made, err = c.CreateCryptoKeyVersion(ctx, &kmspb.CreateCryptoKeyVersionRequest{Parent: w.s.name(),
			CryptoKeyVersion: &kmspb.CryptoKeyVersion{State: kmspb.CryptoKeyVersion_ENABLED}})
		return err
	})
	if err != nil {
		return w.notAllowed(ctx, err)
	}
	version, ok := w.version(made.GetName())
	if !ok {
		return w.fail(seals.Corrupt, fmt.Errorf("the answer names a version of another key: %.300q", made.GetName()),
			"check the endpoint")
	}
	if err := w.generated(ctx, version, made); err != nil {
		return err
	}
	err = w.conn.do(ctx, func(ctx context.Context, c *kms.KeyManagementClient) error {
		_, err := c.UpdateCryptoKeyPrimaryVersion(ctx, &kmspb.UpdateCryptoKeyPrimaryVersionRequest{Name: w.s.name(),
			CryptoKeyVersionId: strconv.FormatUint(version, 10)})
		return err
	})
	return w.notAllowed(ctx, err)
}

// generated waits until a new version can be used; that of an HSM takes a moment.
func (w *Wrapper) generated(ctx context.Context, version uint64, v *kmspb.CryptoKeyVersion) error {
	tick := time.NewTicker(rotatePoll)
	defer tick.Stop()
	for v.GetState() != kmspb.CryptoKeyVersion_ENABLED {
		if s := v.GetState(); s != kmspb.CryptoKeyVersion_PENDING_GENERATION {
			return w.fail(seals.KeyDisabled, fmt.Errorf("the new version %d is %s", version, words(s.String())),
				"see the key in the cloud's console")
		}
		select {
		case <-ctx.Done():
			return w.failure(ctx, "rotate", ctx.Err(), 0)
		case <-tick.C:
		}
		next, err := w.readVersion(ctx, version)
		if err != nil {
			return w.failure(ctx, "rotate", err, 0)
		}
		v = next
	}
	return nil
}

// notAllowed names the role where the account lacks a permission.
func (w *Wrapper) notAllowed(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case status.Code(err) == codes.PermissionDenied:
		return w.fail(seals.Denied, errors.New("the account may not change versions of the key"),
			"grant it roles/cloudkms.admin on the key for the time of the change, or do it by other means: the server "+
				"follows a new primary version automatically")
	}
	return w.failure(ctx, "rotate", err, 0)
}

// DestroyKey implements [seals.KeyDestroyer]: the version is scheduled for destruction, and can be
// restored until then.
func (w *Wrapper) DestroyKey(ctx context.Context, key *wrapping.KeyInfo, version string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, w.s.timeout)
	defer cancel()
	n, err := strconv.ParseUint(version, 10, 64)
	if err != nil || n == 0 || key.GetKeyId() != w.s.name() {
		return "", w.fail(seals.Misconfigured, fmt.Errorf("%.100q of %.300q is no version of this key", version,
			key.GetKeyId()), "destroy it in the cloud's console")
	}
	primary, err := w.KeyVersion(ctx)
	if err != nil {
		return "", err
	}
	if primary == version {
		return "", w.fail(seals.Misconfigured, fmt.Errorf("version %d is the one in use", n), "rotate the key first")
	}
	v, err := w.readVersion(ctx, n)
	if err == nil && v.GetState() != kmspb.CryptoKeyVersion_DESTROYED &&
		v.GetState() != kmspb.CryptoKeyVersion_DESTROY_SCHEDULED {
		err = w.conn.do(ctx, func(ctx context.Context, c *kms.KeyManagementClient) (err error) {
			v, err = c.DestroyCryptoKeyVersion(ctx, &kmspb.DestroyCryptoKeyVersionRequest{
				Name: fmt.Sprintf("%s/cryptoKeyVersions/%d", w.s.name(), n)})
			return err
		})
	}
	switch {
	case status.Code(err) == codes.NotFound, err == nil && v.GetDestroyTime() == nil:
		return "destroyed", nil
	case err != nil:
		return "", w.notAllowed(ctx, err)
	}
	return "due for destruction at " + v.GetDestroyTime().AsTime().UTC().Format(time.RFC3339), nil
}
