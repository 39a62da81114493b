package xks

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
)

// The credential and the time of the signature vector: computed independently of this code.
const (
	vectorID     = "AKTESTKEYID234567ABC"
	vectorSecret = "c2VhbGdhdGUteGtzLXRlc3QtdmVjdG9yLXNlY3JldC0x"
	vectorDate   = "20260102T030405Z"
	vectorPrefix = "/store-one-a"
	vectorBody   = `{"requestMetadata":{"kmsRequestId":"r-1","kmsOperation":"KmsHealthCheck"}}`
	vectorSig    = "159f06781006e57af4c5a8b0840ed0ab60914d77edf0aad042477b1b02947c54"
)

// testVersion is an AES-256 key in memory.
type testVersion struct {
	m    Metadata
	aead cipher.AEAD
	slow chan struct{} // nil: answers at once
}

func newVersion(t testing.TB, number uint32) *testVersion {
	t.Helper()
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(i)
	}
	key[0] = byte(number)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return &testVersion{m: Metadata{Version: number, Fingerprint: [8]byte{byte(number)}}, aead: aead}
}

func (v *testVersion) Metadata() Metadata { return v.m }

func (v *testVersion) Seal(ctx context.Context, plaintext, aad []byte) (iv, ciphertext, tag []byte, err error) {
	if v.slow != nil {
		select {
		case <-v.slow:
		case <-ctx.Done():
			return nil, nil, nil, ctx.Err()
		}
	}
	iv = make([]byte, 12)
	if _, err := rand.Read(iv); err != nil {
		return nil, nil, nil, err
	}
	out := v.aead.Seal(nil, iv, plaintext, aad)
	return iv, out[:len(plaintext)], out[len(plaintext):], nil
}

func (v *testVersion) Open(_ context.Context, iv, ciphertext, tag, aad []byte) ([]byte, error) {
	if len(iv) != 12 {
		return nil, fail(InvalidCiphertext, "not authentic")
	}
	out, err := v.aead.Open(nil, iv, append(bytes.Clone(ciphertext), tag...), aad)
	if err != nil {
		return nil, fail(InvalidCiphertext, "not authentic")
	}
	return out, nil
}

// proxy is a handler with one store and one key, and what it recorded.
type proxy struct {
	t        testing.TB
	handler  *Handler
	store    *Store
	state    KeyState
	versions []*testVersion
	now      time.Time

	mu         sync.Mutex
	calls      []Call
	answers    []string
	auditError error
	deny       error
}

