package gcpckms

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sealgate/sealgate/seals"
)

// Wrapper is the seal. It is safe for concurrent use.
type Wrapper struct {
	name string // of the seal
	s    *settings
	conn *conn
	used atomic.Uint64 // the version of the last decrypted blob, 0 before
}

var (
	_ wrapping.Wrapper = (*Wrapper)(nil)
	_ seals.Factory    = New
	_ seals.Versioned  = (*Wrapper)(nil)
	_ seals.Stamper    = (*Wrapper)(nil)
	_ seals.Describer  = (*Wrapper)(nil)
	_ seals.Bounded    = (*Wrapper)(nil)
	_ seals.Closer     = (*Wrapper)(nil)
)

// MaxPlaintext is the service's limit for a plaintext in bytes. With an HSM key it is 8 KiB
// including the additional data.
const MaxPlaintext = 64 << 10

// maxCiphertext bounds what Decrypt sends.
const maxCiphertext = MaxPlaintext + 4<<10

// New reads a stanza:
//
//	project, region, key_ring, crypto_key   the key; required
//	credentials         path of a credentials file (also file://PATH), JSON, or env://NAME with JSON;
//	                    default: those of gcloud, or of the machine or pod
//	endpoint            HOST:PORT of another server than cloudkms.googleapis.com, always with TLS
//	tls_ca_cert         file with the CAs of the endpoint's certificate; default: the system's
//	timeout             of each call, retries included; default: 10s
//	user_agent          prefix of the library's user agent
//	disable_env_vars    true: ignore the environment and gcloud's folder
//	key_not_required    accepted without effect: New never looks up the key
//
// Environment variables take precedence over the stanza: SEALGATE_GCPCKMS_*, GOOGLE_PROJECT,
// GOOGLE_REGION, GCPCKMS_WRAPPER_KEY_RING and ..._CRYPTO_KEY, BAO_GCPCKMS_SEAL_* and
// VAULT_GCPCKMS_SEAL_*, GOOGLE_CREDENTIALS, GOOGLE_APPLICATION_CREDENTIALS.
// GOOGLE_CLOUD_QUOTA_PROJECT sets the quota project.
//
// An error is a mistake in the stanza. New makes no request and reads no file.
func New(cfg seals.Config) (wrapping.Wrapper, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s, err := parse(cfg)
	if err != nil {
		return nil, seals.ConfigError("gcpckms", cfg.Name, err)
	}
	return &Wrapper{name: cfg.Name, s: s, conn: newConn(s)}, nil
}

// Type returns "gcpckms".
func (w *Wrapper) Type(context.Context) (wrapping.WrapperType, error) {
	return wrapping.WrapperTypeGcpCkms, nil
}

// Timeout implements [seals.Bounded].
func (w *Wrapper) Timeout() time.Duration { return w.s.timeout }

// KeyId returns the key's resource name, projects/P/locations/L/keyRings/R/cryptoKeys/K, without a
// request.
func (w *Wrapper) KeyId(context.Context) (string, error) { return w.s.name(), nil }

// SetConfig returns the configuration without secrets. It refuses a configuration in the options:
// the seal is configured by New.
func (w *Wrapper) SetConfig(_ context.Context, options ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	o, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, err
	}
	if len(o.WithConfigMap) > 0 {
		return nil, seals.ConfigError("gcpckms", w.name, seals.ErrSetConfig)
	}
	meta := map[string]string{"project": w.s.project, "region": w.s.region, "key_ring": w.s.ring, "crypto_key": w.s.key}
	for name, v := range map[string]string{
		"endpoint": w.s.endpoint, "tls_ca_cert": w.s.caFile, "user_agent": w.s.userAgent, "credentials": w.s.path,
	} {
		if v != "" {
			meta[name] = v
		}
	}
	return &wrapping.WrapperConfig{Metadata: meta}, nil
}

