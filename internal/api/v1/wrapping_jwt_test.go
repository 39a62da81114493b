package v1

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

func TestWrappingTokensAsJWT(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("write", w.do("PUT", "secret/a", `{"k":"v"}`), 204, "")
	wrap := func() wrapReply {
		t.Helper()
		var r wrapReply
		w.decode(w.do("GET", "secret/a", "", "X-Vault-Wrap-TTL", "60", "X-Vault-Wrap-Format", "jwt"), &r)
		if r.WrapInfo == nil || strings.Count(r.WrapInfo.Token, ".") != 2 {
			t.Fatalf("%+v", r)
		}
		return r
	}
	first := wrap().WrapInfo
	var key struct {
		Data struct {
			PublicKey string `json:"public_key"`
		}
	}
	w.decode(w.do("GET", "sys/wrapping/pubkey", "", "X-Vault-Token", ""), &key)
	block, _ := pem.Decode([]byte(key.Data.PublicKey))
	if block == nil {
		t.Fatalf("the key is %q", key.Data.PublicKey)
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := jose.ParseSignedCompact(first.Token, []jose.SignatureAlgorithm{jose.ES512})
	if err != nil {
		t.Fatal(err)
	}
	body, err := signed.Verify(pub)
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(body, &claims); err != nil || claims["type"] != "wrapping" ||
		claims["accessor"] != first.Accessor {
		t.Errorf("the claims are %s", body)
	}
	if claims["exp"].(float64)-claims["iat"].(float64) != 60 {
		t.Errorf("the claims are %s", body)
	}
	w.expect("it is no token", w.do("GET", "auth/token/lookup-self", "", "X-Vault-Token", first.Token), 403, "")
	if a := w.do("POST", "sys/wrapping/lookup", `{"token":"`+first.Token+`"}`, "X-Vault-Token", ""); a.Code != 200 ||
		!strings.Contains(a.Body.String(), `"creation_path":"secret/a"`) {
		t.Errorf("lookup: %d %s", a.Code, a.Body)
	}
	parts := strings.Split(first.Token, ".")
	forged := base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(body), first.Accessor, "other", 1)))
	for _, bad := range []string{
		parts[0] + "." + forged + "." + parts[2], parts[0] + "." + parts[1] + ".", parts[0] + "." + parts[1] + "." +
			strings.Repeat("A", 176),
		"eyJhbGciOiJub25lIn0." + parts[1] + ".", "a.b.c", "..", strings.Repeat("a", 5000) + "..",
	} {
		w.expect("a forged one", w.do("POST", "sys/wrapping/unwrap", `{"token":"`+bad+`"}`), 400, refusal(badWrap))
	}
	var r wrapReply
	w.decode(w.do("POST", "sys/wrapping/rewrap", "", "X-Vault-Token", first.Token, "X-Vault-Wrap-Format", "jwt"), &r)
	if r.WrapInfo == nil || strings.Count(r.WrapInfo.Token, ".") != 2 {
		t.Fatalf("rewrapped: %+v", r)
	}
	w.expect("the old one", w.do("POST", "sys/wrapping/unwrap", "", "X-Vault-Token", first.Token), 400, refusal(badWrap))
	w.decode(w.do("POST", "sys/wrapping/unwrap", "", "X-Vault-Token", r.WrapInfo.Token), &r)
	if string(r.Data) != `{"k":"v"}` {
		t.Errorf("unwrapped: %s", r.Data)
	}
	w.expect("without a wrap", w.do("GET", "secret/a", "", "X-Vault-Wrap-Format", "jwt"), 200, "")
}