func newProxy(t testing.TB) *proxy {
	t.Helper()
	p := &proxy{t: t, versions: []*testVersion{newVersion(t, 1)}}
	p.now, _ = time.Parse(dateForm, vectorDate)
	p.store = &Store{Name: "one", Prefix: vectorPrefix,
		Credentials: []Credential{{AccessKeyID: vectorID, Secret: secret.Copy([]byte(vectorSecret))}}}
	h, err := New(Options{Stores: p, Keys: (*proxyKeys)(p), Policy: p, Audit: p, Now: func() time.Time { return p.now },
		Deadline: time.Second, Fleet: func(context.Context, *Store) (Fleet, error) {
			return Fleet{1, "Sealgate", "1", "SoftHSM", []Member{{"hsm", "SoftHSM 2", "ACTIVE"}}}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	p.handler = h
	return p
}

func (p *proxy) Find(_ context.Context, prefix string) (*Store, error) {
	if prefix != p.store.Prefix {
		return nil, nil
	}
	return p.store, nil
}

func (p *proxy) Used(*Store, string, time.Time) {}

func (p *proxy) Authorize(context.Context, *Call) (string, error) { return "test rule", p.deny }

func (p *proxy) Begin(_ context.Context, c *Call, _ error) (func(string) error, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, *c)
	return func(name string) error {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.answers = append(p.answers, name)
		return nil
	}, p.auditError
}

type proxyKeys proxy

func (p *proxyKeys) Find(_ context.Context, _ *Store, id string) (Key, error) {
	if id != "key-1" {
		return nil, fail(KeyNotFound, "no external key has this id")
	}
	return (*proxyKey)(p), nil
}

type proxyKey proxy

func (p *proxyKey) State() KeyState { return p.state }

func (p *proxyKey) Newest(context.Context) (Version, error) {
	return p.versions[len(p.versions)-1], nil
}

func (p *proxyKey) ForCiphertext(_ context.Context, metadata []byte) (Version, error) {
	m, err := ParseMetadata(metadata)
	if err != nil { // of another proxy
		return p.versions[0], nil
	}
	for _, v := range p.versions {
		if v.m == m {
			return v, nil
		}
	}
	return nil, fail(InvalidCiphertext, "not authentic")
}

// sign signs a request as AWS KMS does.
func (p *proxy) sign(r *http.Request, body string, headers ...string) {
	p.t.Helper()
	if r.Header.Get("X-Amz-Date") == "" {
		r.Header.Set("X-Amz-Date", p.now.Format(dateForm))
	}
	s := &signature{accessKeyID: vectorID, day: p.now.Format(dayForm), region: "eu-central-1", headers: headers}
	if headers == nil {
		s.headers = []string{"host", "x-amz-date"}
	}
	canonical, err := s.canonical(r, []byte(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Authorization", fmt.Sprintf("%s Credential=%s/%s/%s/%s/%s, SignedHeaders=%s, Signature=%x",
		algorithm, vectorID, s.day,
		s.region, service, terminal, strings.Join(s.headers, ";"), signText(s, r.Header.Get("X-Amz-Date"), canonical)))
}

// signText is the signing side, written apart from the verifier.
func signText(s *signature, stamp, canonical string) []byte {
	key := []byte("AWS4" + vectorSecret)
	for _, part := range []string{s.day, s.region, service, terminal} {
		key = mac(key, part)
	}
	sum := sha256Hex(canonical)
	return mac(key, algorithm+"\n"+stamp+"\n"+s.day+"/"+s.region+"/"+service+"/"+terminal+"\n"+sum)
}

func sha256Hex(text string) string { return hex.EncodeToString(sum256([]byte(text))) }

func sum256(b []byte) []byte { return integrity(b, nil, nil, nil, nil) }

// do sends a signed request and returns its status and answer.
func (p *proxy) do(path, body string) (int, map[string]any) {
	p.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "https://xks.example.com"+vectorPrefix+base+path, strings.NewReader(body))
	p.sign(r, body)
	return p.send(r)
}

func (p *proxy) send(r *http.Request) (int, map[string]any) {
	p.t.Helper()
	w := httptest.NewRecorder()
	p.handler.ServeHTTP(w, r)
	var out map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		p.t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return w.Code, out
}

const callMetadata = `"requestMetadata":{"awsPrincipalArn":"arn:aws:iam::123456789012:user/Alice",` +
	`"kmsKeyArn":"arn:aws:kms:eu-central-1:123456789012:key/1","kmsOperation":"Encrypt","kmsRequestId":"r-2","enclave":{"new":true}}`

func (p *proxy) encrypt(plaintext, aad string, withIntegrity bool) map[string]any {
	p.t.Helper()
	b64 := base64.StdEncoding.EncodeToString
	body := fmt.Sprintf(`{%s,"plaintext":%q,"encryptionAlgorithm":"AES_GCM","additionalAuthenticatedData":%q`, callMetadata, b64([]byte(plaintext)), b64([]byte(aad)))
	if withIntegrity {
		body += `,"ciphertextDataIntegrityValueAlgorithm":"SHA_256"`
	}
	code, out := p.do("keys/key-1/encrypt", body+"}")
	if code != http.StatusOK {
		p.t.Fatalf("encrypt: %d %v", code, out)
	}
	return out
}

func (p *proxy) decrypt(members map[string]any, aad string) (int, map[string]any) {
	p.t.Helper()
	extra, err := json.Marshal(members)
	if err != nil {
		p.t.Fatal(err)
	}
	body := fmt.Sprintf(`{%s,"encryptionAlgorithm":"AES_GCM","additionalAuthenticatedData":%q,%s`, callMetadata,
		base64.StdEncoding.EncodeToString([]byte(aad)), strings.TrimPrefix(string(extra), "{"))
	return p.do("keys/key-1/decrypt", body)
}

// TestVectors: values that were computed independently of this code.
func TestVectors(t *testing.T) {
	t.Parallel()
	if got := hex.EncodeToString(fullAAD([]byte("project=nile"),
		[]byte{1, 0x6b, 0x37})); got != "000c70726f6a6563743d6e696c6503016b37" {
		t.Errorf("full AAD %s", got)
	}
	if got := hex.EncodeToString(fullAAD(nil, nil)); got != "000000" {
		t.Errorf("empty full AAD %s", got)
	}
	raw := func(s string) []byte {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	iv, ciphertext := raw("oKGio6Slpqeoqaqr"), raw("lX0dQSKqdtpCHeygJwylvQTDKw==")
	for _, tc := range []struct {
		aad, metadata []byte
		tag, want     string
	}{
		{[]byte("project=nile"), []byte{1, 0x6b, 0x37}, "4xA9RiPnbzMN8Vl1SgPDhw==",
			"V47oodocx1Mx8BGXKwUWgLO3lBvx+vwyjTT3eg81N1E="},
		{nil, nil, "ChXCjPGJzhpvMwvPZ9oNZA==", "k4HC7l661tWgk+HInrLck1+vkirxgRHsbR0798zISWg="},
	} {
		if got := integrity(tc.aad, tc.metadata, iv, ciphertext, raw(tc.tag)); !bytes.Equal(got, raw(tc.want)) {
			t.Errorf("integrity value %x", got)
		}
		plaintext, err := openVector(t, iv, ciphertext, raw(tc.tag), fullAAD(tc.aad, tc.metadata))
		if err != nil || string(plaintext) != "sealgate xks vector" {
			t.Errorf("decrypted %q, %v", plaintext, err)
		}
	}
}

func openVector(t *testing.T, iv, ciphertext, tag, aad []byte) ([]byte, error) {
	t.Helper()
	v := newVersion(t, 0)
	return v.Open(t.Context(), iv, ciphertext, tag, aad)
}

// TestSignatureVector: a request as AWS signs it is accepted, and no other.
func TestSignatureVector(t *testing.T) {
	t.Parallel()
	const auth = algorithm + " Credential=" + vectorID + "/20260102/eu-central-1/kms-xks-proxy/aws4_request, " +
		"SignedHeaders=host;x-amz-date, Signature=" + vectorSig
	request := func() *http.Request {
		r := httptest.NewRequest(http.MethodPost, "https://xks.example.com"+vectorPrefix+base+"health",
			strings.NewReader(vectorBody))
		r.Header.Set("X-Amz-Date", vectorDate)
		r.Header.Set("Authorization", auth)
		return r
	}
	p := newProxy(t)
	if code, out := p.send(request()); code != http.StatusOK {
		t.Fatalf("the vector: %d %v", code, out)
	}
	if code, _ := p.send(func() *http.Request {
		r := request()
		r.Header.Set("Authorization", strings.ReplaceAll(auth, ", ", ","))
		return r
	}()); code != 200 {
		t.Errorf("commas without spaces: %d", code)
	}
	change := map[string]func(*http.Request){
		"no header": func(r *http.Request) { r.Header.Del("Authorization") },
		"other algorithm": func(r *http.Request) {
			r.Header.Set("Authorization", "AWS4-HMAC-SHA512"+strings.TrimPrefix(auth, algorithm))
		},
		"other key": func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(auth, vectorID, "AKTESTKEYID234567ABD", 1))
		},
		"other service": func(r *http.Request) {
			r.Header.Set("Authorization",
				strings.Replace(auth, "kms-xks-proxy", "kms", 1))
		},
		"other region": func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(auth, "eu-central-1", "eu-central-2", 1))
		},
		"one bit": func(r *http.Request) {
			r.Header.Set("Authorization",
				strings.Replace(auth, vectorSig[:2], "16", 1))
		},
		"date not signed": func(r *http.Request) {
			r.Header.Set("Authorization",
				strings.Replace(auth, ";x-amz-date", "", 1))
		},
		"host not signed": func(r *http.Request) { r.Header.Set("Authorization", strings.Replace(auth, "host;", "", 1)) },
		"unsorted": func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(auth, "host;x-amz-date", "x-amz-date;host", 1))
		},
		"absent header": func(r *http.Request) {
			r.Header.Set("Authorization", strings.Replace(auth, "host;x-amz-date", "host;x-amz-date;x-more", 1))
		},
		"other host":        func(r *http.Request) { r.Host = "xks.example.org" },
		"other body":        func(r *http.Request) { r.Body = http.NoBody },
		"two dates":         func(r *http.Request) { r.Header.Add("X-Amz-Date", vectorDate) },
		"member twice":      func(r *http.Request) { r.Header.Set("Authorization", auth+", Signature="+vectorSig) },
		"date of other day": func(r *http.Request) { r.Header.Set("X-Amz-Date", "20260103T000000Z") },
	}
	for name, f := range change {
		r := request()
		f(r)
		code, out := p.send(r)
		if code != http.StatusUnauthorized || out["errorName"] != AuthenticationFailed ||
			out["errorMessage"] != errSignature.Message {
			t.Errorf("%s: %d %v", name, code, out)
		}
	}
	for skew, want := range map[time.Duration]int{4 * time.Minute: 200, -4 * time.Minute: 200, 6 * time.Minute: 401,
		-6 * time.Minute: 401} {
		q := newProxy(t)
		q.now = q.now.Add(skew)
		if code, out := q.send(request()); code != want {
			t.Errorf("a clock off by %s: %d %v", skew, code, out)
		}
	}
	p.store.Region = "eu-west-1"
	if code, _ := p.send(request()); code != http.StatusUnauthorized {
		t.Errorf("signed for another region: %d", code)
	}
}

