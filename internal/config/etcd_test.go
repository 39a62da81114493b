package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEtcd(t *testing.T) {
	t.Parallel()
	file := write(t, "x.hcl", `storage "etcd" {
  address = "https://10.0.0.1:2379,https://10.0.0.2:2379"
  path = "sealgate/"
  username = "u"
  password = "hunter2"
  tls_ca_file = "ca.pem"
  tls_cert_file = "cert.pem"
  tls_key_file = "key.pem"
  tls_server_name = "etcd"
  request_timeout = "3s"
  lease_ttl = "1500ms"
  disable_compaction = true
  ha_enabled = "false"
  sync = "false"
  etcd_api = "v3"
  lock_timeout = "15s"
}`)
	c, err := Load([]string{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := c.Storage.Etcd
	if !slices.Equal(e.Address, []string{"https://10.0.0.1:2379", "https://10.0.0.2:2379"}) || e.Path != "sealgate/" ||
		e.Username != "u" ||
		e.Secrets["password"] != "hunter2" || e.TLSCAFile != "ca.pem" || e.TLSCertFile != "cert.pem" ||
		e.TLSKeyFile != "key.pem" ||
		e.TLSServerName != "etcd" || e.RequestTimeout != 3*time.Second || e.LeaseTTL != 1500*time.Millisecond ||
		!e.DisableCompaction {
		t.Errorf("%+v", e)
	}
	if shown := fmt.Sprintf("%v %+v %#v", c, c.Storage, *e); strings.Contains(shown, "hunter2") {
		t.Errorf("the password shows: %s", shown)
	}
	var keys []string
	for _, n := range c.Notes {
		keys = append(keys, n.Key)
	}
	for _, want := range []string{"storage etcd.ha_enabled", "storage etcd.sync", "storage etcd.lock_timeout"} {
		if !slices.Contains(keys, want) {
			t.Errorf("no note about %s: %q", want, keys)
		}
	}
	env := map[string]string{"ETCD_ADDR": "http://192.0.2.1:2379", "ETCD_USERNAME": "v", "ETCD_PASSWORD": "other",
		"ETCD_HA_ENABLED": "false"}
	c, err = Load([]string{file}, func(k string) string { return env[k] })
	if err != nil || c.Storage.Etcd.Address[0] != env["ETCD_ADDR"] || c.Storage.Etcd.Username != "v" ||
		c.Storage.Etcd.Secrets["password"] != "other" {
		t.Fatalf("%v %+v", err, c.Storage.Etcd)
	}
	if !slices.ContainsFunc(c.Notes, func(n Note) bool { return n.Warn && strings.Contains(n.Text, "without TLS") }) {
		t.Errorf("etcd without TLS is not said loudly: %v", c.Notes)
	}
	local := write(t, "y.hcl", `storage "etcd" { address = "http://127.0.0.1:2379" }`)
	if c, err := Load([]string{local}, nil); err != nil || len(c.Notes) != 0 {
		t.Errorf("etcd on this machine: %v, %v", err, c)
	}
	for text, want := range map[string]string{
		`address = "10.0.0.1:2379"`:                                   `must be URLs`,
		`address = "https://u:hunter2@h:2379"`:                        `without a user`,
		`address = "https://h:2379" discovery_srv = "x"`:              `list them in address`,
		`address = "https://h:2379" etcd_api = "v2"`:                  `version 3`,
		`address = "https://h:2379" lease_ttl = "soon"`:               `must be a duration`,
		`address = "https://h:2379" adress = "x"`:                     `did you mean "address"`,
		`address = "https://h:2379" } storage "inmem" {`:              `duplicate storage`,
		`address = "https://h:2379" password = ["hunter2", "hunter"]`: `not a list`,
	} {
		_, err := Load([]string{write(t, "z.hcl", `storage "etcd" { `+text+` }`)}, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}
