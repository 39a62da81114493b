package cli

import "testing"

const (
	kvPreflight2 = `{"data":{"path":"secret/","type":"kv","options":{"version":"2"}}}`
	kvPreflight1 = `{"data":{"path":"old/","type":"kv","options":null}}`
	kvNew        = `{"data":{"created_time":"2026-01-02T03:04:05.123456789Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":3},"warnings":null}`
	kvMeta       = `{"created_time":"2026-01-02T03:04:05Z","custom_metadata":{"owner":"me"},"deletion_time":"","destroyed":false,"version":2}`
	kvGot        = `{"request_id":"r","data":{"data":{"password":"hunter2","user":"alice","n":12345678901234567890},"metadata":` + kvMeta + `}}`
	kvGone       = `{"request_id":"r","data":{"data":null,"metadata":{"created_time":"2026-01-02T03:04:05Z","custom_metadata":null,"deletion_time":"2026-01-03T03:04:05Z","destroyed":false,"version":2}}}`
	kvKnown      = `{"data":{"cas_required":false,"created_time":"2026-01-02T03:04:05Z","current_metadata_version":1,"current_version":10,"custom_metadata":null,"delete_version_after":"0s","max_versions":0,"metadata_cas_required":false,"oldest_version":0,"updated_time":"2026-01-02T03:04:05Z","versions":{"10":{"created_time":"2026-01-02T03:04:05Z","deletion_time":"","destroyed":false},"9":{"created_time":"2026-01-02T03:04:05Z","deletion_time":"2026-01-03T03:04:05Z","destroyed":true}}}}`
)

// kvAt is a server with a mount of version 2 at secret/, one of version 1 at old/, and one more
// response.
func kvAt(more map[string][]answer) map[string][]answer {
	all := map[string][]answer{}
	for _, path := range []string{"secret/app", "secret", "secret/f"} {
		all["GET sys/internal/ui/mounts/"+path] = []answer{ok(kvPreflight2)}
	}
	for _, path := range []string{"old/app", "old"} {
		all["GET sys/internal/ui/mounts/"+path] = []answer{ok(kvPreflight1)}
	}
	for key, turn := range more {
		all[key] = turn
	}
	return all
}

func kvOne(key string, turn ...answer) map[string][]answer {
	return kvAt(map[string][]answer{key: turn})
}