// TestCurl: curl signs the content type and custom headers, too.
func TestCurl(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	r := httptest.NewRequest(http.MethodPost, "https://xks.example.com"+vectorPrefix+base+"health",
		strings.NewReader(vectorBody))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-More", "  a   b ")
	p.sign(r, vectorBody, "content-type", "host", "x-amz-date", "x-more")
	if code, out := p.send(r); code != http.StatusOK {
		t.Errorf("%d %v", code, out)
	}
}

// TestRoundTripAndRotation: what an old version encrypted decrypts after a rotation, and nothing
// that was changed does.
func TestRoundTripAndRotation(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	old := p.encrypt("top secret", "project=nile", true)
	if old["ciphertextDataIntegrityValue"] == nil {
		t.Error("no integrity value")
	}
	p.versions = append(p.versions, newVersion(t, 2))
	fresh := p.encrypt("top secret", "project=nile", false)
	if fresh["ciphertextDataIntegrityValue"] != nil || fresh["ciphertextMetadata"] == old["ciphertextMetadata"] {
		t.Errorf("after the rotation: %v", fresh)
	}
	for name, c := range map[string]map[string]any{"old": old, "new": fresh} {
		code, out := p.decrypt(c, "project=nile")
		if code != 200 || out["plaintext"] != base64.StdEncoding.EncodeToString([]byte("top secret")) {
			t.Errorf("%s: %d %v", name, code, out)
		}
		if code, out := p.decrypt(c, "project=niles"); code != 400 || out["errorName"] != InvalidCiphertext {
			t.Errorf("%s with other data: %d %v", name, code, out)
		}
		for _, member := range []string{"ciphertext", "initializationVector", "authenticationTag", "ciphertextMetadata"} {
			raw, err := base64.StdEncoding.DecodeString(c[member].(string))
			if err != nil {
				t.Fatal(err)
			}
			raw[len(raw)-1] ^= 1
			changed := map[string]any{}
			for k, v := range c {
				changed[k] = v
			}
			changed[member] = base64.StdEncoding.EncodeToString(raw)
			if code, out := p.decrypt(changed, "project=nile"); code != 400 || out["errorName"] != InvalidCiphertext {
				t.Errorf("%s with another %s: %d %v", name, member, code, out)
			}
		}
	}
}

