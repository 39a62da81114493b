package gcpkms

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"sync"
	"testing"
	"time"

	kms "cloud.google.com/go/kms/apiv1"
	"go.uber.org/goleak"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/sealgate/sealgate/internal/testkit/ports"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	place  = "projects/trial-project/locations/global"
	theKey = place + "/keyRings/r/cryptoKeys/k"
)

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

// clock is one that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// harness is an emulator with a client of Google's: an owner by default, others by their names,
// which are their tokens.
type harness struct {
	t      testing.TB
	s      *Service
	v      *Server
	c      *kms.KeyManagementClient
	clock  *clock
	config *tls.Config
}

var owner = []string{"cloudkms.admin", "cloudkms.cryptoKeyEncrypterDecrypter"}

func newHarness(t testing.TB, o Options) *harness {
	t.Helper()
	r := &harness{t: t, clock: &clock{now: time.Now()}}
	o.Now = r.clock.Now
	if o.Quotas == (Quotas{}) {
		o.Quotas = Quotas{Read: 1 << 20, Write: 1 << 20, Crypto: 1 << 20}
	}
	var err error
	r.s, err = New(o)
	must(t, err)
	cert, key, err := SelfSigned([]string{"127.0.0.1"}, r.clock.Now())
	must(t, err)
	pair, err := tls.X509KeyPair(cert, key)
	must(t, err)
	r.config = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	r.config.RootCAs.AppendCertsFromPEM(cert)
	addr, err := ports.Addr() // it is used again
	must(t, err)
	r.v, err = Start(r.s, Listen{GRPC: addr, HTTP: "127.0.0.1:0", Cert: pair, Admin: "the administrator"})
	must(t, err)
	t.Cleanup(func() { must(t, r.v.Close()) })
	must(t, r.s.Act("create", theKey))
	r.account("owner", owner...)
	r.c = r.client(option.WithGRPCDialOption(grpc.WithPerRPCCredentials(bearer("owner"))),
		option.WithoutAuthentication())
	return r
}

// account makes one whose token is its name.
func (r *harness) account(name string, roles ...string) {
	r.t.Helper()
	var grants []Grant
	for _, role := range roles {
		g, err := ParseGrant(role)
		must(r.t, err)
		grants = append(grants, g)
	}
	must(r.t, r.s.SetAccount(name, &rsaKey().PublicKey, grants...))
	r.s.AddToken(name, name, time.Time{})
}

// client is Google's, unmodified.
func (r *harness) client(more ...option.ClientOption) *kms.KeyManagementClient {
	r.t.Helper()
	c, err := kms.NewKeyManagementClient(r.t.Context(), append([]option.ClientOption{
		option.WithEndpoint(r.v.Endpoint()),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(credentials.NewTLS(r.config))),
	}, more...)...)
	must(r.t, err)
	c.CallOptions = &kms.KeyManagementCallOptions{}
	r.t.Cleanup(func() { must(r.t, c.Close()) })
	return c
}

// bearer is a token that is sent as it is.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}
func (bearer) RequireTransportSecurity() bool { return true }

// as is the context of a direct call by somebody who shows a token.
func as(t testing.TB, token string) context.Context {
	return metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+token))
}

func (r *harness) web() *http.Client {
	transport := &http.Transport{TLSClientConfig: r.config.Clone(), DisableKeepAlives: true}
	return &http.Client{Transport: transport}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
