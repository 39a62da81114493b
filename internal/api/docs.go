package api

import "strings"

// doc is what is known of a path beside its lines in the table of routes: what it is for, and the fields that it takes.
type doc struct {
	Text  string
	Param string     // what the "*" at the end stands for; "path"
	Body  []docField // of writes
	Query []docField // of reads
	Empty bool       // a write answers 204
	Read  bool       // a write answers 200 always
	Open  bool       // any field has a meaning
	Later bool       // a write answers 202: it is done behind the answer
}

// docField is one field. Type is one of JSON Schema's, or "list" (of strings), "duration" (seconds, or a text such as "90s"), or "any".
type docField struct{ Name, Type, Text string }

func (d doc) param() string {
	if d.Param == "" {
		return "path"
	}
	return d.Param
}

// text is what a path is for; one without a doc is named by its words.
func (d doc) text(path string) string {
	if d.Text != "" {
		return d.Text
	}
	return strings.NewReplacer("/", " ", "-", " ", "*", "").Replace(path)
}

var (
	shareFields = []docField{
		{"key", "string", "One share, in hex or base64."}, {"nonce", "string", "The nonce of the ceremony, as its start told it."},
	}
	verifyFields  = shareFields
	shareSetField = []docField{
		{"secret_shares", "integer", "Shares to make."}, {"secret_threshold", "integer", "Shares that will be needed."},
		{"pgp_keys", "list", "A public key for each share, PGP or age, to which it is encrypted."},
		{"backup", "boolean", "Keep the encrypted shares on the server."},
		{"require_verification", "boolean", "The new shares take effect when they have been given back."},
		{"holders", "list", "The name of each share's holder."},
		{"stored_shares", "integer", "Accepted from older clients; 1 or 0."},
		{"nonce", "string", "To cancel: the nonce of the ceremony."},
	}
	rootFields = []docField{
		{"otp", "string", "A one-time password of the token's length; left away, one is made and told."},
		{"pgp_key", "string", "A public key to which the token is encrypted, in place of the password."},
		{"nonce", "string", "To cancel: the nonce of the attempt."},
	}
	levelField   = []docField{{"level", "string", "trace, debug, info, warn or error."}}
	encodeFields = []docField{{"encoding", "string", "base64 for entries that are no text."}}
	headerFields = []docField{{"hmac", "boolean", "Show the header's value as an HMAC."}}
	listFields   = []docField{{"after", "string", "Names behind this one."}, {"limit", "integer", "At most so many names."}}
)

// docs are the docs by path of the table. A path that is not here takes no fields that warnings or the document of the API would know.
var docs = merged(lifecycleDocs, custodianDocs(), operateDocs, authDocs, wrappingDocs, leaseDocs, tokenDocs)

func merged(all ...map[string]doc) map[string]doc {
	out := map[string]doc{}
	for _, m := range all {
		for path, d := range m {
			out[path] = d
		}
	}
	return out
}

