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
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"github.com/openbao/openbao/api/v2"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/internal/envelope"
	"github.com/sealgate/sealgate/seals/internal/fresh"
)

// Wrapper is the seal. It is safe for concurrent use.
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
	rsa   atomic.Bool  // the key is known to be an RSA key
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

	_ seals.PublicWrapper = (*Wrapper)(nil)

	_ seals.Bounded  = (*Wrapper)(nil)
	_ seals.Closer   = (*Wrapper)(nil)
	_ seals.Upstream = (*Wrapper)(nil)
)

// New reads a stanza:
//
//	address                         URL of the server; default: BAO_ADDR, VAULT_ADDR,
//	                                https://127.0.0.1:8200
//	token                           a token, env://NAME or file://PATH; default: BAO_TOKEN,
//	                                VAULT_TOKEN, none behind an agent that adds one
//	mount_path, key_name            mount of the engine, and its key; required
//	namespace                       of the mount
//	disable_renewal                 do not renew the token
//	key_id_prefix                   prefix of the key's id in status and records
//	tls_ca_cert, tls_ca_path        CAs of the server's certificate: a file, a folder
//	tls_client_cert, tls_client_key client certificate
//	tls_server_name                 expected name in the server's certificate
//	tls_skip_verify                 do not verify the server's certificate
//	timeout                         of each call; default: 10s
//
// An error is a mistake in the stanza. New makes no request.
func New(cfg seals.Config) (wrapping.Wrapper, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s, err := parse(cfg)
	if err != nil {
		return nil, seals.ConfigError("transit", cfg.Name, err)
	}
	client, transport, err := newClient(s)
	if err != nil {
		return nil, seals.ConfigError("transit", cfg.Name, err)
	}
	w := &Wrapper{
		name: cfg.Name, id: s.id(), log: cfg.Log, settings: s, client: client, transport: transport,
		tokens: fresh.New(s.token, cfg.Getenv),
	}
	w.renewer = &renewer{name: cfg.Name, log: cfg.Log}
	if s.renew {
		w.renewer.renew = w.renewToken
	}
	if strings.HasPrefix(s.token, "env://") {
		if err := w.refresh(w.tokens.Get); err != nil {
			return nil, seals.ConfigError("transit", cfg.Name, err)
		}
	}
	if s.inTheClear() {
		w.log.Warn("the transit seal sends its token and data keys without TLS, because its address is http://",
			"seal", w.name)
	}
	if s.tls.skipVerify {
		w.log.Warn("the transit seal does not verify the server's certificate, because tls_skip_verify is set", "seal",
			w.name)
	}
	return w, nil
}

// Type returns "transit".
func (w *Wrapper) Type(context.Context) (wrapping.WrapperType, error) {
	return wrapping.WrapperTypeTransit, nil
}

// KeyId returns the canonical name of the key, such as "namespace/transit/keys/name", after
// key_id_prefix.
func (w *Wrapper) KeyId(context.Context) (string, error) { return w.id, nil }

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
		return nil, seals.ConfigError("transit", w.name, seals.ErrSetConfig)
	}
	meta := map[string]string{"address": w.settings.address, "mount_path": w.settings.mount, "key_name": w.settings.key}
	if w.settings.namespace != "" {
		meta["namespace"] = w.settings.namespace
	}
	return &wrapping.WrapperConfig{Metadata: meta}, nil
}

// serverData returns the associated data for the server. It is never empty, so that a server that
// ignores it can be detected.
func serverData(aad []byte) []byte { return append([]byte("sealgate/seals/transit/v1\x00"), aad...) }

// Encrypt encrypts a secret; wrapping.WithAad binds additional data. The blob has the format of
// package envelope; the wrapped key is the server's ciphertext ("vault:vN:..."), and "vN" its
// version.
func (w *Wrapper) Encrypt(ctx context.Context, plain []byte, options ...wrapping.Option) (*wrapping.BlobInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	return envelope.Encrypt(ctx, w.id, plain, options, func(ctx context.Context, key, aad []byte) (envelope.Wrapped,
		error) {
		text, version, bound, err := w.wrap(ctx, key, serverData(aad))
		if err != nil {
			return envelope.Wrapped{}, w.failure(err)
		}
		w.last.Store(version)
		return envelope.Wrapped{Version: version, Bound: bound, Key: []byte(text)}, nil
	})
}

