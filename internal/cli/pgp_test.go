package cli

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
)

// TestPublicKeyFiles reads a key in every form in which tools write it. A private key is never
// returned, in any form: what is returned is sent to the server.
func TestPublicKeyFiles(t *testing.T) {
	t.Parallel()
	entity, err := openpgp.NewEntity("a", "", "a@example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	var public, private bytes.Buffer
	if err := entity.Serialize(&public); err != nil {
		t.Fatal(err)
	}
	if err := entity.SerializePrivate(&private, nil); err != nil {
		t.Fatal(err)
	}
	armored := func(kind string, data []byte) string {
		var b strings.Builder
		w, err := armor.Encode(&b, kind, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	utf16 := func(text string) string {
		b := []byte{0xff, 0xfe}
		for i := range len(text) {
			b = append(b, text[i], 0)
		}
		return string(b)
	}
	std, url := base64.StdEncoding.EncodeToString, base64.RawURLEncoding.EncodeToString
	body := func(armor string) string {
		_, rest, _ := strings.Cut(armor, "\n\n")
		rest, _, _ = strings.Cut(rest, "-----END")
		return rest
	}
	pub, priv := armored("PGP PUBLIC KEY BLOCK", public.Bytes()), armored("PGP PRIVATE KEY BLOCK", private.Bytes())
	want := std(public.Bytes())
	for name, c := range map[string]struct{ text, fails string }{
		"armored": {pub, ""}, "binary": {public.String(), ""}, "base64": {want, ""}, "base64url": {url(public.Bytes()), ""},
		"BOM": {"\xef\xbb\xbf" + pub, ""}, "CRLF": {strings.ReplaceAll(pub, "\n", "\r\n"), ""},
		"body with checksum": {body(pub), ""},
		"UTF-16":             {utf16(pub), "UTF-16"}, "empty": {" \n", "is empty"}, "BOM alone": {"\xef\xbb\xbf", "is empty"},
		"damaged":         {strings.Replace(pub, "\n\n", "\n\n!!", 1), "damaged"},
		"private armored": {priv, "PRIVATE"}, "private binary": {private.String(), "PRIVATE"},
		"private base64": {std(private.Bytes()), "PRIVATE"}, "private base64url": {url(private.Bytes()), "PRIVATE"},
		"private with BOM": {"\xef\xbb\xbf" + priv, "PRIVATE"}, "private body": {body(priv), "PRIVATE"},
		"SSH": {"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", "PRIVATE"},
	} {
		file := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := publicKey(newBase(Env{}), file)
		switch {
		case c.fails == "" && (err != nil || got != want):
			t.Errorf("%s: %.30q, %v", name, got, err)
		case c.fails != "" && (err == nil || got != "" || !strings.Contains(err.Error(), c.fails)):
			t.Errorf("%s: %.30q, %v; want %s", name, got, err, c.fails)
		}
	}
}
