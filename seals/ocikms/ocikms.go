// Package ocikms is the seal on a key in the Vault service of Oracle Cloud (OCI), through
// HashiCorp's wrapper.
//
// The parameters and environment variables are those of Vault and OpenBao, so their stanzas work
// unchanged; see [New]. Oracle's library finds the credentials: ~/.oci/config, OCI_CONFIG_FILE,
// TF_VAR_..., the instance's metadata service.
//
// HashiCorp's wrapper ignores deadlines, waits up to 30 seconds between attempts, and panics
// without an answer. Around it, the package guarantees:
//   - A call ends by its deadline, and at most 4 calls are in progress.
//   - Additional data, key id and version are bound to the blob here.
//   - The service sees a data key instead of the secret.
//   - Refused credentials are read again at the next call.
//   - Every error is a *seals.Failure with a remedy and without secrets.
//
// It does not guarantee that an abandoned call ends soon: Oracle's library gives up after a minute.
// It does not distinguish a missing key from a forbidden one, because the service does not. It does
// not read ciphertexts of Vault or OpenBao. The blob format stays compatible.
package ocikms

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"github.com/hashicorp/go-kms-wrapping/wrappers/ocikms/v2"
	"github.com/oracle/oci-go-sdk/v60/common"
	"github.com/oracle/oci-go-sdk/v60/common/auth"
	"github.com/oracle/oci-go-sdk/v60/keymanagement"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/internal/foreign"
	"github.com/sealgate/sealgate/seals/internal/remote"
)

// prefixes of the environment variables, strongest first. Only VAULT_OCIKMS_SEAL_KEY_ID has the
// third one.
var prefixes = []string{"SEALGATE_OCIKMS_SEAL_", "OCIKMS_WRAPPER_", "VAULT_OCIKMS_SEAL_", "VAULT_OCIKMS_"}

// maxCalls bounds the calls in progress. Each has its own two connections.
const maxCalls = 4

// settings is a parsed stanza.
type settings struct {
	key, crypto, management string
	apiKey                  bool
	timeout                 time.Duration
}

// Wrapper is the seal. It is safe for concurrent use.
type Wrapper struct {
	*foreign.Wrapper
	name     string
	settings settings
	limit    *remote.Limiter

	rsa    atomic.Bool // the key is known to be an RSA key
	mu     sync.Mutex
	client *keymanagement.KmsManagementClient // reads the key's state
}

var (
	_ wrapping.Wrapper = (*Wrapper)(nil)
	_ seals.Factory    = New
	_ seals.Versioned  = (*Wrapper)(nil)
	_ seals.Stamper    = (*Wrapper)(nil)
	_ seals.Describer  = (*Wrapper)(nil)
	_ seals.Bounded    = (*Wrapper)(nil)
	_ seals.Closer     = (*Wrapper)(nil)

	_ seals.PublicWrapper = (*Wrapper)(nil)
)

// New reads a stanza:
//
//	key_id                OCID of the key; required
//	crypto_endpoint       URL of the vault for encryption; required
//	management_endpoint   URL of the vault for the state of its keys; required
//	auth_type_api_key     true: a user's API key instead of the instance's identity
//	timeout               of each call; default: 10s
//
// An error is a mistake in the stanza. New makes no request.
func New(cfg seals.Config) (wrapping.Wrapper, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s, err := parse(cfg)
	if err != nil {
		return nil, seals.ConfigError("ocikms", cfg.Name, err)
	}
	disableCircuitBreaker()
	w := &Wrapper{name: cfg.Name, settings: s, limit: remote.NewLimiter(maxCalls)}
	w.Wrapper = foreign.New(foreign.Options{
		Name: cfg.Name, Type: string(wrapping.WrapperTypeOciKms), Timeout: s.timeout, MaxCalls: maxCalls, ID: s.key,
		Versioned: true, Open: s.open, Classify: w.classify,
		Metadata: map[string]string{"key_id": s.key, "crypto_endpoint": s.crypto, "management_endpoint": s.management,
			"auth_type_api_key": strconv.FormatBool(s.apiKey)},
	})
	return w, nil
}

// disableCircuitBreaker disables the circuit breaker of Oracle's library, which would block the
// seal for 30 seconds after the service recovers. The setting is global; nothing else in the
// program uses the library.
var disableCircuitBreaker = sync.OnceFunc(func() {
	common.GlobalCircuitBreakerSetting = common.NoCircuitBreakerSetting()
})

func parse(cfg seals.Config) (s settings, err error) {
	p := seals.NewParams(cfg, prefixes...)
	s = settings{key: p.Get("key_id"), crypto: p.Get("crypto_endpoint"), management: p.Get("management_endpoint")}
	apiKey := p.Get("auth_type_api_key")
	s.timeout, err = remote.Timeout(p.Get("timeout"))
	if cerr := p.Check(); cerr != nil {
		return s, cerr
	}
	if apiKey != "" {
		var berr error
		if s.apiKey, berr = strconv.ParseBool(apiKey); berr != nil {
			err = errors.Join(err, fmt.Errorf("auth_type_api_key = %q: it must be true or false", apiKey))
		}
	}
	if s.key == "" || len(s.key) > 255 || strings.ContainsAny(s.key, "/?#% ") {
		err = errors.Join(err, fmt.Errorf("key_id = %q: it must be the OCID of a key", s.key))
	}
	return s, errors.Join(err, endpoint("crypto_endpoint", &s.crypto), endpoint("management_endpoint", &s.management))
}