// TestSampleProxy: ciphertexts of AWS's sample proxy decrypt where the key allows it.
func TestSampleProxy(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	metadata := []byte("fixed")
	iv, ciphertext, tag, err := p.versions[0].Seal(t.Context(), []byte("moved"), hashedAAD([]byte("a=b"), metadata))
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.StdEncoding.EncodeToString
	c := map[string]any{"ciphertext": b64(ciphertext), "initializationVector": b64(iv), "authenticationTag": b64(tag),
		"ciphertextMetadata": b64(metadata)}
	if code, out := p.decrypt(c, "a=b"); code != 400 || out["errorName"] != InvalidCiphertext {
		t.Errorf("without the switch: %d %v", code, out)
	}
	p.state.HashedAAD = true
	if code, out := p.decrypt(c, "a=b"); code != 200 || out["plaintext"] != b64([]byte("moved")) {
		t.Errorf("with the switch: %d %v", code, out)
	}
}

// TestRefusals: every way to be refused, with the name and the status of the specification.
func TestRefusals(t *testing.T) {
	t.Parallel()
	b64 := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	enc := func(members string) string { return "{" + callMetadata + "," + members + "}" }
	const gcm = `"encryptionAlgorithm":"AES_GCM"`
	for name, tc := range map[string]struct {
		path, body string
		state      KeyState
		disabled   bool
		deny       error
		code       int
		want       string
	}{
		"no JSON":     {path: "health", body: `{`, code: 400, want: Validation},
		"no metadata": {path: "health", body: `{}`, code: 400, want: Validation},
		"no request id": {path: "health", body: `{"requestMetadata":{"kmsOperation":"x"}}`,
			code: 400, want: Validation},
		"unknown path": {path: "keys/key-1/sign", body: `{}`, code: 404, want: InvalidURIPath},
		"odd key id":   {path: "keys/a$b/encrypt", body: `{}`, code: 404, want: KeyNotFound},
		"unknown key":  {path: "keys/key-2/metadata", body: enc(`"x":1`), code: 404, want: KeyNotFound},
		"no key ARN":   {path: "keys/key-1/encrypt", body: `{"requestMetadata":{"awsPrincipalArn":"a","kmsOperation":"x","kmsRequestId":"r"}}`, code: 400, want: Validation},
		"store disabled": {path: "keys/key-1/metadata", body: enc(`"x":1`), disabled: true, code: 400,
			want: InvalidState},
		"key disabled": {path: "keys/key-1/encrypt", body: enc(gcm), state: KeyState{Disabled: true}, code: 400,
			want: InvalidState},
		"denied": {path: "keys/key-1/metadata", body: enc(`"x":1`), deny: fail(AccessDenied, "no"), code: 403,
			want: AccessDenied},
		"policy broken": {path: "keys/key-1/metadata", body: enc(`"x":1`), deny: errors.New("broken"), code: 400,
			want: InvalidState},
		"may not encrypt": {path: "keys/key-1/encrypt", body: enc(gcm), state: KeyState{NoEncrypt: true}, code: 400,
			want: InvalidKeyUsage},
		"may not decrypt": {path: "keys/key-1/decrypt", body: enc(gcm), state: KeyState{NoDecrypt: true}, code: 400,
			want: InvalidKeyUsage},
		"other algorithm": {path: "keys/key-1/encrypt", body: enc(`"encryptionAlgorithm":"AES_CBC","plaintext":""`),
			code: 400, want: Validation},
		"no plaintext": {path: "keys/key-1/encrypt", body: enc(gcm), code: 400, want: Validation},
		"bad base64":   {path: "keys/key-1/encrypt", body: enc(gcm + `,"plaintext":"!"`), code: 400, want: Validation},
		"loose base64": {path: "keys/key-1/encrypt", body: enc(gcm + `,"plaintext":"AB=="`),
			code: 400, want: Validation},
		"plaintext too large": {path: "keys/key-1/encrypt", body: enc(gcm + `,"plaintext":"` + b64(maxPlaintext+1) + `"`),
			code: 501, want: UnsupportedOperation},
		"AAD too large": {path: "keys/key-1/encrypt", body: enc(gcm + `,"plaintext":"","additionalAuthenticatedData":"` +
			b64(maxAAD+1) + `"`), code: 501, want: UnsupportedOperation},
		"other integrity": {path: "keys/key-1/encrypt", body: enc(gcm + `,"plaintext":"","ciphertextDataIntegrityValueAlgorithm":"MD5"`), code: 400, want: Validation},
		"short tag": {path: "keys/key-1/decrypt",
			body: enc(gcm + `,"ciphertext":"","initializationVector":"` + b64(12) + `","authenticationTag":"` + b64(12) + `"`),
			code: 400, want: Validation},
		"odd IV": {path: "keys/key-1/decrypt", body: enc(gcm + `,"ciphertext":"","initializationVector":"` + b64(13) +
			`","authenticationTag":"` + b64(16) + `"`), code: 400, want: Validation},
		"long metadata": {path: "keys/key-1/decrypt", body: enc(gcm + `,"ciphertext":"","ciphertextMetadata":"` + b64(21) +
			`","initializationVector":"` + b64(12) + `","authenticationTag":"` + b64(16) + `"`), code: 400, want: Validation},
		"body too large": {path: "health", body: `{"x":"` + strings.Repeat("x", maxBody) + `"}`, code: 400, want: Validation},
	} {
		p := newProxy(t)
		p.state, p.store.Disabled, p.deny = tc.state, tc.disabled, tc.deny
		if code, out := p.do(tc.path, tc.body); code != tc.code || out["errorName"] != tc.want {
			t.Errorf("%s: %d %v, want %d %s", name, code, out, tc.code, tc.want)
		}
	}
	p := newProxy(t)
	if code, out := p.do("keys/key-1/metadata", enc(`"unknown":1`)); code != 200 || out["keySpec"] != "AES_256" ||
		out["keyStatus"] != "ENABLED" {
		t.Errorf("metadata: %d %v", code, out)
	}
	if code, _ := p.send(httptest.NewRequest(http.MethodGet, "https://xks.example.com"+vectorPrefix+base+"health",
		http.NoBody)); code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", code)
	}
	if code, out := p.send(httptest.NewRequest(http.MethodPost, "https://xks.example.com/other/kms/xks/v1/health",
		http.NoBody)); code != 404 || out["errorName"] != InvalidURIPath {
		t.Errorf("an unknown prefix: %d %v", code, out)
	}
}

