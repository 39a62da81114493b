package transit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"github.com/openbao/openbao/api/v2"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/internal/envelope"
	"github.com/sealgate/sealgate/seals/internal/fresh"
)

// Wrapper is the seal. It is safe for use by many goroutines.
type Wrapper struct {
	name      string
	id        string
	log       *slog.Logger
	settings  settings
	client    *api.Client
	transport *http.Transport
	tokens    *fresh.Secret
	renewer   *renewer

	binds atomic.Int32 // whether the server binds associated data: one of the constants below
	last  atomic.Value // string: the key version of the last encryption
}

const (
	bindsUnknown int32 = iota
	bindsYes
	bindsNo
)

var (
	_ wrapping.Wrapper = (*Wrapper)(nil)
	_ seals.Factory    = New
	_ seals.Versioned  = (*Wrapper)(nil)
	_ seals.Stamper    = (*Wrapper)(nil)
	_ seals.Describer  = (*Wrapper)(nil)
	_ seals.Closer     = (*Wrapper)(nil)
)

// New reads a stanza:
//
//	address                         URL of the server; default: BAO_ADDR, VAULT_ADDR, https://127.0.0.1:8200
//	token                           itself, env://NAME or file://PATH; default: BAO_TOKEN, VAULT_TOKEN; none behind an agent that adds one
//	mount_path, key_name            where the engine is mounted, and its key; required
//	namespace                       of the mount
//	disable_renewal                 leave the token's renewal to somebody else
//	key_id_prefix                   put before the key's id in status and records
//	tls_ca_cert, tls_ca_path        authorities of the server's certificate: a file, a folder
//	tls_client_cert, tls_client_key
//	tls_server_name, tls_skip_verify
//	timeout                         of each call: 10s
//
// An error is a mistake in the stanza. The server is not asked yet.
func New(cfg seals.Config) (wrapping.Wrapper, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s, err := parse(cfg)
	if err != nil {
		return nil, misconfigured(cfg.Name, err)
	}
	client, transport, err := newClient(s)
	if err != nil {
		return nil, misconfigured(cfg.Name, err)
	}
	w := &Wrapper{
		name: cfg.Name, id: s.id(), log: cfg.Log, settings: s, client: client, transport: transport, tokens: fresh.New(s.token, cfg.Getenv),
	}
	w.renewer = &renewer{name: cfg.Name, log: cfg.Log}
	if s.renew {
		w.renewer.renew = w.renewToken
	}
	if strings.HasPrefix(s.token, "env://") {
		if err := w.refresh(w.tokens.Get); err != nil {
			return nil, misconfigured(cfg.Name, err)
		}
	}
	if s.inTheClear() {
		w.log.Warn("the transit seal's token and data keys cross the network in the clear, because its address is http://", "seal", w.name)
	}
	if s.tls.skipVerify {
		w.log.Warn("the transit seal takes any server for its own, because tls_skip_verify is set", "seal", w.name)
	}
	return w, nil
}

func misconfigured(name string, err error) error {
	if f := new(seals.Failure); errors.As(err, &f) && f.Class == seals.Misconfigured {
		return f
	}
	return seals.Fail(seals.Misconfigured, fmt.Errorf("seal \"transit\" %q: %w", name, err), "correct the stanza or the environment variable")
}

// Type returns "transit".
func (w *Wrapper) Type(context.Context) (wrapping.WrapperType, error) {
	return wrapping.WrapperTypeTransit, nil
}

// KeyId returns the canonical name of the key, such as "namespace/transit/keys/name", after key_id_prefix.
func (w *Wrapper) KeyId(context.Context) (string, error) { return w.id, nil }

// SetConfig returns what the seal is configured with, without secrets. The configuration itself is New's: one in the options is refused.
func (w *Wrapper) SetConfig(_ context.Context, options ...wrapping.Option) (*wrapping.WrapperConfig, error) {
	o, err := wrapping.GetOpts(options...)
	if err != nil {
		return nil, err
	}
	if len(o.WithConfigMap) > 0 {
		return nil, misconfigured(w.name, errors.New("the seal is configured when it is made"))
	}
	meta := map[string]string{"address": w.settings.address, "mount_path": w.settings.mount, "key_name": w.settings.key}
	if w.settings.namespace != "" {
		meta["namespace"] = w.settings.namespace
	}
	return &wrapping.WrapperConfig{Metadata: meta}, nil
}

// serverData is the associated data as the server gets it: never empty, so that an old server's way of leaving it out is seen.
func serverData(aad []byte) []byte { return append([]byte("sealgate/seals/transit/v1\x00"), aad...) }

// Encrypt encrypts a secret; wrapping.WithAad binds additional data. The blob is that of package envelope, with the ciphertext as
// the server writes it ("vault:vN:...") for the wrapped key and "vN" for its version.
func (w *Wrapper) Encrypt(ctx context.Context, plain []byte, options ...wrapping.Option) (*wrapping.BlobInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	return envelope.Encrypt(ctx, w.id, plain, options, func(ctx context.Context, key, aad []byte) (envelope.Wrapped, error) {
		text, version, bound, err := w.wrap(ctx, key, serverData(aad))
		if err != nil {
			return envelope.Wrapped{}, w.failure(err)
		}
		w.last.Store(version)
		return envelope.Wrapped{Version: version, Bound: bound, Key: []byte(text)}, nil
	})
}

