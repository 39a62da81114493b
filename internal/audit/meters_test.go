package audit

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/metrics"
)

func TestEntriesAreTimed(t *testing.T) {
	t.Parallel()
	r := metrics.New("vault", nil)
	var out bytes.Buffer
	trail, err := New(Options{Metrics: r, Stdout: &out,
		Declared: []Config{{Path: "main/", Type: "file", Options: map[string]string{"file_path": "stdout"}}}})
	if err != nil {
		t.Fatal(err)
	}
	rec := trail.Begin(&Request{ID: "1", Operation: "read", Path: "a", ForwardedFrom: "192.0.2.7:8201", URI: "/v1/a/"},
		nil)
	if err := rec.Request(""); err != nil {
		t.Fatal(err)
	}
	if err := rec.Response(nil, ""); err != nil {
		t.Fatal(err)
	}
	if err := trail.Close(); err != nil {
		t.Fatal(err)
	}
	if text := out.String(); strings.Count(text, `"forwarded_from":"192.0.2.7:8201"`) != 1 ||
		strings.Count(text, `"request_uri":"/v1/a/"`) != 2 {
		t.Errorf("the trail is %s", text)
	}
	var b strings.Builder
	if err := r.WritePrometheus(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"vault_audit_log_request_count 1", "vault_audit_log_response_count 1", "vault_audit_main__log_request_count 1",
		"vault_audit_log_request_failure 0",
	} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("%s is not in\n%s", want, b.String())
		}
	}
}
