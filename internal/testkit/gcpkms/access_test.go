package gcpkms

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/auth/credentials"
	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/option"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// TestWhoMayDoWhat: each role does what is its own and nothing else. A caller without the role
// learns nothing about what there is.
func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	r := newHarness(t, Options{})
	sealed := r.sealed(theKey)
	calls := map[string]func(context.Context, string) error{
		"encrypt": func(ctx context.Context, n string) error {
			return r.admitted(ctx, "Encrypt", &kmspb.EncryptRequest{Name: n, Plaintext: []byte("p")})
		},
		"decrypt": func(ctx context.Context, n string) error {
			return r.admitted(ctx, "Decrypt", &kmspb.DecryptRequest{Name: n, Ciphertext: sealed})
		},
		"look": func(ctx context.Context, n string) error {
			return r.admitted(ctx, "GetCryptoKey", &kmspb.GetCryptoKeyRequest{Name: n})
		},
		"rotate": func(ctx context.Context, n string) error {
			return r.admitted(ctx, "CreateCryptoKeyVersion", &kmspb.CreateCryptoKeyVersionRequest{Parent: n})
		},
		"destroy": func(ctx context.Context, n string) error {
			return r.admitted(ctx, "DestroyCryptoKeyVersion",
				&kmspb.DestroyCryptoKeyVersionRequest{Name: n + "/cryptoKeyVersions/1"})
		},
		"disable": func(ctx context.Context, n string) error {
			return r.admitted(ctx, "UpdateCryptoKeyVersion", &kmspb.UpdateCryptoKeyVersionRequest{
				CryptoKeyVersion: &kmspb.CryptoKeyVersion{Name: n + "/cryptoKeyVersions/1"}})
		},
	}
	for role, may := range map[string]string{
		"cloudkms.admin": "look rotate destroy disable", "cloudkms.viewer": "look",
		"cloudkms.cryptoKeyEncrypterDecrypter": "encrypt decrypt",
		"cloudkms.cryptoKeyEncrypter":          "encrypt", "cloudkms.cryptoKeyDecrypter": "decrypt",
		"cloudkms.viewer@" + theKey: "look", "cloudkms.viewer@" + place + "/keyRings/r": "look", "cloudkms.viewer@" +
			theKey + "x": "",
	} {
		r.account("somebody", role)
		for what, call := range calls {
			err := call(as(t, "somebody"), theKey)
			if allowed := strings.Contains(may, what); allowed != (err == nil) {
				t.Errorf("%s: %s: %v", role, what, err)
			}
			if err == nil {
				continue
			}
			missing := call(as(t, "somebody"), place+"/keyRings/r/cryptoKeys/none")
			same := strings.ReplaceAll(err.Error(), theKey, "K") == strings.ReplaceAll(missing.Error(),
				place+"/keyRings/r/cryptoKeys/none", "K")
			if status.Code(err) != codes.PermissionDenied || !same ||
				!strings.Contains(err.Error(), "' (or it may not exist).") {
				t.Errorf("%s: %s: %v; of a key that is missing: %v", role, what, err, missing)
			}
			if info, ok := status.Convert(err).Details()[0].(*errdetails.ErrorInfo); !ok ||
				info.GetReason() != "IAM_PERMISSION_DENIED" {
				t.Errorf("details %v", status.Convert(err).Details())
			}
		}
	}
}

// admitted reports whether a request is let in.
func (r *harness) admitted(ctx context.Context, method string, req any) error {
	return r.s.admit(ctx, method, req)
}

func TestWhoIsNobody(t *testing.T) {
	t.Parallel()
	r := newHarness(t, Options{})
	r.s.AddToken("old", "owner", r.clock.Now().Add(time.Hour))
	req := &kmspb.GetCryptoKeyRequest{Name: theKey}
	must(t, r.s.admit(as(t, "old"), "GetCryptoKey", req))
	r.clock.add(time.Hour)
	for name, ctx := range map[string]context.Context{
		"no token": t.Context(), "an unknown token": as(t, "unknown"), "an expired token": as(t, "old"),
		"an empty one": as(t, ""),
		"basic":        metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Basic b3duZXI=")),
		"two": metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer owner",
			"authorization", "Bearer owner")),
	} {
		if err := r.s.admit(ctx, "GetCryptoKey", req); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"cloudkms.owner", "cloudkms.viewer@nonsense", ""} {
		if _, err := ParseGrant(bad); err == nil {
			t.Errorf("grant %q was taken", bad)
		}
	}
	if err := r.s.SetAccount("Not A Name", nil); err == nil {
		t.Error("a name that is none was taken")
	}
}

