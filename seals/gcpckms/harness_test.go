package gcpckms_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/testkit/gcpkms"
	"github.com/sealgate/sealgate/internal/testkit/ports"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/gcpckms"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ring = "projects/trial-project/locations/europe-west3/keyRings/seals/cryptoKeys/"

// rsaKey returns one of two keys of service accounts, which take long to generate.
var rsaKey = [2]func() *rsa.PrivateKey{sync.OnceValue(makeKey), sync.OnceValue(makeKey)}

func makeKey() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
}

var certificate = sync.OnceValues(func() ([2][]byte, error) {
	cert, key, err := gcpkms.SelfSigned([]string{"127.0.0.1"}, time.Now())
	return [2][]byte{cert, key}, err
})

// harness is an emulator with the keys "root" and "other", and what clients need of it.
type harness struct {
	t       testing.TB
	kms     *gcpkms.Service
	server  *gcpkms.Server
	ca      string // files
	account string
}

func newHarness(t testing.TB, o gcpkms.Options) *harness {
	t.Helper()
	pem, err := certificate()
	must(t, err)
	pair, err := tls.X509KeyPair(pem[0], pem[1])
	must(t, err)
	dir := t.TempDir()
	r := &harness{t: t, ca: filepath.Join(dir, "ca.pem"), account: filepath.Join(dir, "account.json")}
	must(t, os.WriteFile(r.ca, pem[0], 0o600))
	if o.Quotas == (gcpkms.Quotas{}) {
		o.Quotas = gcpkms.Quotas{Read: 1 << 20, Write: 1 << 20, Crypto: 1 << 30}
	}
	r.kms, err = gcpkms.New(o)
	must(t, err)
	r.act("create", "root")
	r.act("create", "other")
	addr, err := ports.Addr() // it is used again
	must(t, err)
	r.server, err = gcpkms.Start(r.kms, gcpkms.Listen{GRPC: addr, HTTP: "127.0.0.1:0", Cert: pair})
	must(t, err)
	t.Cleanup(func() { must(t, r.server.Close()) })
	r.renew(0, "cloudkms.cryptoKeyEncrypterDecrypter", "cloudkms.viewer")
	return r
}

func (r *harness) act(action, key string) {
	r.t.Helper()
	must(r.t, r.kms.Act(action, ring+key))
}

func (r *harness) inject(f gcpkms.Fault) {
	r.t.Helper()
	must(r.t, r.kms.Inject(f))
}

// renew creates a key and roles for the account, and writes its credentials file.
func (r *harness) renew(key int, roles ...string) {
	r.t.Helper()
	r.grant(key, roles...)
	data, err := gcpkms.Credentials("sealgate", rsaKey[key](), r.server.TokenURL())
	must(r.t, err)
	must(r.t, gcpkms.WriteFile(r.account, data, 0o600))
}

// grant does the same without writing the file.
func (r *harness) grant(key int, roles ...string) {
	r.t.Helper()
	var grants []gcpkms.Grant
	for _, role := range roles {
		g, err := gcpkms.ParseGrant(role)
		must(r.t, err)
		grants = append(grants, g)
	}
	must(r.t, r.kms.SetAccount("sealgate", &rsaKey[key]().PublicKey, grants...))
}

// params returns the parameters of the seal on "root".
func (r *harness) params(more ...string) map[string]string {
	out := map[string]string{
		"project": "trial-project", "region": "europe-west3", "key_ring": "seals", "crypto_key": "root",
		"endpoint": r.server.Endpoint(), "tls_ca_cert": r.ca, "credentials": r.account,
	}
	for i := 0; i < len(more); i += 2 {
		out[more[i]] = more[i+1]
	}
	return out
}

// open makes a wrapper; more are additional name-value pairs.
func (r *harness) open(more ...string) *gcpckms.Wrapper {
	r.t.Helper()
	w, err := gcpckms.New(seals.Config{Name: "test", Type: "gcpckms", Params: r.params(more...),
		Getenv: func(string) string { return "" }})
	must(r.t, err)
	r.t.Cleanup(func() { must(r.t, w.(*gcpckms.Wrapper).Close()) })
	return w.(*gcpckms.Wrapper)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func encrypt(t testing.TB, w *gcpckms.Wrapper) *wrapping.BlobInfo {
	t.Helper()
	blob, err := w.Encrypt(t.Context(), []byte("root key"), wrapping.WithAad([]byte("aad")))
	must(t, err)
	return blob
}

func decrypts(t testing.TB, w *gcpckms.Wrapper, blob *wrapping.BlobInfo) {
	t.Helper()
	if err := decrypt(t, w, blob); err != nil {
		t.Fatal(err)
	}
}

func decrypt(t testing.TB, w *gcpckms.Wrapper, blob *wrapping.BlobInfo) error {
	t.Helper()
	plain, err := w.Decrypt(t.Context(), blob, wrapping.WithAad([]byte("aad")))
	if err == nil && string(plain) != "root key" {
		err = fmt.Errorf("decrypted to %q", plain)
	}
	return err
}

// calls returns the number of calls that the emulator received.
func (r *harness) calls() int {
	n := 0
	for _, c := range r.kms.Calls() {
		n += c
	}
	return n
}
