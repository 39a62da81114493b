package awskms

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/seals"
)

// prefixes of the environment variables, strongest first; BAO_AWSKMS_SEAL_KEY_ID is kms_key_id.
var prefixes = []string{"SEALGATE_AWSKMS_SEAL_", "BAO_AWSKMS_SEAL_", "AWSKMS_WRAPPER_", "VAULT_AWSKMS_SEAL_"}

// fileVariables are the variables of the SDK that name files.
var fileVariables = []string{
	"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_CA_BUNDLE",
	"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
}

// Bounds of timeout.
const (
	defaultTimeout = 10 * time.Second
	minTimeout     = 100 * time.Millisecond
	maxTimeout     = 10 * time.Minute
)

// settings is a parsed stanza. Secrets are as written: env:// and file:// are resolved when
// credentials are needed.
type settings struct {
	name                               string
	key                                string // key id, ARN, alias or alias ARN
	region                             string // "": the profile's
	regionFrom                         string // where region comes from, for errors
	endpoint, stsEndpoint              string
	fips, dualStack                    *bool
	accessKey, secretKey, sessionToken string
	credsFile, profile                 string
	tokenFile, role, session           string
	timeout                            time.Duration
	noEnv                              bool
	getenv                             func(string) string // nil where the environment must not be read
}

func parse(cfg seals.Config) (settings, error) {
	s := settings{name: cfg.Name, timeout: defaultTimeout, getenv: cfg.Getenv}
	if err := s.readEnvRule(cfg); err != nil {
		return settings{}, err
	}
	source := cfg
	source.Getenv = s.getenv
	p := seals.NewParams(source, prefixes...)
	p.Get("disallow_env_vars")
	p.Get("key_not_required") // accepted for Vault's sake; New never looks up the key
	s.key = p.Get("kms_key_id", "key_id")
	region := p.Get("region")
	s.endpoint = cmp.Or(s.env("AWS_KMS_ENDPOINT"), p.Get("endpoint"))
	s.stsEndpoint = p.Get("sts_endpoint")
	s.accessKey, s.secretKey, s.sessionToken = p.Get("access_key"), p.Get("secret_key"), p.Get("session_token")
	s.credsFile, s.profile = p.File("shared_creds_filename"), p.Get("shared_creds_profile")
	s.tokenFile, s.role, s.session = p.File("web_identity_token_file"), p.Get("role_arn"), p.Get("role_session_name")
	for _, variable := range fileVariables {
		p.CheckFile(variable, s.env(variable))
	}
	err := errors.Join(boolean(p, "use_fips_endpoint", &s.fips), boolean(p, "use_dual_stack_endpoint", &s.dualStack),
		s.readTimeout(p.Get("timeout")))
	if cerr := p.Check(); cerr != nil {
		return settings{}, cerr
	}
	return s, errors.Join(err, s.resolveRegion(region, cfg.Params["region"]), s.check())
}

// readEnvRule reads disallow_env_vars, before any variable is read.
func (s *settings) readEnvRule(cfg seals.Config) error {
	v := cfg.Params["disallow_env_vars"]
	if v == "" {
		return nil
	}
	no, err := strconv.ParseBool(v)
	if err != nil {
		return invalid("disallow_env_vars", v, "true or false")
	}
	if s.noEnv = no; no {
		s.getenv = nil
	}
	return nil
}

func (s *settings) env(name string) string {
	if s.getenv == nil {
		return ""
	}
	return s.getenv(name)
}

// setRegion takes the region of the stanza, or of a variable that is named after the seal, before
// those of AWS's own variables: a platform may set these for every process.
func (s *settings) setRegion(stanza, written string) {
	switch {
	case stanza != "" && stanza == written:
		s.region, s.regionFrom = stanza, "the stanza"
	case stanza != "":
		s.region, s.regionFrom = stanza, "an environment variable of the seal"
	default:
		for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
			if s.region = s.env(name); s.region != "" {
				s.regionFrom = name
				return
			}
		}
	}
}

// resolveRegion decides between the region that is configured and that of the key's ARN. A key
// exists in the region of its ARN; only a multi-Region key can be used in another region.
func (s *settings) resolveRegion(stanza, written string) error {
	s.setRegion(stanza, written)
	a, ok := parseARN(s.key)
	switch {
	case !ok && strings.HasPrefix(s.key, "arn:"):
		return invalid("kms_key_id", s.key, "the id or ARN of a key, alias/NAME, or the ARN of an alias")
	case !ok:
		return nil
	case a.multiRegion() && s.region != "":
		s.key = a.in(s.region).String()
	case stanza != "" && stanza != a.region:
		return fmt.Errorf(
			"region = %q, but kms_key_id is the ARN of a key in %s; correct or remove region", stanza, a.region)
	default:
		s.region, s.regionFrom = a.region, "kms_key_id"
	}
	return nil
}

func (s *settings) check() error {
	switch {
	case s.key == "":
		return errors.New("kms_key_id is required: the id or ARN of the key, or an alias")
	case strings.Trim(s.region, "abcdefghijklmnopqrstuvwxyz0123456789-") != "":
		return invalid("region", s.region, "a region of AWS, such as eu-central-1")
	case len(s.key) > 2048 || strings.ContainsAny(s.key, " \t\n"):
		return invalid("kms_key_id", s.key, "the id or ARN of a key, alias/NAME, or the ARN of an alias")
	case (s.accessKey == "") != (s.secretKey == ""):
		return errors.New("access_key requires secret_key, and vice versa")
	case s.sessionToken != "" && s.accessKey == "":
		return errors.New("session_token requires access_key and secret_key")
	case s.tokenFile != "" && s.role == "":
		return errors.New("web_identity_token_file requires role_arn: the role to assume with the token")
	case s.tokenFile != "" && s.accessKey != "":
		return errors.New("web_identity_token_file and access_key exclude each other; remove one")
	case s.endpoint != "" && (on(s.fips) || on(s.dualStack)):
		return errors.New("use_fips_endpoint and use_dual_stack_endpoint cannot be combined with endpoint; " +
			"set endpoint to the FIPS or dual-stack endpoint, or remove it")
	}
	return errors.Join(checkURL("endpoint", s.endpoint), checkURL("sts_endpoint", s.stsEndpoint))
}

func checkURL(name, v string) error {
	if v == "" {
		return nil
	}
	u, err := url.Parse(v)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil {
		return invalid(name, seals.ShowURL(v), "a URL that begins with https:// and has no user information")
	}
	return nil
}

func (s *settings) readTimeout(v string) (err error) {
	if v == "" {
		return nil
	}
	if n, aerr := strconv.Atoi(v); aerr == nil {
		v = fmt.Sprint(n, "s")
	}
	if s.timeout, err = time.ParseDuration(v); err != nil || s.timeout < minTimeout || s.timeout > maxTimeout {
		return invalid("timeout", v, "a duration from 100ms to 10m, such as 10s, or a number of seconds")
	}
	return nil
}

func boolean(p *seals.Params, name string, to **bool) error {
	v := p.Get(name)
	if v == "" {
		return nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return invalid(name, v, "true or false")
	}
	*to = &b
	return nil
}

func on(b *bool) bool { return b != nil && *b }

func invalid(name, value, wanted string) error {
	return fmt.Errorf("%s = %.200q: it must be %s", name, value, wanted)
}