// wrap has a data key wrapped, and finds out with the first one whether the server binds associated data.
func (w *Wrapper) wrap(ctx context.Context, key, aad []byte) (text, version string, bound bool, err error) {
	if w.binds.Load() != bindsNo {
		var warnings []string
		text, version, warnings, err = w.encrypt(ctx, key, aad)
		switch {
		case err == nil && w.binds.Load() == bindsYes:
			return text, version, true, nil
		case err == nil:
			if bound, err = w.learn(ctx, text, warnings); bound || err != nil {
				return text, version, bound, err
			}
		case status(err) == http.StatusBadRequest && strings.Contains(answer(err), "associated_data"):
			w.unbound("its key is of a type that cannot, such as RSA")
		default:
			return "", "", false, err
		}
	}
	text, version, _, err = w.encrypt(ctx, key, nil)
	return text, version, false, err
}

// learn tells a server that binds associated data from one that is too old to know them and ignores them: that one decrypts without them.
func (w *Wrapper) learn(ctx context.Context, text string, warnings []string) (bound bool, err error) {
	ignored := strings.Contains(strings.Join(warnings, " "), "associated_data")
	if !ignored {
		var plain []byte
		plain, err = w.decrypt(ctx, text, nil)
		clear(plain)
		ignored = err == nil
	}
	switch {
	case ignored:
		w.unbound("it is too old")
		return false, nil
	case status(err) == http.StatusBadRequest && strings.Contains(answer(err), "authentication failed"):
		w.binds.Store(bindsYes)
		return true, nil
	}
	return false, err
}

func (w *Wrapper) unbound(why string) {
	if w.binds.Swap(bindsNo) != bindsNo {
		w.log.Warn("the server of the transit seal does not bind associated data; the blobs are bound here alone, by the data key",
			"seal", w.name, "why", why)
	}
}

// Decrypt decrypts what Encrypt returned, with the same additional data.
func (w *Wrapper) Decrypt(ctx context.Context, blob *wrapping.BlobInfo, options ...wrapping.Option) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	return envelope.Decrypt(ctx, w.id, blob, options, func(ctx context.Context, wrapped envelope.Wrapped, aad []byte) ([]byte, error) {
		text := string(wrapped.Key)
		if version, err := keyVersion(text); err != nil || version != wrapped.Version {
			return nil, envelope.Corrupt(envelope.ErrBlob)
		}
		var data []byte
		if wrapped.Bound {
			data = serverData(aad)
		}
		plain, err := w.decrypt(ctx, text, data)
		if err != nil {
			return nil, w.failure(w.trimmed(ctx, wrapped.Version, err))
		}
		return plain, nil
	})
}

// trimmed tells a version that may not be used from one that is no more: to both the server says "too old".
func (w *Wrapper) trimmed(ctx context.Context, version string, err error) error {
	if !strings.Contains(answer(err), "too old") {
		return err
	}
	info, kerr := w.readKey(ctx)
	n, nerr := strconv.Atoi(strings.TrimPrefix(version, "v"))
	if kerr != nil || nerr != nil || n >= info.MinAvailable {
		return err
	}
	return seals.Fail(seals.KeyGone, fmt.Errorf("seal \"transit\" %q: version %s of the key %s was trimmed: the oldest that is left is v%d",
		w.name, version, w.id, info.MinAvailable), "restore the key from the server's backup")
}

// VersionOf is the version that made a blob.
func (w *Wrapper) VersionOf(blob *wrapping.BlobInfo) string { return envelope.VersionOf(blob) }

// KeyVersion is the version that the next encryption uses, such as "v3". Where the token may not read the key, something is encrypted to see it.
func (w *Wrapper) KeyVersion(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	info, err := w.readKey(ctx)
	if err == nil {
		return "v" + strconv.Itoa(info.Latest), nil
	}
	if status(err) != http.StatusForbidden {
		return "", w.failure(err)
	}
	_, version, _, err := w.encrypt(ctx, []byte("a"), nil)
	return version, w.failure(err)
}

// Describe reads the key's state.
func (w *Wrapper) Describe(ctx context.Context) (seals.KeyState, error) {
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	st := seals.KeyState{ID: w.id, Detail: map[string]string{"address": w.settings.address}}
	st.Version, _ = w.last.Load().(string)
	switch w.binds.Load() {
	case bindsYes:
		st.Detail["associated data"] = "bound by the server and here"
	case bindsNo:
		st.Detail["associated data"] = "bound here alone"
	}
	info, err := w.readKey(ctx)
	switch {
	case status(err) == http.StatusForbidden:
		st.Detail["degraded"] = "the token may not read " + w.settings.mount + "/keys/" + w.settings.key
		return st, nil
	case err != nil:
		return st, w.failure(err)
	}
	st.Latest = "v" + strconv.Itoa(info.Latest)
	st.Version, st.State = st.Latest, "enabled"
	if info.SoftDeleted {
		st.State = "disabled"
	}
	st.Detail["key type"], st.Detail["oldest version that decrypts"] = info.Kind, "v"+strconv.Itoa(max(1, info.MinDecryption))
	if info.AutoRotate > 0 {
		st.Detail["rotation"] = fmt.Sprintf("every %d hours", info.AutoRotate/3600)
	}
	return st, nil
}

// Close ends the token's renewal and the connections. The token stays valid: the next process may use it.
func (w *Wrapper) Close() error {
	w.renewer.close()
	w.tokens.Close()
	w.transport.CloseIdleConnections()
	return nil
}
