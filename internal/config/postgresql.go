package config

import "time"

// PostgreSQL is what a storage stanza of type "postgresql" adds, by Vault's and OpenBao's names. Zero values stand for the store's defaults.
type PostgreSQL struct {
	Secrets         Params // "connection_url"; SEALGATE_, BAO_ and VAULT_PG_CONNECTION_URL win
	Table           string
	MaxParallel     int64
	MaxIdle         int64
	ConnectRetries  int64
	SkipCreateTable bool
	RequestTimeout  time.Duration
	LeaseTTL        time.Duration // how long the office outlasts a leader that fell silent
}

// foreignPostgreSQL are the keys of other servers' storage that this program does without.
var foreignPostgreSQL = map[string]foreign{
	"ha_table":                 {text: "has no effect: the row of the leader lies in a table beside the data"},
	"transaction_max_parallel": {text: "has no effect: commits share transactions, one after the other"},
	"disable_clustering":       {text: "has no effect here; set it at the top of the file"},
	"auth_mode":                {refuse: true, standard: "password", text: "only what connection_url can say is offered; remove it"},
	"azure_client_id":          {refuse: true, text: "only what connection_url can say is offered; remove it"},
	"azure_tenant_id":          {refuse: true, text: "only what connection_url can say is offered; remove it"},
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
			"a leader is elected all the same, because two nodes that write would harm each other; one node alone is always elected")
	}
	if url != "" {
		p.Secrets["connection_url"] = url
	}
	s.finish(foreignPostgreSQL)
	st.PostgreSQL = p
}

// postgresqlEnvironment lets the variable of Vault and OpenBao win over the stanza. Without any URL the server must come from the variables that
// every PostgreSQL client reads.
func (d *decoder) postgresqlEnvironment(getenv func(string) string) {
	if d.cfg.Storage == nil || d.cfg.Storage.PostgreSQL == nil {
		return
	}
	secrets := d.cfg.Storage.PostgreSQL.Secrets
	if url := Env(getenv, "PG_CONNECTION_URL"); url != "" {
		secrets["connection_url"] = url
	}
	if secrets["connection_url"] == "" && getenv("PGHOST") == "" && getenv("PGSERVICE") == "" {
		d.fail(d.cfg.Storage.Pos, `storage "postgresql" needs a connection_url, such as "postgres://user:password@host:5432/database?sslmode=verify-full"`+
			` (or BAO_PG_CONNECTION_URL, or PGHOST)`)
	}
}
