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

// Wrapper is the seal. It is safe for use by many goroutines.
type Wrapper struct {
	set  settings
	log  *slog.Logger
	conn connection

	mu       sync.Mutex
	arn      string   // canonical ARN of the key that encrypts, "" until it is known
	last     *wrapped // what was encrypted last
	schedule schedule
	refused  struct { // of DescribeKey
		err   error
		until time.Time
	}
}

// wrapped is what the KMS made of a data key.
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
	_ seals.Closer     = (*Wrapper)(nil)
	_ API              = (*kms.Client)(nil)
)

// New reads a stanza:
//
//	kms_key_id                  id or ARN of the key, alias/NAME, or the ARN of an alias; required
//	region                      default: that of the ARN, else the profile's
//	endpoint                    of the KMS, such as a VPC endpoint or https://kms-fips.REGION.amazonaws.com
//	use_fips_endpoint           AWS's own endpoints of these kinds
//	use_dual_stack_endpoint
//	access_key, secret_key      credentials; env://NAME or file://PATH keep them out of the file, and are read again
//	session_token
//	shared_creds_filename       a file of profiles, and which of them
//	shared_creds_profile
//	web_identity_token_file     a token that role_arn is assumed with
//	role_arn                    a role that is assumed with whatever credentials are found
//	role_session_name           sealgate
//	sts_endpoint                where roles are assumed
//	disallow_env_vars           nothing is taken from the environment
//	timeout                     of each call with its retries: 10s
//
// Each may be given by the environment, as VAULT_AWSKMS_SEAL_KEY_ID or BAO_AWSKMS_SEAL_REGION; AWS_REGION, AWS_DEFAULT_REGION and
// AWS_KMS_ENDPOINT win over the stanza. Where the stanza has no credentials, the SDK's chain finds them: variables, web
// identity, profile (SSO, process and source profiles among them), the container's agent (ECS, EKS), the instance's metadata.
//
// An error is a mistake in the stanza. Nothing is asked yet.
func New(cfg seals.Config) (wrapping.Wrapper, error) {
	s, err := parse(cfg)
	if err != nil {
		return nil, misconfigured(cfg.Name, err)
	}
	src, err := newSource(s)
	if err != nil {
		return nil, misconfigured(cfg.Name, err)
	}
	if s.accessKey != "" {
		if _, err := src.static(); err != nil {
			return nil, misconfigured(cfg.Name, err)
		}
	}
	w := newWrapper(s, cfg.Log)
	w.conn.source, w.conn.keeper = src, newKeeper(src.credentials, time.Now)
	for name, endpoint := range map[string]string{"endpoint": s.endpoint, "sts_endpoint": s.stsEndpoint} {
		if strings.HasPrefix(endpoint, "http:") {
			w.log.Warn("AWS KMS is asked without TLS: whoever listens can unseal", "seal", s.name, name, endpoint)
		}
	}
	return w, nil
}

