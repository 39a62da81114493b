package kmip

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/internal/remote"
)

// prefixes of the environment variables, strongest first.
var prefixes = []string{"SEALGATE_KMIP_", "BAO_KMIP_", "VAULT_KMIP_"}

const (
	defaultPort = "5696"
	maxName     = 200
)

// settings is a parsed stanza.
type settings struct {
	endpoints             []string // host:port
	key                   string   // unique identifier
	clientCert, clientKey string
	caCert, serverName    string
	suites                []uint16 // of TLS 1.2; nil: Go's
	timeout               time.Duration
}

// parse reads every parameter. The key is required for a seal, and not to make one.
func parse(cfg seals.Config, needsKey bool) (settings, error) {
	p := seals.NewParams(cfg, prefixes...)
	getenv := func(name string) string {
		if cfg.Getenv == nil {
			return ""
		}
		return cfg.Getenv(name)
	}
	o := settings{
		key:        cmp.Or(getenv("BAO_KMIP_WRAPPER_KEY_ID"), getenv("VAULT_KMIP_SEAL_KEY_ID"), p.Get("kms_key_id")),
		clientCert: p.File("client_cert"), clientKey: p.File("client_key"), caCert: p.File("ca_cert"),
		serverName: p.Get("server_name"),
	}
	endpoint, algorithm, suites := p.Get("endpoint"), p.Get("encrypt_alg"), p.Get("tls12_ciphers")
	timeout := p.Get("timeout")
	if err := p.Check(); err != nil {
		return settings{}, err
	}
	var err1, err2, err3 error
	o.endpoints, err1 = endpointsOf(endpoint)
	o.suites, err2 = suitesOf(suites)
	o.timeout, err3 = remote.Timeout(timeout)
	if err := errors.Join(err1, err2, err3); err != nil {
		return settings{}, err
	}
	return o, o.check(algorithm, needsKey)
}

func (o *settings) check(algorithm string, needsKey bool) error {
	switch {
	case needsKey && o.key == "":
		return errors.New("kms_key_id is required: the unique identifier of an active AES key; " +
			"`sealgate seal kmip create-key` makes one")
	case len(o.key) > maxName || printable(o.key) != o.key:
		return fmt.Errorf("kms_key_id must be a text of at most %d bytes without spaces at its ends", maxName)
	case o.clientCert == "" || o.clientKey == "":
		return errors.New("client_cert and client_key are required: KMIP servers know their clients by certificate")
	case strings.HasPrefix(algorithm, "RSA_OAEP_"):
		return errors.New("encrypt_alg: only AES_GCM is supported: with an RSA key everybody who has its public half " +
			"could make a sealed record; use an AES key")
	case algorithm != "" && algorithm != "AES_GCM":
		return fmt.Errorf("encrypt_alg = %q: it must be AES_GCM", algorithm)
	}
	return nil
}

// endpointsOf parses a list of addresses with commas between them.
func endpointsOf(list string) ([]string, error) {
	var out []string
	for e := range strings.SplitSeq(list, ",") {
		if e = strings.TrimSpace(e); e == "" {
			continue
		}
		host, port, err := net.SplitHostPort(e)
		if err != nil {
			host, port = strings.Trim(e, "[]"), defaultPort
		}
		n, perr := strconv.Atoi(port)
		if host == "" || perr != nil || n < 1 || n > 65535 || strings.ContainsAny(host, "/@ ") {
			return nil, fmt.Errorf("endpoint: %q is not an address such as kmip.example.com:%s", seals.ShowURL(e), defaultPort)
		}
		out = append(out, net.JoinHostPort(host, port))
	}
	if len(out) == 0 {
		return nil, errors.New("endpoint is required: host:port of the KMIP server, or several with commas between them")
	}
	return out, nil
}

// suitesOf parses names of suites for TLS 1.2, which servers with old libraries need. Go's own list
// stays allowed.
func suitesOf(list string) ([]uint16, error) {
	if list == "" {
		return nil, nil
	}
	var out []uint16
	for _, s := range tls.CipherSuites() {
		out = append(out, s.ID)
	}
next:
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			if s.Name == name && !strings.Contains(name, "RC4") && !strings.Contains(name, "3DES") {
				out = append(out, s.ID)
				continue next
			}
		}
		return nil, fmt.Errorf("tls12_ciphers: %q is no cipher suite of TLS 1.2 that this program has", name)
	}
	return out, nil
}
