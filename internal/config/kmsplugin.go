package config

import (
	"cmp"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

// KMSPlugin is the configuration of the Kubernetes KMS v2 sidecar.
type KMSPlugin struct {
	Gateway            // socket, mount, key and the rest that both shapes have; policies are the server's
	Addresses []string // of one cluster
	Namespace string

	CACert, ClientCert, ClientKey, ServerName string // files, which are read again when they change; a name

	Auth      string // "token_file", "approle" or "cert"
	AuthMount string
	TokenFile string
	RoleFile  string // role_id_file
	Secret    string // secret_id_file
	Role      string // of cert

	Health   string // address of the liveness and metrics port; "": none
	LogLevel string
}

// LoadKMSPlugin reads the file of the sidecar:
//
//	socket      = "/run/sealgate/kms.sock"
//	address     = ["https://10.0.0.1:8200", "https://10.0.0.2:8200"]
//	key         = "kubernetes"
//	tls_ca_cert = "/etc/sealgate/ca.pem"
//	auth "approle" {
//	  role_id_file   = "/etc/sealgate/role-id"
//	  secret_id_file = "/etc/sealgate/secret-id"
//	}
func LoadKMSPlugin(file string) (*KMSPlugin, error) {
	data, err := readBounded(file)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	b, err := parse(file, data)
	if err != nil {
		return nil, err
	}
	d := newDecoder()
	d.cfg.Files = []string{file}
	p := &KMSPlugin{Gateway: Gateway{Pos: Pos{File: file, Line: 1}, Type: "kmsv2"}, LogLevel: "info"}
	s := d.section("", b)
	s.str("name", &p.Name)
	p.Name = cmp.Or(p.Name, "kms-plugin")
	d.kmsv2(s, &p.Gateway)
	p.Addresses = s.words("address")
	s.str("namespace", &p.Namespace)
	s.file("tls_ca_cert", &p.CACert)
	s.file("tls_client_cert", &p.ClientCert)
	s.file("tls_client_key", &p.ClientKey)
	s.str("tls_server_name", &p.ServerName)
	s.str("health_address", &p.Health)
	s.choice("log_level", []string{"debug", "info", "warn", "error"}, &p.LogLevel)
	for _, b := range s.blocks("auth", 1, 1) {
		d.pluginAuth(b, p)
	}
	s.finish()
	d.checkPlugin(p)
	return p, d.result()
}

// pluginAuth reads how the sidecar logs in.
func (d *decoder) pluginAuth(b block, p *KMSPlugin) {
	kind := strings.ToLower(b.labels[0])
	if p.Auth != "" {
		d.fail(b.pos, "there are two auth stanzas; keep one")
		return
	}
	p.Auth, p.AuthMount = kind, kind
	s := d.section("auth "+kind, b.body)
	switch kind {
	case "token_file":
		s.file("path", &p.TokenFile)
		if p.TokenFile == "" {
			d.fail(b.pos, "auth token_file: path is missing")
		}
	case "approle":
		s.str("mount", &p.AuthMount)
		s.file("role_id_file", &p.RoleFile)
		s.file("secret_id_file", &p.Secret)
		if p.RoleFile == "" || p.Secret == "" {
			d.fail(b.pos, "auth approle: role_id_file and secret_id_file are needed")
		}
	case "cert":
		s.str("mount", &p.AuthMount)
		s.str("role", &p.Role)
		if p.ClientCert == "" || p.ClientKey == "" {
			d.fail(b.pos, "auth cert: tls_client_cert and tls_client_key are needed, at the top of the file")
		}
	default:
		d.fail(b.pos, `auth %s is not known: use "token_file", "approle" or "cert"`, short(kind))
		return
	}
	s.finish()
}

func (d *decoder) checkPlugin(p *KMSPlugin) {
	if p.Auth == "" {
		d.fail(p.Pos, `auth is missing: add auth "token_file", "approle" or "cert"`)
	}
	if len(p.Addresses) == 0 {
		d.fail(p.Pos, `address is missing: name the nodes of the cluster, such as ["https://10.0.0.1:8200"]`)
	}
	for _, a := range p.Addresses {
		u, err := url.Parse(a)
		switch {
		case err != nil || u.Host == "" || u.Path != "" && u.Path != "/" || u.User != nil:
			d.fail(p.Pos, "an address is not of the form https://10.0.0.1:8200")
		case u.Scheme == "http":
			d.note(p.Pos, "address", true, "the address is without TLS: an attacker on the network reads the "+
				"seeds of all objects")
		case u.Scheme != "https":
			d.fail(p.Pos, "an address has the scheme %s: use https", short(u.Scheme))
		}
	}
	for name, path := range map[string]string{"tls_ca_cert": p.CACert, "tls_client_cert": p.ClientCert,
		"tls_client_key": p.ClientKey} {
		if path != "" && !filepath.IsAbs(path) {
			d.fail(p.Pos, "%s must be an absolute path", name)
		}
	}
	if p.Deadline > 3*time.Second {
		d.note(p.Pos, "deadline", true, "the API server waits 3s by default: set its timeout above the deadline")
	}
	if (p.ClientCert == "") != (p.ClientKey == "") {
		d.fail(p.Pos, "tls_client_cert and tls_client_key belong together")
	}
}
