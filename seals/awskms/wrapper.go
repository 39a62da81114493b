package awskms

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/seals"
)

// Wrapper is the seal. It is safe for concurrent use.
type Wrapper struct {
	set  settings
	log  *slog.Logger
	conn connection

	mu       sync.Mutex
	arn      string   // canonical ARN of the key that encrypts, "" until it is known
	last     *wrapped // the last data key that was encrypted
	schedule schedule
	refused  struct { // of DescribeKey
		err   error
		until time.Time
	}
}

// wrapped is a data key encrypted by the KMS.
type wrapped struct {
	arn   string // canonical
	blob  []byte
	pairs map[string]string
}

var (
	_ wrapping.Wrapper = (*Wrapper)(nil)
	_ seals.Factory    = New
	_ seals.Versioned  = (*Wrapper)(nil)
	_ seals.Describer  = (*Wrapper)(nil)
	_ seals.Bounded    = (*Wrapper)(nil)
	_ seals.Closer     = (*Wrapper)(nil)
	_ API              = (*kms.Client)(nil)
)

// New reads a stanza:
//
//	kms_key_id                  id or ARN of the key, alias/NAME, or the ARN of an alias; required
//	region                      default: that of the ARN, else that of the profile
//	endpoint                    of the KMS, such as that of a VPC endpoint
//	use_fips_endpoint           use AWS's FIPS endpoint
//	use_dual_stack_endpoint     use AWS's dual-stack endpoint
//	access_key, secret_key      credentials; env://NAME or file://PATH keep them out of it, and
//	                            are read again when they change
//	session_token               of temporary credentials
//	shared_creds_filename       a credentials file with profiles
//	shared_creds_profile        the profile in it
//	web_identity_token_file     a file with a token to assume role_arn with
//	role_arn                    a role to assume with the other credentials
//	role_session_name           default: sealgate
//	sts_endpoint                of the service that assumes roles
//	disallow_env_vars           ignore the environment
//	timeout                     of each call, retries included; default: 10s
//
// Each can be set in the environment, such as VAULT_AWSKMS_SEAL_KEY_ID or BAO_AWSKMS_SEAL_REGION.
// AWS_KMS_ENDPOINT takes precedence over the stanza; AWS_REGION and AWS_DEFAULT_REGION count only
// where the stanza has no region. Without credentials in the stanza, the SDK's chain finds them:
// variables, web identity, profile (including SSO, process and source profiles), the container's
// agent (ECS, EKS), the instance's metadata.
//
// An error is a mistake in the stanza. New makes no request.
func New(cfg seals.Config) (wrapping.Wrapper, error) {
	s, err := parse(cfg)
	if err != nil {
		return nil, seals.ConfigError("awskms", cfg.Name, err)
	}
	src, err := newSource(s)
	if err != nil {
		return nil, seals.ConfigError("awskms", cfg.Name, err)
	}
	if s.accessKey != "" {
		if _, err := src.static(); err != nil {
			return nil, seals.ConfigError("awskms", cfg.Name, err)
		}
	}
	w := newWrapper(s, cfg.Log)
	w.conn.source, w.conn.keeper = src, newKeeper(src.credentials, time.Now)
	for name, endpoint := range map[string]string{"endpoint": s.endpoint, "sts_endpoint": s.stsEndpoint} {
		if strings.HasPrefix(endpoint, "http:") {
			w.log.Warn("AWS KMS is called without TLS: anybody on the network path can read data keys",
				"seal", s.name, name, endpoint)
		}
	}
	return w, nil
}

// NewWithClient makes a seal with the caller's client, which brings region, credentials and
// retries. keyID has the forms of kms_key_id.
func NewWithClient(name, keyID string, client API) (*Wrapper, error) {
	s := settings{name: name, key: keyID, timeout: defaultTimeout}
	if err := errors.Join(s.resolveRegion("", ""), s.check()); err != nil {
		return nil, seals.ConfigError("awskms", name, err)
	}
	w := newWrapper(s, nil)
	w.conn.api, w.conn.region = client, s.region
	return w, nil
}

func newWrapper(s settings, log *slog.Logger) *Wrapper {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	w := &Wrapper{set: s, log: log}
	if a, ok := parseARN(s.key); ok && !a.alias() {
		w.arn = s.key
	}
	return w
}

// Type returns "awskms".
func (w *Wrapper) Type(context.Context) (wrapping.WrapperType, error) {
	return wrapping.WrapperTypeAwsKms, nil
}

// Timeout implements [seals.Bounded].
func (w *Wrapper) Timeout() time.Duration { return w.set.timeout }

// SetConfig returns the configuration without secrets. It refuses a configuration in the options:
// the seal is configured by New.
func (w *Wrapper) SetConfig(_ context.Context, options ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	o, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, err
	}
	if len(o.WithConfigMap) > 0 {
		return nil, seals.ConfigError("awskms", w.set.name, seals.ErrSetConfig)
	}
	meta := map[string]string{"kms_key_id": w.set.key}
	for name, v := range map[string]string{
		"region": w.set.region, "endpoint": w.set.endpoint, "role_arn": w.set.role,
		"shared_creds_profile": w.set.profile,
	} {
		if v != "" {
			meta[name] = v
		}
	}
	return &wrapping.WrapperConfig{Metadata: meta}, nil
}

