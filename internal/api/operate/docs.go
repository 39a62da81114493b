package operate

import (
	"github.com/sealgate/sealgate/internal/api"
)

var levelField = []api.DocField{{"level", "string", "trace, debug, info, warn or error."}}

var headerFields = []api.DocField{{"hmac", "boolean", "Show the header's value as an HMAC."}}

var operateDocs = map[string]api.Doc{
	"sys/metrics": {Text: "Metrics, as JSON or for Prometheus.",
		Query: []api.DocField{{"format", "string", "prometheus, or nothing for JSON."}}},
	"sys/host-info": {Text: "Shows the machine that the server runs on."},
	"sys/pprof":     {Text: "Lists the profiles of the runtime."},
	"sys/pprof/*": {Text: "A profile of the runtime, in the form of Go's tools.", Param: "name", Query: []api.DocField{
		{"seconds", "number", "How long profile and trace watch."}, {"debug", "integer", "Other than 0: as text."},
	}},
	"sys/in-flight-req":          {Text: "Lists the requests that are not answered yet."},
	"sys/config/state/sanitized": {Text: "The configuration, without secrets."},
	"sys/version-history":        {Text: "Lists the versions that have run on this storage."},
	"sys/loggers":                {Text: "The levels of the log.", Body: levelField, Empty: true},
	"sys/loggers/*":              {Text: "The level of one logger.", Param: "name", Body: levelField, Empty: true},
	"sys/monitor": {Text: "Sends the log as it is written.", Query: []api.DocField{
		{"log_level", "string", "trace, debug, info, warn or error."}, {"log_format", "string", "standard or json."},
	}},
	"sys/config/cors": {Text: "Which origins' pages may use the API.", Empty: true, Body: []api.DocField{
		{"enabled", "boolean", "Whether any may."}, {"allowed_origins", "list", `Origins, or "*" alone.`},
		{"allowed_headers", "list", "Headers beside those of the API."},
	}},
	"sys/quotas/config": {Text: "Settings of all quotas.", Empty: true, Body: []api.DocField{
		{"rate_limit_exempt_paths", "list", "Paths to which no quota applies."},
		{"enable_rate_limit_response_headers", "boolean", "Send X-Ratelimit-* with each answer."},
		{"enable_rate_limit_audit_logging", "boolean", "Audit what is refused by a quota."},
	}},
	"sys/quotas/rate-limit": {Text: "Lists the rate-limit quotas."},
	"sys/quotas/rate-limit/*": {Text: "A rate-limit quota.", Param: "name", Empty: true, Body: []api.DocField{
		{"path", "string", "Of what it applies to: a mount, a path, one with * at its end, or nothing for all."},
		{"rate", "number", "Requests of one client in an interval."}, {"interval", "duration", "1 s."},
		{"block_interval", "duration", "How long a client that exceeds it is refused."}, {"role", "string", "Not offered."},
		{"inheritable", "boolean", "Accepted."}, {"type", "string", "Accepted."},
	}},
	"sys/audit": {Text: "Lists the audit devices."},
	"sys/audit/*": {Text: "Adds and removes an audit device.", Empty: true, Body: []api.DocField{
		{"type", "string", "file, socket or syslog."}, {"description", "string", ""}, {"options", "object", "Of the device."},
		{"local", "boolean", "Accepted."},
	}},
	"sys/audit-hash/*": {Text: "What a value looks like in an audit device.", Read: true,
		Body: []api.DocField{{"input", "string", "The value."}}},
	"sys/config/auditing/request-headers": {Text: "Lists the headers that are audited."},
	"sys/config/auditing/request-headers/*": {Text: "A header that is audited.", Param: "header",
		Body: headerFields, Empty: true},
}
