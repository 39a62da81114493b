package v1

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/api"
)

// steps are requests in turn, each with its status and a part of the answer.
type steps []struct {
	method, path, body string
	code               int
	text               string
}

func (s steps) run(t *testing.T, w *harness, header ...string) {
	t.Helper()
	for _, tc := range s {
		a := w.do(tc.method, tc.path, tc.body, header...)
		if a.Code != tc.code || !strings.Contains(strings.ReplaceAll(a.Body.String(), `\"`, `"`), tc.text) {
			t.Errorf("%s %s %s: %d %s; want %d %s", tc.method, tc.path, tc.body, a.Code, a.Body, tc.code, tc.text)
		}
	}
}

func TestTuneMounts(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	steps{
		{"GET", "sys/mounts/secret/tune", "", 200, `"data":{"default_lease_ttl":2764800,"description":"key/value secret storage","force_no_cache":false,"max_lease_ttl":2764800,"options":{"version":"1"}}`},
		{"GET", "sys/mounts/sys/tune", "", 200, `"default_lease_ttl":2764800`},
		{"GET", "sys/mounts/nope/tune", "", 400, `cannot fetch sysview for path "nope/"`},
		{"POST", "sys/mounts/nope/tune", `{}`, 400, `tune of path "nope/" failed: no mount entry found`},
		{"POST", "sys/mounts/sys/tune", `{}`, 400, `cannot tune "sys/"`},
		{"DELETE", "sys/mounts/secret/tune", ``, 405, "unsupported operation"},
		{"POST", "sys/mounts/secret/tune", `{"options":null,"default_lease_ttl":"1h","max_lease_ttl":"","force_no_cache":true,"description":"d",` +
			`"audit_non_hmac_request_keys":["a","b"],"audit_non_hmac_response_keys":"c, d","passthrough_request_headers":["X-A"],"allowed_response_headers":["X-B"]}`, 204, ""},
		{"GET", "sys/mounts/secret/tune", "", 200, `"data":{"allowed_response_headers":["X-B"],"audit_non_hmac_request_keys":["a","b"],"audit_non_hmac_response_keys":["c","d"],` +
			`"default_lease_ttl":3600,"description":"d","force_no_cache":true,"max_lease_ttl":2764800,"options":{"version":"1"},"passthrough_request_headers":["X-A"]}`},
		{"GET", "sys/mounts/secret", "", 200, `"max_lease_ttl":0`},
		{"POST", "sys/mounts/secret/tune", `{"default_lease_ttl":"system","audit_non_hmac_request_keys":[]}`, 204, ""},
		{"GET", "sys/mounts/secret", "", 200, `"default_lease_ttl":0`},
		{"POST", "sys/mounts/secret/tune", `{"listing_visibility":"all"}`, 400, "invalid listing_visibility"},
		{"POST", "sys/mounts/secret/tune", `{"default_lease_ttl":"2h","max_lease_ttl":"1h"}`, 400, "must not be negative"},
		{"POST", "sys/mounts/secret/tune", `{"options":{"version":"3"}}`, 400, `options.version of a kv mount is "3"`},
		{"POST", "sys/mounts/secret/tune", `{"options":"2"}`, 400, `error converting input for field "options"`},
		{"PUT", "secret/a", `{"k":"v"}`, 204, ""},
		{"POST", "sys/mounts/secret/tune", `{"options":{"version":2}}`, 200, "Upgrading mount"},
		{"GET", "secret/data/a", "", 200, `"data":{"data":{"k":"v"},"metadata":{"created_time":"2026-01-02T03:04:05.5Z"`},
		{"GET", "sys/internal/ui/mounts/secret/a", "", 200, `"options":{"version":"2"},"path":"secret/"`},
		{"POST", "sys/mounts/secret/tune", `{"options":{"version":"1"}}`, 400, "cannot downgrade mount from version 2"},
	}.run(t, w)
}

