package azurekeyvault

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/internal/envelope"
	"github.com/sealgate/sealgate/seals/internal/fresh"
	"github.com/sealgate/sealgate/seals/internal/remote"
)

const (
	connections = 16 // limit of connections to the vault
	atOnce      = 64 // limit of concurrent calls
	maxReply    = 1 << 20
	maxVersion  = 127
)

// client is the part of *azkeys.Client that the seal calls.
type client interface {
	WrapKey(ctx context.Context, name, version string, p azkeys.KeyOperationParameters,
		o *azkeys.WrapKeyOptions) (azkeys.WrapKeyResponse, error)
	UnwrapKey(ctx context.Context, name, version string, p azkeys.KeyOperationParameters,
		o *azkeys.UnwrapKeyOptions) (azkeys.UnwrapKeyResponse, error)
	GetKey(ctx context.Context, name, version string, o *azkeys.GetKeyOptions) (azkeys.GetKeyResponse, error)
	GetDeletedKey(ctx context.Context, name string, o *azkeys.GetDeletedKeyOptions) (azkeys.GetDeletedKeyResponse,
		error)
}

// Wrapper is the seal. It is safe for concurrent use.
type Wrapper struct {
	name       string
	id         string
	log        *slog.Logger
	settings   settings
	client     client
	credential *credential
	transport  *http.Transport
	limit      *remote.Limiter
	last       atomic.Value // string: the key version of the last encryption
}

var (
	_ wrapping.Wrapper = (*Wrapper)(nil)
	_ seals.Factory    = New
	_ seals.Versioned  = (*Wrapper)(nil)
	_ seals.Stamper    = (*Wrapper)(nil)
	_ seals.Describer  = (*Wrapper)(nil)
	_ seals.Bounded    = (*Wrapper)(nil)

	_ seals.PublicWrapper = (*Wrapper)(nil)

	_ seals.Closer = (*Wrapper)(nil)
)

// New reads a stanza:
//
//	vault_name, key_name            the vault, and an RSA key in it with the operations wrapKey and
//	                                unwrapKey; required
//	environment                     AzurePublicCloud, AzureChinaCloud, AzureUSGovernmentCloud
//	resource                        domain of the vaults, such as managedhsm.azure.net;
//	                                default: that of environment
//	endpoint                        URL of the vault instead of its name, for private endpoints
//	auth_method                     client_secret, client_certificate, workload_identity,
//	                                managed_identity; default: the first complete one
//	tenant_id, client_id            the identity
//	client_secret                   a secret, env://NAME or file://PATH
//	cert_path, cert_password        a certificate with its key, PEM or PKCS #12
//	federated_token_file            of a workload identity; default: AZURE_FEDERATED_TOKEN_FILE
//	managed_id_kind, resource_id    client_id, object_id or resource_id, and its value
//	authority_host                  of the token service; default: AZURE_AUTHORITY_HOST
//	tls_ca_cert                     CAs of both services' certificates, beside the system's
//	timeout                         of each call; default: 10s
//
// The variables AZURE_TENANT_ID, AZURE_CLIENT_ID, AZURE_CLIENT_SECRET, AZURE_ENVIRONMENT and
// AZURE_AD_RESOURCE take precedence over the stanza. An error is a mistake in the stanza. New makes
// no request.
func New(cfg seals.Config) (wrapping.Wrapper, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s, err := parse(cfg)
	if err != nil {
		return nil, seals.ConfigError("azurekeyvault", cfg.Name, err)
	}
	transport, err := newTransport(s)
	if err != nil {
		return nil, seals.ConfigError("azurekeyvault", cfg.Name, err)
	}
	o := azcore.ClientOptions{
		Cloud:     s.cloud,
		Retry:     policy.RetryOptions{MaxRetries: -1}, // the set of seals retries
		Telemetry: policy.TelemetryOptions{ApplicationID: "sealgate"},
		Transport: &http.Client{Transport: transport},
	}
	cred := &credential{s: s, options: o, secret: fresh.New(s.secret, cfg.Getenv),
		pass: fresh.New(s.certPass, cfg.Getenv)}
	o.Transport = &http.Client{Transport: remote.Limit(transport, maxReply), CheckRedirect: noRedirect}
	keys, err := azkeys.NewClient(s.vaultURL, cred, &azkeys.ClientOptions{ClientOptions: o,
		DisableChallengeResourceVerification: s.ownDomain})
	if err != nil {
		return nil, seals.ConfigError("azurekeyvault", cfg.Name, err)
	}
	return &Wrapper{name: cfg.Name, id: s.id(), log: cfg.Log, settings: s, client: keys, credential: cred,
		transport: transport,
		limit:     remote.NewLimiter(atOnce)}, nil
}