func TestKV(t *testing.T) {
	done, none := answer{204, ""}, answer{404, `{"errors":[]}`}
	gone := answer{404, kvGone}
	runAll(t, []run{
		{name: "kv-get", args: []string{"kv", "get", "secret/app"}, answers: kvOne("GET secret/data/app", ok(kvGot))},
		{name: "kv-get-mount", args: []string{"kv", "get", "-mount=secret", "-version=2", "/app"},
			answers: kvOne("GET secret/data/app", ok(kvGot))},
		{name: "kv-get-json", args: []string{"kv", "get", "-format=json", "secret/app"},
			answers: kvOne("GET secret/data/app", ok(kvGot))},
		{name: "kv-get-field", args: []string{"kv", "get", "-field=password", "secret/app"},
			answers: kvOne("GET secret/data/app", ok(kvGot))},
		{name: "kv-get-field-missing", args: []string{"kv", "get", "-field=x", "secret/app"}, want: 1,
			answers: kvOne("GET secret/data/app", ok(kvGot))},
		{name: "kv-get-deleted", args: []string{"kv", "get", "secret/app"}, answers: kvOne("GET secret/data/app", gone)},
		{name: "kv-get-deleted-field", args: []string{"kv", "get", "-field=x", "secret/app"}, want: 2,
			answers: kvOne("GET secret/data/app", gone)},
		{name: "kv-get-nothing", args: []string{"kv", "get", "secret/app"}, want: 2,
			answers: kvOne("GET secret/data/app", none)},
		{name: "kv-get-version-1", args: []string{"kv", "get", "old/app"},
			answers: kvOne("GET old/app", ok(`{"data":{"a":"b"},"lease_duration":2764800}`))},
		{name: "kv-get-old-server", args: []string{"kv", "get", "-mount=other", "app"},
			answers: map[string][]answer{"GET sys/internal/ui/mounts/other": {none},
				"GET other/app": {ok(`{"data":{"a":"b"}}`)}}},
		{name: "kv-get-denied", args: []string{"kv", "get", "none/app"}, want: 2,
			answers: map[string][]answer{
				"GET sys/internal/ui/mounts/none/app": {refusal(403, "preflight capability check returned 403")}}},
		{name: "kv-get-curl", args: []string{"kv", "get", "-output-curl-string", "secret/app"}, answers: kvAt(nil)},
		{name: "kv-put", args: []string{"kv", "put", "secret/app", "a=b", "n=@HOME/f"},
			files: map[string]string{"f": "text"}, answers: kvOne("PUT secret/data/app", ok(kvNew))},
		{name: "kv-put-cas", args: []string{"kv", "put", "-cas=0", "-mount", "secret", "app", "a=b"},
			answers: kvOne("PUT secret/data/app", ok(kvNew))},
		{name: "kv-put-json", args: []string{"kv", "put", "-format=json", "secret/app", "-"}, stdin: `{"n":1}`,
			answers: kvOne("PUT secret/data/app", ok(kvNew))},
		{name: "kv-put-field", args: []string{"kv", "put", "-field=version", "secret/app", "a=b"},
			answers: kvOne("PUT secret/data/app", ok(kvNew))},
		{name: "kv-put-refused", args: []string{"kv", "put", "-cas=1", "secret/app", "a=b"}, want: 2,
			answers: kvOne("PUT secret/data/app", refusal(400, "check-and-set parameter did not match the current version"))},
		{name: "kv-put-no-data", args: []string{"kv", "put", "secret/app"}, want: 1},
		{name: "kv-put-version-1", args: []string{"kv", "put", "old/app", "a=b"}, answers: kvOne("PUT old/app", done)},
		{name: "kv-patch", args: []string{"kv", "patch", "-remove-data=b", "secret/app", "a=b"},
			answers: kvOne("PATCH secret/data/app", ok(kvNew))},
		{name: "kv-patch-nothing", args: []string{"kv", "patch", "secret/app", "a=b"}, want: 2,
			answers: kvOne("PATCH secret/data/app", none)},
		{name: "kv-patch-denied", args: []string{"kv", "patch", "secret/app", "user=bob"},
			answers: kvAt(map[string][]answer{"PATCH secret/data/app": {refusal(403, "permission denied")},
				"GET secret/data/app": {ok(kvGot)}, "PUT secret/data/app": {ok(kvNew)}})},
		{name: "kv-patch-old-server", args: []string{"kv", "patch", "secret/app", "user=bob"},
			answers: kvAt(map[string][]answer{"PATCH secret/data/app": {refusal(405, "unsupported operation")},
				"GET secret/data/app": {ok(kvGot)}, "PUT secret/data/app": {ok(kvNew)}})},
		{name: "kv-patch-only", args: []string{"kv", "patch", "-method=patch", "secret/app", "a=b"}, want: 2,
			answers: kvOne("PATCH secret/data/app", refusal(403, "permission denied"))},
		{name: "kv-patch-rw", args: []string{"kv", "patch", "-method=rw", "-remove-data=password", "secret/app", "user=bob"},
			answers: kvAt(map[string][]answer{"GET secret/data/app": {ok(kvGot)}, "PUT secret/data/app": {ok(kvNew)}})},
		{name: "kv-patch-rw-deleted", args: []string{"kv", "patch", "-method=rw", "secret/app", "user=bob"}, want: 2,
			answers: kvOne("GET secret/data/app", gone)},
		{name: "kv-patch-method", args: []string{"kv", "patch", "-method=x", "secret/app", "user=bob"}, want: 1},
		{name: "kv-patch-version-1", args: []string{"kv", "patch", "old/app", "user=bob"}, want: 2, answers: kvAt(nil)},
		{name: "kv-delete", args: []string{"kv", "delete", "secret/app"}, answers: kvOne("DELETE secret/data/app", done)},
		{name: "kv-delete-versions", args: []string{"kv", "delete", "-versions=1,2", "-versions=5", "secret/app"},
			answers: kvOne("PUT secret/delete/app", done)},
		{name: "kv-delete-version-1", args: []string{"kv", "delete", "old/app"}, answers: kvOne("DELETE old/app", done)},
		{name: "kv-undelete", args: []string{"kv", "undelete", "-versions=1", "secret/app"},
			answers: kvOne("PUT secret/undelete/app", done)},
		{name: "kv-undelete-none", args: []string{"kv", "undelete", "secret/app"}, want: 1},
		{name: "kv-destroy", args: []string{"kv", "destroy", "-versions=1", "secret/app"},
			answers: kvOne("PUT secret/destroy/app", done)},
		{name: "kv-destroy-version-1", args: []string{"kv", "destroy", "-versions=1", "old/app"}, want: 1,
			answers: kvAt(nil)},
		{name: "kv-rollback", args: []string{"kv", "rollback", "-version=1", "secret/app"},
			answers: kvAt(map[string][]answer{"GET secret/data/app": {gone, ok(kvGot)}, "PUT secret/data/app": {ok(kvNew)}})},
		{name: "kv-rollback-deleted", args: []string{"kv", "rollback", "-version=1", "secret/app"}, want: 2,
			answers: kvOne("GET secret/data/app", ok(kvGot), gone)},
		{name: "kv-rollback-nothing", args: []string{"kv", "rollback", "-version=1", "secret/app"}, want: 2,
			answers: kvOne("GET secret/data/app", none)},
		{name: "kv-rollback-none", args: []string{"kv", "rollback", "secret/app"}, want: 1},
		{name: "kv-list", args: []string{"kv", "list", "secret/f"},
			answers: kvOne("GET secret/metadata/f", ok(`{"data":{"keys":["a","b/"]}}`))},
		{name: "kv-list-mount", args: []string{"kv", "list", "-mount=secret", "-format=json"},
			answers: kvOne("GET secret/metadata", ok(`{"data":{"keys":["a","b/"]}}`))},
		{name: "kv-list-detailed", args: []string{"kv", "list", "-detailed", "secret"},
			answers: kvOne("GET secret/detailed-metadata",
				ok(`{"data":{"keys":["a"],"key_info":{"a":{"current_version":3}}}}`))},
		{name: "kv-list-nothing", args: []string{"kv", "list", "secret"}, want: 2,
			answers: kvOne("GET secret/metadata", none)},
		{name: "kv-list-version-1", args: []string{"kv", "list", "old"},
			answers: kvOne("GET old", ok(`{"data":{"keys":["a","b/"]}}`))},
		{name: "kv-list-no-path", args: []string{"kv", "list"}, want: 1},
		{name: "kv-metadata-get", args: []string{"kv", "metadata", "get", "secret/app"},
			answers: kvOne("GET secret/metadata/app", ok(kvKnown))},
		{name: "kv-metadata-get-field", args: []string{"kv", "metadata", "get", "-field=current_version", "secret/app"},
			answers: kvOne("GET secret/metadata/app", ok(kvKnown))},
		{name: "kv-metadata-get-nothing", args: []string{"kv", "metadata", "get", "secret/app"}, want: 2,
			answers: kvOne("GET secret/metadata/app", none)},
		{name: "kv-metadata-get-version-1", args: []string{"kv", "metadata", "get", "old/app"}, want: 1, answers: kvAt(nil)},
		{name: "kv-metadata-put", args: []string{"kv", "metadata", "put", "-max-versions=0", "-cas-required=false",
			"-delete-version-after=90m", "-custom-metadata=a=b", "-custom-metadata=c=d", "secret/app"},
			answers: kvOne("PUT secret/metadata/app", done)},
		{name: "kv-metadata-put-blank", args: []string{"kv", "metadata", "put", "secret/app"},
			answers: kvOne("PUT secret/metadata/app", done)},
		{name: "kv-metadata-put-warned",
			args:    []string{"kv", "metadata", "put", "-metadata-cas=1", "-metadata-cas-required=false", "secret/app"},
			answers: kvOne("PUT secret/metadata/app", ok(`{"data":null,"warnings":["in vain"]}`))},
		{name: "kv-metadata-patch", args: []string{"kv", "metadata", "patch", "-custom-metadata=a=b",
			"-remove-custom-metadata=c", "secret/app"}, answers: kvOne("PATCH secret/metadata/app", done)},
		{name: "kv-metadata-patch-nothing", args: []string{"kv", "metadata", "patch", "-max-versions=1", "secret/app"},
			want: 2, answers: kvOne("PATCH secret/metadata/app", none)},
		{name: "kv-metadata-delete", args: []string{"kv", "metadata", "delete", "secret/app"},
			answers: kvOne("DELETE secret/metadata/app", done)},
		{name: "kv-enable-versioning", args: []string{"kv", "enable-versioning", "old"},
			answers: kvOne("POST sys/mounts/old/tune", done)},
		{name: "secrets-tune", args: []string{"secrets", "tune", "-description=d", "-default-lease-ttl=1h",
			"-max-lease-ttl=system", "-listing-visibility=unauth", "-version=2", "-options=a=b", "old/"},
			answers: kvOne("POST sys/mounts/old/tune", done)},
		{name: "secrets-tune-refused", args: []string{"secrets", "tune", "-version=1", "secret"}, want: 2,
			answers: kvOne("POST sys/mounts/secret/tune", refusal(400, "cannot downgrade mount from version 2"))},
		{name: "secrets-move", args: []string{"secrets", "move", "old", "team/old/"},
			answers: map[string][]answer{"POST sys/remount": {ok(`{"data":{"migration_id":"ID"}}`)},
				"GET sys/remount/status/ID": {ok(`{"data":{"migration_info":{"status":"success"}}}`)}}},
	})
}

func TestHeading(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		title string
		width int
		want  string
	}{
		{"Data", 10, "== Data ==\n"}, {"Data", 6, "== Data ==\n"}, {"Data", 7, "= Data =\n"},
		{"Metadata", 24, "======= Metadata =======\n"},
		{"Secret Path", 17, "== Secret Path ==\n"}, {"Metadata Path", 21, "=== Metadata Path ===\n"},
		{"Metadata", 29, "========== Metadata ==========\n"},
	} {
		if got := heading(tc.title, tc.width); got != tc.want {
			t.Errorf("%s in %d: %q", tc.title, tc.width, got)
		}
	}
}