func TestRemount(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	steps{
		{"PUT", "secret/a", `{"k":"v"}`, 204, ""},
		{"POST", "sys/remount", `{"from":"secret"}`, 400, `the path "to" is missing`},
		{"POST", "sys/remount", `{"from":"nope","to":"x"}`, 400, `no matching mount at "nope/"`},
		{"POST", "sys/remount", `{"from":"secret","to":"sys/x"}`, 400, `cannot remount "sys/x/"`},
		{"POST", "sys/remount", `{"from":["x"],"to":"x"}`, 400, `error converting input for field "from"`},
		{"GET", "sys/remount/status/nope", "", 404, empty},
	}.run(t, w)
	a := w.do("POST", "sys/remount", `{"from":"secret/","to":"team/s"}`)
	w.expect("remount", a, 200, "")
	var r struct {
		MigrationID string `json:"migration_id"`
		Data        struct {
			MigrationID string `json:"migration_id"`
		}
		Warnings []string
	}
	w.decode(a, &r)
	if r.MigrationID == "" || r.Data.MigrationID != r.MigrationID || len(r.Warnings) != 1 {
		t.Errorf("a move answers %s", a.Body)
	}
	steps{
		{"GET", "sys/remount/status/" + r.MigrationID, "", 200, `"migration_info":{"source_mount":"secret/","status":"success","target_mount":"team/s/"}`},
		{"GET", "team/s/a", "", 200, `"data":{"k":"v"}`},
		{"GET", "secret/a", "", 404, "no handler for route"},
	}.run(t, w)
}

func TestRawStorage(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	for _, step := range (steps{
		{"LIST", "sys/raw", "", 200, `"core/"`},
		{"LIST", "sys/raw/core", "", 200, `"mounts"`},
		{"GET", "sys/raw/core/mounts", "", 200, `secret/`},
		{"GET", "sys/raw/core/mounts?encoding=base64", "", 200, `"value":"A`},
		{"GET", "sys/raw/core/keyring", "", 400, `cannot access "core/keyring"`},
		{"GET", "sys/raw/nope", "", 404, empty},
		{"PUT", "sys/raw/mine", `{"value":"x"}`, 400, "compression_type"},
		{"PUT", "sys/raw/mine", `{"value":"x","compression_type":"none"}`, 204, ""},
		{"PUT", "sys/raw/mine", `{"value":"y"}`, 204, ""},
		{"GET", "sys/raw/mine", "", 200, `"data":{"value":"y"}`},
		{"DELETE", "sys/raw/mine", "", 204, ""},
		{"GET", "sys/raw/mine", "", 404, empty},
	}) {
		w.authorize("raw")
		steps{step}.run(t, w)
	}
	steps{{"GET", "sys/raw/core/mounts", "", 400, "operation unavailable in namespaces"}}.run(t, w,
		"X-Vault-Namespace", "team")
	shut := unsealed(t, func(c *api.Config) { c.RawStorage = false })
	for _, method := range []string{"GET", "LIST", "PUT", "DELETE"} {
		steps{{method, "sys/raw/core/mounts", `{}`, 404, "unsupported path"}}.run(t, shut)
		steps{{method, "sys/raw/core/mounts", `{}`, 403, "permission denied"}}.run(t, shut, "X-Vault-Token", "")
	}
}

