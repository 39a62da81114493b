// Package alicloudkms is the seal on a key of Alibaba Cloud's KMS, through HashiCorp's wrapper.
//
// The parameters and environment variables are those of Vault and OpenBao, so their stanzas work
// unchanged; see [New]. Alibaba's library finds other credentials: ALICLOUD_ACCESS_KEY,
// ALICLOUD_SECRET_KEY, ..., which take precedence over the stanza, else the role of the instance.
//
// HashiCorp's wrapper ignores contexts, keeps refused credentials, and shares a client that is not
// safe for concurrent use. Around it, the package guarantees:
//   - A call ends by its deadline, and at most 8 calls are in progress.
//   - Additional data and the key's id are bound to the blob here.
//   - A blob of another key is refused, although the service would decrypt it.
//   - The service sees a data key instead of the secret.
//   - Refused credentials are read again at the next call.
//   - Every error is a *seals.Failure with a remedy. Errors of the library are not passed on,
//     because they contain the request with the data key.
//
// It does not guarantee that an abandoned call ends soon: Alibaba's library gives up after 15
// seconds. It does not report which version of the key made a blob. It does not read ciphertexts of
// Vault or OpenBao. The blob format stays compatible.
package alicloudkms

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"time"

	"github.com/aliyun/alibaba-cloud-sdk-go/sdk"
	"github.com/aliyun/alibaba-cloud-sdk-go/sdk/auth/credentials/providers"
	"github.com/aliyun/alibaba-cloud-sdk-go/services/kms"
	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"github.com/hashicorp/go-kms-wrapping/wrappers/alicloudkms/v2"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/internal/foreign"
	"github.com/sealgate/sealgate/seals/internal/fresh"
	"github.com/sealgate/sealgate/seals/internal/remote"
)

// prefixes of environment variables, strongest first.
var prefixes = []string{"SEALGATE_ALICLOUDKMS_SEAL_", "ALICLOUDKMS_WRAPPER_", "VAULT_ALICLOUDKMS_SEAL_"}

// maxCalls bounds the calls in progress.
const maxCalls = 8

// settings is a parsed stanza.
type settings struct {
	key, region, domain string
	access, secret      string // as written: the key, env:// or file://
	timeout             time.Duration
}

// Wrapper is the seal. It is safe for concurrent use.
type Wrapper struct {
	*foreign.Wrapper
	name           string
	settings       settings
	access, secret *fresh.Secret
	limit          *remote.Limiter
}

var (
	_ wrapping.Wrapper = (*Wrapper)(nil)
	_ seals.Factory    = New
	_ seals.Versioned  = (*Wrapper)(nil)
	_ seals.Describer  = (*Wrapper)(nil)
	_ seals.Bounded    = (*Wrapper)(nil)
	_ seals.Closer     = (*Wrapper)(nil)
)

// New reads a stanza:
//
//	kms_key_id                  the key's id, or alias/NAME; required
//	region                      default: ALICLOUD_REGION, us-east-1
//	domain                      host name of the service; default: ALICLOUD_DOMAIN, the region's
//	access_key, secret_key      an access key; each a value, env://NAME or file://PATH;
//	                            access_secret is an alias of secret_key
//	timeout                     of each call; default: 10s
//
// An error is a mistake in the stanza. New makes no request.
func New(cfg seals.Config) (wrapping.Wrapper, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s, err := parse(cfg)
	if err != nil {
		return nil, seals.ConfigError("alicloudkms", cfg.Name, err)
	}
	w := &Wrapper{name: cfg.Name, settings: s, access: fresh.New(s.access, cfg.Getenv),
		secret: fresh.New(s.secret, cfg.Getenv),
		limit:  remote.NewLimiter(maxCalls)}
	w.Wrapper = foreign.New(foreign.Options{
		Name: cfg.Name, Type: string(wrapping.WrapperTypeAliCloudKms), Timeout: s.timeout, MaxCalls: maxCalls,
		Open: w.open, Classify: w.classify,
		Metadata: map[string]string{"kms_key_id": s.key, "region": s.region, "domain": s.domain},
	})
	return w, nil
}

var (
	keyName  = regexp.MustCompile(`^[a-zA-Z0-9/_.:-]{1,255}$`)
	hostName = regexp.MustCompile(`^[a-zA-Z0-9.-]+(:[0-9]+)?$`)
)

func parse(cfg seals.Config) (s settings, err error) {
	p := seals.NewParams(cfg, prefixes...)
	vendor := func(variable, v string) string {
		if cfg.Getenv == nil {
			return v
		}
		return cmp.Or(cfg.Getenv(variable), v)
	}
	s = settings{
		key:    p.Get("kms_key_id", "key_id"),
		region: cmp.Or(vendor("ALICLOUD_REGION", p.Get("region")), "us-east-1"),
		domain: vendor("ALICLOUD_DOMAIN", p.Get("domain")),
		access: p.Get("access_key"),
		secret: p.Get("secret_key", "access_secret"),
	}
	s.timeout, err = remote.Timeout(p.Get("timeout"))
	if cerr := p.Check(); cerr != nil {
		return s, cerr
	}
	switch {
	case err != nil:
	case !keyName.MatchString(s.key):
		err = fmt.Errorf("kms_key_id = %q: it must be the id of a key, or alias/NAME", s.key)
	case !hostName.MatchString(s.region) || s.domain != "" && !hostName.MatchString(s.domain):
		err = fmt.Errorf("region = %q, domain = %q: they must be a region and a host name, such as "+
			"kms.us-east-1.aliyuncs.com", s.region, s.domain)
	case (s.access == "") != (s.secret == ""):
		err = errors.New("access_key requires secret_key, and vice versa")
	}
	return s, err
}

