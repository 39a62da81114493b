package kmip

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/internal/envelope"
)

// Wrapper is the seal. It is safe for concurrent use.
type Wrapper struct {
	name     string
	log      *slog.Logger
	settings settings
	client   *client
	slots    chan struct{} // bounds the requests in progress
}

var (
	_ wrapping.Wrapper = (*Wrapper)(nil)
	_ seals.Factory    = New
	_ seals.Describer  = (*Wrapper)(nil)
	_ seals.Bounded    = (*Wrapper)(nil)
	_ seals.Closer     = (*Wrapper)(nil)
)

const (
	maxParallel = 8
	format      = 1
	ivLen       = 12
	tagLen      = 16
	keyLen      = 32
)

// New reads a stanza:
//
//	endpoint                  host:port, or several with commas between them; required
//	kms_key_id                unique identifier of an active AES key; required
//	client_cert, client_key   PEM files; required
//	ca_cert, server_name      trust; default: the system's, the endpoint's host
//	timeout                   of each call; default: 10s
//	encrypt_alg               AES_GCM
//	tls12_ciphers             further suites of TLS 1.2, for old servers
//
// An error is a mistake in the stanza. New makes no request and reads no file.
func New(cfg seals.Config) (wrapping.Wrapper, error) {
	s, err := parse(cfg, true)
	if err != nil {
		return nil, seals.ConfigError("kmip", cfg.Name, err)
	}
	return newWrapper(cfg, s), nil
}

func newWrapper(cfg seals.Config, s settings) *Wrapper {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Wrapper{
		name: cfg.Name, log: cfg.Log, settings: s, client: newClient(s), slots: make(chan struct{}, maxParallel),
	}
}

// Type returns "kmip".
func (w *Wrapper) Type(context.Context) (wrapping.WrapperType, error) { return "kmip", nil }

// KeyId returns the key's unique identifier.
func (w *Wrapper) KeyId(context.Context) (string, error) { return w.settings.key, nil }

// Timeout implements [seals.Bounded].
func (w *Wrapper) Timeout() time.Duration { return w.settings.timeout }

// SetConfig returns the configuration without secrets. It refuses a configuration in the options:
// the seal is configured by New.
func (w *Wrapper) SetConfig(_ context.Context, options ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	o, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, err
	}
	if len(o.WithConfigMap) > 0 {
		return nil, seals.ConfigError("kmip", w.name, seals.ErrSetConfig)
	}
	return &wrapping.WrapperConfig{Metadata: map[string]string{
		"endpoint": strings.Join(w.settings.endpoints, ","), "kms_key_id": w.settings.key,
	}}, nil
}

// do runs an operation on the key, within the timeout.
func (w *Wrapper) do(ctx context.Context, op uint32, payload func(version) []item) (item, error) {
	select {
	case w.slots <- struct{}{}:
	case <-ctx.Done():
		return item{}, context.Cause(ctx)
	}
	defer func() { <-w.slots }()
	out, err := w.client.do(ctx, op, payload)
	if id := out.find(tagID); err == nil && op != opDiscoverVersions && op != opCreate && id.text() != w.settings.key {
		return item{}, fmt.Errorf("%w: it is about the key %q", errTTLV, printable(id.text()))
	}
	return out, err
}

// serverData is the additional data for the server.
func serverData(aad []byte) []byte { return append([]byte("sealgate/seals/kmip/v1\x00"), aad...) }

// Encrypt encrypts a secret; wrapping.WithAad binds additional data.
func (w *Wrapper) Encrypt(ctx context.Context, plain []byte, options ...wrapping.Option) (*wrapping.BlobInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	return envelope.Encrypt(ctx, w.settings.key, plain, options,
		func(ctx context.Context, key, aad []byte) (envelope.Wrapped, error) {
			out, err := w.wrap(ctx, key, aad)
			if err != nil {
				return envelope.Wrapped{}, w.failure(ctx, "encrypt", err)
			}
			return out, nil
		})
}

