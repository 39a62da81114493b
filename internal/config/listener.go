package config

import (
	"crypto/tls"
	"math"
	"net"
	"strconv"
	"strings"
	"time"
)

// Vault's defaults of a listener.
const (
	defaultAddress         = "127.0.0.1:8200"
	defaultMaxRequest      = 33554432
	defaultMaxJSONMemory   = 34078720
	defaultMaxJSONStrings  = 1000
	defaultReadHeader      = 10 * time.Second
	defaultRead            = 30 * time.Second
	defaultIdle            = 5 * time.Minute
	mostRequest            = 1 << 30
	mostRequestJSONStrings = math.MaxInt32
)

// NewListener is a TCP listener with every default and the given address.
func NewListener(address string) Listener {
	return Listener{
		Type: "tcp", Address: address,
		TLSMinVersion: tls.VersionTLS12, TLSMaxVersion: tls.VersionTLS13,
		MaxRequestSize: defaultMaxRequest, MaxRequestJSONMemory: defaultMaxJSONMemory,
		MaxRequestJSONStrings: defaultMaxJSONStrings,
		HTTPReadHeaderTimeout: defaultReadHeader, HTTPReadTimeout: defaultRead, HTTPIdleTimeout: defaultIdle,
		Front: Front{Forwarded: ForwardedFor{RejectAbsent: true, RejectNotAuthorized: true}},
	}
}

func (d *decoder) listener(b block) {
	kind := strings.ToLower(b.labels[0])
	if kind != "tcp" && kind != "unix" {
		d.fail(b.pos, `listener %s is not known: use "tcp" or "unix"`, short(kind))
		return
	}
	l := NewListener(defaultAddress)
	l.Pos, l.Type = b.pos, kind
	s := d.section("listener "+kind, b.body)
	if kind == "unix" {
		l.Address, l.TLSDisable = "", true
		s.str("socket_mode", &l.SocketMode)
		s.str("socket_user", &l.SocketUser)
		s.str("socket_group", &l.SocketGroup)
	}
	s.str("address", &l.Address)
	s.str("cluster_address", &l.ClusterAddress)
	d.listenerTLS(s, &l)
	d.listenerLimits(s, &l)
	s.flag("disable_unauthed_rekey_endpoints", &l.DisableUnauthRekey)
	s.flag("disable_unauthed_generate_root_endpoints", &l.DisableUnauthRoot)
	d.listenerFront(s, &l)
	s.finish(foreignListener)
	d.cfg.Listeners = append(d.cfg.Listeners, l)
}

func (d *decoder) listenerTLS(s *section, l *Listener) {
	s.flag("tls_disable", &l.TLSDisable)
	s.file("tls_cert_file", &l.TLSCertFile)
	s.file("tls_key_file", &l.TLSKeyFile)
	s.file("tls_client_ca_file", &l.TLSClientCAFile)
	s.flag("tls_require_and_verify_client_cert", &l.TLSRequireClient)
	s.flag("tls_disable_client_certs", &l.TLSDisableClient)
	s.version("tls_min_version", &l.TLSMinVersion)
	s.version("tls_max_version", &l.TLSMaxVersion)
	for _, name := range s.words("tls_cipher_suites") {
		if id, ok := suite(name); ok {
			l.TLSCipherSuites = append(l.TLSCipherSuites, id)
			continue
		}
		d.fail(s.seen["tls_cipher_suites"], "%s has an unknown or insecure cipher suite: use TLS_ECDHE_..._GCM_... or "+
			"remove the key",
			s.label("tls_cipher_suites"))
	}
}

func (s *section) version(key string, to *uint16) {
	var word string
	s.choice(key, []string{"tls10", "tls11", "tls12", "tls13"}, &word)
	switch word {
	case "tls10", "tls11":
		s.d.fail(s.seen[key], "%s: TLS below 1.2 is not supported: use tls12 or tls13", s.label(key))
	case "tls12":
		*to = tls.VersionTLS12
	case "tls13":
		*to = tls.VersionTLS13
	}
}

func suite(name string) (uint16, bool) {
	for _, c := range tls.CipherSuites() {
		if strings.EqualFold(c.Name, name) {
			return c.ID, true
		}
	}
	return 0, false
}