var lifecycleDocs = map[string]doc{
	"sys/init": {Text: "Tells whether the server is initialised; initialises it.", Read: true, Body: []docField{
		{"secret_shares", "integer", "Unseal shares, where people unseal the server."}, {"secret_threshold", "integer", "Those that are needed."},
		{"recovery_shares", "integer", "Recovery shares, where a seal unseals it."}, {"recovery_threshold", "integer", "Those that are needed."},
		{"stored_shares", "integer", "Accepted from older clients."}, {"pgp_keys", "list", "A public key for each share."},
		{"recovery_pgp_keys", "list", "A public key for each recovery share."}, {"root_token_pgp_key", "string", "A public key for the root token."},
		{"holders", "list", "The name of each share's holder."},
	}},
	"sys/seal-status":         {Text: "Tells whether the server is sealed, and how its seals do."},
	"sys/seal-backend-status": {Text: "Tells of each seal whether it would unseal the server, what became of its key, and which versions of it are needed."},
	"sys/unseal": {Text: "Takes one share towards unsealing.", Read: true, Body: []docField{
		{"key", "string", "One share, in hex or base64."}, {"reset", "boolean", "Forget the shares given so far."},
		{"migrate", "boolean", "The shares are for a seal that is being left."},
	}},
	"sys/seal":      {Text: "Seals the server.", Empty: true},
	"sys/step-down": {Text: "Gives up leadership of a cluster.", Empty: true},
	"sys/health": {Text: "Tells the state of the server by its status.", Query: []docField{
		{"standbyok", "boolean", "A standby answers as an active node."}, {"perfstandbyok", "boolean", "Accepted; there are none."},
		{"activecode", "integer", "The status of an active node."}, {"standbycode", "integer", "That of a standby."},
		{"sealedcode", "integer", "That of a sealed node."}, {"uninitcode", "integer", "That of a node that is not initialised."},
	}},
	"sys/leader":     {Text: "Tells who leads."},
	"sys/key-status": {Text: "Tells the barrier key's term, age and use."},
	"sys/rotate":     {Text: "Makes a new barrier key.", Empty: true}, "sys/rotate/keyring": {Text: "Makes a new barrier key.", Empty: true},
	"sys/rotate/root":                     {Text: "Makes a new root key.", Empty: true},
	"sys/rotate/config":                   {Text: "When the barrier key is rotated by itself.", Body: rotationFields, Empty: true},
	"sys/rotate/keyring/config":           {Text: "When the barrier key is rotated by itself.", Body: rotationFields, Empty: true},
	"sys/sealwrap/rewrap":                 {Text: "Seals the root key again by the newest version of every seal's key.", Empty: true},
	"sys/decode-token":                    {Text: "Decodes a token of generate-root.", Read: true, Body: []docField{{"encoded_token", "string", ""}, {"otp", "string", ""}}},
	"sys/recovery/holders":                {Text: "Tells who holds shares, and when each was last proven."},
	"sys/recovery/transcript":             {Text: "All records of what was done to the keys, signed."},
	"sys/recovery/transcripts":            {Text: "Lists the records of what was done to the keys."},
	"sys/recovery/transcripts/*":          {Text: "One record of what was done to the keys, signed."},
	"sys/recovery/prove":                  {Text: "Proves that a share is good.", Read: true, Body: []docField{{"key", "string", "One share, in hex or base64."}}},
	"sys/generate-root/update":            {Text: "Gives one share to generate-root.", Body: shareFields, Read: true},
	"sys/generate-root/attempt":           {Text: "An attempt to make a root token by shares.", Body: rootFields},
	"sys/generate-root-token/update":      {Text: "Gives one share to generate-root.", Body: shareFields, Read: true},
	"sys/generate-root-token/attempt":     {Text: "An attempt to make a root token by shares.", Body: rootFields},
	"sys/generate-root/acknowledge":       {Text: "The token has arrived: wipe it.", Body: shareFields, Empty: true},
	"sys/generate-root-token/acknowledge": {Text: "The token has arrived: wipe it.", Body: shareFields, Empty: true},
}

var rotationFields = []docField{
	{"enabled", "boolean", "Whether it is rotated by itself."}, {"interval", "duration", "At this age; 0: at none."},
	{"max_operations", "integer", "After so many encryptions."},
}

// custodianDocs are those of rekeying, which is there four times.
func custodianDocs() map[string]doc {
	out := map[string]doc{}
	for _, p := range []string{"sys/rekey/", "sys/rekey-recovery-key/", "sys/rotate/root/", "sys/rotate/recovery/"} {
		out[p+"init"] = doc{Text: "A ceremony that hands out new shares.", Body: shareSetField}
		out[p+"update"] = doc{Text: "Gives one share to the ceremony.", Body: shareFields, Read: true}
		out[p+"verify"] = doc{Text: "Gives one of the new shares back, before they take effect.", Body: verifyFields}
		out[p+"acknowledge"] = doc{Text: "The new shares have arrived: wipe them.", Body: shareFields, Empty: true}
	}
	for _, p := range []string{"sys/rekey/backup", "sys/rekey/recovery-key-backup", "sys/rotate/root/backup", "sys/rotate/recovery/backup"} {
		out[p] = doc{Text: "The encrypted shares that the server keeps."}
	}
	return out
}