// TestQuotas: so many requests of an account in a minute, of each sort; the next minute is a new
// one.
func TestQuotas(t *testing.T) {
	t.Parallel()
	r := newHarness(t, Options{Quotas: Quotas{Read: 2, Write: 1, Crypto: 3}})
	r.clock.add(time.Minute - time.Duration(r.clock.Now().UnixNano()%int64(time.Minute)))
	r.account("other", owner...)
	for sort, c := range map[string]struct {
		req    any
		method string
		limit  int
	}{
		"read":   {&kmspb.GetCryptoKeyRequest{Name: theKey}, "GetCryptoKey", 2},
		"write":  {&kmspb.CreateCryptoKeyVersionRequest{Parent: theKey}, "CreateCryptoKeyVersion", 1},
		"crypto": {&kmspb.EncryptRequest{Name: theKey}, "Encrypt", 3},
	} {
		for range 2 {
			for i := range c.limit + 2 {
				err := r.s.admit(as(t, "owner"), c.method, c.req)
				if want := i >= c.limit; want != (status.Code(err) == codes.ResourceExhausted) || !want && err != nil {
					t.Errorf("%s, request %d: %v", sort, i+1, err)
				}
			}
			must(t, r.s.admit(as(t, "other"), c.method, c.req))
			r.clock.add(time.Minute)
		}
	}
	if q := (Quotas{}).orGoogles(); q != (Quotas{Read: 300, Write: 60, Crypto: 60_000}) {
		t.Errorf("Google's quotas: %+v", q)
	}
}

// TestGooglesClientWithItsCredentialsFile: tokens by the OAuth2 endpoint, and those that the client
// signs itself.
func TestGooglesClientWithItsCredentialsFile(t *testing.T) {
	t.Parallel()
	r := newHarness(t, Options{})
	file, err := Credentials("owner", rsaKey(), r.v.TokenURL())
	must(t, err)
	for name, self := range map[string]bool{"from the endpoint": false, "signed": true} {
		creds, err := credentials.NewCredentialsFromJSON(credentials.ServiceAccount, file, &credentials.DetectOptions{
			Scopes: kms.DefaultAuthScopes(), Client: r.web(), UseSelfSignedJWT: self, DisableAsyncRefresh: true,
		})
		must(t, err)
		c := r.client(option.WithAuthCredentials(creds))
		if _, err := c.GetCryptoKey(t.Context(), &kmspb.GetCryptoKeyRequest{Name: theKey}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		must(t, r.s.SetAccount("owner", nil)) // no key any more
		if _, err := c.GetCryptoKey(t.Context(),
			&kmspb.GetCryptoKeyRequest{Name: theKey}); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s, revoked: %v", name, err)
		}
		r.account("owner", owner...)
	}
}