// endpoint checks a URL. It requires TLS, because requests contain data keys.
func endpoint(name string, v *string) error {
	if *v != "" && !strings.Contains(*v, "://") {
		*v = "https://" + *v
	}
	u, err := url.Parse(*v)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
		return fmt.Errorf("%s = %q: it must be the vault's URL, such as https://...-crypto.kms.region.oraclecloud.com",
			name, seals.ShowURL(*v))
	}
	*v = "https://" + u.Host
	return nil
}

// open makes HashiCorp's wrapper, which finds its credentials and makes a test encryption.
func (s settings) open(ctx context.Context) (wrapping.Wrapper, error) {
	w := ocikms.NewWrapper()
	_, err := w.SetConfig(ctx, wrapping.WithDisallowEnvVars(true), wrapping.WithKeyId(s.key),
		wrapping.WithConfigMap(map[string]string{
			ocikms.KmsConfigCryptoEndpoint: s.crypto, ocikms.KmsConfigManagementEndpoint: s.management,
			ocikms.KmsConfigAuthTypeApiKey: strconv.FormatBool(s.apiKey),
		}))
	if err != nil {
		return nil, err
	}
	return w, nil
}

// manage returns the client that reads the key's state.
func (w *Wrapper) manage() (*keymanagement.KmsManagementClient, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.client != nil {
		return w.client, nil
	}
	provider := common.DefaultConfigProvider()
	if !w.settings.apiKey {
		var err error
		if provider, err = auth.InstancePrincipalConfigurationProvider(); err != nil {
			return nil, err
		}
	}
	c, err := keymanagement.NewKmsManagementClientWithConfigurationProvider(provider, w.settings.management)
	if err != nil {
		return nil, err
	}
	w.client = &c
	return w.client, nil
}

func (w *Wrapper) getKey(ctx context.Context) (*keymanagement.Key, error) {
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	k, err := remote.Call(ctx, w.limit, func(ctx context.Context) (*keymanagement.Key, error) {
		c, err := w.manage()
		if err != nil {
			return nil, err
		}
		once := common.NoRetryPolicy()
		// Retries of the library leak a goroutine where the context ends.
		r, err := c.GetKey(context.WithoutCancel(ctx), keymanagement.GetKeyRequest{
			KeyId: &w.settings.key, RequestMetadata: common.RequestMetadata{RetryPolicy: &once}})
		if err != nil {
			return nil, err
		}
		return &r.Key, nil
	}, nil)
	if err != nil {
		f := *w.classify("get", err)
		if f.Class == seals.Denied {
			w.mu.Lock()
			w.client = nil
			w.mu.Unlock()
		}
		f.Err = fmt.Errorf("seal \"ocikms\" %q: %w", w.name, f.Err)
		return nil, &f
	}
	if k.CurrentKeyVersion == nil || *k.CurrentKeyVersion == "" || len(*k.CurrentKeyVersion) > 255 {
		return nil, seals.Fail(seals.Corrupt, fmt.Errorf("seal \"ocikms\" %q: the answer is not one of the service",
			w.name),
			"check that management_endpoint is correct and that no proxy answers in its place")
	}
	w.rsa.Store(k.KeyShape != nil && k.KeyShape.Algorithm == keymanagement.KeyShapeAlgorithmRsa)
	return k, nil
}

// KeyVersion returns the OCID of the version that the next encryption uses.
func (w *Wrapper) KeyVersion(ctx context.Context) (string, error) {
	k, err := w.getKey(ctx)
	if err != nil {
		return "", err
	}
	return *k.CurrentKeyVersion, nil
}

// WrapsPublicly implements [seals.PublicWrapper] for an RSA key. The type is known as soon as the
// key's state was read.
func (w *Wrapper) WrapsPublicly() string {
	if !w.rsa.Load() {
		return ""
	}
	return "use an AES key, or combine this seal with one of a symmetric key by seal_policy { mode = \"threshold\" }"
}

// Describe reads the key's state.
func (w *Wrapper) Describe(ctx context.Context) (seals.KeyState, error) {
	st := seals.KeyState{ID: w.settings.key,
		Detail: map[string]string{"additional data": "bound here, by the data key"}}
	k, err := w.getKey(ctx)
	switch {
	case seals.ClassOf(err) == seals.Denied:
		st.Detail["degraded"] = "the credentials may not read the key's state: " + err.Error()
		return st, nil
	case err != nil:
		return st, err
	}
	st.Version, st.Latest = *k.CurrentKeyVersion, *k.CurrentKeyVersion
	st.Protection = strings.ToLower(string(k.ProtectionMode))
	st.State = stateOf(k.LifecycleState)
	if k.TimeOfDeletion != nil && st.State == "pending deletion" {
		st.DeletionDate = k.TimeOfDeletion.Time
	}
	return st, nil
}

func stateOf(s keymanagement.KeyLifecycleStateEnum) string {
	switch s {
	case keymanagement.KeyLifecycleStateEnabled:
		return "enabled"
	case keymanagement.KeyLifecycleStateDisabled, keymanagement.KeyLifecycleStateDisabling:
		return "disabled"
	case keymanagement.KeyLifecycleStatePendingDeletion, keymanagement.KeyLifecycleStateSchedulingDeletion:
		return "pending deletion"
	case keymanagement.KeyLifecycleStateDeleted, keymanagement.KeyLifecycleStateDeleting:
		return "destroyed"
	}
	return strings.ToLower(string(s))
}