// Encrypt encrypts a secret of at most 60 KiB; wrapping.WithAad binds additional data.
func (w *Wrapper) Encrypt(ctx context.Context, plaintext []byte, options ...wrapping.Option) (*wrapping.BlobInfo,
	error) {
	o, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, err
	}
	if len(plaintext) > maxPlain {
		return nil, seals.Fail(seals.Misconfigured, w.caused("encrypt", errTooLong),
			"use the seal for keys, not for data")
	}
	dataKey := make([]byte, dataKeyLen)
	defer clear(dataKey)
	_, _ = rand.Read(dataKey) // never fails
	out, err := w.wrap(ctx, dataKey, encryptionContext(o.WithAad))
	if err != nil {
		return nil, err
	}
	blob, err := seal(dataKey, out.blob, out.arn, plaintext, o.WithAad)
	if err != nil {
		return nil, seals.Classify(w.caused("encrypt", err))
	}
	return blob, nil
}

// wrap encrypts a data key and checks the answer.
func (w *Wrapper) wrap(ctx context.Context, dataKey []byte, pairs map[string]string) (*wrapped, error) {
	out, err := ask(ctx, w, "encrypt", w.set.key, encryptCall,
		&kms.EncryptInput{KeyId: &w.set.key, Plaintext: dataKey, EncryptionContext: pairs})
	if err != nil {
		return nil, err
	}
	arn := aws.ToString(out.KeyId)
	a, ok := parseARN(arn)
	if !ok || a.alias() || len(out.CiphertextBlob) == 0 || len(out.CiphertextBlob) > maxWrapped {
		return nil, seals.Fail(seals.Corrupt,
			w.caused("encrypt", errors.New("the answer has no canonical ARN, or a ciphertext of unusual length")),
			"%s", checkEndpoint)
	}
	if want, ok := parseARN(w.set.key); ok && !want.alias() && want != a {
		return nil, seals.Fail(seals.WrongKey, w.caused("encrypt",
			fmt.Errorf("the key %s encrypted instead of %s", arn, w.set.key)),
			"%s", checkEndpoint)
	}
	last := &wrapped{arn, out.CiphertextBlob, pairs}
	w.learn(arn, last)
	return last, nil
}

// learn records which key encrypts, and the last data key.
func (w *Wrapper) learn(arn string, last *wrapped) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.arn = arn
	if last != nil {
		w.last = last
	}
}

func (w *Wrapper) latest() *wrapped {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

func (w *Wrapper) known() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.arn
}

// Decrypt decrypts a blob of Encrypt with the same additional data.
func (w *Wrapper) Decrypt(ctx context.Context, blob *wrapping.BlobInfo, options ...wrapping.Option) ([]byte, error) {
	o, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, err
	}
	if err := intact(blob); err != nil {
		return nil, w.corrupt(err)
	}
	pin, err := w.pin(ctx, blob.KeyInfo.KeyId)
	if err != nil {
		return nil, err
	}
	out, err := ask(ctx, w, "decrypt", pin, decryptCall,
		&kms.DecryptInput{KeyId: &pin, CiphertextBlob: blob.KeyInfo.WrappedKey,
			EncryptionContext: encryptionContext(o.WithAad)})
	if err != nil {
		if code(err) == "IncorrectKeyException" {
			return nil, w.corrupt(fmt.Errorf("the blob names the key %s, which did not encrypt it: %w", pin,
				seals.Classify(err).Err))
		}
		return nil, err
	}
	defer clear(out.Plaintext)
	if len(out.Plaintext) != dataKeyLen || aws.ToString(out.KeyId) != pin {
		return nil, w.corrupt(fmt.Errorf("AWS returned %d bytes of the key %.300q", len(out.Plaintext),
			aws.ToString(out.KeyId)))
	}
	plain, err := open(out.Plaintext, blob, o.WithAad)
	if err != nil {
		return nil, w.corrupt(err)
	}
	return plain, nil
}

func (w *Wrapper) corrupt(err error) error {
	return seals.Fail(seals.Corrupt, w.caused("decrypt", err),
		"restore the stored record from a backup; if it is intact, check that no proxy changes the answers of AWS")
}

// pin returns the key to decrypt a blob with: the key that it names, if this seal may use that key.
// Otherwise an attacker who can write the storage could substitute a blob encrypted by a key of his
// own.
func (w *Wrapper) pin(ctx context.Context, named string) (string, error) {
	of, ok := parseARN(named)
	if !ok || of.alias() {
		return "", w.corrupt(fmt.Errorf("the blob names %.300q, which is not the canonical ARN of a key", named))
	}
	id := w.set.key
	want, isARN := parseARN(id)
	switch {
	case isAlias(id):
		return w.pinByAlias(ctx, of)
	case isARN && want.sameKey(of):
		return id, nil
	case !isARN && of.resource == "key/"+id: // AWS checks the account
		if region := w.conn.where(); region == "" || of.region == region {
			return named, nil
		} else if of.multiRegion() {
			return of.in(region).String(), nil
		}
	}
	return "", w.wrongKey(of, id)
}

// pinByAlias accepts keys of the account and region of the key that the alias names.
func (w *Wrapper) pinByAlias(ctx context.Context, of keyARN) (string, error) {
	now, known := parseARN(w.known())
	if !known {
		id, err := w.KeyId(ctx)
		if err != nil {
			return "", err
		}
		now, _ = parseARN(id)
	}
	switch {
	case now.sameKey(of):
		return now.String(), nil
	case of.partition == now.partition && of.account == now.account && of.region == now.region:
		return of.String(), nil
	}
	return "", w.wrongKey(of, fmt.Sprintf("%s, which is %s", w.set.key, now))
}

func (w *Wrapper) wrongKey(of keyARN, has string) error {
	return seals.Fail(seals.WrongKey, w.caused("decrypt",
		fmt.Errorf("the blob was wrapped by the key %s, and this seal uses %s", of, has)),
		"set kms_key_id to the key that the blob names")
}

// Close closes idle connections.
func (w *Wrapper) Close() error {
	w.conn.close()
	return nil
}