// Encrypt encrypts a secret of 1 to MaxPlaintext bytes with the key's primary version;
// wrapping.WithAad binds additional data. The blob:
//
//	Ciphertext           as the service returned it
//	KeyInfo.KeyId        as KeyId returns it
//	KeyInfo.Flags        number of the version that encrypted
//	KeyInfo.Mechanism    its google.cloud.kms.v1.ProtectionLevel: 1 software, 2 HSM,
//	                     3 and 4 external, 5 single-tenant HSM
func (w *Wrapper) Encrypt(ctx context.Context, plaintext []byte, options ...wrapping.Option) (*wrapping.BlobInfo,
	error) {
	o, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, err
	}
	if len(plaintext) == 0 || len(plaintext) > MaxPlaintext || len(o.WithAad) > MaxPlaintext {
		return nil, w.fail(seals.Misconfigured,
			fmt.Errorf("%d bytes with %d bytes of additional data cannot be encrypted", len(plaintext), len(o.WithAad)),
			"use the seal for keys of 1 to %d bytes, with at most as much additional data", MaxPlaintext)
	}
	req := &kmspb.EncryptRequest{
		Name: w.s.name(), Plaintext: plaintext, PlaintextCrc32C: checksum(plaintext),
		AdditionalAuthenticatedData: o.WithAad, AdditionalAuthenticatedDataCrc32C: checksum(o.WithAad),
	}
	var res *kmspb.EncryptResponse
	var version uint64
	err = w.conn.do(ctx, func(ctx context.Context, c *kms.KeyManagementClient) (err error) {
		if res, err = c.Encrypt(ctx, req); err != nil {
			return err
		}
		version, err = w.checkEncrypted(res)
		return err
	})
	if err != nil {
		return nil, w.failure(ctx, "encrypt", err, 0)
	}
	return &wrapping.BlobInfo{
		Ciphertext: res.GetCiphertext(),
		KeyInfo:    &wrapping.KeyInfo{KeyId: w.s.name(), Flags: version, Mechanism: uint64(res.GetProtectionLevel())},
	}, nil
}

// errIntegrity is returned for a damaged answer, and for one that does not confirm the checksums of
// the request.
var errIntegrity = errors.New("the answer fails the integrity check")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) *wrapperspb.Int64Value {
	return wrapperspb.Int64(int64(crc32.Checksum(b, castagnoli)))
}

// checkEncrypted follows cloud.google.com/kms/docs/data-integrity-guidelines, and returns the
// version that encrypted.
func (w *Wrapper) checkEncrypted(r *kmspb.EncryptResponse) (uint64, error) {
	version, ours := w.version(r.GetName())
	switch {
	case !r.GetVerifiedPlaintextCrc32C(), !r.GetVerifiedAdditionalAuthenticatedDataCrc32C():
		return 0, fmt.Errorf("%w: the service does not confirm the checksums of the request", errIntegrity)
	case r.GetCiphertextCrc32C() == nil:
		return 0, fmt.Errorf("%w: it has no checksum of the ciphertext", errIntegrity)
	case r.GetCiphertextCrc32C().GetValue() != checksum(r.GetCiphertext()).GetValue():
		return 0, fmt.Errorf("%w: the checksum of the ciphertext is wrong", errIntegrity)
	case len(r.GetCiphertext()) == 0 || len(r.GetCiphertext()) > maxCiphertext:
		return 0, fmt.Errorf("%w: a ciphertext of %d bytes", errIntegrity, len(r.GetCiphertext()))
	case !ours:
		return 0, fmt.Errorf("%w: it was encrypted with %.300q", errIntegrity, r.GetName())
	}
	return version, nil
}

var versionName = regexp.MustCompile(`^projects/([^/]+)(/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+)` +
	`/cryptoKeyVersions/([0-9]{1,18})$`)

