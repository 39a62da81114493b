//go:build unix

package transit

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/testkit/openbao"
	"github.com/sealgate/sealgate/seals"
)

var data = wrapping.WithAad([]byte("cluster, seal, generation"))

func wrapped(t *testing.T, w *Wrapper, plain []byte) *wrapping.BlobInfo {
	t.Helper()
	blob, err := w.Encrypt(t.Context(), plain, data)
	must(t, err)
	opens(t, w, blob, plain)
	return blob
}

func opens(t *testing.T, w *Wrapper, blob *wrapping.BlobInfo, plain []byte) {
	t.Helper()
	if got, err := w.Decrypt(t.Context(), blob, data); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("Decrypt: %d bytes, %v", len(got), err)
	}
}

func fails(t *testing.T, w *Wrapper, blob *wrapping.BlobInfo, class seals.Class, words ...string) {
	t.Helper()
	_, err := w.Decrypt(t.Context(), blob, data)
	failed(t, err, class, words...)
}

func failed(t *testing.T, err error, class seals.Class, words ...string) {
	t.Helper()
	if seals.ClassOf(err) != class {
		t.Errorf("%v; want class %q", err, class)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("no %q in: %v", word, err)
		}
	}
}

// TestRealPeer checks what the conformance suite does not, on one server.
func TestRealPeer(t *testing.T) {
	t.Parallel()
	bao := openbao.Start(t)
	plain := []byte("the root key of a cluster")
	for name, test := range map[string]func(*testing.T, *place, *front){
		"makes no key": func(t *testing.T, p *place, f *front) {
			_, err := p.open(t, f, "absent", "token", bao.Root).Encrypt(t.Context(), plain)
			failed(t, err, seals.KeyGone, "keys/absent")
			if keys := fmt.Sprint(bao.Must("LIST", p.mount+"/keys", nil)); strings.Contains(keys, "absent") {
				t.Errorf("the server has now: %s", keys)
			}
		},
		"lease of the token": func(t *testing.T, p *place, f *front) {
			limits, err := p.open(t, f, "wrap").Limits(t.Context())
			if err != nil || len(limits) != 1 || limits[0].What != "token" || !limits[0].Renews ||
				limits[0].Since == nil || time.Until(*limits[0].At) < 50*time.Minute {
				t.Errorf("%+v, %v", limits, err)
			}
			limits, err = p.open(t, f, "wrap", "disable_renewal", "true").Limits(t.Context())
			if err != nil || len(limits) != 1 || limits[0].Renews {
				t.Errorf("not renewed here: %+v, %v", limits, err)
			}
			limits, err = p.open(t, f, "wrap", "token", bao.Root).Limits(t.Context())
			if err != nil || len(limits) != 0 {
				t.Errorf("a root token does not end: %+v, %v", limits, err)
			}
		},
		"no such mount": func(t *testing.T, p *place, f *front) {
			_, err := p.open(t, f, "wrap", "mount_path", "nowhere", "token", bao.Root).Encrypt(t.Context(), plain)
			failed(t, err, seals.KeyGone, "mount_path")
		},
		"versions": func(t *testing.T, p *place, f *front) {
			w := p.open(t, f, "wrap")
			old := wrapped(t, w, plain)
			bao.Rotate(p.mount, "wrap")
			if v, err := w.KeyVersion(t.Context()); v != "v2" || err != nil {
				t.Errorf("version %q, %v", v, err)
			}
			fresh := wrapped(t, w, plain)
			bao.Must("POST", p.mount+"/keys/wrap/config", map[string]int{"min_decryption_version": 2,
				"min_encryption_version": 2})
			fails(t, w, old, seals.KeyDisabled, "lower min_decryption_version")
			bao.Must("POST", p.mount+"/keys/wrap/trim", map[string]int{"min_available_version": 2})
			fails(t, w, old, seals.KeyGone, "version v1", "trimmed")
			opens(t, w, fresh, plain)
			bao.Delete(p.mount, "wrap")
			bao.Key(p.mount, "wrap", "")
			fails(t, w, fresh, seals.KeyGone, "too new", "older backup")
			bao.Rotate(p.mount, "wrap")
			fails(t, w, fresh, seals.Corrupt, "recreated")
		},
		"an RSA key": func(t *testing.T, p *place, f *front) {
			bao.Key(p.mount, "rsa", "rsa-2048")
			w := p.open(t, f, "rsa")
			blob := wrapped(t, w, plain)
			boundHere(t, w, blob)
		},
		"a server too old for associated data": func(t *testing.T, p *place, f *front) {
			f.set(func() { f.stripped = "associated_data" })
			w := p.open(t, f, "wrap")
			var log bytes.Buffer
			w.log = slog.New(slog.NewTextHandler(&log, nil))
			old := wrapped(t, w, plain)
			boundHere(t, w, old)
			if wrapped(t, w, plain); strings.Count(log.String(), "does not bind associated data") != 1 {
				t.Errorf("the log contains: %s", log.String())
			}
			f.set(func() { f.stripped = "" }) // an upgrade
			opens(t, w, old, plain)
			opens(t, p.open(t, f, "wrap"), old, plain)
		},
		"a derived key": func(t *testing.T, p *place, f *front) {
			bao.Must("POST", p.mount+"/keys/derived", map[string]bool{"derived": true})
			_, err := p.open(t, f, "derived").Encrypt(t.Context(), plain)
			failed(t, err, seals.Misconfigured, "not derived")
		},
		"a key that signs": func(t *testing.T, p *place, f *front) {
			bao.Key(p.mount, "signs", "ed25519")
			_, err := p.open(t, f, "signs").Encrypt(t.Context(), plain)
			failed(t, err, seals.Misconfigured, "aes256-gcm96")
		},
		"a token that may not read the key": func(t *testing.T, p *place, f *front) {
			bao.Policy(p.policy(), rules(p.mount, false))
			w := p.open(t, f, "wrap")
			bao.Rotate(p.mount, "wrap")
			if v, err := w.KeyVersion(t.Context()); v != "v2" || err != nil {
				t.Errorf("version %q, %v", v, err)
			}
			wrapped(t, w, plain)
			st, err := w.Describe(t.Context())
			if err != nil || st.Version != "v2" || st.State != "" ||
				!strings.Contains(st.Detail["degraded"], "may not read") {
				t.Errorf("%+v, %v", st, err)
			}
		},
		"a token replaced in its file": func(t *testing.T, p *place, f *front) {
			w := p.open(t, f, "wrap")
			blob := wrapped(t, w, plain)
			bao.Revoke(p.token)
			fails(t, w, blob, seals.Denied, "replace the token")
			p.newToken(t, "1h")
			opens(t, w, blob, plain)
		},
		"renewal": func(t *testing.T, p *place, f *front) {
			w := p.open(t, f, "wrap", "disable_renewal", "true")
			if left, renewable, err := w.renewToken(t.Context()); err != nil || !renewable || left < 59*time.Minute ||
				left > time.Hour {
				t.Errorf("%s, %v, %v", left, renewable, err)
			}
			w = p.open(t, f, "wrap", "token", bao.Root)
			if left, renewable, err := w.renewToken(t.Context()); err != nil || renewable || left != 0 {
				t.Errorf("a root token: %s, %v, %v", left, renewable, err)
			}
			w = p.open(t, f, "wrap", "token", "s.nosuchtoken")
			if _, _, err := w.renewToken(t.Context()); status(err) != http.StatusForbidden {
				t.Errorf("no such token: %v", err)
			}
		},
		"a certificate of an unknown CA": func(t *testing.T, p *place, f *front) {
			_, err := p.open(t, f, "wrap", "tls_ca_cert", "").Encrypt(t.Context(), plain)
			failed(t, err, seals.Misconfigured, "tls_ca_cert")
			wrapped(t, p.open(t, f, "wrap", "tls_ca_cert", "", "tls_skip_verify", "true"), plain)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newPlace(t, bao), newFront(t, bao.Addr))
		})
	}
}

