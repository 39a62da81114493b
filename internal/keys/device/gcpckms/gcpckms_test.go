package gcpckms_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/keys/device/devicetest"
	"github.com/sealgate/sealgate/internal/keys/device/gcpckms"
	"github.com/sealgate/sealgate/internal/testkit/gcpkms"
	"github.com/sealgate/sealgate/internal/testkit/ports"
	"github.com/sealgate/sealgate/seals"
	sealgcpckms "github.com/sealgate/sealgate/seals/gcpckms"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const ring = "projects/trial-project/locations/europe-west3/keyRings/keys/cryptoKeys/"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	cert, key, err := gcpkms.SelfSigned([]string{"127.0.0.1"}, time.Now())
	must(t, err)
	pair, err := tls.X509KeyPair(cert, key)
	must(t, err)
	kms, err := gcpkms.New(gcpkms.Options{Quotas: gcpkms.Quotas{Read: 1 << 20, Write: 1 << 20, Crypto: 1 << 30}})
	must(t, err)
	for _, name := range []string{"orders", "seal"} {
		must(t, kms.Act("create", ring+name))
	}
	addr, err := ports.Addr() // it is used again
	must(t, err)
	server, err := gcpkms.Start(kms, gcpkms.Listen{GRPC: addr, HTTP: "127.0.0.1:0", Cert: pair})
	must(t, err)
	t.Cleanup(func() { must(t, server.Close()) })
	account, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	var grants []gcpkms.Grant
	for _, role := range []string{"cloudkms.cryptoKeyEncrypterDecrypter", "cloudkms.viewer"} {
		g, err := gcpkms.ParseGrant(role)
		must(t, err)
		grants = append(grants, g)
	}
	must(t, kms.SetAccount("sealgate", &account.PublicKey, grants...))
	credentials, err := gcpkms.Credentials("sealgate", account, server.TokenURL())
	must(t, err)

	params := func(name string) device.Params {
		return device.Params{"project": "trial-project", "region": "europe-west3", "key_ring": "keys", "crypto_key": name,
			"endpoint": server.Endpoint(), "tls_ca_cert": string(cert), "credentials": string(credentials), "timeout": "5s"}
	}
	w, err := sealgcpckms.New(seals.Config{Name: "seal", Type: "gcpckms", Params: map[string]string{
		"project": "trial-project", "region": "europe-west3", "key_ring": "keys", "crypto_key": "seal"}})
	must(t, err)
	t.Cleanup(func() { must(t, w.(seals.Closer).Close()) })
	b := devicetest.New(t, "gcpckms", gcpckms.Driver{}, seals.Seal{Name: "seal", Type: "gcpckms", Wrapper: w})
	usages := []device.Usage{device.Encrypt, device.Decrypt}
	k := b.Adopt("k", params("orders"), usages...)
	devicetest.CheckCipher(t, k)
	devicetest.CheckRefused(t, b.Write(params("seal"), usages...), fault.Invalid, "one of a seal", server.Endpoint())
	devicetest.CheckRefused(t, b.Write(params("none"), usages...), fault.Invalid, "key gone", "trial-project",
		server.Endpoint())
	for credentials, says := range map[string]string{
		"": "the server's own credentials", "/etc/passwd": "JSON of a service account",
		`{"type":"external_account","credential_source":{"file":"/etc/passwd"}}`: "misconfigured",
	} {
		p := params("orders")
		p["credentials"] = credentials
		devicetest.CheckRefused(t, b.Write(p, usages...), fault.Invalid, says, "passwd")
	}
	server.Away()
	v, err := k.Version(t.Context(), 1)
	must(t, err)
	e, err := k.Encrypter(t.Context(), v)
	must(t, err)
	_, err = e.Encrypt(t.Context(), nil, []byte("text"), keys.CipherParams{})
	devicetest.CheckRefused(t, err, fault.Unavailable, "unreachable", server.Endpoint())
	must(t, server.Back())
}