// version parses the number of a version of this key from its name. A project has an id and a
// number, and the service may use either.
func (w *Wrapper) version(name string) (uint64, bool) {
	m := versionName.FindStringSubmatch(name)
	if m == nil || !strings.HasSuffix(w.s.name(), m[2]) || m[1] != w.s.project &&
		numeric(m[1]) == numeric(w.s.project) {
		return 0, false
	}
	n, err := strconv.ParseUint(m[3], 10, 64)
	return n, err == nil && n > 0
}

func numeric(s string) bool { return strings.Trim(s, "0123456789") == "" }

// Decrypt decrypts a blob of Encrypt, of any version of the key, with the same additional data.
func (w *Wrapper) Decrypt(ctx context.Context, blob *wrapping.BlobInfo, options ...wrapping.Option) ([]byte, error) {
	o, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, err
	}
	if err := w.fits(blob, o.WithAad); err != nil {
		return nil, err
	}
	req := &kmspb.DecryptRequest{
		Name: w.s.name(), Ciphertext: blob.Ciphertext, CiphertextCrc32C: checksum(blob.Ciphertext),
		AdditionalAuthenticatedData: o.WithAad, AdditionalAuthenticatedDataCrc32C: checksum(o.WithAad),
	}
	var res *kmspb.DecryptResponse
	err = w.conn.do(ctx, func(ctx context.Context, c *kms.KeyManagementClient) (err error) {
		if res, err = c.Decrypt(ctx, req); err != nil {
			return err
		}
		return checkDecrypted(res)
	})
	if err != nil {
		return nil, w.failure(ctx, "decrypt", err, blob.KeyInfo.Flags)
	}
	w.used.Store(blob.KeyInfo.Flags)
	return res.GetPlaintext(), nil
}

// fits checks a blob before a request is sent.
func (w *Wrapper) fits(blob *wrapping.BlobInfo, aad []byte) error {
	const restore = "restore the stored seal record from a backup"
	switch {
	case blob == nil || blob.KeyInfo == nil || blob.KeyInfo.KeyId == "" || len(blob.Ciphertext) == 0:
		return w.fail(seals.Corrupt, errors.New("the blob lacks its key's name or its ciphertext"), restore)
	case len(blob.Ciphertext) > maxCiphertext || len(aad) > MaxPlaintext:
		return w.fail(seals.Corrupt, fmt.Errorf("a ciphertext of %d bytes with %d bytes of additional data",
			len(blob.Ciphertext), len(aad)), restore)
	case blob.KeyInfo.KeyId != w.s.name():
		return w.fail(seals.WrongKey, fmt.Errorf("the blob was wrapped by the key %.300q, and this seal uses %q",
			blob.KeyInfo.KeyId, w.s.name()),
			"configure the key that the blob names")
	}
	return nil
}

// checkDecrypted checks the checksum of the plaintext; see checkEncrypted. An answer to Decrypt has
// no verified_* fields: the service refuses a request with wrong checksums, and a damaged
// ciphertext does not authenticate.
func checkDecrypted(r *kmspb.DecryptResponse) error {
	switch {
	case r.GetPlaintextCrc32C() == nil:
		return fmt.Errorf("%w: it has no checksum of the plaintext", errIntegrity)
	case r.GetPlaintextCrc32C().GetValue() != checksum(r.GetPlaintext()).GetValue():
		clear(r.Plaintext)
		return fmt.Errorf("%w: the checksum of the plaintext is wrong", errIntegrity)
	}
	return nil
}

// VersionOf returns the number of the key version that made a blob.
func (w *Wrapper) VersionOf(blob *wrapping.BlobInfo) string {
	return strconv.FormatUint(blob.GetKeyInfo().GetFlags(), 10)
}

// Close cancels the calls in progress and closes the connection.
func (w *Wrapper) Close() error {
	if err := w.conn.close(); err != nil {
		return w.fail(seals.Unknown, err, "no action is needed; the connection is closed")
	}
	return nil
}
