package cli

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTLS checks that a server's certificate is trusted with -ca-cert, its variable, or
// -tls-skip-verify only.
func TestTLS(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"initialized":true}`)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes are refused on purpose
	srv.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	srv.StartTLS()
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	if err := os.WriteFile(ca, block, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		env  map[string]string
		want int
	}{
		{"nothing", nil, nil, 1},
		{"flag", []string{"-ca-cert=" + ca}, nil, 0},
		{"folder", []string{"-ca-path", filepath.Dir(ca)}, nil, 0},
		{"variable", nil, map[string]string{"VAULT_CACERT": ca}, 0},
		{"bytes", nil, map[string]string{"BAO_CACERT_BYTES": string(block)}, 0},
		{"skip", []string{"-tls-skip-verify"}, nil, 0},
		{"skip by variable", nil, map[string]string{"SEALGATE_SKIP_VERIFY": "true"}, 0},
		{"other name", []string{"-ca-cert=" + ca, "-tls-server-name=other.example"}, nil, 1},
		{"missing file", []string{"-ca-cert=" + ca + "x"}, nil, 1},
		{"half a client certificate", []string{"-client-cert=" + ca}, nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			env := map[string]string{"SEALGATE_MAX_RETRIES": "0", "SEALGATE_ADDR": srv.URL}
			for k, v := range c.env {
				env[k] = v
			}
			code := Run(append([]string{"operator", "init", "-status"}, c.args...),
				Env{Stdout: &out, Stderr: &errs, Getenv: func(k string) string { return env[k] }})
			if code != c.want || (code == 0) != strings.Contains(out.String(), "is initialized") {
				t.Errorf("exit code %d, want %d\n%s%s", code, c.want, out.String(), errs.String())
			}
		})
	}
}
