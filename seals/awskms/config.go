package awskms

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/seals"
)

// source finds regions and credentials as the stanza says. It caches nothing, so that it sees
// changes.
type source struct {
	settings
	http *http.Client             // for the KMS: keeps connections until close
	once *awshttp.BuildableClient // for sources of credentials, used once an hour: keeps no connection
}

// maxIdle bounds the idle connections to the KMS.
const maxIdle = 64

func newSource(s settings) (*source, error) {
	roots, err := roots(s.env("AWS_CA_BUNDLE"))
	if err != nil {
		return nil, err
	}
	proxy := http.ProxyFromEnvironment
	if s.noEnv {
		proxy = nil
	}
	out := &source{settings: s}
	out.once = awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.Proxy,
			t.DisableKeepAlives = proxy, true
	})
	transport := awshttp.NewBuildableClient().GetTransport()
	transport.Proxy, transport.MaxIdleConns, transport.MaxIdleConnsPerHost = proxy, maxIdle, maxIdle
	transport.TLSClientConfig.RootCAs = roots
	out.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request,
		[]*http.Request) error {
		return http.ErrUseLastResponse
	}}
	return out, nil
}

// roots returns the certificates of AWS_CA_BUNDLE, nil for the system's.
func roots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("AWS_CA_BUNDLE: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("AWS_CA_BUNDLE: %s contains no certificate in PEM", path)
	}
	return pool, nil
}

// retryer retries within the deadline of a call. It has no retry quota, because calls to a seal are
// rare.
func retryer() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts, o.MaxBackoff, o.RateLimiter = 3, time.Second, ratelimit.None
	})
}

// callKey is the key of the call's context in its values. The SDK's caches pass values on, but no
// deadlines.
type callKey struct{}

func withCall(ctx context.Context) context.Context { return context.WithValue(ctx, callKey{}, ctx) }

// tied has the values of one context, and ends with another.
type tied struct {
	context.Context
	call context.Context
}

func (t tied) Deadline() (time.Time, bool) { return t.call.Deadline() }
func (t tied) Done() <-chan struct{}       { return t.call.Done() }
func (t tied) Err() error                  { return t.call.Err() }

// endWithCall ends every request of every client with the context of the call that it belongs to.
func endWithCall(stack *middleware.Stack) error {
	return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("SealgateDeadline",
		func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
			middleware.InitializeOutput, middleware.Metadata, error,
		) {
			if call, ok := ctx.Value(callKey{}).(context.Context); ok {
				ctx = tied{ctx, call}
			}
			return next.HandleInitialize(ctx, in)
		}), middleware.Before)
}

// base returns the SDK's configuration without the environment.
func (s *source) base() aws.Config {
	return aws.Config{Region: s.region, HTTPClient: s.once, Retryer: retryer,
		APIOptions: []func(*middleware.Stack) error{endWithCall}}
}

// ambient returns the SDK's default configuration: variables and profiles, and what these refer to.
func (s *source) ambient(ctx context.Context) (aws.Config, error) {
	o := []func(*config.LoadOptions) error{
		config.WithHTTPClient(s.once), config.WithRetryer(retryer),
		config.WithAPIOptions([]func(*middleware.Stack) error{endWithCall}),
		config.WithProcessCredentialOptions(func(o *processcreds.Options) { o.Timeout = s.timeout }),
		config.WithEndpointCredentialOptions(func(o *endpointcreds.Options) { o.HTTPClient = s.once }),
	}
	if s.region != "" {
		o = append(o, config.WithRegion(s.region))
	}
	if s.credsFile != "" {
		o = append(o, config.WithSharedCredentialsFiles([]string{s.credsFile}))
	}
	if s.profile != "" || s.noEnv {
		o = append(o, config.WithSharedConfigProfile(cmp.Or(s.profile, "default")))
	}
	if s.noEnv {
		o = append(o, config.WithSharedConfigFiles(config.DefaultSharedConfigFiles))
		if s.credsFile == "" {
			o = append(o, config.WithSharedCredentialsFiles(config.DefaultSharedCredentialsFiles))
		}
	}
	return config.LoadDefaultConfig(ctx, o...)
}

