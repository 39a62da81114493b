package v1

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// person has a PGP key, with which shares are encrypted to it.
type person struct {
	entity      *openpgp.Entity
	key         string // public, binary in base64, as clients send it
	fingerprint string
}

func newPerson(t testing.TB, name string) *person {
	t.Helper()
	e, err := openpgp.NewEntity(name, "", name+"@example.org",
		&packet.Config{Time: now, Algorithm: packet.PubKeyAlgoEdDSA})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	return &person{e, base64.StdEncoding.EncodeToString(b.Bytes()), hex.EncodeToString(e.PrimaryKey.Fingerprint)}
}

// read decrypts a message in hexadecimal.
func (p *person) read(t testing.TB, message string) string {
	t.Helper()
	b, err := hex.DecodeString(message)
	if err != nil {
		t.Fatal(err)
	}
	return p.decrypt(t, b)
}

// readBase64 decrypts a message in base64.
func (p *person) readBase64(t testing.TB, message string) string {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(message)
	if err != nil {
		t.Fatal(err)
	}
	return p.decrypt(t, b)
}

func (p *person) decrypt(t testing.TB, message []byte) string {
	t.Helper()
	m, err := openpgp.ReadMessage(bytes.NewReader(message), openpgp.EntityList{p.entity}, nil, &packet.Config{Time: now})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(m.UnverifiedBody)
	if err != nil {
		t.Fatal(err)
	}
	return string(plain)
}

// custodians are some of them, in the order of their fingerprints too, and their keys.
func custodians(t testing.TB, names ...string) (all []*person, keys []string) {
	t.Helper()
	for i, name := range names {
		p := newPerson(t, name)
		for i > 0 && p.fingerprint < all[i-1].fingerprint {
			p = newPerson(t, name)
		}
		all, keys = append(all, p), append(keys, p.key)
	}
	return all, keys
}

// body renders pairs of names and values as JSON.
func body(pairs ...any) string {
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}
