package gcpckms

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/seals"
)

// variables are the environment variables of each parameter, strongest first. They take precedence
// over the stanza.
var variables = map[string][]string{
	"project": {"SEALGATE_GCPCKMS_PROJECT", "BAO_GCPCKMS_SEAL_PROJECT", "VAULT_GCPCKMS_SEAL_PROJECT",
		"GOOGLE_PROJECT"},
	"region": {"SEALGATE_GCPCKMS_REGION", "BAO_GCPCKMS_SEAL_REGION", "VAULT_GCPCKMS_SEAL_REGION", "GOOGLE_REGION"},
	"key_ring": {"SEALGATE_GCPCKMS_KEY_RING", "GCPCKMS_WRAPPER_KEY_RING", "BAO_GCPCKMS_SEAL_KEY_RING",
		"VAULT_GCPCKMS_SEAL_KEY_RING"},
	"crypto_key": {"SEALGATE_GCPCKMS_CRYPTO_KEY", "GCPCKMS_WRAPPER_CRYPTO_KEY", "BAO_GCPCKMS_SEAL_CRYPTO_KEY",
		"VAULT_GCPCKMS_SEAL_CRYPTO_KEY"},
	"credentials": {"SEALGATE_GCPCKMS_CREDENTIALS", "GOOGLE_CREDENTIALS", "GOOGLE_APPLICATION_CREDENTIALS"},
	"endpoint":    {"SEALGATE_GCPCKMS_ENDPOINT"},
	"tls_ca_cert": {"SEALGATE_GCPCKMS_TLS_CA_CERT"},
	"timeout":     {"SEALGATE_GCPCKMS_TIMEOUT"},
}

// defaultTimeout bounds a call with all its attempts.
const defaultTimeout = 10 * time.Second

// settings is a parsed stanza.
type settings struct {
	project, region, ring, key string
	endpoint, userAgent        string
	timeout                    time.Duration
	caFile                     string // CAs of the endpoint; "" means the system's
	caPEM                      []byte // the same, in place of a file
	noEnv                      bool
	path                       string        // of the credentials file, "" without one
	inline                     *secret.Bytes // credentials as JSON
	getenv                     func(string) string
}

// name returns the key's canonical name.
func (s *settings) name() string {
	return fmt.Sprintf("projects/%s/locations/%s/keyRings/%s/cryptoKeys/%s", s.project, s.region, s.ring, s.key)
}

func parse(cfg seals.Config) (*settings, error) {
	cfg.Params = maps.Clone(cfg.Params)
	off, err := boolean(cfg.Params["disable_env_vars"])
	if err != nil {
		return nil, invalid("disable_env_vars", cfg.Params["disable_env_vars"], "true or false")
	}
	if off || cfg.Getenv == nil {
		cfg.Getenv = func(string) string { return "" }
	}
	for param, names := range variables {
		for _, n := range names {
			if v := cfg.Getenv(n); v != "" {
				if cfg.Params == nil {
					cfg.Params = map[string]string{}
				}
				cfg.Params[param] = v
				break
			}
		}
	}
	p := seals.NewParams(cfg)
	s := &settings{
		project: p.Get("project"), region: p.Get("region"), ring: p.Get("key_ring"), key: p.Get("crypto_key"),
		getenv:    cfg.Getenv,
		userAgent: p.Get("user_agent"), caFile: p.File("tls_ca_cert"), timeout: defaultTimeout, noEnv: off,
	}
	for _, known := range []string{"credentials", "key_not_required", "disable_env_vars"} {
		p.Get(known)
	}
	err = errors.Join(s.readEndpoint(p.Get("endpoint")), s.readTimeout(p.Get("timeout")))
	if cerr := p.Check(); cerr != nil {
		return nil, cerr
	}
	if err = errors.Join(err, s.missing()); err != nil {
		return nil, err
	}
	return s, s.readCredentials(p, cfg)
}

var (
	// Sources: cloud.google.com/resource-manager/docs/creating-managing-projects;
	// CreateKeyRingRequest and CreateCryptoKeyRequest in service.proto.
	projectForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]{0,127}$`)
	regionForm  = regexp.MustCompile(`^[a-z][a-z0-9-]{1,62}$`)
	idForm      = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,63}$`)
)

