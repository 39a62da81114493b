package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/version"
)

func write(t testing.TB, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestDurations(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0": 0, "90": 90 * time.Second, "90s": 90 * time.Second, "32d": 768 * time.Hour, "1d12h": 36 * time.Hour,
		"1h30m": 90 * time.Minute,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "-1", "-1s", "-1d", "1.5d", "1w", "9223372036854775807", "99999999d", "s",
		"true", "1d2d", "1d-2h"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

func TestEnvironmentWins(t *testing.T) {
	t.Parallel()
	file := write(t, "a.hcl", `
api_addr = "http://file:1"
log_level = "info"
seal "pkcs11" { lib = "x.so" }`)
	env := map[string]string{
		"VAULT_API_ADDR": "http://vault:1", "BAO_API_ADDR": "http://bao:1", "VAULT_CLUSTER_ADDR": "https://cluster:1",
		"SEALGATE_LOG_LEVEL": "warn", "VAULT_LOG_FORMAT": "json", "BAO_SEAL_TYPE": "static",
	}
	c, err := Load([]string{file}, func(k string) string { return env[k] })
	if err != nil {
		t.Fatal(err)
	}
	if c.APIAddr != "http://bao:1" || c.ClusterAddr != "https://cluster:1" || c.LogLevel != slog.LevelWarn ||
		c.LogFormat != "json" {
		t.Errorf("%+v", c)
	}
	if len(c.Seals) != 1 || c.Seals[0].Type != "static" {
		t.Errorf("SEAL_TYPE did not win: %+v", c.Seals)
	}
	env = map[string]string{"SEALGATE_LOG_LEVEL": "hunter2", "SEALGATE_LOG_FORMAT": "hunter2",
		"SEALGATE_SEAL_TYPE": "hunter2",
		"SEALGATE_API_ADDR":  "hunter2"}
	_, err = Load(nil, func(k string) string { return env[k] })
	if err == nil || strings.Contains(err.Error(), "hunter2") || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("four mistakes, no value: %v", err)
	}
	env = map[string]string{"VAULT_SEAL_TYPE": "pkcs11"}
	if c, err = Load(nil, func(k string) string { return env[k] }); err != nil || len(c.Seals) != 1 ||
		c.Seals[0].Name != "pkcs11" {
		t.Errorf("%v %v", c, err)
	}
}

// TestParameters checks that values arrive as written, and that nothing prints them.
func TestParameters(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a.hcl": "seal \"pkcs11\" \"a\" {\n  pin = \"hunter2\\\"\\\\ ${x}\"\n slot = 0x2A\n generate_key = true\n LIB = " +
			"\"x.so\" }",
		"a.json": `{"hsm": [{"pkcs11": [{"name": "a", "pin": "hunter2\"\\ ${x}", "slot": "0x2A",
			"generate_key": true, "Lib": "x.so"}]}]}`,
	} {
		c, err := Load([]string{write(t, name, text)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		p := c.Seals[0].Params
		if p["pin"] != `hunter2"\ ${x}` || p["slot"] != "0x2A" || p["generate_key"] != "true" ||
			p["lib"] != "x.so" || len(p) != 4 {
			t.Errorf("%s: %q", name, map[string]string(p))
		}
		out, _ := json.Marshal(c)
		shown := fmt.Sprintf("%v %+v %#v %s %q %x %s", c, *c, c.Seals, p, p, p, out)
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "seal", c.Seals[0], "params", p)
		if strings.Contains(shown+log.String(), "hunter2") {
			t.Errorf("a PIN shows: %s %s", shown, log.String())
		}
	}
}

func TestPaths(t *testing.T) {
	t.Parallel()
	_, err := Load([]string{filepath.Join(t.TempDir(), "absent.hcl")}, nil)
	if err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("absent file: %v", err)
	}
	big := write(t, "big.hcl", strings.Repeat("#\n", maxFile))
	if _, err := Load([]string{big}, nil); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("big file: %v", err)
	}
	deep := write(t, "deep.hcl", "x = "+strings.Repeat("[", 10000))
	if _, err := Load([]string{deep}, nil); err == nil || !strings.Contains(err.Error(), "nested") {
		t.Errorf("deep file: %v", err)
	}
	one, two := write(t, "1.hcl", `storage "inmem" {}`), write(t, "2.hcl", `storage "file" { path = "d" }`)
	_, err = Load([]string{one, two}, nil)
	if err == nil || !strings.Contains(err.Error(), two+":1: duplicate storage stanza: the first is at "+one+":1") {
		t.Errorf("two storages: %v", err)
	}
	c, err := Load([]string{one, one}, nil)
	if err != nil || c.Storage == nil || len(c.Files) != 1 {
		t.Errorf("the same file twice: %v", err)
	}
}