// wrap has the server wrap a data key. With the first one it learns whether the server binds
// associated data.
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
			w.unbound("the type of its key does not support it, such as RSA")
		default:
			return "", "", false, err
		}
	}
	text, version, _, err = w.encrypt(ctx, key, nil)
	return text, version, false, err
}

// learn detects a server that is too old for associated data and ignores it: it decrypts without
// it.
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
		w.log.Warn("the server of the transit seal does not bind associated data; only the data key binds it",
			"seal", w.name, "why", why)
	}
}

// Decrypt decrypts a blob of Encrypt with the same additional data.
func (w *Wrapper) Decrypt(ctx context.Context, blob *wrapping.BlobInfo, options ...wrapping.Option) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	return envelope.Decrypt(ctx, w.id, blob, options, func(ctx context.Context, wrapped envelope.Wrapped,
		aad []byte) ([]byte, error) {
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

// trimmed distinguishes a trimmed version from a disallowed one. The server answers "too old" to
// both.
func (w *Wrapper) trimmed(ctx context.Context, version string, err error) error {
	if !strings.Contains(answer(err), "too old") {
		return err
	}
	info, kerr := w.readKey(ctx)
	n, nerr := strconv.Atoi(strings.TrimPrefix(version, "v"))
	if kerr != nil || nerr != nil || n >= info.MinAvailable {
		return err
	}
	return seals.Fail(seals.KeyGone, fmt.Errorf("seal \"transit\" %q: version %s of the key %s was trimmed: the "+
		"oldest available version is v%d",
		w.name, version, w.id, info.MinAvailable), "restore the key from the server's backup")
}

// VersionOf returns the version that made a blob.
func (w *Wrapper) VersionOf(blob *wrapping.BlobInfo) string { return envelope.VersionOf(blob) }

// KeyVersion returns the version that the next encryption uses, such as "v3". Where the token may
// not read the key, it encrypts a byte to learn the version.
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

// RotateKey makes a new version of the key. The token must be allowed to do so.
func (w *Wrapper) RotateKey(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	_, err := w.attempt(ctx, func(ctx context.Context) (*api.Secret, error) {
		return w.client.Logical().WriteWithContext(ctx, w.settings.mount+"/keys/"+w.settings.key+"/rotate", nil)
	})
	if status(err) == http.StatusForbidden {
		return seals.Fail(seals.Denied, errors.New("the token may not rotate the key"),
			"allow it \"update\" on %s/keys/%s/rotate, or rotate the key with another token: the server follows automatically",
			w.settings.mount, w.settings.key)
	}
	return w.failure(err)
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
		st.Detail["associated data"] = "bound by the data key only"
	}
	info, err := w.readKey(ctx)
	switch {
	case status(err) == http.StatusForbidden:
		st.Detail["degraded"] = "the token may not read " + w.settings.mount + "/keys/" + w.settings.key
		return st, nil
	case err != nil:
		return st, w.failure(err)
	}
	w.rsa.Store(strings.HasPrefix(info.Kind, "rsa"))
	st.Latest = "v" + strconv.Itoa(info.Latest)
	st.Version, st.State = st.Latest, "enabled"
	if info.SoftDeleted {
		st.State = "disabled"
	}
	st.Detail["key type"], st.Detail["oldest version that decrypts"] = info.Kind,
		"v"+strconv.Itoa(max(1, info.MinDecryption))
	if info.AutoRotate > 0 {
		st.Detail["rotation"] = fmt.Sprintf("every %d hours", info.AutoRotate/3600)
	}
	return st, nil
}

// WrapsPublicly implements [seals.PublicWrapper] for an RSA key, whose type is known after
// [Wrapper.Describe].
func (w *Wrapper) WrapsPublicly() string {
	if !w.rsa.Load() {
		return ""
	}
	return "use a key of type aes256-gcm96, or combine this seal with one of a symmetric key by " +
		"seal_policy { mode = \"threshold\" }"
}

// Close ends the renewal of the token and closes idle connections. The token stays valid for the
// next process.
func (w *Wrapper) Close() error {
	w.renewer.close()
	w.tokens.Close()
	w.transport.CloseIdleConnections()
	return nil
}
