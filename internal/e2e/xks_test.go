package e2e

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// ordersPolicy is what the store's callers may do; a condition on the AWS account is part of it.
const ordersPolicy = `path "transit/encrypt/orders" {
  capabilities       = ["update"]
  allowed_parameters = { "aws_principal_account" = ["123456789012"], "*" = [] }
}
path "transit/decrypt/orders" { capabilities = ["update"] }
path "transit/encrypt/health" { capabilities = ["update"] }
path "transit/decrypt/health" { capabilities = ["update"] }`

const (
	ordersARN  = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555"
	otherARN   = "arn:aws:kms:eu-central-1:123456789012:key/66666666-2222-3333-4444-555555555555"
	alicesARN  = "arn:aws:iam::123456789012:user/Alice"
	mallorys   = "arn:aws:iam::999999999999:user/Mallory"
	xksService = "kms-xks-proxy"
)

// awsKMS is AWS KMS as a store's caller: it signs with SigV4, written apart from the server's code.
type awsKMS struct {
	t          testing.TB
	url        string // of the server
	prefix     string
	id, secret string
	region     string
	skew       time.Duration
	principal  string
	arn        string
	client     *http.Client
}

// xksReply is an answer of the proxy.
type xksReply struct {
	Code int
	Body map[string]any
}

func (r xksReply) name() string { s, _ := r.Body["errorName"].(string); return s }

func xksMAC(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// signed is a request signed as AWS does: host and x-amz-date alone.
func (a *awsKMS) signed(ctx context.Context, path string, body []byte) *http.Request {
	r, err := http.NewRequestWithContext(ctx, "POST", a.url+a.prefix+"/kms/xks/v1/"+path, bytes.NewReader(body))
	if err != nil {
		a.t.Error(err)
		return nil
	}
	now := time.Now().Add(a.skew).UTC()
	stamp, day := now.Format("20060102T150405Z"), now.Format("20060102")
	sum := sha256.Sum256(body)
	canonical := "POST\n" + r.URL.EscapedPath() + "\n\nhost:" + r.Host + "\nx-amz-date:" + stamp +
		"\n\nhost;x-amz-date\n" + hex.EncodeToString(sum[:])
	hashed := sha256.Sum256([]byte(canonical))
	scope := day + "/" + a.region + "/" + xksService + "/aws4_request"
	key := []byte("AWS4" + a.secret)
	for _, part := range strings.Split(scope, "/") {
		key = xksMAC(key, part)
	}
	signature := xksMAC(key, "AWS4-HMAC-SHA256\n"+stamp+"\n"+scope+"\n"+hex.EncodeToString(hashed[:]))
	r.Header.Set("X-Amz-Date", stamp)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", fmt.Sprintf(
		"AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=host;x-amz-date, Signature=%x", a.id, scope, signature))
	return r
}

func (a *awsKMS) send(r *http.Request) (xksReply, error) {
	resp, err := a.client.Do(r)
	if err != nil {
		return xksReply{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return xksReply{}, err
	}
	out := xksReply{Code: resp.StatusCode}
	if err := json.Unmarshal(raw, &out.Body); err != nil {
		return out, fmt.Errorf("%d %q: %w", resp.StatusCode, raw, err)
	}
	return out, nil
}

// body is a request's, with the metadata of an operation.
func (a *awsKMS) body(operation string, members map[string]any) []byte {
	m := map[string]any{"requestMetadata": map[string]any{
		"awsPrincipalArn": a.principal, "kmsOperation": operation, "kmsRequestId": "request-of-" + operation, "future": 1}}
	if a.arn != "" {
		m["requestMetadata"].(map[string]any)["kmsKeyArn"] = a.arn
	}
	for name, v := range members {
		m[name] = v
	}
	raw, err := json.Marshal(m)
	if err != nil {
		a.t.Error(err)
	}
	return raw
}

func (a *awsKMS) do(path, operation string, members map[string]any) xksReply {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), patience)
	defer cancel()
	reply, err := a.send(a.signed(ctx, path, a.body(operation, members)))
	if err != nil {
		a.t.Fatal(err)
	}
	return reply
}

func (a *awsKMS) encrypt(key, text string) xksReply {
	a.t.Helper()
	return a.do("keys/"+key+"/encrypt", "Encrypt", map[string]any{
		"plaintext": base64.StdEncoding.EncodeToString([]byte(text)), "encryptionAlgorithm": "AES_GCM",
		"additionalAuthenticatedData":           base64.StdEncoding.EncodeToString([]byte("aad")),
		"ciphertextDataIntegrityValueAlgorithm": "SHA_256"})
}

