//go:build unix

package awskms_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/keys/device/awskms"
	"github.com/sealgate/sealgate/internal/keys/device/devicetest"
	"github.com/sealgate/sealgate/internal/testkit/localstack"
	"github.com/sealgate/sealgate/seals"
	sealawskms "github.com/sealgate/sealgate/seals/awskms"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(localstack.Main(m)) }

func params(s *localstack.Server, key string) device.Params {
	return device.Params{"kms_key": key, "endpoint": s.URL, "access_key": "test", "secret_key": "test",
		"region": localstack.Region, "timeout": "5s"}
}

// made makes a key of a spec.
func made(t *testing.T, s *localstack.Server, spec, usage string) string {
	t.Helper()
	out := s.Must(t, "CreateKey", map[string]any{"KeySpec": spec, "KeyUsage": usage})
	return out["KeyMetadata"].(map[string]any)["Arn"].(string)
}

func TestKeys(t *testing.T) {
	t.Parallel()
	s := localstack.Shared(t)
	b := devicetest.New(t, "awskms", awskms.Driver{})
	devicetest.CheckCipher(t, b.Adopt("aes", params(s, s.CreateKey(t)), device.Encrypt, device.Decrypt))
	devicetest.CheckPair(t, b.Adopt("ec", params(s, made(t, s, "ECC_NIST_P256", "SIGN_VERIFY")), device.Sign,
		device.Verify), devicetest.SHA2)
	devicetest.CheckPair(t, b.Adopt("rsa", params(s, made(t, s, "RSA_2048", "SIGN_VERIFY")), device.Sign,
		device.Verify), devicetest.PSS, devicetest.PKCS1)
	devicetest.CheckBlock(t, b.Adopt("block", params(s, made(t, s, "RSA_2048", "ENCRYPT_DECRYPT")), device.Encrypt,
		device.Decrypt), false) // LocalStack answers 500 to a block that AWS calls an invalid ciphertext
	devicetest.CheckMAC(t, b.Adopt("mac", params(s, made(t, s, "HMAC_256", "GENERATE_VERIFY_MAC")), device.MAC))
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	s := localstack.Shared(t)
	key := s.CreateKey(t)
	w, err := sealawskms.New(seals.Config{Name: "seal", Type: "awskms", Params: map[string]string{
		"kms_key_id": key, "endpoint": s.URL, "access_key": "test", "secret_key": "test", "region": localstack.Region}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.(seals.Closer).Close() })
	b := devicetest.New(t, "awskms", awskms.Driver{}, seals.Seal{Name: "seal", Type: "awskms", Wrapper: w})
	s.Must(t, "CreateAlias", map[string]any{"AliasName": "alias/other-name", "TargetKeyId": key})
	usages := []device.Usage{device.Encrypt, device.Decrypt}
	for _, name := range []string{key, "alias/other-name"} {
		err := b.Write(params(s, name), usages...)
		devicetest.CheckRefused(t, err, fault.Invalid, "one of a seal", s.URL)
	}
	err = b.Write(params(s, "alias/none"), usages...)
	devicetest.CheckRefused(t, err, fault.Invalid, "key gone", s.URL)
	open := params(s, s.CreateKey(t))
	delete(open, "secret_key")
	devicetest.CheckRefused(t, b.Write(open, usages...), fault.Invalid, "the server's own credentials")

	k := b.Adopt("k", params(s, made(t, s, "SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")), usages...)
	e, err := b.Registry.Names(t.Context(), device.Managed, "awskms/")
	if err != nil || len(e) != 1 {
		t.Fatal(e, err)
	}
	entry, _, err := b.Registry.Entry(t.Context(), device.Managed, "awskms/key")
	if err != nil || entry.Params["secret_key"] != device.Redacted {
		t.Errorf("the entry is shown as %v, %v", map[string]string(entry.Params), err)
	}
	s.Must(t, "ScheduleKeyDeletion", map[string]any{"KeyId": entry.Identity, "PendingWindowInDays": 7})
	v, err := k.Version(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	cipher, err := k.Encrypter(t.Context(), v)
	if err != nil {
		t.Fatal(err)
	}
	_, err = cipher.Encrypt(t.Context(), nil, []byte("text"), keys.CipherParams{})
	devicetest.CheckRefused(t, err, fault.Unavailable, "pending deletion", s.URL, entry.Identity)
	b.Registry.Check(t.Context())
	if h, ok := b.Registry.Health("awskms/key"); !ok || h.Class != seals.PendingDeletion || h.Deletion.IsZero() {
		t.Errorf("its health is %+v", h)
	}
}