// TestTokenEndpoint refuses what RFC 6749 and Google refuse.
func TestTokenEndpoint(t *testing.T) {
	t.Parallel()
	r := newHarness(t, Options{})
	now := r.clock.Now()
	good := claims{Issuer: "owner" + domain, Audience: r.v.TokenURL(), Scope: scopes[0], Issued: now.Unix(),
		Expires: now.Add(time.Hour).Unix()}
	const grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	for _, c := range []struct {
		name, grant string
		change      func(*claims)
		want        string
	}{
		{"good", grant, func(*claims) {}, ""},
		{"another grant", "password", func(*claims) {}, "unsupported_grant_type"},
		{"another audience", grant, func(c *claims) { c.Audience = audience }, "invalid_grant"},
		{"no scope", grant, func(c *claims) { c.Scope = "https://www.googleapis.com/auth/drive" }, "invalid_scope"},
		{"an unknown account", grant, func(c *claims) { c.Issuer = "nobody" + domain }, "invalid_grant"},
		{"an account elsewhere", grant, func(c *claims) { c.Issuer = "owner@elsewhere" }, "invalid_grant"},
		{"expired", grant, func(c *claims) { c.Expires = now.Unix() }, "invalid_grant"},
		{"for two hours", grant, func(c *claims) { c.Expires = now.Add(2 * time.Hour).Unix() }, "invalid_grant"},
		{"of tomorrow", grant, func(c *claims) {
			c.Issued, c.Expires = now.Add(day).Unix(),
				now.Add(day+time.Hour).Unix()
		}, "invalid_grant"},
	} {
		cl := good
		c.change(&cl)
		res, err := r.web().PostForm(r.v.URL()+"/token", url.Values{"grant_type": {c.grant},
			"assertion": {sign(t, cl)}})
		must(t, err)
		var got struct {
			Error string
			Token string `json:"access_token"`
		}
		must(t, json.NewDecoder(res.Body).Decode(&got))
		must(t, res.Body.Close())
		if got.Error != c.want || (got.Token == "") == (c.want == "") || (res.StatusCode == 200) != (c.want == "") {
			t.Errorf("%s: %s, %+v; want %q", c.name, res.Status, got, c.want)
		}
		if c.want == "" {
			must(t, r.s.admit(as(t, got.Token), "GetCryptoKey", &kmspb.GetCryptoKeyRequest{Name: theKey}))
		}
	}
	// A JWT for the token endpoint is not valid for the service, nor is an unsigned one.
	for name, token := range map[string]string{"for the endpoint": sign(t, good), "unsigned": unsigned(t, good)} {
		if err := r.s.admit(as(t, token), "GetCryptoKey",
			&kmspb.GetCryptoKeyRequest{Name: theKey}); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAdministration: the backend of faults and actions, and who is let in.
func TestAdministration(t *testing.T) {
	t.Parallel()
	r := newHarness(t, Options{})
	do := func(method, path, token, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, r.v.URL()+path, strings.NewReader(body))
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := r.web().Do(req)
		must(t, err)
		defer res.Body.Close()
		out, err := io.ReadAll(res.Body)
		must(t, err)
		return res.StatusCode, string(out)
	}
	const admin = "the administrator"
	for _, c := range []struct {
		method, path, token, body string
		want                      int
		text                      string
	}{
		{"GET", "/healthz", "", "", 200, "emulator"},
		{"GET", "/emulator/calls", "", "", 403, "administrator"},
		{"GET", "/emulator/calls", "owner", "", 403, "administrator"},
		{"POST", "/emulator/faults", admin, `{"method":"Encrypt","code":"UNAVAILABLE","message":"gone","times":1}`,
			200, ""},
		{"POST", "/emulator/faults", admin, `{"code":"NONSENSE"}`, 400, "NONSENSE"},
		{"POST", "/emulator/faults", admin, `{"method":"Nonsense"}`, 400, "Nonsense"},
		{"POST", "/emulator/faults", admin, `no JSON`, 400, ""},
		{"POST", "/emulator/act", admin, `{"action":"rotate","name":"` + theKey + `"}`, 200, ""},
		{"POST", "/emulator/act", admin, `{"action":"explode","name":"` + theKey + `"}`, 400, "explode"},
		{"POST", "/emulator/act", admin, `{"action":"enable","name":"nonsense"}`, 400, "resource type"},
		{"GET", "/nowhere", admin, "", 404, ""},
	} {
		if code, text := do(c.method, c.path, c.token, c.body); code != c.want || !strings.Contains(text, c.text) {
			t.Errorf("%s %s %s: %d %s; want %d with %q", c.method, c.path, c.body, code, text, c.want, c.text)
		}
	}
	if _, err := r.encrypt(theKey, []byte("p"), nil); status.Code(err) != codes.Unavailable ||
		!strings.Contains(err.Error(), "gone") {
		t.Errorf("with a fault: %v", err)
	}
	res, err := r.encrypt(theKey, []byte("p"), nil)
	if err != nil || !strings.HasSuffix(res.GetName(), "/2") {
		t.Errorf("afterwards: %v, %v", res, err)
	}
	if _, text := do("GET", "/emulator/calls", admin, ""); !strings.Contains(text, `"Encrypt":2`) {
		t.Errorf("calls: %s", text)
	}
	do("POST", "/emulator/faults", admin, `{"unresponsive":true}`)
	if code, _ := do("DELETE", "/emulator/faults", admin, ""); code != 200 {
		t.Errorf("clearing faults: %d", code)
	}
	if _, err := r.encrypt(theKey, []byte("p"), nil); err != nil {
		t.Errorf("after the faults: %v", err)
	}
}
