//go:build unix

package transit_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/keys/device/devicetest"
	"github.com/sealgate/sealgate/internal/keys/device/transit"
	"github.com/sealgate/sealgate/internal/testkit/openbao"
	"github.com/sealgate/sealgate/seals"
	sealtransit "github.com/sealgate/sealgate/seals/transit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestKeysOfOpenBao(t *testing.T) {
	t.Parallel()
	bao := openbao.Start(t)
	bao.Mount("up")
	params := func(name string) device.Params {
		return device.Params{"address": "http://" + bao.Addr, "token": bao.Root, "mount_path": "up", "name": name,
			"version": "1", "timeout": "5s"}
	}
	w, err := sealtransit.New(seals.Config{Name: "seal", Type: "transit", Params: map[string]string{
		"address": "http://" + bao.Addr, "token": bao.Root, "mount_path": "up", "key_name": "seal"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.(seals.Closer).Close() })
	b := devicetest.New(t, "transit", transit.Driver{}, seals.Seal{Name: "seal", Type: "transit", Wrapper: w})
	for name, kind := range map[string]string{"seal": "", "aes": "aes256-gcm96", "ec": "ecdsa-p384", "rsa": "rsa-2048",
		"ed": "ed25519"} {
		bao.Key("up", name, kind)
	}
	aes := b.Adopt("aes", params("aes"), device.Encrypt, device.Decrypt)
	devicetest.CheckCipher(t, aes)
	devicetest.CheckPair(t, b.Adopt("ec", params("ec"), device.Sign, device.Verify), devicetest.SHA2)
	rsa := b.Adopt("rsa", params("rsa"), device.Sign, device.Verify, device.Encrypt, device.Decrypt)
	devicetest.CheckPair(t, rsa, devicetest.PSS, devicetest.PKCS1)
	devicetest.CheckBlock(t, rsa, true)

	usages := []device.Usage{device.Encrypt, device.Decrypt}
	devicetest.CheckRefused(t, b.Write(params("seal"), usages...), fault.Invalid, "one of a seal", bao.Addr)
	devicetest.CheckRefused(t, b.Write(params("none"), usages...), fault.Invalid, "key gone", bao.Addr)
	devicetest.CheckRefused(t, b.Write(params("ed"), device.Sign), fault.Invalid, "misconfigured", bao.Addr)
	p := params("aes")
	p["version"] = "2"
	devicetest.CheckRefused(t, b.Write(p, usages...), fault.Invalid, "key gone", bao.Addr)
	p = params("aes")
	p["token"] = "wrong"
	devicetest.CheckRefused(t, b.Write(p, usages...), fault.Invalid, "denied", bao.Addr, "wrong")

	if err := b.Write(params("aes"), usages...); err != nil {
		t.Fatal(err)
	}
	v, err := aes.Version(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	e, err := aes.Encrypter(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	blob, err := e.Encrypt(t.Context(), nil, []byte("text"), keys.CipherParams{})
	if err != nil {
		t.Fatal(err)
	}
	bao.Stop()
	_, err = e.Decrypt(t.Context(), nil, blob, keys.CipherParams{})
	devicetest.CheckRefused(t, err, fault.Unavailable, "unreachable", bao.Addr)
}
