package config

import (
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Etcd has the settings of a storage stanza of type "etcd", by Vault's names. Zero durations and an
// empty path mean the store's defaults.
type Etcd struct {
	Address  []string // URLs; ETCD_ADDR takes precedence
	Path     string
	Username string // ETCD_USERNAME takes precedence
	Secrets  Params // "password", if there is one; ETCD_PASSWORD takes precedence

	TLSCAFile, TLSCertFile, TLSKeyFile, TLSServerName string // relative to the working directory

	RequestTimeout    time.Duration
	LeaseTTL          time.Duration // time after which an unresponsive leader loses its lease
	DisableCompaction bool
}

// foreignEtcd are keys of Vault's etcd storage that this program does not use.
var foreignEtcd = map[string]foreign{
	"etcd_api":           {refuse: true, standard: "v3", text: "this program uses version 3 of etcd's API; remove it"},
	"sync":               {text: "has no effect: the endpoints come from address"},
	"discovery_srv":      {refuse: true, text: "endpoints are not looked up in DNS; list them in address"},
	"discovery_srv_name": {refuse: true, text: "endpoints are not looked up in DNS; list them in address"},
	"lock_timeout":       {text: "has no effect: see lease_ttl"},
	"max_receive_size":   {text: "has no effect: responses of etcd are already bounded"},
}

func (d *decoder) etcd(s *section, st *Storage) {
	e := &Etcd{Secrets: Params{}}
	var password string
	elects := true
	e.Address = s.words("address")
	s.str("path", &e.Path)
	s.str("username", &e.Username)
	s.str("password", &password)
	s.file("tls_ca_file", &e.TLSCAFile)
	s.file("tls_cert_file", &e.TLSCertFile)
	s.file("tls_key_file", &e.TLSKeyFile)
	s.str("tls_server_name", &e.TLSServerName)
	s.duration("request_timeout", &e.RequestTimeout)
	s.duration("lease_ttl", &e.LeaseTTL)
	s.flag("disable_compaction", &e.DisableCompaction)
	s.flag("ha_enabled", &elects)
	if !elects {
		d.note(s.seen["ha_enabled"], s.where+".ha_enabled", false,
			"a leader is elected nevertheless, because two nodes that write would corrupt the data; a single node is "+
				"always elected")
	}
	if password != "" {
		e.Secrets["password"] = password
	}
	s.finish(foreignEtcd)
	st.Etcd = e
}

// etcdEnvironment applies Vault's variables, which take precedence over the stanza.
func (d *decoder) etcdEnvironment(getenv func(string) string) {
	if d.cfg.Storage == nil || d.cfg.Storage.Etcd == nil {
		return
	}
	e := d.cfg.Storage.Etcd
	if v := getenv("ETCD_ADDR"); v != "" {
		e.Address = strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })
	}
	if v := getenv("ETCD_USERNAME"); v != "" {
		e.Username = v
	}
	if v := getenv("ETCD_PASSWORD"); v != "" {
		e.Secrets["password"] = v
	}
	if v := getenv("ETCD_HA_ENABLED"); v != "" {
		if on, err := strconv.ParseBool(v); err != nil || !on {
			d.note(Pos{}, "ETCD_HA_ENABLED", false, "has no effect: a leader is always elected")
		}
	}
}

// checkEtcd checks the addresses; the store checks the rest.
func (d *decoder) checkEtcd() {
	if d.cfg.Storage == nil || d.cfg.Storage.Etcd == nil {
		return
	}
	st := d.cfg.Storage
	if len(st.Etcd.Address) == 0 {
		d.fail(st.Pos, `storage "etcd" requires an address, such as "https://10.0.0.1:2379,https://10.0.0.2:2379"`+
			" (or ETCD_ADDR)")
		return
	}
	for _, a := range st.Etcd.Address {
		u, err := url.Parse(a)
		switch {
		case err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https":
			d.fail(st.Pos, `storage etcd: "address" must be URLs, such as https://10.0.0.1:2379, without a user`)
			return
		case u.Scheme == "http" && !loopback(net.JoinHostPort(u.Hostname(), "0")):
			d.note(st.Pos, "storage etcd.address", true,
				"etcd is used without TLS: an attacker on the network can read the names of entries and the password, and change "+
					"the data")
			return
		}
	}
}
