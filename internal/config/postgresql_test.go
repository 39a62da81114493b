package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	file := write(t, "x.hcl", `storage "postgresql" {
  connection_url = "postgres://u:hunter2@db.example.com/vault?sslmode=verify-full"
  table = "keys"
  max_parallel = "128"
  max_idle_connections = 4
  max_connect_retries = 3
  skip_create_table = "true"
  request_timeout = "3s"
  lease_ttl = "2s"
  ha_enabled = "false"
  ha_table = "locks"
  transaction_max_parallel = "64"
}`)
	c, err := Load([]string{file}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	p := c.Storage.PostgreSQL
	if p.Secrets["connection_url"] != "postgres://u:hunter2@db.example.com/vault?sslmode=verify-full" ||
		p.Table != "keys" || p.MaxParallel != 128 ||
		p.MaxIdle != 4 || p.ConnectRetries != 3 || !p.SkipCreateTable || p.RequestTimeout != 3*time.Second ||
		p.LeaseTTL != 2*time.Second {
		t.Errorf("%+v", p)
	}
	if shown := fmt.Sprintf("%v %+v %#v", c, c.Storage, *p); strings.Contains(shown, "hunter2") {
		t.Errorf("the password shows: %s", shown)
	}
	var keys []string
	for _, n := range c.Notes {
		keys = append(keys, n.Key)
	}
	for _, want := range []string{"storage postgresql.ha_enabled", "storage postgresql.ha_table",
		"storage postgresql.transaction_max_parallel"} {
		if !slices.Contains(keys, want) {
			t.Errorf("no note about %s: %q", want, keys)
		}
	}
	for _, name := range []string{"VAULT_PG_CONNECTION_URL", "BAO_PG_CONNECTION_URL", "SEALGATE_PG_CONNECTION_URL"} {
		c, err = Load([]string{file}, func(k string) string { return map[string]string{name: "postgres://other"}[k] })
		if err != nil || c.Storage.PostgreSQL.Secrets["connection_url"] != "postgres://other" {
			t.Errorf("%s: %v", name, err)
		}
	}
	bare := write(t, "y.hcl", `storage "postgresql" { ha_enabled = "true" }`)
	if c, err := Load([]string{bare}, func(k string) string { return map[string]string{"PGHOST": "h"}[k] }); err != nil ||
		len(c.Notes) != 0 {
		t.Errorf("a server from PGHOST: %v, %v", err, c)
	}
}

func TestPostgreSQLMistakes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`storage "postgresql" {}`: `requires a connection_url`,
		`storage "postgresql" { connection_url = "postgres://h" max_parallel = 0 }`:           `from 1 to 1000`,
		`storage "postgresql" { connection_url = "postgres://h" auth_mode = "aws_iam" }`:      `settings of connection_url`,
		`storage "postgresql" { connection_url = "postgres://h" tabel = "x" }`:                `did you mean "table"`,
		`storage "postgresql" { connection_url = "postgres://h" lease_ttl = "soon" }`:         `must be a duration`,
		`storage "postgresql" { connection_url = "postgres://h" skip_create_table = "maybe"}`: `must be true or false`,
		`storage "postgres" { connection_url = "postgres://u:hunter2@h" }`:                    `it is called "postgresql"`,
	} {
		_, err := Load([]string{write(t, "x.hcl", text)}, func(string) string { return "" })
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v; want %q", text, err, want)
		}
	}
}