// NewWithClient makes the seal of a client of the caller's, which has region, credentials and retries; keyID is as kms_key_id.
func NewWithClient(name, keyID string, client API) (*Wrapper, error) {
	s := settings{name: name, key: keyID, timeout: defaultTimeout}
	if err := errors.Join(s.resolveRegion(""), s.check()); err != nil {
		return nil, misconfigured(name, err)
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

// SetConfig returns what the seal is configured with, without secrets. The configuration itself is New's: one in the options is refused.
func (w *Wrapper) SetConfig(_ context.Context, options ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	o, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, err
	}
	if len(o.WithConfigMap) > 0 {
		return nil, misconfigured(w.set.name, errors.New("the seal is configured when it is made"))
	}
	meta := map[string]string{"kms_key_id": w.set.key}
	for name, v := range map[string]string{
		"region": w.set.region, "endpoint": w.set.endpoint, "role_arn": w.set.role, "shared_creds_profile": w.set.profile,
	} {
		if v != "" {
			meta[name] = v
		}
	}
	return &wrapping.WrapperConfig{Metadata: meta}, nil
}

// Encrypt encrypts a secret of at most 60 KiB; wrapping.WithAad binds additional data.
func (w *Wrapper) Encrypt(ctx context.Context, plaintext []byte, options ...wrapping.Option) (*wrapping.BlobInfo, error) {
	o, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, err
	}
	if len(plaintext) > maxPlain {
		return nil, seals.Fail(seals.Misconfigured, w.caused("encrypt", errTooLong), "a seal encrypts keys, not data")
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

// wrap encrypts a data key, and checks what AWS says about it.
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
			w.caused("encrypt", errors.New("the answer has no canonical ARN, or no ciphertext of a usual length")),
			"see whether endpoint is that of AWS KMS, and what stands in between")
	}
	if want, ok := parseARN(w.set.key); ok && !want.alias() && want != a {
		return nil, seals.Fail(seals.WrongKey, w.caused("encrypt", fmt.Errorf("%s encrypted, and %s was asked to", arn, w.set.key)),
			"see whether endpoint is that of AWS KMS, and what stands in between")
	}
	last := &wrapped{arn, out.CiphertextBlob, pairs}
	w.learn(arn, last)
	return last, nil
}

// learn remembers which key encrypts, and what it encrypted last.
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

// Decrypt decrypts what Encrypt returned, with the same additional data.
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
		&kms.DecryptInput{KeyId: &pin, CiphertextBlob: blob.KeyInfo.WrappedKey, EncryptionContext: encryptionContext(o.WithAad)})
	if err != nil {
		if code(err) == "IncorrectKeyException" {
			return nil, w.corrupt(fmt.Errorf("the blob says that it is of %s, and AWS says that it is not: %w", pin, seals.Classify(err).Err))
		}
		return nil, err
	}
	defer clear(out.Plaintext)
	if len(out.Plaintext) != dataKeyLen || aws.ToString(out.KeyId) != pin {
		return nil, w.corrupt(fmt.Errorf("AWS answered with %d bytes of the key %.300q", len(out.Plaintext), aws.ToString(out.KeyId)))
	}
	plain, err := open(out.Plaintext, blob, o.WithAad)
	if err != nil {
		return nil, w.corrupt(err)
	}
	return plain, nil
}

func (w *Wrapper) corrupt(err error) error {
	return seals.Fail(seals.Corrupt, w.caused("decrypt", err),
		"restore the stored record from a backup, or see what changes the answers between here and AWS")
}

// pin is the key that a blob is decrypted with: the one that it names, where this seal is allowed to use it. Without this, whoever
// can write the storage could have a blob accepted that a key of theirs has encrypted.
func (w *Wrapper) pin(ctx context.Context, named string) (string, error) {
	of, ok := parseARN(named)
	if !ok || of.alias() {
		return "", w.corrupt(fmt.Errorf("the blob names %.300q, which is no key's canonical ARN", named))
	}
	id := w.set.key
	want, isARN := parseARN(id)
	switch {
	case isAlias(id):
		return w.pinByAlias(ctx, of)
	case isARN && want.sameKey(of):
		return id, nil
	case !isARN && of.resource == "key/"+id: // AWS sees whether it is of this account
		if region := w.conn.where(); region == "" || of.region == region {
			return named, nil
		} else if of.multiRegion() {
			return of.in(region).String(), nil
		}
	}
	return "", w.wrongKey(of, id)
}

// pinByAlias takes keys of the account and region of the key that the alias points to.
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
	return seals.Fail(seals.WrongKey, w.caused("decrypt", fmt.Errorf("the blob is of the key %s, this seal has %s", of, has)),
		"set kms_key_id to the key that the blob names")
}

// Close ends the connections that are kept for the next call.
func (w *Wrapper) Close() error {
	w.conn.close()
	return nil
}
