package pkcs11

import (
	"testing"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/keys/device"
)

func TestLibraryStanzaWins(t *testing.T) {
	t.Parallel()
	library := &device.Library{Type: "pkcs11", Name: "hsm1", Path: "/nonexistent.so",
		Params: map[string]string{"token_label": "prod", "pin": "1234"}}
	for what, tc := range map[string]struct {
		params device.Params
		ok     bool
	}{
		"nothing":          {device.Params{"library": "hsm1"}, true},
		"the same token":   {device.Params{"token_label": "prod"}, true},
		"another token":    {device.Params{"token_label": "other"}, false},
		"another PIN":      {device.Params{"pin": "0000"}, false},
		"many sessions":    {device.Params{"max_parallel": "33"}, false},
		"enough sessions":  {device.Params{"max_parallel": "32"}, true},
		"a wrong duration": {device.Params{"timeout": "soon"}, false},
	} {
		c, err := Driver{}.Connect(device.Settings{Name: "k", Params: tc.params, Library: library})
		if (err == nil) != tc.ok {
			t.Errorf("%s: %v", what, err)
		}
		if c != nil {
			_ = c.Close()
		}
	}
}

func TestSpec(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		params device.Params
		want   keys.Type // 0: refused
		known  bool
	}{
		{device.Params{}, keys.AES256GCM, false},
		{device.Params{"mechanism": "0x1087"}, keys.AES256GCM, true},
		{device.Params{"mechanism": "CKM_AES_GCM", "key_bits": "128"}, keys.AES128GCM, true},
		{device.Params{"curve": "P384"}, keys.ECDSAP384, true},
		{device.Params{"mechanism": "0x1041", "key_bits": "521"}, keys.ECDSAP521, true},
		{device.Params{"mechanism": "0x0009", "key_bits": "4096"}, keys.RSA4096, true},
		{device.Params{"mechanism": "0x000D"}, keys.RSA3072, true},
		{device.Params{"mechanism": "0x0251"}, keys.HMAC, true},
		{device.Params{"mechanism": "0x0009", "key_bits": "1024"}, 0, false},
		{device.Params{"mechanism": "0x1082"}, 0, false},
		{device.Params{"curve": "secp256k1"}, 0, false},
	} {
		s, known, err := Driver{}.Spec(tc.params)
		if tc.want == 0 && !fault.Is(err, fault.Invalid) || tc.want != 0 && (err != nil || s.Type != tc.want ||
			known != tc.known) {
			t.Errorf("%v: %s, %t, %v", map[string]string(tc.params), s.Type, known, err)
		}
	}
}