// TestKVVersion2 is what the API adds to package kv: statuses, envelopes, the type of a patch.
func TestKVVersion2(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	const merge = "application/merge-patch+json"
	steps{
		{"POST", "sys/mounts/v2", `{"type":"kv-v2"}`, 204, ""},
		{"GET", "sys/mounts/v2", "", 200, `"options":{"version":"2"}`},
		{"PUT", "v2/data/a", `{"data":{"n":12345678901234567890.10}}`, 200, `"data":{"created_time":"2026-01-02T03:04:05.5Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":1},"wrap_info":null,"warnings":null`},
		{"PUT", "v2/data/a", `{"data":{},"what":1}`, 200,
			`"warnings":["Endpoint ignored these unrecognized parameters: [what]"]`},
		{"GET", "v2/data/a?version=1", "", 200, `"data":{"data":{"n":12345678901234567890.10},"metadata":{`},
		{"PATCH", "v2/data/a", `{"data":{"k":"v"}}`, 415, "application/merge-patch+json"},
		{"DELETE", "v2/data/a", "", 204, ""},
		{"GET", "v2/data/a", "", 404, `"data":{"data":null,"metadata":{"created_time":"2026-01-02T03:04:05.5Z","custom_metadata":null,"deletion_time":"2026-01-02T03:04:05.5Z","destroyed":false,"version":2}}`},
		{"GET", "v2/data/none", "", 404, empty},
		{"GET", "v2/metadata/none", "", 404, empty},
		{"LIST", "v2/metadata/none", "", 404, empty},
		{"LIST", "v2/metadata", "", 200, `"data":{"keys":["a"]}`},
		{"SCAN", "v2/metadata", "", 200, `"data":{"keys":["a"]}`},
		{"GET", "v2/a", "", 404, `"data":null,"wrap_info":null,"warnings":["Invalid path for a versioned K/V secrets engine`},
		{"PUT", "v2/a", `{"k":"v"}`, 404, `"warnings":["Invalid path for a versioned K/V secrets engine`},
		{"LIST", "v2", "", 404, `"warnings":["Invalid path for a versioned K/V secrets engine`},
		{"LIST", "v2/data", "", 405, "unsupported operation"},
		{"PUT", "v2/destroy/a", `{}`, 400, "no version number provided"},
		{"PUT", "v2/undelete/a", `{"versions":["2"]}`, 204, ""},
		{"POST", "v2/config", `{"max_versions":3}`, 204, ""},
		{"GET", "v2/config", "", 200, `"data":{"cas_required":false,"delete_version_after":"0s","max_versions":3,"metadata_cas_required":false}`},
		{"PUT", "v2/data/a/", `{"data":{}}`, 400, "cannot write to a path ending in '/'"},
	}.run(t, w)
	steps{
		{"PATCH", "v2/data/a", `{"data":{"k":"v"}}`, 200, `"version":3`},
		{"PATCH", "v2/data/none", `{"data":{"k":"v"}}`, 404, ""},
		{"PATCH", "v2/metadata/a", `{"custom_metadata":{"k":"v"}}`, 204, ""},
	}.run(t, w, "Content-Type", merge)
}

// TestPatchOfNothing: as in Vault, the body is empty, where a read has an empty list of errors.
func TestPatchOfNothing(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	steps{{"POST", "sys/mounts/v2", `{"type":"kv-v2"}`, 204, ""}, {"GET", "v2/data/none", "", 404, empty}}.run(t, w)
	for path, body := range map[string]string{"data": `{"data":{"k":"v"}}`, "metadata": `{"custom_metadata":{"k":"v"}}`} {
		a := w.do("PATCH", "v2/"+path+"/none", body, "Content-Type", "application/merge-patch+json")
		if a.Code != 404 || a.Body.Len() > 0 {
			t.Errorf("PATCH v2/%s/none: %d %q", path, a.Code, a.Body)
		}
	}
}

// TestCubbyholes: each token has its own.
func TestCubbyholes(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	weak := w.grant("weak", moment.AddDate(1, 0, 0), "default")
	steps{
		{"PUT", "cubbyhole/a", `{"k":"root's"}`, 204, ""},
		{"GET", "cubbyhole/a", "", 200, `"lease_duration":0,"data":{"k":"root's"}`},
	}.run(t, w)
	steps{
		{"GET", "cubbyhole/a", "", 404, empty},
		{"PUT", "cubbyhole/b", `{"k":"mine"}`, 204, ""},
		{"LIST", "cubbyhole", "", 200, `"keys":["b"]`},
		{"DELETE", "cubbyhole/b", "", 204, ""},
		{"LIST", "cubbyhole", "", 404, empty},
	}.run(t, w, "X-Vault-Token", weak)
}

