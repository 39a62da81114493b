package transit

import (
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/seals"
)

func config(env map[string]string, params ...string) seals.Config {
	c := seals.Config{Name: "t", Type: "transit", Params: map[string]string{"mount_path": "transit/", "key_name": "k"}}
	for i := 0; i < len(params); i += 2 {
		c.Params[params[i]] = params[i+1]
	}
	c.Getenv = func(name string) string { return env[name] }
	return c
}

func TestParameters(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		cfg  seals.Config
		want func(settings) bool
	}{
		"defaults": {config(nil), func(s settings) bool {
			return s.address == defaultAddress && s.renew && s.timeout == 10*time.Second &&
				s.id() == "transit/keys/k" && s.token == ""
		}},
		"a stanza of Vault's": {config(nil, "address", "https://v:8200", "token", "x", "disable_renewal", "true",
			"namespace", "ns1/", "tls_skip_verify", "1",
			"tls_ca_cert", "/ca", "tls_client_cert", "/c", "tls_client_key", "/k", "tls_server_name", "n",
			"key_id_prefix", "p:", "timeout", "3"), func(s settings) bool {
			return s.address == "https://v:8200" && s.token == "x" && !s.renew && s.namespace == "ns1" &&
				s.timeout == 3*time.Second &&
				s.tls == tlsFiles{caCert: "/ca", clientCert: "/c", clientKey: "/k", serverName: "n",
					skipVerify: true} &&
				s.id() == "p:ns1/transit/keys/k"
		}},
		"the client's variables are the weakest": {config(map[string]string{"VAULT_ADDR": "https://w:1",
			"VAULT_TOKEN": "weak", "VAULT_CACERT": "/weak"},
			"address", "https://v:8200", "token", "x"), func(s settings) bool {
			return s.address == "https://v:8200" && s.token == "x" && s.tls.caCert == "/weak"
		}},
		"the seal's variables are the strongest": {config(map[string]string{"TRANSIT_WRAPPER_ADDR": "https://a:1",
			"VAULT_TRANSIT_SEAL_ADDR":  "https://b:1",
			"VAULT_TRANSIT_SEAL_TOKEN": "strong", "VAULT_TRANSIT_SEAL_MOUNT_PATH": "m",
			"TRANSIT_WRAPPER_KEY_NAME": "k2", "VAULT_NAMESPACE": "ns"},
			"address", "https://v:8200", "token", "x", "namespace", "other"), func(s settings) bool {
			return s.address == "https://a:1" && s.token == "strong" && s.id() == "ns/m/keys/k2"
		}},
		"OpenBao's before Vault's": {config(map[string]string{"VAULT_ADDR": "https://w:1", "BAO_ADDR": "https://b:1"}),
			func(s settings) bool {
				return s.address == "https://b:1"
			}},
	} {
		if s, err := parse(c.cfg); err != nil || !c.want(s) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
}

func TestBadParameters(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		params []string
		want   string
	}{
		"no mount":           {[]string{"mount_path", ""}, "mount_path is required"},
		"no key":             {[]string{"key_name", ""}, "key_name is required"},
		"a path for a key":   {[]string{"key_name", "a/b"}, "plain path or name"},
		"a way up":           {[]string{"mount_path", "transit/../sys"}, "plain path or name"},
		"a query":            {[]string{"key_name", "k?x=1"}, "plain path or name"},
		"no URL":             {[]string{"address", "vault.example.com:8200"}, "must be a URL"},
		"a file for a URL":   {[]string{"address", "file:///etc/passwd"}, "must be a URL"},
		"a password in it":   {[]string{"address", "https://u:hunter2@v"}, "no user name"},
		"misspelt":           {[]string{"keyname", "k"}, `did you mean "key_name"`},
		"renewal":            {[]string{"disable_renewal", "perhaps"}, "true or false"},
		"too short a time":   {[]string{"timeout", "1ms"}, "duration from 100ms"},
		"no such authority":  {[]string{"tls_ca_cert", "/nowhere/ca.pem"}, "/nowhere/ca.pem"},
		"half a certificate": {[]string{"tls_client_cert", "/nowhere/c.pem"}, "client key"},
		"no such variable":   {[]string{"token", "env://NOWHERE"}, "NOWHERE is not set"},
	} {
		_, err := New(config(nil, c.params...))
		if seals.ClassOf(err) != seals.Misconfigured || !strings.Contains(err.Error(), c.want) ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v; want class misconfigured and %q", name, err, c.want)
		}
	}
}

func TestInTheClear(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"http://vault.example.com": true, "http://10.0.0.1:8200": true, "https://vault.example.com": false,
		"http://127.0.0.1:8200": false, "http://localhost:8200": false, "http://[::1]:8200": false,
	} {
		if s := (settings{address: address}); s.inTheClear() != want {
			t.Errorf("%s: %v", address, !want)
		}
	}
}

func FuzzKeyVersion(f *testing.F) {
	for _, s := range []string{"vault:v1:AAAA", "vault:v0:AAAA", "vault:v01:AAAA", "vault:v1:AA=", "vault:v12:AAA=",
		"vault:v1:", "v1:AAAA", "vault:v1:AA\nAA", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		version, err := keyVersion(text)
		if err == nil && (!strings.HasPrefix(text, "vault:"+version+":") || version[1] == '0' ||
			strings.ContainsAny(text, "\r\n")) {
			t.Errorf("%q has version %q", text, version)
		}
	})
}