// keys reads the current access key. It returns empty strings where the stanza has none.
func (w *Wrapper) keys() (access, secret string, err error) {
	if access, _, err = w.access.Get(); err != nil {
		return "", "", err
	}
	secret, _, err = w.secret.Get()
	return access, secret, err
}

// open makes HashiCorp's wrapper, which finds its credentials and reads the key.
func (w *Wrapper) open(ctx context.Context) (wrapping.Wrapper, error) {
	access, secret, err := w.keys()
	if err != nil {
		return nil, err
	}
	inner := alicloudkms.NewWrapper()
	_, err = inner.SetConfig(ctx, wrapping.WithDisallowEnvVars(true), wrapping.WithKeyId(w.settings.key),
		wrapping.WithConfigMap(map[string]string{
			"region": w.settings.region, "domain": w.settings.domain, "access_key": access, "secret_key": secret,
		}))
	if err != nil {
		return nil, err
	}
	return inner, nil
}

// describe reads the key's state with a client of its own that keeps no connection, because it is
// called rarely.
func (w *Wrapper) describe(ctx context.Context) (*kms.KeyMetadata, error) {
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	k, err := remote.Call(ctx, w.limit, func(context.Context) (*kms.KeyMetadata, error) {
		client, err := w.client()
		if err != nil {
			return nil, err
		}
		in := kms.CreateDescribeKeyRequest()
		in.KeyId, in.Domain = w.settings.key, w.settings.domain
		r, err := client.DescribeKey(in)
		if err != nil {
			return nil, err
		}
		return &r.KeyMetadata, nil
	}, nil)
	if err != nil {
		f := *w.classify("describe", err)
		f.Err = fmt.Errorf("seal \"alicloudkms\" %q: %w", w.name, f.Err)
		return nil, &f
	}
	if !keyName.MatchString(k.KeyId) {
		return nil, seals.Fail(seals.Corrupt,
			fmt.Errorf("seal \"alicloudkms\" %q: the answer is not one of the service", w.name),
			"check that domain is correct and that no proxy answers in its place")
	}
	return k, nil
}

// client finds its credentials as HashiCorp's wrapper does.
func (w *Wrapper) client() (*kms.Client, error) {
	access, secret, err := w.keys()
	if err != nil {
		return nil, err
	}
	creds, err := providers.NewChainProvider([]providers.Provider{
		providers.NewEnvCredentialProvider(),
		providers.NewConfigurationCredentialProvider(&providers.Configuration{AccessKeyID: access,
			AccessKeySecret: secret}),
		providers.NewInstanceMetadataProvider(),
	}).Retrieve()
	if err != nil {
		return nil, err
	}
	config := sdk.NewConfig().WithScheme("https").WithTimeout(w.settings.timeout).WithHttpTransport(
		&http.Transport{DisableKeepAlives: true})
	return kms.NewClientWithOptions(w.settings.region, config, creds)
}

// KeyVersion returns the id of the version that the next encryption uses, the key's id where it has
// no versions.
func (w *Wrapper) KeyVersion(ctx context.Context) (string, error) {
	k, err := w.describe(ctx)
	if err != nil {
		return "", err
	}
	return cmp.Or(k.PrimaryKeyVersion, k.KeyId), nil
}

// Describe reads the key's state.
func (w *Wrapper) Describe(ctx context.Context) (seals.KeyState, error) {
	st := seals.KeyState{Region: w.settings.region,
		Detail: map[string]string{"additional data": "bound here, by the data key"}}
	k, err := w.describe(ctx)
	switch {
	case seals.ClassOf(err) == seals.Denied:
		st.Detail["degraded"] = "the credentials may not read the key's state: " + err.Error()
		return st, nil
	case err != nil:
		return st, err
	}
	st.ID, st.Version = k.KeyId, cmp.Or(k.PrimaryKeyVersion, k.KeyId)
	st.Latest = st.Version
	st.State = map[string]string{"Enabled": "enabled", "Disabled": "disabled",
		"PendingDeletion": "pending deletion"}[k.KeyState]
	st.State = cmp.Or(st.State, k.KeyState)
	if date, err := time.Parse(time.RFC3339, k.DeleteDate); err == nil && st.State == "pending deletion" {
		st.DeletionDate = date
	}
	st.Protection = map[string]string{"HSM": "hsm", "SOFTWARE": "software"}[k.ProtectionLevel]
	if k.RotationInterval != "" && k.AutomaticRotation == "Enabled" {
		st.Detail["rotation"] = "every " + k.RotationInterval
	}
	return st, nil
}

// Close wipes the access key.
func (w *Wrapper) Close() error {
	w.access.Close()
	w.secret.Close()
	return w.Wrapper.Close()
}