var operateDocs = map[string]doc{
	"sys/metrics":   {Text: "Metrics, as JSON or for Prometheus.", Query: []docField{{"format", "string", "prometheus, or nothing for JSON."}}},
	"sys/ha-status": {Text: "Lists the nodes of the cluster: this one."},
	"sys/host-info": {Text: "Tells of the machine that the server runs on."},
	"sys/pprof":     {Text: "Lists the profiles of the runtime."},
	"sys/pprof/*": {Text: "A profile of the runtime, in the form of Go's tools.", Param: "name", Query: []docField{
		{"seconds", "number", "How long profile and trace watch."}, {"debug", "integer", "Other than 0: as text."},
	}},
	"sys/in-flight-req":          {Text: "Lists the requests that are not answered yet."},
	"sys/config/state/sanitized": {Text: "The configuration, without secrets."},
	"sys/version-history":        {Text: "Lists the versions that have run on this storage."},
	"sys/loggers":                {Text: "The levels of the log.", Body: levelField, Empty: true},
	"sys/loggers/*":              {Text: "The level of one logger.", Param: "name", Body: levelField, Empty: true},
	"sys/monitor": {Text: "Sends the log as it is written.", Query: []docField{
		{"log_level", "string", "trace, debug, info, warn or error."}, {"log_format", "string", "standard or json."},
	}},
	"sys/storage/raft/snapshot":                {Text: "GET sends all that the storage holds as one file, encrypted as it lies there; POST takes such a file, and replaces everything by it."},
	"sys/storage/raft/snapshot-force":          {Text: "The same for a snapshot of another cluster."},
	"sys/storage/raft/configuration":           {Text: "Not there: no storage of this server is raft."},
	"sys/storage/raft/join":                    {Text: "Not there: no storage of this server is raft."},
	"sys/storage/raft/remove-peer":             {Text: "Not there: no storage of this server is raft."},
	"sys/storage/raft/autopilot/state":         {Text: "Not there: no storage of this server is raft."},
	"sys/storage/raft/autopilot/configuration": {Text: "Not there: no storage of this server is raft."},
	"sys/internal/specs/openapi":               {Text: "This document."},
	"sys/replication/status":                   {Text: "Not there: nothing is replicated."},
	"sys/config/cors": {Text: "Which origins' pages may use the API.", Empty: true, Body: []docField{
		{"enabled", "boolean", "Whether any may."}, {"allowed_origins", "list", `Origins, or "*" alone.`},
		{"allowed_headers", "list", "Headers beside those of the API."},
	}},
	"sys/quotas/config": {Text: "Settings of all quotas.", Empty: true, Body: []docField{
		{"rate_limit_exempt_paths", "list", "Paths to which no quota applies."},
		{"enable_rate_limit_response_headers", "boolean", "Send X-Ratelimit-* with each answer."},
		{"enable_rate_limit_audit_logging", "boolean", "Audit what is refused by a quota."},
	}},
	"sys/quotas/rate-limit": {Text: "Lists the rate-limit quotas."},
	"sys/quotas/rate-limit/*": {Text: "A rate-limit quota.", Param: "name", Empty: true, Body: []docField{
		{"path", "string", "Of what it applies to: a mount, a path, one with * at its end, or nothing for all."},
		{"rate", "number", "Requests of one client in an interval."}, {"interval", "duration", "1 s."},
		{"block_interval", "duration", "How long a client that exceeds it gets nothing."}, {"role", "string", "Not offered."},
		{"inheritable", "boolean", "Accepted."}, {"type", "string", "Accepted."},
	}},
	"sys/mounts": {Text: "Lists the mounts."},
	"sys/mounts/*": {Text: "Mounts, shows, tunes and unmounts a secrets engine.", Empty: true, Body: []docField{
		{"type", "string", "Such as kv."}, {"description", "string", ""}, {"config", "object", "Lease times and the like."},
		{"options", "object", "Of the engine: version."}, {"local", "boolean", ""}, {"seal_wrap", "boolean", ""},
		{"external_entropy_access", "boolean", "Accepted."}, {"plugin_name", "string", "Another name of type."}, {"plugin_version", "string", "Accepted."},
		{"default_lease_ttl", "duration", ""}, {"max_lease_ttl", "duration", ""}, {"listing_visibility", "string", "unauth or hidden."},
		{"audit_non_hmac_request_keys", "list", ""}, {"audit_non_hmac_response_keys", "list", ""},
		{"passthrough_request_headers", "list", ""}, {"allowed_response_headers", "list", ""}, {"token_type", "string", ""},
		{"force_no_cache", "boolean", "Accepted."}, {"allowed_managed_keys", "list", "Accepted."}, {"user_lockout_config", "object", ""},
	}},
	"sys/internal/ui/mounts":   {Text: "Lists the mounts that the token may see."},
	"sys/internal/ui/mounts/*": {Text: "Tells which mount a path is in."},
	"sys/audit":                {Text: "Lists the audit devices."},
	"sys/audit/*": {Text: "Adds and removes an audit device.", Empty: true, Body: []docField{
		{"type", "string", "file, socket or syslog."}, {"description", "string", ""}, {"options", "object", "Of the device."},
		{"local", "boolean", "Accepted."},
	}},
	"sys/audit-hash/*":                      {Text: "What a value looks like in an audit device.", Read: true, Body: []docField{{"input", "string", "The value."}}},
	"sys/config/auditing/request-headers":   {Text: "Lists the headers that are audited."},
	"sys/config/auditing/request-headers/*": {Text: "A header that is audited.", Param: "header", Body: headerFields, Empty: true},
	"sys/raw":                               {Text: "Lists entries behind the barrier.", Query: listFields},
	"sys/raw/*": {Text: "Entries behind the barrier.", Query: encodeFields, Empty: true, Body: []docField{
		{"value", "string", "The entry."}, {"encoding", "string", "base64, where value is."}, {"compression_type", "string", "none"}, {"compressed", "boolean", ""},
	}},
}