// noRedirect keeps tokens at the vault, which never redirects.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Type returns "azurekeyvault".
func (w *Wrapper) Type(context.Context) (wrapping.WrapperType, error) {
	return wrapping.WrapperTypeAzureKeyVault, nil
}

// KeyId returns the key's URL without a version.
func (w *Wrapper) KeyId(context.Context) (string, error) { return w.id, nil }

// WrapsPublicly implements [seals.PublicWrapper]: the key is an RSA key.
func (w *Wrapper) WrapsPublicly() string {
	return "keep the storage and the public half of the key from others, or combine this seal with one of a " +
		"symmetric " +
		"key by seal_policy { mode = \"threshold\" }"
}

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
		return nil, seals.ConfigError("azurekeyvault", w.name, seals.ErrSetConfig)
	}
	return &wrapping.WrapperConfig{Metadata: map[string]string{"vault": w.settings.vaultURL, "key_name": w.settings.key,
		"auth_method": w.settings.method, "tenant_id": w.settings.tenant, "client_id": w.settings.client}}, nil
}

// call calls the service within the timeout.
func call[T any](ctx context.Context, w *Wrapper, operation string, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	v, err := remote.Call(ctx, w.limit, f, nil)
	if err != nil {
		err = w.failure(ctx, operation, err)
	}
	return v, err
}

func parameters(value []byte) azkeys.KeyOperationParameters {
	return azkeys.KeyOperationParameters{Algorithm: to.Ptr(azkeys.EncryptionAlgorithmRSAOAEP256), Value: value}
}

// Encrypt encrypts a secret; wrapping.WithAad binds additional data. The blob has the format of
// package envelope; its data key is wrapped by RSA-OAEP-256 with the newest version of the key,
// which the blob names.
func (w *Wrapper) Encrypt(ctx context.Context, plain []byte, options ...wrapping.Option) (*wrapping.BlobInfo, error) {
	return envelope.Encrypt(ctx, w.id, plain, options, func(ctx context.Context, key, _ []byte) (envelope.Wrapped,
		error) {
		return w.wrap(ctx, key)
	})
}

func (w *Wrapper) wrap(ctx context.Context, key []byte) (envelope.Wrapped, error) {
	key = append([]byte(nil), key...) // an abandoned call outlives the key
	r, err := call(ctx, w, "wrapKey", func(ctx context.Context) (azkeys.WrapKeyResponse, error) {
		defer clear(key)
		return w.client.WrapKey(ctx, w.settings.key, "", parameters(key), nil)
	})
	if err != nil {
		return envelope.Wrapped{}, err
	}
	if r.KID == nil || len(r.Result) == 0 || !w.namesKey(r.KID) {
		return envelope.Wrapped{}, w.unexpected()
	}
	w.last.Store(r.KID.Version())
	return envelope.Wrapped{Version: r.KID.Version(), Key: r.Result}, nil
}

// namesKey reports whether an id that the service returned names a version of the key.
func (w *Wrapper) namesKey(id *azkeys.ID) bool {
	v := id.Version()
	return v != "" && len(v) <= maxVersion && keyName.MatchString(v) && id.Name() == w.settings.key
}

func (w *Wrapper) unexpected() error {
	return seals.Fail(seals.Corrupt, fmt.Errorf("seal \"azurekeyvault\" %q: the answer is not one of Key Vault",
		w.name),
		"check that %s is the vault's address and that no proxy answers in its place", w.settings.vaultURL)
}