// TestNobodyNoticesThatAMountIsTuned: writes with check-and-set continue while the mount below them
// is changed again and again; none is lost, and none fails.
func TestNobodyNoticesThatAMountIsTuned(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	steps{{"POST", "sys/mounts/v2", `{"type":"kv-v2"}`, 204, ""}}.run(t, w)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
				w.expect("tune", w.do("POST", "sys/mounts/v2/tune", fmt.Sprintf(`{"description":"%d"}`, i)), 204, "")
			}
		}
	})
	for i := range 300 {
		a := w.do("PUT", "v2/data/n", fmt.Sprintf(`{"data":{"n":%d},"options":{"cas":%d}}`, i, i))
		if a.Code != http.StatusOK {
			t.Errorf("write %d: %d %s", i, a.Code, a.Body)
		}
	}
	close(done)
	wg.Wait()
	var r struct {
		Data struct{ Metadata struct{ Version json.Number } }
	}
	w.decode(w.do("GET", "v2/data/n", ""), &r)
	if r.Data.Metadata.Version != "300" {
		t.Errorf("300 writes made %s versions", r.Data.Metadata.Version)
	}
}

// TestGenericMounts: kv version 1 by its old name is read back by that name, and has no other
// version.
func TestGenericMounts(t *testing.T) {
	t.Parallel()
	steps{
		{"POST", "sys/mounts/old", `{"type":"generic"}`, 204, ""},
		{"GET", "sys/mounts/old", "", 200, `"type":"generic"`},
		{"PUT", "old/a", `{"x":"1"}`, 204, ""}, {"GET", "old/a", "", 200, `"x":"1"`},
		{"POST", "sys/mounts/old/tune", `{"options":{"version":"2"}}`, 400, "version 1 only"},
		{"POST", "sys/mounts/new", `{"type":"generic","options":{"version":"2"}}`, 400, "version 1 only"},
	}.run(t, unsealed(t))
}

// TestUpgradeWarns: clients expect 200 with a warning from the tuning that makes version 2 of
// version 1.
func TestUpgradeWarns(t *testing.T) {
	t.Parallel()
	steps{
		{"POST", "sys/mounts/one", `{"type":"kv"}`, 204, ""}, {"PUT", "one/a", `{"x":"1"}`, 204, ""},
		{"POST", "sys/mounts/one/tune", `{"options":{"version":"2"}}`, 200, "Upgrading mount from version 1 to version 2."},
		{"POST", "sys/mounts/one/tune", `{"options":{"version":"2"}}`, 204, ""},
		{"GET", "one/data/a", "", 200, `"x":"1"`},
	}.run(t, unsealed(t))
}

// TestCatalogAndCounters: tools that look find what is built in, and what is counted.
func TestCatalogAndCounters(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	steps{
		{"GET", "sys/plugins/catalog", "", 200, `"database":[]`}, {"LIST", "sys/plugins/catalog", "", 200, `"userpass"`},
		{"LIST", "sys/plugins/catalog/auth", "", 200, `{"keys":["approle",`},
		{"GET", "sys/plugins/catalog/secret/kv", "", 200, `"builtin":true`},
		{"GET", "sys/plugins/catalog/secret/nope", "", 404, ""}, {"LIST", "sys/plugins/catalog/database", "", 404, ""},
		{"PUT", "sys/plugins/catalog/secret/evil", `{"command":"x"}`, 405, "unsupported operation"},
		{"GET", "sys/internal/counters/tokens", "", 200, `{"counters":{"service_tokens":{"total":1}}}`},
		{"GET", "sys/internal/counters/entities", "", 200, `{"counters":{"entities":{"total":0}}}`},
		{"GET", "sys/internal/counters/requests", "", 200, `{"counters":[]}`},
		{"GET", "sys/internal/counters/activity", "", 204, ""}, {"GET", "sys/internal/counters/config", "", 200,
			`"enabled":"disable"`},
	}.run(t, w)
	w.expect("without a token", w.do("GET", "sys/plugins/catalog", "", "X-Vault-Token", ""), 403, "")
	w.expect("without sudo", w.as(w.grant("lister", moment.Add(time.Hour), "default"), "GET",
		"sys/plugins/catalog/auth", ""), 403, "")
}