// TestOneMistake is for what the larger examples do not reach.
func TestOneMistake(t *testing.T) {
	t.Parallel()
	const tcp, pair = `listener "tcp" { tls_disable = true `, `listener "tcp" { tls_cert_file = "c" tls_key_file = "k" `
	for text, want := range map[string]string{
		`storage "bbolt" {}`:     `1: storage "bbolt" needs a path`,
		`storage = "inmem"`:      `1: storage must be a block: storage "type" { ... }`,
		`storage { path = "x" }`: `storage must be a block`,
		`storage "a" "b" {}`:     `storage must be a block`,
		`storage "consul" {}`:    `"consul" is not supported`,
		`storage "etcd" {}`:      `requires an address`,
		`listener "udp" {}`:      `use "tcp" or "unix"`,
		`listener "unix" {}`:     `requires an address`,
		`listener "unix" { address = "s" socket_mode = 9 }`:           `octal`,
		tcp + `address = "{{ GetPrivateIP }}:8200" }`:                 `without templates`,
		tcp + `} ` + tcp + `}`:                                        `has the same address`,
		tcp + `tls_cipher_suites = "TLS_RSA_WITH_RC4_128_SHA" }`:      `unknown or insecure`,
		tcp + `tls_min_version = "tls13" tls_max_version = "tls12" }`: `tls_min_version is above`,
		pair + `tls_require_and_verify_client_cert = 1 }`:             `requires tls_client_ca_file`,
		`seal "nosuch" {}`:                                 `"nosuch" is not a known type: use one of alicloudkms, awskms`,
		`seal "pkcs11" "a" { name = "b" }`:                 `two names`,
		`seal "pkcs11" "a b" { }`:                          `letters, digits`,
		`seal "pkcs11" { lib = "x" pin = { x = 1 } }`:      `takes a value, not a block`,
		`seal "pkcs11" { pin = ["a"] }`:                    `not a list`,
		`seal_policy { threshold = 2 }`:                    `requires mode`,
		`seal_policy { mode = "threshold" }`:               `requires threshold`,
		`seal_policy { mode = "threshold" threshold = 1 }`: `from 2 to`,

		`seal_policy { policy = "any(a, any(b, any(c, d)))" }`: `groups are one level deep`,
		`seal_policy { policy = "any(hsm, kms) and shamir" }`:  `no enabled seal is named "hsm"`,
		`seal_policy { policy = "any(shamir)" mode = "any" }`:  `remove mode and threshold`,
		`seal_policy { policy = "any(shamir)" threshold = 2 }`: `remove mode and threshold`,
		"seal \"shamir\" \"a\" {}\nseal \"shamir\" \"b\" {}":   `a second seal of type shamir`,
		`seal_policy {} seal_policy {}`:                        `duplicate seal_policy`,
		`ceremony {} ceremony {}`:                              `duplicate ceremony`,
		`ceremony { expiry = "1s" }`:                           `expiry must be`,
		`ceremony { keep_answer = "48h" }`:                     `keep_answer must be`,
		`ceremony { keep_answe = "1h" }`:                       `keep_answer`,
		`api_addr = "10.0.0.1:8200"`:                           `is not a URL`,
		`log_format = "xml"`:                                   `standard, json`,
		`default_max_request_duration = 0`:                     `more than 0`,
		`cluster_name = ["a"]`:                                 `takes one value`,
		`= 1`:                                                  `1: syntax`,
		`a = "\q"`:                                             `1: syntax`,
		"{}\n{}":                                               `2: syntax: unexpected text`,
		`{"a": [1, 2}`:                                         `syntax`,
	} {
		_, err := Load([]string{write(t, "x.conf", text)}, nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
			continue
		}
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: no position", text)
		}
	}
}

// FuzzLoad checks that no input panics, that decoding is deterministic, and that no error shows a
// quoted value.
func FuzzLoad(f *testing.F) {
	files, _ := filepath.Glob(testdata + "/*.hcl")
	more, _ := filepath.Glob(testdata + "/*.json")
	for _, name := range append(files, more...) {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, s := range []string{"a = <<X\nb\nX\n", "a = 08", "a = 1e999", "a = \"${\"",
		"{\"a\": {\"b\": [{}, []]}}", "seal \"x\" \"y\" \"z\" {}", "\xef\xbb\xbf{}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		run := func() string {
			d := newDecoder()
			d.cfg.Files = []string{"f"}
			b, err := parse("f", data)
			if err != nil {
				return err.Error()
			}
			d.file(b)
			d.check()
			return fmt.Sprint(d.result(), d.cfg.Seals, d.cfg.Listeners, d.cfg.Storage)
		}
		if first, second := run(), run(); first != second {
			t.Errorf("two readings differ:\n%s\n%s", first, second)
		}
	})
}

// TestClusterAddrOfHTTP checks that http is read as https, with a note: files for Vault have it.
func TestClusterAddrOfHTTP(t *testing.T) {
	t.Parallel()
	c, err := Load([]string{write(t, "c.hcl", `cluster_addr = "http://127.0.0.1:8201"`)}, nil)
	if err != nil || c.ClusterAddr != "https://127.0.0.1:8201" || len(c.Notes) != 1 || c.Notes[0].Warn {
		t.Fatalf("%v: %+v", err, c)
	}
	c, err = Load(nil, func(name string) string {
		return map[string]string{"VAULT_CLUSTER_ADDR": "http://h:1"}[name]
	})
	if err != nil || c.ClusterAddr != "https://h:1" {
		t.Errorf("from the environment: %v: %+v", err, c)
	}
}