// TestSizes: what AWS sends at most works.
func TestSizes(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	plaintext, aad := strings.Repeat("p", 4300), strings.Repeat("a", 8192)
	if code, out := p.decrypt(p.encrypt(plaintext, aad, true), aad); code != 200 ||
		out["plaintext"] != base64.StdEncoding.EncodeToString([]byte(plaintext)) {
		t.Errorf("%d", code)
	}
}

// TestAudit: what cannot be recorded is not answered, and each call is recorded with AWS's request
// id and no values.
func TestAudit(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.encrypt("top secret", "", false)
	if len(p.calls) != 1 || p.calls[0].Metadata.KMSRequestID != "r-2" || p.calls[0].Rule != "test rule" ||
		p.answers[0] != "" {
		t.Errorf("recorded: %+v %v", p.calls, p.answers)
	}
	p.auditError = errors.New("the disk is full")
	if code, out := p.do("keys/key-1/metadata", "{"+callMetadata+"}"); code != 400 || out["errorName"] != InvalidState {
		t.Errorf("without an audit trail: %d %v", code, out)
	}
}

// TestDeadline: a key that does not answer in time is DependencyTimeoutException.
func TestDeadline(t *testing.T) {
	t.Parallel()
	p := newProxy(t)
	p.handler.o.Deadline = 20 * time.Millisecond
	p.versions[0].slow = make(chan struct{})
	code, out := p.do("keys/key-1/encrypt", "{"+callMetadata+`,"encryptionAlgorithm":"AES_GCM","plaintext":""}`)
	if code != http.StatusServiceUnavailable || out["errorName"] != DependencyTimeout {
		t.Errorf("%d %v", code, out)
	}
}

