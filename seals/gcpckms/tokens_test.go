package gcpckms_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	tlscreds "google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/sealgate/sealgate/internal/testkit/gcpkms"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/gcpckms"
)

// place is a metadata server of Google Cloud.
type place struct {
	*httptest.Server
	token atomic.Pointer[string] // nil: no service account is attached
	life  atomic.Int64           // of tokens, in seconds
	asked atomic.Int64
}

func newPlace(t *testing.T) *place {
	p := &place{}
	p.life.Store(3600)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		token := p.token.Load()
		if token == nil || r.Header.Get("Metadata-Flavor") != "Google" ||
			r.URL.Path != "/computeMetadata/v1/instance/service-accounts/default/token" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintf(w, `{"access_token":%q,"expires_in":%d,"token_type":"Bearer"}`, *token, p.life.Load())
	}))
	t.Cleanup(p.Close)
	return p
}

// ambient makes a wrapper without credentials in its stanza, with that metadata server.
func ambient(t *testing.T, r *harness, p *place) *gcpckms.Wrapper {
	t.Helper()
	params := r.params()
	delete(params, "credentials")
	w, err := gcpckms.New(seals.Config{Name: "test", Params: params, Getenv: func(n string) string {
		return map[string]string{"GCE_METADATA_HOST": strings.TrimPrefix(p.URL, "http://"), "HOME": "/nowhere"}[n]
	}})
	must(t, err)
	t.Cleanup(func() { must(t, w.(*gcpckms.Wrapper).Close()) })
	return w.(*gcpckms.Wrapper)
}

// opaque makes a wrapper with the token "opaque".
func opaque(t *testing.T, r *harness) *gcpckms.Wrapper {
	t.Helper()
	p := newPlace(t)
	token := "opaque"
	p.token.Store(&token)
	return ambient(t, r, p)
}

// TestMetadataServer: tokens are cached while they are valid, renewed before they expire, and
// requested again once they are refused.
func TestMetadataServer(t *testing.T) {
	t.Parallel()
	r := newHarness(t, gcpkms.Options{})
	p := newPlace(t)
	w := ambient(t, r, p)
	if _, err := w.Encrypt(t.Context(), []byte("x")); seals.ClassOf(err) != seals.Denied ||
		!strings.Contains(seals.Classify(err).Remedy, "attach a service account") {
		t.Errorf("without a service account: %v", err)
	}
	first, second := "first", "second"
	r.kms.AddToken(first, "sealgate", time.Time{})
	p.token.Store(&first)
	p.life.Store(30) // shorter than the minute within which tokens are replaced
	p.asked.Store(0)
	blob := encrypt(t, w)
	decrypts(t, w, blob)
	if n := p.asked.Load(); n != 2 {
		t.Errorf("a token that ends soon was asked for %d times by two calls", n)
	}
	p.life.Store(3600)
	for range 3 {
		decrypts(t, w, blob)
	}
	if n := p.asked.Load(); n != 3 {
		t.Errorf("a good token was asked for %d times", n-2)
	}
	// The account gets a new key: earlier tokens are refused, and the next call finds the new one
	// automatically.
	r.grant(0, "cloudkms.cryptoKeyEncrypterDecrypter")
	if err := decrypt(t, w, blob); seals.ClassOf(err) != seals.Denied {
		t.Errorf("with a token that was revoked: %v", err)
	}
	r.kms.AddToken(second, "sealgate", time.Time{})
	p.token.Store(&second)
	decrypts(t, w, blob)
	p.Close()
	fresh := ambient(t, r, p)
	if err := decrypt(t, fresh, blob); seals.ClassOf(err) != seals.Unreachable {
		t.Errorf("without a metadata server: %v", err)
	}
}

// TestTokenService: credentials of a person get their tokens from a service, which may be broken,
// forbid, or be unresponsive.
func TestTokenService(t *testing.T) {
	t.Parallel()
	r := newHarness(t, gcpkms.Options{})
	r.kms.AddToken("of a person", "sealgate", time.Time{})
	var code atomic.Int64
	block := make(chan struct{})
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch c := int(code.Load()); c {
		case http.StatusOK:
			fmt.Fprint(w, `{"access_token":"of a person","expires_in":3600,"token_type":"Bearer"}`)
		case 0:
			<-block
		default:
			w.WriteHeader(c)
			fmt.Fprint(w, `{"error":"invalid_grant","error_description":"Bad Request","hint":"SECRET"}`)
		}
	}))
	t.Cleanup(service.Close)
	t.Cleanup(func() { close(block) })
	file := filepath.Join(t.TempDir(), "person.json")
	data, err := json.Marshal(map[string]string{"type": "external_account_authorized_user",
		"audience": "//iam.example/pool", "refresh_token": "SECRET",
		"token_url": service.URL, "client_id": "c", "client_secret": "SECRET"})
	must(t, err)
	must(t, os.WriteFile(file, data, 0o600))
	w := r.open("credentials", file)
	for _, c := range []struct {
		code int64
		want seals.Class
	}{{400, seals.Denied}, {401, seals.Denied}, {429, seals.Throttled}, {503, seals.Unreachable},
		{0, seals.Unreachable}} {
		code.Store(c.code)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := w.Encrypt(ctx, []byte("x"))
		cancel()
		if seals.ClassOf(err) != c.want || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("the token service answers %d: %v; want %q", c.code, err, c.want)
		}
	}
	code.Store(http.StatusOK)
	decrypts(t, w, encrypt(t, w))
}