// TestAddressesAreNamed checks that an error names the bad entry, unless it could be a secret.
func TestAddressesAreNamed(t *testing.T) {
	t.Parallel()
	const tcp = `listener "tcp" { tls_disable = true `
	for _, c := range []struct{ text, want string }{
		{tcp + `proxy_protocol_behavior = "allow_authorized"
			proxy_protocol_authorized_addrs = "10.0.0.1, 10.0.0.2:80" }`, "entry 2 (10.0.0.2:80) has a port"},
		{tcp + `x_forwarded_for_authorized_addrs = ["::1", "10.0.0.0/40"] }`, "entry 2 (10.0.0.0/40) is not an IP address"},
		{tcp + `x_forwarded_for_authorized_addrs = "hunter2" }`, "entry 1 is not an IP address"},
		{`cluster_addr = "ftp://h:1"`, `cluster_addr has the scheme "ftp", which is not supported: use https`},
		{`api_addr = "{{ GetPrivateIP }}"`, "api_addr has a template"},
		{`api_addr = "h:1"`, "api_addr is not a URL"},
	} {
		_, err := Load([]string{write(t, "c.hcl", c.text)}, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") ||
			strings.Contains(err.Error(), "requires proxy") {
			t.Errorf("%s\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestAPIVersion(t *testing.T) {
	t.Parallel()
	load := func(line string) (*Config, error) {
		t.Helper()
		return Load([]string{write(t, "c.hcl", line)}, nil)
	}
	for _, good := range []string{version.APILevel, "1.9.10", "2.0.0"} {
		if c, err := load(`api_version = "` + good + `"`); err != nil || c.APIVersion != good {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "1.15", "v1.15.0", "1.15.0+ent", "1.15.0-rc1", "1.015.0", "1.15.0\n"} {
		_, err := load(fmt.Sprintf("api_version = %q", bad))
		if err == nil || !strings.Contains(err.Error(), "three numbers") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if c, err := load(""); err != nil || c.APIVersion != version.APILevel {
		t.Errorf("the default: %v", err)
	}
}

// TestEveryParameterOfTheHSM: what seals/pkcs11 reads is known here.
func TestEveryParameterOfTheHSM(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"isolation", "network", "allow_paths", "require_nonextractable", "accept_unauthenticated", "hmac_key_id",
	} {
		file := write(t, "a.hcl", "storage \"inmem\" {}\nseal \"pkcs11\" {\n  lib = \"x\"\n  "+name+" = \"x\"\n}\n")
		_, err := Load([]string{file}, func(string) string { return "" })
		if err != nil && strings.Contains(err.Error(), "not a known key") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnchorOnAToken(t *testing.T) {
	t.Parallel()
	const one, two = "seal \"pkcs11\" \"a\" { lib = \"x\" }\n", "seal \"pkcs11\" \"b\" { lib = \"y\" }\n"
	for text, want := range map[string]string{
		one + "anchor \"pkcs11\" {}":                                     "a sealgate-anchor",
		one + two + "anchor \"pkcs11\" { seal = \"b\"\n label = \"l\" }": "b l",
		one + two + "anchor \"pkcs11\" {}":                               "and 2 fit",
		"anchor \"pkcs11\" {}":                                           "and 0 fit",
		one + "anchor \"pkcs11\" { seal = \"c\" }":                       "and 0 fit",
		one + "anchor \"pkcs11\" { label = \"\" }":                       "label has 1 to 64 bytes",
		one + "anchor \"pkcs11\" {}\nanchor \"file\" { path = \"p\" }":   "two anchors",
		one + "anchor \"tpm\" {}":                                        "not supported",
	} {
		c, err := Load([]string{write(t, "a.hcl", "storage \"inmem\" {}\n"+text)}, func(string) string { return "" })
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = c.Anchor.Seal + " " + c.Anchor.Label
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s; want %s", text, got, want)
		}
	}
}

func TestFIPS(t *testing.T) {
	t.Parallel()
	const chacha = "listener \"tcp\" {\n tls_cipher_suites = \"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256\"\n" +
		" tls_cert_file = \"/c.pem\"\n tls_key_file = \"/k.pem\" }\n"
	for text, want := range map[string]string{
		"": "false", "fips = \"off\"\n": "false", "fips = \"required\"\n": "true", "fips = \"on\"\n": "must be",
		chacha: "false", "fips = \"required\"\n" + chacha: "CHACHA20",
	} {
		c, err := Load([]string{write(t, "a.hcl", "storage \"inmem\" {}\n"+text)}, func(string) string { return "" })
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprint(c.FIPS)
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s: %s; want %s", text, got, want)
		}
	}
}