// boundHere checks a blob whose additional data the server does not bind.
func boundHere(t *testing.T, w *Wrapper, blob *wrapping.BlobInfo) {
	t.Helper()
	_, err := w.Decrypt(t.Context(), blob, wrapping.WithAad([]byte("another cluster")))
	failed(t, err, seals.Corrupt)
	if st, err := w.Describe(t.Context()); err != nil || st.Detail["associated data"] != "bound by the data key only" {
		t.Errorf("%+v, %v", st, err)
	}
}

// TestPeerSealedAndGone seals and stops the server.
func TestPeerSealedAndGone(t *testing.T) {
	t.Parallel()
	bao := openbao.Start(t)
	p := newPlace(t, bao)
	w := p.open(t, &front{Server: &httptest.Server{URL: "http://" + bao.Addr}}, "wrap", "tls_ca_cert", "", "timeout",
		"2s")
	plain := []byte("x")
	blob := wrapped(t, w, plain)
	bao.Must("PUT", "sys/seal", nil)
	fails(t, w, blob, seals.Unreachable, "503", "sealed", "unseal the server")
	bao.Stop()
	fails(t, w, blob, seals.Unreachable, "reachable from this host")
	bao.Restart()
	opens(t, w, blob, plain)
	bao.Pause()
	fails(t, w, blob, seals.Unreachable, "deadline")
	bao.Resume()
	opens(t, w, blob, plain)
}