// listener is a service that hears what calls come with and knows no key.
type listener struct {
	kmspb.UnimplementedKeyManagementServiceServer
	heard atomic.Pointer[metadata.MD]
}

func (l *listener) Encrypt(ctx context.Context, _ *kmspb.EncryptRequest) (*kmspb.EncryptResponse, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	l.heard.Store(&md)
	return nil, status.Error(codes.NotFound, "no such key")
}

// TestCallsAreCountedForTheRightProject: the one that the credentials name, as Google's own tools
// do it; the variable wins.
func TestCallsAreCountedForTheRightProject(t *testing.T) {
	t.Parallel()
	pem, err := certificate()
	must(t, err)
	pair, err := tls.X509KeyPair(pem[0], pem[1])
	must(t, err)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(ca, pem[0], 0o600))
	at, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	l, server := &listener{}, grpc.NewServer(grpc.Creds(tlscreds.NewTLS(config)))
	kmspb.RegisterKeyManagementServiceServer(server, l)
	done := make(chan error)
	go func() { done <- server.Serve(at) }()
	t.Cleanup(func() { server.Stop(); must(t, <-done) })
	file, err := gcpkms.Credentials("sealgate", rsaKey[0](), "https://nowhere.example/token")
	must(t, err)
	for name, c := range map[string]struct{ quota, env, want string }{
		"none": {"", "", ""}, "credentials": {"payer", "", "payer"},
		"variable": {"payer", "other-payer", "other-payer"},
	} {
		var content map[string]string
		must(t, json.Unmarshal(file, &content))
		content["quota_project_id"] = c.quota
		data, err := json.Marshal(content)
		must(t, err)
		params := map[string]string{"endpoint": at.Addr().String(), "tls_ca_cert": ca, "credentials": string(data),
			"user_agent": "trial/1"}
		maps.Copy(params, good)
		w, err := gcpckms.New(seals.Config{Params: params, Getenv: func(n string) string {
			return map[string]string{"GOOGLE_CLOUD_QUOTA_PROJECT": c.env}[n]
		}})
		must(t, err)
		if _, err := w.Encrypt(t.Context(), []byte("x")); seals.ClassOf(err) != seals.KeyGone {
			t.Errorf("%s: %v", name, err)
		}
		must(t, w.(*gcpckms.Wrapper).Close())
		md := *l.heard.Load()
		if got := strings.Join(md.Get("x-goog-user-project"), ","); got != c.want ||
			!strings.Contains(strings.Join(md.Get("user-agent"), ","), "trial/1") {
			t.Errorf("%s: counted for %q by %q; want %q", name, got, md.Get("user-agent"), c.want)
		}
	}
}

// TestMissingOrBrokenCredentialsFile: the first call reports the file, and a corrected file needs
// no restart.
func TestMissingOrBrokenCredentialsFile(t *testing.T) {
	t.Parallel()
	r := newHarness(t, gcpkms.Options{})
	sound, err := os.ReadFile(r.account)
	must(t, err)
	path := filepath.Join(t.TempDir(), "later.json")
	w := r.open("credentials", path)
	for name, content := range map[string]string{
		"missing": "", "no JSON": "SECRET", "no type": `{"private_key":"SECRET"}`,
		"no key":    `{"type":"service_account","private_key":"SECRET"}`,
		"too large": strings.Repeat(" ", 65<<10),
	} {
		if content != "" {
			must(t, os.WriteFile(path, []byte(content), 0o600))
		}
		_, err := w.Encrypt(t.Context(), []byte("x"))
		if seals.ClassOf(err) != seals.Misconfigured || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v; want misconfigured", name, err)
		}
		_ = os.Remove(path)
	}
	must(t, os.WriteFile(path, sound, 0o600))
	decrypts(t, w, encrypt(t, w))
}
