//go:build unix

package kmip

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/testkit/pykmip"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/sealtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stanza is a configuration for a server, or a front of it.
func stanza(s *pykmip.Server, addr, key string, more ...string) seals.Config {
	params := map[string]string{
		"endpoint": addr, "kms_key_id": key, "client_cert": s.ClientCert, "client_key": s.ClientKey, "ca_cert": s.CA,
	}
	for i := 0; i < len(more); i += 2 {
		params[more[i]] = more[i+1]
	}
	return seals.Config{Name: "test", Type: "kmip", Params: params, Getenv: func(string) string { return "" }}
}

func open(t testing.TB, cfg seals.Config) *Wrapper {
	t.Helper()
	w, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.(*Wrapper).Close() })
	return w.(*Wrapper)
}

func newKey(t testing.TB, s *pykmip.Server, name string) string {
	t.Helper()
	id, err := CreateKey(t.Context(), stanza(s, s.Addr, ""), name)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// admin runs an operation of an administrator on a key.
func admin(t testing.TB, s *pykmip.Server, key string, op uint32, more ...item) {
	t.Helper()
	w := open(t, stanza(s, s.Addr, key))
	_, err := w.do(t.Context(), op, func(version) []item { return append([]item{text(tagID, key)}, more...) })
	if err != nil {
		t.Fatal(err)
	}
}

// revoke deactivates a key: reason 6, cessation of operation.
func revoke(t testing.TB, s *pykmip.Server, key string) {
	admin(t, s, key, opRevoke, structure(0x420081, enum(0x420082, 6)))
}

func TestConforms(t *testing.T) {
	s := pykmip.Start(t)
	sealtest.Run(t, sealtest.Harness{
		New: func(t *testing.T) *sealtest.Fixture {
			f := newFront(t, s)
			key, other := newKey(t, s, t.Name()), newKey(t, s, t.Name()+" other")
			f.calls.Store(0)
			return &sealtest.Fixture{
				Wrapper: open(t, stanza(s, f.addr, key)), Other: open(t, stanza(s, f.addr, other)),
				Again: func() wrapping.Wrapper { return open(t, stanza(s, f.addr, key)) },
				Unresponsive: func() func() {
					hang := make(chan struct{})
					f.set(func() { f.hang = hang })
					return func() { f.set(func() { f.hang = nil }); close(hang) }
				},
				Away: func() func() {
					f.stop()
					return func() { f.listen(t) }
				},
				Disable: func() { revoke(t, s, key) },
				Destroy: func() { revoke(t, s, key); admin(t, s, key, opDestroy) },
				Garble: func() func() {
					f.set(func() {
						f.change = func(_, a *item) {
							if data := a.at(tagData); data != nil {
								data.value = slices.Clone(data.value)
								data.value[0] ^= 1
							}
						}
					})
					return func() { f.set(func() { f.change = nil }) }
				},
				Calls: func() int { return int(f.calls.Load()) },
			}
		},
		Stride: 3,
		Without: map[string]string{
			"Enable":   "a deactivated key cannot be activated again",
			"Schedule": "KMIP destroys keys at once", "Unschedule": "KMIP destroys keys at once",
			"Rotate": "keys of KMIP have no versions", "Throttle": "KMIP has no rate limit",
			"Deny":   "PyKMIP's policies are files; TestStranger has a client without rights",
			"Expire": "certificates are files, read at each connection",
			"Renew":  "certificates are files, read at each connection",
		},
	})
}

// TestStranger: another client's key is not there, as far as PyKMIP tells.
func TestStranger(t *testing.T) {
	s := pykmip.Start(t)
	key := newKey(t, s, "root")
	w := open(t, stanza(s, s.Addr, key, "client_cert", s.OtherCert, "client_key", s.OtherKey))
	_, err := w.Encrypt(t.Context(), []byte("root key"))
	if class := seals.ClassOf(err); class != seals.Denied && class != seals.KeyGone {
		t.Errorf("%v; want Denied or KeyGone", err)
	}
	_, err = open(t, stanza(s, s.Addr, key, "ca_cert", s.OtherCert)).Encrypt(t.Context(), []byte("root key"))
	if seals.ClassOf(err) != seals.Misconfigured || !strings.Contains(err.Error(), "ca_cert") {
		t.Errorf("another authority: %v; want Misconfigured", err)
	}
}

// TestDescribeAndStates: a deactivated key is described as one that may unseal and not wrap, and
// decrypts where the server allows it, which KMIP does and PyKMIP does not.
func TestDescribeAndStates(t *testing.T) {
	s := pykmip.Start(t)
	f := newFront(t, s)
	key := newKey(t, s, "root")
	w := open(t, stanza(s, f.addr, key))
	st, err := w.Describe(t.Context())
	if err != nil || st.State != "enabled" || st.Detail["KMIP"] != "1.4" || st.Detail["bits"] != "256" {
		t.Errorf("%+v, %v", st, err)
	}
	var names []string
	limits, err := w.Limits(t.Context())
	for _, l := range limits {
		if names = append(names, l.What); l.At == nil || l.Since == nil || l.At.Before(time.Now()) {
			t.Errorf("%+v", l)
		}
	}
	want := "client certificate, server certificate, certificate of the server's CA"
	if got := strings.Join(names, ", "); err != nil || got != want {
		t.Errorf("limits: %s, %v", got, err)
	}
	blob, err := w.Encrypt(t.Context(), []byte("root key"))
	if err != nil {
		t.Fatal(err)
	}
	// The front plays a server whose key was deactivated.
	f.set(func() {
		f.change = func(q, a *item) {
			switch op, _ := q.at(tagOperation).number(); op {
			case opGetAttributes:
				for _, i := range a.at(tagResponsePayload).items {
					if i.find(tagAttributeName).text() == "State" {
						i.at(tagAttributeValue).value = []byte{0, 0, 0, 3}
					}
				}
			case opEncrypt:
				a.at(tagResultStatus).value = []byte{0, 0, 0, 1}
				b := a.at(tagBatchItem)
				b.items = append(b.items, enum(tagResultReason, uint32(reasonPermission)),
					text(tagResultMessage, "the key must be active"))
			}
		}
	})
	if plain, err := w.Decrypt(t.Context(), blob); err != nil || string(plain) != "root key" {
		t.Errorf("a deactivated key does not unseal: %q, %v", plain, err)
	}
	if _, err := w.Encrypt(t.Context(), []byte("x")); seals.ClassOf(err) != seals.KeyDisabled ||
		!strings.Contains(err.Error(), "Deactivated") {
		t.Errorf("a deactivated key wraps: %v; want KeyDisabled, with the state", err)
	}
	if st, err := w.Describe(t.Context()); err != nil || st.State != "disabled" ||
		!strings.Contains(st.Detail["degraded"], "may unseal") {
		t.Errorf("%+v, %v", st, err)
	}
}

// TestOldServer: a server that speaks 1.2 alone gets no additional data and returns the tag with
// the ciphertext.
func TestOldServer(t *testing.T) {
	s := pykmip.Start(t)
	f := newFront(t, s)
	key := newKey(t, s, "root")
	w := open(t, stanza(s, f.addr, key))
	bound, err := w.Encrypt(t.Context(), []byte("root key"), wrapping.WithAad([]byte("aad")))
	if err != nil {
		t.Fatal(err)
	}
	f.set(func() { f.change = oldServer })
	fresh := open(t, stanza(s, f.addr, key))
	fresh.client.version.Store(newest)
	for range 2 {
		if _, err := fresh.Describe(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if v := fresh.client.version.Load(); v != 2 {
		t.Errorf("negotiated 1.%d, want 1.2", v)
	}
	_, err = fresh.Decrypt(t.Context(), bound, wrapping.WithAad([]byte("aad")))
	if err == nil {
		t.Error("what 1.4 bound was decrypted without its additional data")
	}
}

// oldServer refuses 1.3 and 1.4.
func oldServer(q, a *item) {
	minor, _ := q.at(tagMinor).number()
	op, _ := q.at(tagOperation).number()
	b := a.at(tagBatchItem)
	switch {
	case op == opDiscoverVersions:
		v := structure(tagProtocolVersion, integer(tagMajor, 1), integer(tagMinor, 2))
		b.items = []item{enum(tagOperation, op), enum(tagResultStatus, 0), structure(tagResponsePayload, v)}
	case minor > 2:
		b.items = []item{enum(tagOperation, op), enum(tagResultStatus, 1),
			enum(tagResultReason, uint32(reasonInvalidMessage)), text(tagResultMessage, "the version is not supported")}
	}
}

func TestTagBehindTheCiphertext(t *testing.T) {
	s := pykmip.Start(t)
	f := newFront(t, s)
	w := open(t, stanza(s, f.addr, newKey(t, s, "root")))
	f.set(func() {
		f.change = func(_, a *item) {
			if p, tag := a.at(tagResponsePayload), a.at(tagGCMTag); tag != nil {
				data := a.at(tagData)
				data.value = append(slices.Clone(data.value), tag.value...)
				p.items = slices.DeleteFunc(slices.Clone(p.items), func(i item) bool { return i.tag == tagGCMTag })
			}
		}
	})
	blob, err := w.Encrypt(t.Context(), []byte("root key"))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := w.Decrypt(t.Context(), blob); err != nil || string(plain) != "root key" {
		t.Errorf("%q, %v", plain, err)
	}
}

// TestSecondEndpoint: the first one that answers is used.
func TestSecondEndpoint(t *testing.T) {
	s := pykmip.Start(t)
	w := open(t, stanza(s, "127.0.0.1:1, "+s.Addr, newKey(t, s, "root")))
	if _, err := w.Encrypt(t.Context(), []byte("root key")); err != nil {
		t.Error(err)
	}
}

func TestStanza(t *testing.T) {
	good := map[string]string{
		"endpoint": "kmip.example.com", "kms_key_id": "1", "client_cert": "/c.pem", "client_key": "/k.pem",
	}
	for name, c := range map[string]struct{ key, value, want string }{
		"good": {}, "no endpoint": {"endpoint", "", "endpoint is required"},
		"no key": {"kms_key_id", "", "create-key"}, "no certificate": {"client_cert", "", "client_cert and client_key"},
		"a URL":              {"endpoint", "https://kmip.example.com", "not an address"},
		"RSA":                {"encrypt_alg", "RSA_OAEP_SHA256", "only AES_GCM"},
		"other algorithm":    {"encrypt_alg", "AES_CBC", "must be AES_GCM"},
		"AES":                {"encrypt_alg", "AES_GCM", ""},
		"old suite":          {"tls12_ciphers", "TLS_RSA_WITH_AES_256_CBC_SHA", ""},
		"broken suite":       {"tls12_ciphers", "TLS_RSA_WITH_RC4_128_SHA", "no cipher suite"},
		"timeout":            {"timeout", "soon", "timeout"},
		"unknown":            {"key_label", "x", "key_label"},
		"a key for its file": {"client_key", "-----BEGIN PRIVATE KEY-----\nMARK", "client_key"},
	} {
		params := map[string]string{}
		for k, v := range good {
			params[k] = v
		}
		if c.key != "" {
			params[c.key] = c.value
		}
		_, err := New(seals.Config{Name: "n", Params: params, Getenv: func(string) string { return "" }})
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) ||
			strings.Contains(err.Error(), "MARK") || seals.ClassOf(err) != seals.Misconfigured) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
	env := map[string]string{"BAO_KMIP_WRAPPER_KEY_ID": "7", "BAO_KMIP_ENDPOINT": "other:1"}
	w, err := New(seals.Config{Name: "n", Params: good, Getenv: func(k string) string { return env[k] }})
	if err != nil {
		t.Fatal(err)
	}
	if id, _ := w.KeyId(context.Background()); id != "7" || w.(*Wrapper).settings.endpoints[0] != "other:1" {
		t.Errorf("the environment does not win: %s, %v", id, w.(*Wrapper).settings.endpoints)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(request(4, opEncrypt, text(tagID, "1"), gcm(), octets(tagData, []byte("x"))))
	f.Add(structure(tagResponse, structure(tagResponseHeader, integer(tagBatchCount, 1)),
		structure(tagBatchItem, enum(tagOperation, opDecrypt), enum(tagResultStatus, 0),
			structure(tagResponsePayload, octets(tagData, []byte("plain"))))).append(nil))
	f.Add(bytes.Repeat([]byte{0x42, 0, 0x78, 1, 0, 0, 0, 8}, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		i, err := decode(b)
		if err != nil {
			if !errors.Is(err, errTTLV) {
				t.Fatal(err)
			}
			return
		}
		if got := i.append(nil); !bytes.Equal(got, b) {
			t.Fatalf("%x decodes and encodes to %x", b, got)
		}
		_, _ = answer(b, opDecrypt)
	})
}
