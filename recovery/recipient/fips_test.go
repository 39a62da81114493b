package recipient

import (
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/sealgate/sealgate/internal/fips"
)

// TestRecipientsUnderFIPS: what is not approved is refused by name, before its library runs.
func TestRecipientsUnderFIPS(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	pgp := func(change func(*packet.Config)) string { return string(public(t, entity(t, change))) }
	texts := map[string]struct{ text, refusal string }{
		"age": {id.Recipient().String(), "age recipient"},
		"RSA": {pgp(func(c *packet.Config) { c.Algorithm, c.RSABits = packet.PubKeyAlgoRSA, 2048 }), ""},
		"P-256": {pgp(func(c *packet.Config) {
			c.Algorithm, c.Curve = packet.PubKeyAlgoECDSA, packet.CurveNistP256
		}), ""},
		"Curve25519": {pgp(func(c *packet.Config) {
			c.Algorithm, c.Curve = packet.PubKeyAlgoEdDSA, packet.Curve25519
		}), "PGP key"},
	}
	end := fips.Simulate()
	defer end()
	for name, c := range texts {
		_, err := Parse(c.text, time.Now())
		if (err == nil) != (c.refusal == "") || err != nil && (!strings.Contains(err.Error(), c.refusal) ||
			!strings.Contains(err.Error(), "RSA or a NIST curve")) {
			t.Errorf("%s: %v; want %q", name, err, c.refusal)
		}
	}
}
