package transit

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/internal/remote"
)

// prefixes of the environment variables, strongest first. A variable (prefix + name in capitals)
// takes precedence over the stanza.
var prefixes = []string{"SEALGATE_TRANSIT_SEAL_", "TRANSIT_WRAPPER_", "VAULT_TRANSIT_SEAL_"}

const (
	defaultAddress = "https://127.0.0.1:8200"
	maxName        = 255
)

// settings is a parsed stanza.
type settings struct {
	address, namespace, mount, key string
	idPrefix                       string
	token                          string // as written: the token, env:// or file://
	renew                          bool
	timeout                        time.Duration
	tls                            tlsFiles
}

type tlsFiles struct {
	caCert, caPath, clientCert, clientKey, serverName string
	skipVerify                                        bool
}

// parse reads every parameter. The variables of the servers' own clients (BAO_ADDR, VAULT_ADDR,
// ...) count only where nothing else is set, except the namespace, as in Vault's seal.
func parse(cfg seals.Config) (settings, error) {
	p := seals.NewParams(cfg, prefixes...)
	client := func(name, older string) string {
		if cfg.Getenv == nil {
			return ""
		}
		return cmp.Or(cfg.Getenv("BAO_"+name), cfg.Getenv("VAULT_"+older))
	}
	file := func(name, variable string) string {
		return p.CheckFile(name, cmp.Or(p.Get(name), client(variable, variable)))
	}
	o := settings{
		address:   cmp.Or(p.Get("address", "addr"), client("ADDR", "ADDR"), defaultAddress),
		token:     cmp.Or(p.Get("token"), client("TOKEN", "TOKEN")),
		mount:     strings.Trim(p.Get("mount_path"), "/"),
		key:       p.Get("key_name"),
		idPrefix:  p.Get("key_id_prefix"),
		namespace: strings.Trim(p.Get("namespace"), "/"),
		renew:     true,
		tls: tlsFiles{
			caCert:     file("tls_ca_cert", "CACERT"),
			caPath:     file("tls_ca_path", "CAPATH"),
			clientCert: file("tls_client_cert", "CLIENT_CERT"),
			clientKey:  file("tls_client_key", "CLIENT_KEY"),
			serverName: cmp.Or(p.Get("tls_server_name"), client("TLS_SERVER_NAME", "TLS_SERVER_NAME")),
		},
	}
	o.namespace = cmp.Or(strings.Trim(client("NAMESPACE", "NAMESPACE"), "/"), o.namespace)
	err := o.readSwitches(p, client)
	if cerr := p.Check(); cerr != nil {
		return settings{}, cerr
	}
	if err = errors.Join(err, o.check()); err != nil {
		return settings{}, err
	}
	return o, nil
}

func (o *settings) readSwitches(p *seals.Params, client func(string, string) string) error {
	off, err := boolean("disable_renewal", p.Get("disable_renewal"))
	o.renew = !off
	skip, err2 := boolean("tls_skip_verify", cmp.Or(p.Get("tls_skip_verify"), client("SKIP_VERIFY", "SKIP_VERIFY")))
	o.tls.skipVerify = skip
	var err3 error
	o.timeout, err3 = remote.Timeout(p.Get("timeout"))
	return errors.Join(err, err2, err3)
}

func boolean(name, v string) (bool, error) {
	if v == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(v)
	if err != nil {
		return false, fmt.Errorf("%s = %q: it must be true or false", name, v)
	}
	return b, nil
}

func (o *settings) check() error {
	u, err := url.Parse(o.address)
	switch {
	case err != nil:
		return fmt.Errorf("address = %q: it must be a URL such as https://vault.example.com:8200",
			seals.ShowURL(o.address))
	case u.User != nil:
		return errors.New("address: it must hold no user name or password")
	case u.Scheme == "unix" && u.Path != "":
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "", u.RawQuery != "", u.Fragment != "":
		return fmt.Errorf("address = %q: it must be a URL such as https://vault.example.com:8200",
			seals.ShowURL(o.address))
	}
	switch {
	case o.mount == "":
		return errors.New("mount_path is required: where the transit engine is mounted, such as transit")
	case o.key == "":
		return errors.New("key_name is required: the key of the transit engine")
	case !pathPart(o.mount, true), !pathPart(o.key, false), !pathPart(o.namespace, true), len(o.idPrefix) > maxName:
		return fmt.Errorf("mount_path, key_name, namespace and key_id_prefix: each is a plain path or name of at "+
			"most %d bytes", maxName)
	}
	return nil
}

// pathPart reports whether s can be used in a request's path without escaping.
func pathPart(s string, slashes bool) bool {
	for _, r := range s {
		if r <= ' ' || r == 0x7f || strings.ContainsRune("?#%\\", r) || r == '/' && !slashes {
			return false
		}
	}
	return len(s) <= maxName && !strings.Contains("/"+s+"/", "/../") && !strings.Contains("/"+s+"/", "/./")
}

// inTheClear reports whether the token and the data keys cross a network without TLS.
func (o *settings) inTheClear() bool {
	u, err := url.Parse(o.address)
	if err != nil || u.Scheme != "http" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())
}

// id returns the canonical name of the key on its server. It excludes the server's address, which
// may change.
func (o *settings) id() string {
	id := o.mount + "/keys/" + o.key
	if o.namespace != "" {
		id = o.namespace + "/" + id
	}
	return o.idPrefix + id
}