func (s *settings) missing() error {
	var errs []error
	for _, c := range []struct {
		name, value, wanted string
		form                *regexp.Regexp
	}{
		{"project", s.project, "the id or number of a project", projectForm},
		{"region", s.region, `a location, such as "global" or "europe-west3"`, regionForm},
		{"key_ring", s.ring, "1 to 63 letters, digits, underscores and hyphens", idForm},
		{"crypto_key", s.key, "1 to 63 letters, digits, underscores and hyphens", idForm},
	} {
		switch {
		case c.value == "":
			errs = append(errs, fmt.Errorf("%s is required: %s", c.name, c.wanted))
		case !c.form.MatchString(c.value):
			errs = append(errs, invalid(c.name, c.value, c.wanted))
		}
	}
	return errors.Join(errs...)
}

// readEndpoint accepts HOST, HOST:PORT or https://HOST:PORT.
func (s *settings) readEndpoint(v string) error {
	if v == "" {
		return nil
	}
	host := v
	if strings.Contains(v, "://") {
		u, err := url.Parse(v)
		if err != nil || u.Scheme != "https" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
			return invalid("endpoint", seals.ShowURL(v), "HOST:PORT of a server that speaks gRPC over TLS")
		}
		host = u.Host
	}
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(strings.Trim(host, "[]"), "443")
	}
	h, port, err := net.SplitHostPort(host)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 || h == "" ||
		strings.ContainsAny(h, "/ ") {
		return invalid("endpoint", seals.ShowURL(v), "HOST:PORT of a server that speaks gRPC over TLS")
	}
	s.endpoint = host
	return nil
}

func (s *settings) readTimeout(v string) error {
	if v == "" {
		return nil
	}
	d, err := time.ParseDuration(v)
	if n, nerr := strconv.Atoi(v); nerr == nil {
		d, err = time.Duration(min(n, 1<<20))*time.Second, nil
	}
	if err != nil || d < 100*time.Millisecond || d > 10*time.Minute {
		return invalid("timeout", v, "a duration from 100ms to 10m, such as 10s, or a number of seconds")
	}
	s.timeout = d
	return nil
}

// readCredentials accepts JSON, env://NAME with JSON, or a path with or without file://. The file
// is read when a token is needed.
func (s *settings) readCredentials(p *seals.Params, cfg seals.Config) error {
	v := strings.TrimPrefix(p.Get("credentials"), bom)
	switch {
	case v == "":
		return nil
	case strings.HasPrefix(v, "env://"), strings.HasPrefix(strings.TrimSpace(v), "{"):
		b, err := seals.ResolveSecret(v, cfg.Getenv)
		if err != nil {
			return fmt.Errorf("credentials: %w", err)
		}
		if _, err := credType(b.Expose()); err != nil {
			b.Destroy()
			return fmt.Errorf("credentials: %w", err)
		}
		s.inline = b
		return nil
	}
	if err := seals.CheckPath("credentials", v); err != nil {
		if raw, derr := base64.StdEncoding.DecodeString(strings.TrimSpace(v)); derr == nil {
			clear(raw)
			return fmt.Errorf("credentials is neither a file nor JSON (%d characters, not shown): it is base64; "+
				"decode it", len(v))
		}
		return fmt.Errorf("credentials is neither a file nor JSON (%d characters, not shown): "+
			"set it to the path of the credentials file, or to its unchanged content", len(v))
	}
	s.path = strings.TrimPrefix(v, "file://")
	info, err := os.Stat(s.path)
	if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		cfg.Log.Warn("other users of this machine can read the credentials file of Google Cloud; run chmod 600 on it",
			slog.String("seal", cfg.Name), slog.String("file", s.path),
			slog.String("mode", info.Mode().Perm().String()))
	}
	return nil
}

// bom is the byte order mark that editors put before JSON.
const bom = "\ufeff"

// errCredentials is returned for data that is not a credentials file of a known type.
var errCredentials = errors.New("not a credentials file of Google Cloud, which is JSON with a known \"type\"")

// credType returns the type of credentials in JSON. The error does not contain them.
func credType(b []byte) (string, error) {
	var f struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(bytes.TrimPrefix(b, []byte(bom)), &f) != nil || !credTypes[f.Type] {
		return "", errCredentials
	}
	return f.Type, nil
}

func invalid(name, value, wanted string) error {
	return fmt.Errorf("%s = %.200q: it must be %s", name, value, wanted)
}

func boolean(v string) (bool, error) {
	if v == "" {
		return false, nil
	}
	return strconv.ParseBool(v)
}