func FuzzParseMetadata(f *testing.F) {
	f.Add(Metadata{1, [8]byte{1}}.Marshal())
	f.Add([]byte{1, 0x80, 0x01, 0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMetadata(b)
		if err == nil && !bytes.Equal(m.Marshal(), b) {
			t.Errorf("%x decodes to %+v, which encodes to %x", b, m, m.Marshal())
		}
	})
}

func FuzzAuthorization(f *testing.F) {
	f.Add(algorithm + " Credential=A/20260102/r/kms-xks-proxy/aws4_request, SignedHeaders=host;x-amz-date, Signature=" +
		vectorSig)
	f.Fuzz(func(t *testing.T, header string) {
		s, err := parseAuthorization(header)
		if err == nil && (len(s.value) != 32 || len(s.headers) < 2) {
			t.Errorf("%q gives %+v", header, s)
		}
	})
}

func TestNewCredential(t *testing.T) {
	t.Parallel()
	c, err := NewCredential(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := (&Store{Name: "x", Prefix: vectorPrefix, Credentials: []Credential{c}}).Check(); err != nil {
		t.Error(err)
	}
	for _, prefix := range []string{"/short", "no-slash-1", "/with space", "/" + strings.Repeat("x", 117)} {
		if (&Store{Prefix: prefix}).Check() == nil {
			t.Errorf("the prefix %q is accepted", prefix)
		}
	}
}
