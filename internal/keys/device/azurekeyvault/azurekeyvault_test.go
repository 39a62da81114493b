package azurekeyvault_test

import (
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/keys/device/azurekeyvault"
	"github.com/sealgate/sealgate/internal/keys/device/devicetest"
	"github.com/sealgate/sealgate/internal/testkit/azurekv"
	"github.com/sealgate/sealgate/seals"
	sealazure "github.com/sealgate/sealgate/seals/azurekeyvault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tenant = "11111111-1111-1111-1111-111111111111"
	app    = "22222222-2222-2222-2222-222222222222"
	secret = "app-secret-x"
)

func TestKeys(t *testing.T) {
	t.Parallel()
	vault := azurekv.New(tenant)
	srv := httptest.NewUnstartedServer(vault)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	t.Cleanup(srv.Close)
	vault.Put(app, azurekv.Principal{Secret: secret, Permissions: []string{"get", "wrapKey", "unwrapKey", "sign"}})
	vault.NewKey("orders")
	vault.NewKey("seal")
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	params := func(name, version string) device.Params {
		return device.Params{"endpoint": srv.URL, "authority_host": srv.URL, "tls_ca_cert": ca, "tenant_id": tenant,
			"client_id": app, "client_secret": secret, "key_name": name, "key_version": version, "timeout": "5s"}
	}
	w, err := sealazure.New(seals.Config{Name: "seal", Type: "azurekeyvault", Params: map[string]string{
		"endpoint": srv.URL, "key_name": "seal", "tenant_id": tenant, "client_id": app, "client_secret": secret}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.(seals.Closer).Close() })
	b := devicetest.New(t, "azurekeyvault", azurekeyvault.Driver{}, seals.Seal{Name: "seal", Type: "azurekeyvault",
		Wrapper: w})
	versions := map[string]string{}
	for _, name := range []string{"orders", "seal"} {
		vault.Change(name, func(v *azurekv.Version) { versions[name] = v.ID })
	}
	all := []device.Usage{device.Sign, device.Verify, device.Encrypt, device.Decrypt}
	k := b.Adopt("k", params("orders", versions["orders"]), all...)
	devicetest.CheckPair(t, k, devicetest.PSS, devicetest.SHA2PKCS1)
	devicetest.CheckBlock(t, k, true)
	vault.Rotate("orders")
	devicetest.CheckBlock(t, k, true) // the version that was adopted

	for what, tc := range map[string]struct {
		params device.Params
		says   string
	}{
		"the seal's key":     {params("seal", versions["seal"]), "one of a seal"},
		"no version":         {params("orders", ""), "key_version is required"},
		"an absent version":  {params("orders", "00000000000000000000000000000000"), "key gone"},
		"a path in the name": {params("orders/../seal", versions["seal"]), "without slashes"},
	} {
		t.Log(what)
		devicetest.CheckRefused(t, b.Write(tc.params, all...), fault.Invalid, tc.says, srv.URL, secret)
	}
	ambient := params("orders", versions["orders"])
	delete(ambient, "client_secret")
	devicetest.CheckRefused(t, b.Write(ambient, all...), fault.Invalid, "the server's own credentials")
	vault.Change("orders", func(v *azurekv.Version) { v.Enabled = false })
	wrong := params("orders", versions["orders"])
	wrong["client_secret"] = "wrong"
	devicetest.CheckRefused(t, b.Write(wrong, all...), fault.Invalid, "denied", srv.URL, "wrong\"")
}
