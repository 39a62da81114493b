package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sealgate/sealgate/hsm/softhsm"
	"github.com/sealgate/sealgate/internal/testkit"
)

// BenchmarkDeviceKey compares, over HTTP on 16 kept connections and by turns, encryptions of 32
// bytes by a key on a SoftHSM token, and by a key rooted there under a lease, with those by a
// software key.
func BenchmarkDeviceKey(b *testing.B) {
	token, err := softhsm.Init(filepath.Join(b.TempDir(), "token"), softhsm.Options{})
	if err != nil {
		b.Fatal(err)
	}
	s := benchHarness(b, buildPlain(b))
	config, err := os.ReadFile(filepath.Join(s.Dir, "sealgate.hcl"))
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		b.Fatal(err)
	}
	s.Env = token.Environ()
	stanza := fmt.Sprintf("kms_library \"pkcs11\" {\n  name = \"hsm1\"\n  library = %q\n}\n", token.Lib)
	if err := s.WriteConfig(string(config) + stanza); err != nil {
		b.Fatal(err)
	}
	if err := s.Start(); err != nil {
		b.Fatal(err)
	}
	if err := s.UntilUp(); err != nil {
		b.Fatal(err)
	}
	root := benchInit(b, s)
	do := func(code int, path string, body any) { benchDo(b, s, root, code, "POST", path, body, nil) }
	do(204, "sys/mounts/transit", map[string]any{"type": "transit", "config": map[string]any{
		"allowed_managed_keys": "orders"}})
	do(204, "sys/managed-keys/pkcs11/orders", map[string]any{"library": "hsm1", "token_label": token.Label,
		"pin": token.PIN, "key_label": "orders", "mechanism": "0x1087", "usages": "encrypt,decrypt",
		"allow_generate_key": true})
	do(200, "transit/keys/direct", map[string]any{"type": "managed_key", "managed_key_name": "orders"})
	do(200, "transit/keys/rooted", map[string]any{"root_key_name": "orders", "lease_ttl": "1h"})
	do(200, "transit/keys/software", nil)
	parties := map[string]*party{}
	for _, key := range []string{"software", "direct", "rooted"} {
		parties[key] = &party{addr: s.Addr, pid: s.Pid(), code: 200,
			request: same(putRequest("transit/encrypt/"+key, root, `{"plaintext":"`+plain32+`"}`))}
	}
	rounds := 0.0
	for b.Loop() {
		for range 4 { // short turns: other load of the machine meets all
			for _, p := range parties {
				p.turn(b, window/4)
			}
			rounds++
		}
	}
	for key, p := range parties {
		b.ReportMetric(p.rate/rounds, key+"/s")
	}
	compare(b, "rooted/software", parties["rooted"], parties["software"])
	testkit.AtLeast(b, "transit encrypt by a key on SoftHSM / by a software key, over HTTP",
		compare(b, "direct/software", parties["direct"], parties["software"]), 0.6)
}
