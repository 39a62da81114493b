package cli

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/openbao/openbao/api/v2"
)

// send sends one request and returns its response, nil for an empty one. The SDK's own calls drop
// the warnings.
func send(client *api.Client, method, path string, in any) (*api.Secret, error) {
	ctx, cancel := context.WithTimeout(context.Background(), client.ClientTimeout())
	defer cancel()
	req := client.NewRequest(method, "/v1/"+path)
	if in != nil {
		if err := req.SetJSONBody(in); err != nil {
			return nil, err
		}
	}
	return exchange(ctx, client, req)
}

// readQuery reads a path with query parameters.
func readQuery(client *api.Client, path string, q url.Values) (*api.Secret, error) {
	ctx, cancel := context.WithTimeout(context.Background(), client.ClientTimeout())
	defer cancel()
	req := client.NewRequest(http.MethodGet, "/v1/"+path)
	req.Params = q
	return exchange(ctx, client, req)
}

func exchange(ctx context.Context, client *api.Client, req *api.Request) (*api.Secret, error) {
	resp, err := client.RawRequestWithContext(ctx, req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return api.ParseSecret(resp.Body)
}

// done sends a request whose response has at most warnings, and prints a line on success.
func (b *base) done(client *api.Client, method, path string, in any, doing, success string) int {
	s, err := send(client, method, path, in)
	if err != nil {
		return b.fail(doing, err)
	}
	if s != nil {
		b.warnings(s.Warnings)
	}
	b.printf("%s\n", success)
	return exitOK
}

// put is the method that Vault's client uses for writes.
const put = http.MethodPut

// folder ends a path with a slash, as mounts are named.
func folder(path string) string { return strings.TrimSuffix(path, "/") + "/" }

// showAnswer prints a response that must not be empty.
func (b *base) showAnswer(s *api.Secret, err error, doing string) int {
	if err != nil {
		return b.fail(doing, err)
	}
	if s == nil {
		b.errorf("Error %s: the server's response is empty", doing)
		return exitServer
	}
	return b.showSecret(s)
}

// sealed reports whether a request failed because the server is sealed.
func sealed(err error) bool { return strings.Contains(err.Error(), "Vault is sealed") }