// named reports whether the stanza names a file or profile with credentials.
func (s *source) named() bool { return s.credsFile != "" || s.profile != "" }

// first returns the configuration of the KMS client.
func (s *source) first(ctx context.Context) (cfg aws.Config, err error) {
	if cfg = s.base(); !s.noEnv {
		cfg, err = s.ambient(ctx)
	}
	if err != nil {
		return aws.Config{}, noCredentials(ctx, err)
	}
	if cfg.Region == "" {
		return aws.Config{}, seals.Fail(seals.Misconfigured,
			fmt.Errorf("seal \"awskms\" %q: the region of the key is unknown", s.name),
			"set region or AWS_REGION, or set kms_key_id to an ARN")
	}
	cfg.HTTPClient = s.http
	return cfg, nil
}

// client makes the KMS client.
func (s *source) client(cfg aws.Config) *kms.Client {
	return kms.NewFromConfig(cfg, func(o *kms.Options) {
		if s.endpoint != "" {
			o.BaseEndpoint = &s.endpoint
		}
		if s.fips != nil {
			o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateDisabled
			if *s.fips {
				o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateEnabled
			}
		}
		if s.dualStack != nil {
			o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateDisabled
			if *s.dualStack {
				o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateEnabled
			}
		}
	})
}

// credentials returns those of the stanza, else those of the SDK's chain. Where a role is named, it
// assumes that role with them.
func (s *source) credentials(ctx context.Context) (aws.Credentials, error) {
	ctx = withCall(ctx)
	cfg, err := s.login(ctx)
	if err != nil {
		return aws.Credentials{}, noCredentials(ctx, err)
	}
	if s.role != "" && s.tokenFile == "" {
		cfg.Credentials = stscreds.NewAssumeRoleProvider(s.sts(cfg), s.role,
			func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = s.sessionName() })
	}
	v, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, noCredentials(ctx, err)
	}
	return v, nil
}

// login returns a configuration with a provider of credentials. It requests no credentials.
func (s *source) login(ctx context.Context) (cfg aws.Config, err error) {
	if cfg = s.base(); !s.noEnv || s.named() {
		if cfg, err = s.ambient(ctx); err != nil {
			return cfg, err
		}
	}
	switch {
	case s.accessKey != "":
		cfg.Credentials, err = s.static()
	case s.tokenFile != "":
		cfg.Credentials = stscreds.NewWebIdentityRoleProvider(s.sts(cfg), s.role,
			stscreds.IdentityTokenFile(s.tokenFile),
			func(o *stscreds.WebIdentityRoleOptions) { o.RoleSessionName = s.sessionName() })
	case cfg.Credentials == nil:
		cfg.Credentials = ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = imds.NewFromConfig(cfg) })
	}
	return cfg, err
}

func (s *source) sts(cfg aws.Config) *sts.Client {
	return sts.NewFromConfig(cfg, func(o *sts.Options) {
		if s.stsEndpoint != "" {
			o.BaseEndpoint = &s.stsEndpoint
		}
	})
}

func (s *source) sessionName() string { return cmp.Or(s.session, "sealgate") }

// static reads the keys of the stanza. It reads their files and variables each time.
func (s *source) static() (aws.CredentialsProvider, error) {
	var errs []error
	read := func(name, value string) string {
		if value == "" {
			return ""
		}
		b, err := seals.ResolveSecret(value, s.getenv)
		if err != nil {
			errs = append(errs, fmt.Errorf("parameter %q of seal %q: %w", name, s.name, err))
			return ""
		}
		defer func(b *secret.Bytes) { b.Destroy() }(b)
		return string(b.Expose())
	}
	id, key, token := read("access_key", s.accessKey), read("secret_key", s.secretKey),
		read("session_token", s.sessionToken)
	p := credentials.NewStaticCredentialsProvider(id, key, token)
	return p, errors.Join(errs...)
}

// close closes idle connections.
func (s *source) close() { s.http.CloseIdleConnections() }