func (a *awsKMS) decrypt(key string, sealed xksReply) xksReply {
	a.t.Helper()
	members := map[string]any{"encryptionAlgorithm": "AES_GCM",
		"additionalAuthenticatedData": base64.StdEncoding.EncodeToString([]byte("aad"))}
	for _, name := range []string{"ciphertext", "initializationVector", "authenticationTag", "ciphertextMetadata"} {
		members[name] = sealed.Body[name]
	}
	return a.do("keys/"+key+"/decrypt", "Decrypt", members)
}

func (a *awsKMS) want(what string, r xksReply, code int, name string) {
	a.t.Helper()
	if r.Code != code || r.name() != name {
		a.t.Errorf("%s: %d %v, want %d %s", what, r.Code, r.Body, code, name)
	}
}

func (a *awsKMS) opens(what, key string, sealed xksReply, text string) {
	a.t.Helper()
	want := base64.StdEncoding.EncodeToString([]byte(text))
	if r := a.decrypt(key, sealed); r.Code != 200 || r.Body["plaintext"] != want {
		a.t.Errorf("%s: %d %v", what, r.Code, r.Body)
	}
}

// newXKS is a server with a store "prod" and an external key "orders", audited.
func newXKS(t *testing.T, stanza string) (*harness, *awsKMS) {
	t.Helper()
	r := newStaticHarness(t)
	text, err := os.ReadFile(filepath.Join(r.Dir, "sealgate.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.WriteConfig(string(text) + stanza); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	r.mustInit()
	r.must(204, "PUT", "sys/audit/main",
		map[string]any{"type": "file", "options": map[string]string{"file_path": "logs/audit.log", "log_raw": "true"}})
	r.must(204, "POST", "sys/mounts/transit", map[string]string{"type": "transit"})
	r.must(204, "POST", "sys/mounts/xks", map[string]string{"type": "xks"})
	for _, key := range []string{"orders", "health", "secret"} {
		r.must(200, "POST", "transit/keys/"+key, nil)
	}
	r.must(204, "PUT", "sys/policies/acl/orders", map[string]string{"policy": ordersPolicy})
	r.must(204, "POST", "xks/stores/prod", map[string]any{"prefix": "/store-prod", "region": "eu-central-1",
		"policies": "orders", "health_key": "transit/health"})
	r.must(204, "POST", "xks/stores/prod/keys/orders", map[string]any{"key": "transit/orders", "kms_key_arn": ordersARN})
	a := &awsKMS{t: t, url: r.URL(), prefix: "/store-prod", region: "eu-central-1", principal: alicesARN, arn: ordersARN,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	t.Cleanup(a.client.CloseIdleConnections)
	a.id, a.secret = r.newXKSCredential("prod")
	return r, a
}

// xksMade is the response that makes a credential.
type xksMade struct {
	Data struct {
		Configuration struct {
			Credential struct {
				ID     string `json:"AccessKeyId"`
				Secret string `json:"RawSecretAccessKey"`
			} `json:"XksProxyAuthenticationCredential"`
		}
	}
}

func (r *harness) newXKSCredential(store string) (id, key string) {
	r.t.Helper()
	var made xksMade
	r.decode(r.must(200, "POST", "xks/stores/"+store+"/credentials", nil), &made)
	c := made.Data.Configuration.Credential
	r.known.add("an XKS secret", c.Secret)
	return c.ID, c.Secret
}

const sharedXKS = "gateway \"xks\" {\n  deadline = \"5s\"\n}\n"

// TestXKS is AWS KMS with a store of a real server: all operations, a rotation that it does not
// notice, credentials that rotate, kill switches, and what it must not reach.
func TestXKS(t *testing.T) {
	t.Parallel()
	r, a := newXKS(t, sharedXKS)
	health := a.do("health", "KmsHealthCheck", nil)
	if member := health.Body["ekmFleetDetails"].([]any)[0].(map[string]any); health.Code != 200 ||
		member["healthStatus"] != "ACTIVE" && member["healthStatus"] != "DEGRADED" {
		t.Errorf("health: %d %v", health.Code, health.Body)
	}
	if m := a.do("keys/orders/metadata", "CreateKey", nil); m.Code != 200 || m.Body["keySpec"] != "AES_256" ||
		m.Body["keyStatus"] != "ENABLED" {
		t.Errorf("metadata: %d %v", m.Code, m.Body)
	}
	r.known.add("a plaintext of AWS", "a plaintext of AWS")
	old := a.encrypt("orders", "a plaintext of AWS")
	a.want("encrypt", old, 200, "")
	a.opens("its own ciphertext", "orders", old, "a plaintext of AWS")
	r.must(200, "POST", "transit/keys/orders/rotate", nil)
	next := a.encrypt("orders", "after")
	if next.Body["ciphertextMetadata"] == old.Body["ciphertextMetadata"] {
		t.Error("the rotation does not show in the metadata")
	}
	a.opens("a ciphertext of before the rotation", "orders", old, "a plaintext of AWS")
	a.opens("one of after it", "orders", next, "after")
	r.checkXKSAudit()

	// Two credentials at once, then the old one goes.
	second := *a
	second.id, second.secret = r.newXKSCredential("prod")
	second.opens("the second credential", "orders", old, "a plaintext of AWS")
	a.opens("the first one", "orders", old, "a plaintext of AWS")
	r.must(204, "DELETE", "xks/stores/prod/credentials/"+a.id, nil)
	a.want("a removed credential", a.encrypt("orders", "x"), 401, "AuthenticationFailedException")
	a = &second

	r.killSwitches(a, old)
	r.xksAttacks(a, old)
}

// checkXKSAudit: the entries have AWS's request id and the rule that decided, and no text.
func (r *harness) checkXKSAudit() {
	r.t.Helper()
	found := map[string]bool{}
	for _, e := range r.entries("logs/audit.log") {
		d := e.Request.Data
		if d["kms_request_id"] == "request-of-Encrypt" && d["aws_principal_arn"] == alicesARN &&
			d["kms_key_arn"] == ordersARN && d["rule"] == "policies orders; pinned KMS key" &&
			e.Request.Path == "xks/stores/prod/keys/orders/encrypt" {
			found[e.Type] = true
		}
	}
	if !found["request"] || !found["response"] {
		r.t.Errorf("no audit entries of an encryption: %v", found)
	}
}

func (r *harness) killSwitches(a *awsKMS, old xksReply) {
	r.t.Helper()
	key, store := "xks/stores/prod/keys/orders", "xks/stores/prod"
	for _, c := range []struct {
		path, field      string
		encrypt, decrypt string
	}{
		{key, "disabled", "InvalidStateException", "InvalidStateException"},
		{key, "no_encrypt", "InvalidKeyUsageException", ""},
		{key, "no_decrypt", "", "InvalidKeyUsageException"},
		{store, "disabled", "InvalidStateException", "InvalidStateException"},
	} {
		r.must(204, "POST", c.path, map[string]any{c.field: true})
		if got := a.encrypt("orders", "x").name(); got != c.encrypt {
			r.t.Errorf("%s %s: encrypt gives %q, want %q", c.path, c.field, got, c.encrypt)
		}
		if got := a.decrypt("orders", old).name(); got != c.decrypt {
			r.t.Errorf("%s %s: decrypt gives %q, want %q", c.path, c.field, got, c.decrypt)
		}
		r.must(204, "POST", c.path, map[string]any{c.field: false})
	}
	r.must(200, "DELETE", "transit/keys/orders/soft-delete", nil)
	a.want("a deleted transit key", a.encrypt("orders", "x"), 400, "InvalidStateException")
	a.want("its metadata", a.do("keys/orders/metadata", "CreateKey", nil), 400, "InvalidStateException")
	r.must(200, "POST", "transit/keys/orders/soft-delete-restore", nil)
	a.opens("the switches are back", "orders", old, "a plaintext of AWS")
}

// xksAttacks: a client with a credential of one store reaches neither another store nor a key that
// the store's policies do not allow; a client without one learns nothing.
func (r *harness) xksAttacks(a *awsKMS, old xksReply) {
	t := r.t
	t.Helper()
	with := func(change func(*awsKMS)) *awsKMS {
		b := *a
		change(&b)
		return &b
	}
	for what, b := range map[string]*awsKMS{
		"another secret":      with(func(b *awsKMS) { b.secret = strings.Repeat("A", 44) }),
		"an unknown id":       with(func(b *awsKMS) { b.id = "AAAAAAAAAAAAAAAAAAAA" }),
		"another region":      with(func(b *awsKMS) { b.region = "us-east-1" }),
		"a clock 6 min late":  with(func(b *awsKMS) { b.skew = -6 * time.Minute }),
		"a clock 6 min early": with(func(b *awsKMS) { b.skew = 6 * time.Minute }),
	} {
		b.want(what, b.encrypt("orders", "x"), 401, "AuthenticationFailedException")
	}
	for what, b := range map[string]*awsKMS{
		"a clock 4 min late":  with(func(b *awsKMS) { b.skew = -4 * time.Minute }),
		"a clock 4 min early": with(func(b *awsKMS) { b.skew = 4 * time.Minute }),
	} {
		b.want(what, b.encrypt("orders", "x"), 200, "")
	}
	b := with(func(b *awsKMS) { b.prefix = "/no-such-store" })
	b.want("an unknown prefix", b.encrypt("orders", "x"), 404, "InvalidUriPathException")
	b = with(func(b *awsKMS) { b.arn = otherARN })
	b.want("another KMS key", b.encrypt("orders", "x"), 403, "AccessDeniedException")
	b = with(func(b *awsKMS) { b.principal = mallorys })
	b.want("another account", b.encrypt("orders", "x"), 403, "AccessDeniedException")

	r.must(204, "POST", "xks/stores/prod/keys/stolen", map[string]any{"key": "transit/secret", "kms_key_arn": ordersARN})
	a.want("a key that the policies do not allow", a.encrypt("stolen", "x"), 403, "AccessDeniedException")
	r.must(204, "POST", "xks/stores/other", map[string]any{"prefix": "/store-other", "policies": "orders",
		"health_key": "transit/health"})
	b = with(func(b *awsKMS) { b.prefix = "/store-other" })
	b.want("the credential of another store", b.encrypt("orders", "x"), 401, "AuthenticationFailedException")
	b.id, b.secret = r.newXKSCredential("other")
	b.want("the key of another store", b.encrypt("orders", "x"), 404, "KeyNotFoundException")

	changed := xksReply{Body: map[string]any{}}
	for name, v := range old.Body {
		changed.Body[name] = v
	}
	for _, name := range []string{"ciphertextMetadata", "authenticationTag", "initializationVector", "ciphertext"} {
		raw, err := base64.StdEncoding.DecodeString(old.Body[name].(string))
		if err != nil {
			t.Fatal(err)
		}
		raw[len(raw)-1] ^= 1
		changed.Body[name] = base64.StdEncoding.EncodeToString(raw)
		a.want("another "+name, a.decrypt("orders", changed), 400, "InvalidCiphertextException")
		changed.Body[name] = old.Body[name]
	}
	r.xksMalformed(a)
}

// xksMalformed: smuggled headers, wrong methods and large bodies.
func (r *harness) xksMalformed(a *awsKMS) {
	t := r.t
	t.Helper()
	send := func(change func(*http.Request)) xksReply {
		t.Helper()
		q := a.signed(t.Context(), "health", a.body("KmsHealthCheck", nil))
		change(q)
		reply, err := a.send(q)
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	a.want("no signature", send(func(q *http.Request) { q.Header.Del("Authorization") }), 401,
		"AuthenticationFailedException")
	a.want("two signatures", send(func(q *http.Request) { q.Header.Add("Authorization", "x") }), 401,
		"AuthenticationFailedException")
	a.want("two dates", send(func(q *http.Request) { q.Header.Add("X-Amz-Date", "20260102T030405Z") }), 401,
		"AuthenticationFailedException")
	a.want("another host", send(func(q *http.Request) { q.Host = "other.example.com" }), 401,
		"AuthenticationFailedException")
	a.want("a query", send(func(q *http.Request) { q.URL.RawQuery = "x=1" }), 404, "InvalidUriPathException")
	a.want("GET", send(func(q *http.Request) { q.Method, q.Body, q.ContentLength = "GET", nil, 0 }), 405,
		"UnsupportedOperationException")
	a.want("another body", send(func(q *http.Request) {
		q.Body, q.ContentLength = io.NopCloser(strings.NewReader("{}")), 2
	}), 401, "AuthenticationFailedException")
	large := bytes.Repeat([]byte(" "), 64<<10+1)
	reply, err := a.send(a.signed(t.Context(), "health", large))
	if err != nil {
		t.Fatal(err)
	}
	a.want("64 KiB + 1", reply, 400, "ValidationException")
	a.want("an unknown kmsOperation", a.do("keys/orders/encrypt", "SomethingNew", map[string]any{"plaintext": "",
		"encryptionAlgorithm": "AES_GCM"}), 200, "")
	a.want("no kmsRequestId", a.do("keys/orders/encrypt", "Encrypt", map[string]any{"requestMetadata": map[string]any{}}),
		400, "ValidationException")
}

// TestXKSFirstUse: a key that nobody pinned serves nobody, or its first KMS key alone, until an
// operator has confirmed it.
func TestXKSFirstUse(t *testing.T) {
	t.Parallel()
	r, a := newXKS(t, sharedXKS)
	r.must(204, "POST", "xks/stores/prod/keys/fresh", map[string]any{"key": "transit/orders"})
	a.want("not pinned", a.encrypt("fresh", "x"), 403, "AccessDeniedException")
	shown := func() (pin, proposed string) {
		var k struct {
			Data struct {
				Pin      string `json:"kms_key_arn"`
				Proposed string `json:"proposed_kms_key_arn"`
			}
		}
		r.decode(r.must(200, "GET", "xks/stores/prod/keys/fresh", nil), &k)
		return k.Data.Pin, k.Data.Proposed
	}
	if pin, proposed := shown(); pin != "" || proposed != ordersARN {
		t.Errorf("pinned %q, proposed %q", pin, proposed)
	}
	r.must(400, "POST", "xks/stores/prod/keys/fresh/confirm", map[string]any{"kms_key_arn": otherARN})
	r.must(204, "POST", "xks/stores/prod/keys/fresh/confirm", map[string]any{"kms_key_arn": ordersARN})
	if pin, proposed := shown(); pin != ordersARN || proposed != "" {
		t.Errorf("pinned %q, proposed %q after the confirmation", pin, proposed)
	}
	a.want("confirmed", a.encrypt("fresh", "x"), 200, "")

	r.must(204, "POST", "xks/stores/prod", map[string]any{"first_use": "allow"})
	r.must(204, "POST", "xks/stores/prod/keys/open", map[string]any{"key": "transit/orders"})
	a.want("first use", a.encrypt("open", "x"), 200, "")
	b := *a
	b.arn = otherARN
	b.want("second KMS key", b.encrypt("open", "x"), 403, "AccessDeniedException")
	a.want("the first one again", a.encrypt("open", "x"), 200, "")
}

// TestXKSWithoutAudit: nothing is answered that was not recorded.
func TestXKSWithoutAudit(t *testing.T) {
	t.Parallel()
	r, a := newXKS(t, sharedXKS)
	log := filepath.Join(r.logDir(), "audit.log")
	for _, f := range []func() error{
		func() error { return os.Rename(log, log+".1") },
		func() error { return os.Symlink("/dev/full", log) },
	} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	r.hup()
	r.eventually(patience, "the full disk is met", func() bool { return a.encrypt("orders", "x").Code != 200 })
	reply := a.encrypt("orders", "x")
	a.want("disk full", reply, 400, "InvalidStateException")
	if reply.Body["ciphertext"] != nil {
		t.Error("a ciphertext comes with the error")
	}
}

// TestXKSCredentialsRotateUnderLoad: no request of a valid credential fails while others come and
// go.
func TestXKSCredentialsRotateUnderLoad(t *testing.T) {
	t.Parallel()
	r, a := newXKS(t, sharedXKS)
	sealed := a.encrypt("orders", "text")
	var failed, done atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if reply := a.decrypt("orders", sealed); reply.Code != 200 {
					failed.Add(1)
				}
				done.Add(1)
			}
		})
	}
	for range 10 {
		id, key := r.newXKSCredential("prod")
		b := *a
		b.id, b.secret = id, key
		b.opens("a fresh credential", "orders", sealed, "text")
		r.must(204, "DELETE", "xks/stores/prod/credentials/"+id, nil)
	}
	close(stop)
	wg.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d requests failed while other credentials came and went", failed.Load(), done.Load())
	}
}