// wrap has the server encrypt a data key.
func (w *Wrapper) wrap(ctx context.Context, key, aad []byte) (envelope.Wrapped, error) {
	iv := make([]byte, ivLen)
	_, _ = rand.Read(iv)
	bound := false
	out, err := w.do(ctx, opEncrypt, func(v version) []item {
		p := []item{text(tagID, w.settings.key), gcm(), octets(tagData, key), octets(tagIV, iv)}
		if bound = v >= 4; bound {
			p = append(p, octets(tagAAD, serverData(aad)))
		}
		return p
	})
	if err != nil {
		return envelope.Wrapped{}, err
	}
	if own := out.find(tagIV).octets(); len(own) == ivLen {
		iv = own // the server chose another one
	}
	ct, tag := out.find(tagData).octets(), out.find(tagGCMTag).octets()
	if tag == nil && len(ct) == keyLen+tagLen { // before 1.4 the tag follows the ciphertext
		ct, tag = ct[:keyLen], ct[keyLen:]
	}
	if len(ct) != keyLen || len(tag) != tagLen {
		return envelope.Wrapped{}, fmt.Errorf("%w: a ciphertext of %d bytes with a tag of %d", errTTLV, len(ct), len(tag))
	}
	blob := append(append(append([]byte{format}, iv...), tag...), ct...)
	return envelope.Wrapped{Bound: bound, Key: blob}, nil
}

// Decrypt decrypts a blob of Encrypt.
func (w *Wrapper) Decrypt(ctx context.Context, blob *wrapping.BlobInfo, options ...wrapping.Option) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	return envelope.Decrypt(ctx, w.settings.key, blob, options,
		func(ctx context.Context, wrapped envelope.Wrapped, aad []byte) ([]byte, error) {
			plain, err := w.unwrap(ctx, wrapped, aad)
			if err != nil {
				return nil, w.judge(ctx, err)
			}
			return plain, nil
		})
}

// errVersion: the server no longer takes the additional data that it bound.
var errVersion = errors.New("the record was wrapped by KMIP 1.4, with additional data, and the server speaks an " +
	"older version now")

func (w *Wrapper) unwrap(ctx context.Context, wrapped envelope.Wrapped, aad []byte) ([]byte, error) {
	k := wrapped.Key
	if len(k) != 1+ivLen+tagLen+keyLen || k[0] != format {
		return nil, envelope.Corrupt(envelope.ErrBlob)
	}
	iv, tag, ct := k[1:1+ivLen], k[1+ivLen:1+ivLen+tagLen], k[1+ivLen+tagLen:]
	old := false
	out, err := w.do(ctx, opDecrypt, func(v version) []item {
		p := []item{text(tagID, w.settings.key), gcm()}
		if v < 4 {
			old = wrapped.Bound
			return append(p, octets(tagData, append(append([]byte{}, ct...), tag...)), octets(tagIV, iv))
		}
		p = append(p, octets(tagData, ct), octets(tagIV, iv))
		if wrapped.Bound {
			p = append(p, octets(tagAAD, serverData(aad)))
		}
		return append(p, octets(tagGCMTag, tag))
	})
	switch {
	case err != nil && old:
		return nil, errors.Join(errVersion, err)
	case err != nil:
		return nil, err
	}
	return out.find(tagData).octets(), nil
}

// judge classifies an error of Decrypt. Servers report a wrong tag as a general failure, like any
// other mishap: the blob is damaged if a round trip with the key succeeds.
func (w *Wrapper) judge(ctx context.Context, err error) error {
	var r *refusal
	if !errors.As(err, &r) || r.reason != reasonGeneral && r.reason != reasonCryptographic &&
		r.reason != reasonInvalidField {
		return w.failure(ctx, "decrypt", err)
	}
	key := make([]byte, keyLen)
	_, _ = rand.Read(key)
	defer clear(key)
	trial, terr := w.wrap(ctx, key, nil)
	if terr != nil {
		return w.failure(ctx, "decrypt", err)
	}
	back, terr := w.unwrap(ctx, trial, nil)
	clear(back)
	var again *refusal // the same for what it encrypted just now: its answers are damaged, too
	if terr != nil && (!errors.As(terr, &again) || again.reason != r.reason) {
		return w.failure(ctx, "decrypt", err)
	}
	return envelope.Corrupt(fmt.Errorf("%w; the server says %w", envelope.ErrBlob, err))
}

// Close closes the connections.
func (w *Wrapper) Close() error {
	w.client.drop(true)
	return nil
}
