package mounts

import (
	"github.com/sealgate/sealgate/internal/api"
)

var mountDocs = map[string]api.Doc{
	"sys/mounts": {Text: "Lists the mounts."},
	"sys/mounts/*": {Text: "Mounts, shows, tunes and unmounts a secrets engine.", Empty: true, Body: []api.DocField{
		{"type", "string", "Such as kv."}, {"description", "string", ""}, {"config", "object", "Lease times and the like."},
		{"options", "object", "Of the engine: version."}, {"local", "boolean", ""}, {"seal_wrap", "boolean", ""},
		{"external_entropy_access", "boolean", "Accepted."}, {"plugin_name", "string", "Another name of type."},
		{"plugin_version", "string", "Accepted."},
		{"default_lease_ttl", "duration", ""}, {"max_lease_ttl", "duration", ""},
		{"listing_visibility", "string", "unauth or hidden."},
		{"audit_non_hmac_request_keys", "list", ""}, {"audit_non_hmac_response_keys", "list", ""},
		{"passthrough_request_headers", "list", ""}, {"allowed_response_headers", "list", ""}, {"token_type", "string", ""},
		{"force_no_cache", "boolean", "Accepted."},
		{"allowed_managed_keys", "list", "Managed keys that a transit mount may use."},
		{"user_lockout_config", "object", ""},
	}},
	"sys/unmounted": {Text: "Lists unmounted paths whose entries are being removed."},

	"sys/internal/ui/mounts":   {Text: "Lists the mounts that the token may see."},
	"sys/internal/ui/mounts/*": {Text: "Shows the mount of a path."},

	"sys/remount": {Text: "Moves a mount.", Read: true, Body: []api.DocField{
		{"from", "string", "Where it is."}, {"to", "string", "Where it is to be."},
	}},
	"sys/remount/status/*": {Text: "The state of a move.", Param: "migration_id"},
}