// Decrypt decrypts a blob of Encrypt with the same additional data, by the key version that the
// blob names.
func (w *Wrapper) Decrypt(ctx context.Context, blob *wrapping.BlobInfo, options ...wrapping.Option) ([]byte, error) {
	return envelope.Decrypt(ctx, w.id, blob, options, func(ctx context.Context, wrapped envelope.Wrapped,
		_ []byte) ([]byte, error) {
		if !keyName.MatchString(wrapped.Version) {
			return nil, envelope.Corrupt(envelope.ErrBlob)
		}
		r, err := call(ctx, w, "unwrapKey", func(ctx context.Context) (azkeys.UnwrapKeyResponse, error) {
			return w.client.UnwrapKey(ctx, w.settings.key, wrapped.Version, parameters(wrapped.Key), nil)
		})
		return r.Result, err
	})
}

// VersionOf returns the version that made a blob.
func (w *Wrapper) VersionOf(blob *wrapping.BlobInfo) string { return envelope.VersionOf(blob) }

// KeyVersion returns the version that the next encryption uses. Where the credentials may not read
// the key, it wraps a data key to learn the version.
func (w *Wrapper) KeyVersion(ctx context.Context) (string, error) {
	r, err := call(ctx, w, "get", func(ctx context.Context) (azkeys.GetKeyResponse, error) {
		return w.client.GetKey(ctx, w.settings.key, "", nil)
	})
	switch {
	case err == nil && r.Key != nil && r.Key.KID != nil && w.namesKey(r.Key.KID):
		return r.Key.KID.Version(), nil
	case err == nil:
		return "", w.unexpected()
	case seals.ClassOf(err) != seals.Denied:
		return "", err
	}
	wrapped, err := w.wrap(ctx, make([]byte, 32))
	return wrapped.Version, err
}

// Describe reads the key's state. For a deleted key that can be recovered, it returns the purge
// date.
func (w *Wrapper) Describe(ctx context.Context) (seals.KeyState, error) {
	st := seals.KeyState{ID: w.id, Detail: map[string]string{"additional data": "bound here, by the data key"}}
	st.Version, _ = w.last.Load().(string)
	r, err := call(ctx, w, "get", func(ctx context.Context) (azkeys.GetKeyResponse, error) {
		return w.client.GetKey(ctx, w.settings.key, "", nil)
	})
	var gone *deletedError
	switch {
	case errors.As(err, &gone):
		st.State, st.DeletionDate = "pending deletion", gone.purge
		return st, nil
	case seals.ClassOf(err) == seals.Denied:
		st.Detail["degraded"] = "the credentials may not read the key's state: " + err.Error()
		return st, nil
	case err != nil:
		return st, err
	case r.Key == nil || r.Key.KID == nil || !w.namesKey(r.Key.KID):
		return st, w.unexpected()
	}
	st.Latest = r.Key.KID.Version()
	st.Version, st.State = st.Latest, "enabled"
	st.Protection = "software"
	if r.Key.Kty != nil {
		st.Detail["key type"] = string(*r.Key.Kty)
		if *r.Key.Kty == azkeys.KeyTypeRSAHSM {
			st.Protection = "hsm"
		}
	}
	describe(&st, r.Attributes)
	return st, nil
}

// describe adds the attributes of a version.
func describe(st *seals.KeyState, a *azkeys.KeyAttributes) {
	if a == nil {
		return
	}
	if a.Enabled != nil && !*a.Enabled {
		st.State = "disabled"
	}
	for name, date := range map[string]*time.Time{"expires": a.Expires, "not before": a.NotBefore} {
		if date != nil {
			st.Detail[name] = date.UTC().Format(time.RFC3339)
		}
	}
	if a.RecoveryLevel != nil {
		st.Detail["recovery"] = *a.RecoveryLevel
	}
}

// Close wipes the secrets and closes idle connections.
func (w *Wrapper) Close() error {
	w.credential.secret.Close()
	w.credential.pass.Close()
	w.transport.CloseIdleConnections()
	return nil
}