func (d *decoder) listenerLimits(s *section, l *Listener) {
	s.integer("max_request_size", 1, mostRequest, &l.MaxRequestSize)
	s.integer("max_request_json_memory", 1, mostRequest, &l.MaxRequestJSONMemory)
	s.integer("max_request_json_strings", 1, mostRequestJSONStrings, &l.MaxRequestJSONStrings)
	s.duration("max_request_duration", &l.MaxRequestDuration)
	s.duration("http_read_header_timeout", &l.HTTPReadHeaderTimeout)
	s.duration("http_read_timeout", &l.HTTPReadTimeout)
	s.duration("http_idle_timeout", &l.HTTPIdleTimeout)
	s.duration("http_write_timeout", &l.HTTPWriteTimeout)
}

// CopyTLS copies the settings that a running listener can take over from another configuration.
func (l *Listener) CopyTLS(from Listener) {
	l.TLSCertFile, l.TLSKeyFile, l.TLSClientCAFile = from.TLSCertFile, from.TLSKeyFile, from.TLSClientCAFile
	l.TLSMinVersion, l.TLSMaxVersion, l.TLSCipherSuites = from.TLSMinVersion, from.TLSMaxVersion, from.TLSCipherSuites
	l.TLSRequireClient, l.TLSDisableClient = from.TLSRequireClient, from.TLSDisableClient
}

func (d *decoder) checkListeners() {
	seen := map[string]Pos{}
	for _, l := range d.cfg.Listeners {
		for _, id := range l.TLSCipherSuites {
			if name := tls.CipherSuiteName(id); d.cfg.FIPS && strings.Contains(name, "CHACHA20") {
				d.fail(l.Pos, "tls_cipher_suites has %s, which FIPS 140-3 does not approve (fips = \"required\"): use "+
					"TLS_ECDHE_..._GCM_... or remove the key", name)
			}
		}
		if l.Type == "tcp" {
			d.checkAddress(l.Pos, "address", l.Address)
			if l.ClusterAddress != "" {
				d.checkAddress(l.Pos, "cluster_address", l.ClusterAddress)
			}
		} else {
			d.checkSocket(l)
		}
		if first, twice := seen[l.Address]; twice && !strings.HasSuffix(l.Address, ":0") {
			d.fail(l.Pos, "listener: the listener at %s has the same address", first)
		}
		seen[l.Address] = l.Pos
		d.checkTLS(l)
	}
}

func (d *decoder) checkAddress(p Pos, key, text string) {
	_, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || strings.Contains(text, "{{") {
		d.fail(p, "listener: %s must be host:port, such as 127.0.0.1:8200, without templates", key)
	}
}

func (d *decoder) checkSocket(l Listener) {
	if l.Address == "" {
		d.fail(l.Pos, `listener "unix" requires an address: the path of the socket`)
	}
	if mode, err := strconv.ParseUint(l.SocketMode, 8, 32); l.SocketMode != "" && (err != nil || mode > 0o777) {
		d.fail(l.Pos, "listener unix: socket_mode must be octal, such as 0600")
	}
}

func (d *decoder) checkTLS(l Listener) {
	switch {
	case l.TLSMinVersion > l.TLSMaxVersion:
		d.fail(l.Pos, "listener: tls_min_version is above tls_max_version")
	case l.TLSRequireClient && l.TLSDisableClient:
		d.fail(l.Pos, "listener: tls_require_and_verify_client_cert and tls_disable_client_certs exclude each other")
	case l.TLSRequireClient && l.TLSDisable:
		d.fail(l.Pos, "listener: tls_require_and_verify_client_cert requires TLS, which tls_disable turns off")
	case l.TLSRequireClient && l.TLSClientCAFile == "":
		d.fail(l.Pos, "listener: tls_require_and_verify_client_cert requires tls_client_ca_file")
	}
	if l.Type != "tcp" {
		return
	}
	if l.TLSDisable {
		if !loopback(l.Address) {
			d.note(l.Pos, "tls_disable", true, "this listener transmits tokens and secrets unencrypted")
		}
		return
	}
	if l.TLSCertFile == "" || l.TLSKeyFile == "" {
		d.fail(l.Pos, "listener: tls_cert_file and tls_key_file are required, unless tls_disable = true")
	}
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}
