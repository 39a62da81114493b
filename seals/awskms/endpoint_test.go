package awskms

import (
	"errors"
	"net/http"
	"testing"

	"github.com/sealgate/sealgate/seals"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestEndpoints checks the host of the requests. The transport records it and sends nothing.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ fips, dual, host string }{
		{"false", "false", "kms.eu-central-1.amazonaws.com"}, {"true", "false", "kms-fips.eu-central-1.amazonaws.com"},
		{"false", "true", "kms.eu-central-1.api.aws"}, {"true", "true", "kms-fips.eu-central-1.api.aws"},
	} {
		made, err := New(seals.Config{Name: "n", Type: "awskms",
			Params: stanza("access_key", "a", "secret_key", "b", "disallow_env_vars", "true",
				"timeout", "200ms", "use_fips_endpoint", c.fips, "use_dual_stack_endpoint", c.dual)})
		if err != nil {
			t.Fatal(err)
		}
		w := made.(*Wrapper)
		asked := ""
		w.conn.source.http.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			asked = r.URL.Scheme + "://" + r.URL.Host
			return nil, errors.New("no request is sent")
		})
		if _, err := w.Encrypt(t.Context(), nil); seals.ClassOf(err) != seals.Unreachable ||
			asked != "https://"+c.host {
			t.Errorf("request to %s, want %s: %v", asked, c.host, err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if _, err := w.Encrypt(t.Context(), nil); !errors.Is(err, errClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
}
