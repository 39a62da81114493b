package config

import "time"

// PostgreSQL has the settings of a storage stanza of type "postgresql", by Vault's and OpenBao's
// names. Zero values mean the store's defaults.
type PostgreSQL struct {
	Secrets         Params // "connection_url"; SEALGATE_, BAO_ and VAULT_PG_CONNECTION_URL take precedence
	Table           string
	MaxParallel     int64
	MaxIdle         int64
	ConnectRetries  int64
	SkipCreateTable bool
	RequestTimeout  time.Duration
	LeaseTTL        time.Duration // time after which an unresponsive leader loses its lease
}

// foreignPostgreSQL are keys of other servers' storage that this program does not use.
var foreignPostgreSQL = map[string]foreign{
	"ha_table":                 {text: "has no effect: the lease is in a table next to the data"},
	"transaction_max_parallel": {text: "has no effect: commits run one after the other and share transactions"},
	"disable_clustering":       {text: "has no effect here; set it at the top of the file"},
	"auth_mode": {refuse: true, standard: "password", text: "only the settings of connection_url are " +
		"supported; remove it"},
	"azure_client_id": {refuse: true, text: "only the settings of connection_url are supported; remove it"},
	"azure_tenant_id": {refuse: true, text: "only the settings of connection_url are supported; remove it"},
}

func (d *decoder) postgresql(s *section, st *Storage) {
	p := &PostgreSQL{Secrets: Params{}}
	var url string
	elects := true
	s.str("connection_url", &url)
	s.str("table", &p.Table)
	s.integer("max_parallel", 1, 1000, &p.MaxParallel)
	s.integer("max_idle_connections", 0, 1000, &p.MaxIdle)
	s.integer("max_connect_retries", 0, 1_000_000, &p.ConnectRetries)
	s.flag("skip_create_table", &p.SkipCreateTable)
	s.duration("request_timeout", &p.RequestTimeout)
	s.duration("lease_ttl", &p.LeaseTTL)
	s.flag("ha_enabled", &elects)
	if _, ok := s.seen["ha_enabled"]; ok && !elects {
		d.note(s.seen["ha_enabled"], s.where+".ha_enabled", false,
			"a leader is elected nevertheless, because two nodes that write would corrupt the data; a single node is "+
				"always elected")
	}
	if url != "" {
		p.Secrets["connection_url"] = url
	}
	s.finish(foreignPostgreSQL)
	st.PostgreSQL = p
}

// postgresqlEnvironment applies the variable of Vault and OpenBao, which takes precedence over the
// stanza. Without a URL, the variables that every PostgreSQL client reads must name the server.
func (d *decoder) postgresqlEnvironment(getenv func(string) string) {
	if d.cfg.Storage == nil || d.cfg.Storage.PostgreSQL == nil {
		return
	}
	secrets := d.cfg.Storage.PostgreSQL.Secrets
	if url := Env(getenv, "PG_CONNECTION_URL"); url != "" {
		secrets["connection_url"] = url
	}
	if secrets["connection_url"] == "" && getenv("PGHOST") == "" && getenv("PGSERVICE") == "" {
		d.fail(d.cfg.Storage.Pos,
			`storage "postgresql" requires a connection_url, such as "postgres://user:password@host:5432/database?sslmode=verify-full"`+
				` (or BAO_PG_CONNECTION_URL, or PGHOST)`)
	}
}