// TestUnexpectedAnswers calls servers that have no transit engine.
func TestUnexpectedAnswers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		code int
		body string
		want seals.Class
	}{
		"a page":             {200, "<html>Welcome</html>", seals.Corrupt},
		"nothing":            {200, "", seals.Corrupt},
		"an empty object":    {200, "{}", seals.Corrupt},
		"no content":         {204, "", seals.Corrupt},
		"another ciphertext": {200, `{"data":{"ciphertext":"ours:v1:AAAA"}}`, seals.Corrupt},
		"a number":           {200, `{"data":{"ciphertext":7}}`, seals.Corrupt},
		"a page of a proxy":  {502, "<html>" + strings.Repeat("x", 5000), seals.Unreachable},
		"a server unborn":    {501, `{"errors":["not initialized"]}`, seals.Unreachable},
		"too many requests":  {429, "", seals.Throttled},
		"without a token":    {400, `{"errors":["missing client token"]}`, seals.Denied},
		"an unknown answer":  {418, `{"errors":["a teapot"]}`, seals.Misconfigured},
		"more than fits": {200, `{"data":{"ciphertext":"` + strings.Repeat("A", 2*maxReply) + `"}}`,
			seals.Unreachable},
		"nested without end":   {200, strings.Repeat(`{"data":`, 100000), seals.Corrupt},
		"an end before an end": {200, `{"data":{"ciphertext":"vault:v1:AA`, seals.Unreachable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("X-Vault-Namespace") != "team" || r.URL.Path != "/v1/t/encrypt/k" &&
					r.URL.Path != "/v1/auth/token/renew-self" {
					t.Errorf("%s, namespace %q", r.URL.Path, r.Header.Get("X-Vault-Namespace"))
				}
				w.WriteHeader(c.code)
				_, _ = w.Write([]byte(c.body))
			}))
			t.Cleanup(srv.Close)
			w, err := New(seals.Config{Params: map[string]string{"address": srv.URL, "token": "x", "mount_path": "t",
				"key_name": "k", "namespace": "team"}})
			must(t, err)
			_, err = w.Encrypt(t.Context(), []byte("plain"))
			failed(t, err, c.want)
			if err != nil && len(err.Error()) > 800 {
				t.Errorf("%d bytes of error", len(err.Error()))
			}
			must(t, w.(*Wrapper).Close())
		})
	}
}