// TestXKSPoliciesAreTheAuthors: a client that may configure stores does not reach keys by it that
// its own policies do not allow.
func TestXKSPoliciesAreTheAuthors(t *testing.T) {
	t.Parallel()
	r, _ := newXKS(t, sharedXKS)
	r.must(204, "PUT", "sys/policies/acl/stores", map[string]string{
		"policy": `path "xks/*" { capabilities = ["create", "read", "update", "delete", "list"] }`})
	var made struct {
		Auth struct {
			Token string `json:"client_token"`
		}
	}
	r.decode(r.must(200, "POST", "auth/token/create", map[string]any{"policies": []string{"stores"}}), &made)
	r.known.add("a token", made.Auth.Token)
	root := r.root
	r.root = made.Auth.Token
	r.must(403, "POST", "xks/stores/mine", map[string]any{"prefix": "/store-mine", "policies": "orders",
		"health_key": "transit/health"})
	r.must(403, "POST", "xks/stores/prod", map[string]any{"policies": "orders,default"})
	r.must(204, "POST", "xks/stores/mine", map[string]any{"prefix": "/store-mine", "policies": "stores",
		"health_key": "transit/health"})
	r.root = root
	r.must(400, "POST", "xks/stores/prod", map[string]any{"policies": "root"})
}

func readConfig(s *Server) (string, error) {
	text, err := os.ReadFile(filepath.Join(s.Dir, "sealgate.hcl"))
	return string(text), err
}

func asText(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
