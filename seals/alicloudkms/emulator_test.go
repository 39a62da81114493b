package alicloudkms

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain sets the authorities that Alibaba's library trusts: it has no other way.
func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "alicloudkms-")
	if err != nil {
		log.Print(err)
		return 1
	}
	defer os.RemoveAll(dir)
	srv := httptest.NewTLSServer(http.NotFoundHandler()) // all test servers share its certificate
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	srv.Close()
	file := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, ca, 0o600); err != nil {
		log.Print(err)
		return 1
	}
	if err := os.Setenv("SSL_CERT_FILE", file); err != nil {
		log.Print(err)
		return 1
	}
	return m.Run()
}

const accessKey = "LTAI-access-key"

// emulator is Alibaba's KMS as far as the seal asks it; it is not Alibaba's. Its rules:
// alibabacloud.com/help/en/kms/key-management-service/developer-reference/api-kms-2016-01-20-encrypt,
// ...-decrypt, ...-describekey, .../common-error-codes-1, and
// https://www.alibabacloud.com/help/en/sdk/product-overview/rpc-mechanism for signatures
type emulator struct {
	*httptest.Server

	mu                              sync.Mutex
	keys                            map[string]*key
	aliases                         map[string]string
	secret                          string
	calls                           int
	unresponsive                    chan struct{}
	away, garble, throttled, denies bool
	answer                          string // not "": the body of every answer
}

type key struct {
	versions []cipher.AEAD // the last one encrypts
	state    string
	deletion time.Time
}

func newEmulator(t testing.TB) *emulator {
	t.Helper()
	s := &emulator{keys: map[string]*key{}, aliases: map[string]string{}, secret: "the-secret-of-the-access-key"}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	for _, id := range []string{"key-wrap", "key-other"} {
		s.keys[id] = &key{state: "Enabled"}
		s.rotate(id)
	}
	s.aliases["alias/seal"] = "key-wrap"
	return s
}

func (s *emulator) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *emulator) rotate(id string) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw)
	block, err := aes.NewCipher(raw)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	s.set(func() { s.keys[id].versions = append(s.keys[id].versions, aead) })
}

type refusal struct {
	status        int
	code, message string
}

func (s *emulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	unresponsive, away := s.unresponsive, s.away
	s.calls++
	s.mu.Unlock()
	if away {
		panic(http.ErrAbortHandler)
	}
	if unresponsive != nil {
		select {
		case <-unresponsive:
		case <-r.Context().Done():
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("X-Stand-In", "not Alibaba Cloud: for tests only")
	w.Header().Set("Content-Type", "application/json")
	if s.answer != "" {
		_, _ = w.Write([]byte(s.answer))
		return
	}
	out, refused := s.operate(r)
	if refused != nil {
		w.WriteHeader(refused.status)
		out = map[string]any{"Code": refused.code, "Message": refused.message, "RequestId": "r", "HostId": r.Host}
	}
	_ = json.NewEncoder(w).Encode(out)
}

func escape(s string) string {
	return strings.NewReplacer("+", "%20", "*", "%2A", "%7E", "~").Replace(url.QueryEscape(s))
}

// toSign gives the text that a request's signature must be over.
func toSign(method string, q url.Values) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(q)) {
		if name != "Signature" {
			pairs = append(pairs, escape(name)+"="+escape(q.Get(name)))
		}
	}
	return method + "&%2F&" + escape(strings.Join(pairs, "&"))
}

func (s *emulator) operate(r *http.Request) (any, *refusal) {
	q := r.URL.Query()
	mac := hmac.New(sha1.New, []byte(s.secret+"&"))
	_, _ = io.WriteString(mac, toSign(r.Method, q))
	signature, err := base64.StdEncoding.DecodeString(q.Get("Signature"))
	switch {
	case q.Get("AccessKeyId") != accessKey:
		return nil, &refusal{404, "InvalidAccessKeyId.NotFound",
			"The Access Key ID provided does not exist in our records."}
	case err != nil || !hmac.Equal(signature, mac.Sum(nil)) || q.Get("SignatureMethod") != "HMAC-SHA1":
		return nil, &refusal{400, "SignatureDoesNotMatch",
			"Specified signature is not matched with our calculation. server string to sign is:" + toSign(r.Method, q)}
	case s.throttled:
		return nil, &refusal{429, "Rejected.Throttling", "QPS Limit Exceeded"}
	case s.denies:
		return nil, &refusal{403, "Forbidden.NoPermission", "This operation is forbidden by permission system."}
	}
	if q.Get("Action") == "Decrypt" {
		return s.decrypt(q.Get("CiphertextBlob"))
	}
	id := q.Get("KeyId")
	if to, ok := s.aliases[id]; ok {
		id = to
	}
	k := s.keys[id]
	if k == nil {
		return nil, &refusal{404, "Forbidden.KeyNotFound", "The specified Key is not found."}
	}
	version := fmt.Sprintf("%s-v%d", id, len(k.versions))
	switch q.Get("Action") {
	case "DescribeKey":
		meta := map[string]any{"KeyId": id, "KeyState": k.state, "PrimaryKeyVersion": version,
			"ProtectionLevel": "HSM", "KeySpec": "Aliyun_AES_256"}
		if !k.deletion.IsZero() {
			meta["DeleteDate"] = k.deletion.UTC().Format(time.RFC3339)
		}
		return map[string]any{"KeyMetadata": meta, "RequestId": "r"}, nil
	case "Encrypt":
		return s.encrypt(k, id, version, q.Get("Plaintext"))
	}
	return nil, &refusal{404, "InvalidAction.NotFound", "Specified api is not found."}
}

func usable(k *key) *refusal {
	switch k.state {
	case "Disabled":
		return &refusal{409, "Rejected.Disabled", "The request was rejected because the key state is Disabled."}
	case "PendingDeletion":
		return &refusal{409, "Rejected.PendingDeletion",
			"The request was rejected because the key state is PendingDeletion."}
	}
	return nil
}

func (s *emulator) encrypt(k *key, id, version, text string) (any, *refusal) {
	if r := usable(k); r != nil {
		return nil, r
	}
	plain, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(plain) == 0 || len(plain) > 6<<10 {
		return nil, &refusal{400, "InvalidParameter", "The specified parameter is not valid."}
	}
	blob := append([]byte{byte(len(id))}, id...)
	blob = append(blob, byte(len(k.versions)))
	sealed := k.versions[len(k.versions)-1].Seal(nil, nil, plain, blob)
	return map[string]any{"CiphertextBlob": base64.StdEncoding.EncodeToString(append(blob, sealed...)), "KeyId": id,
		"KeyVersionId": version}, nil
}

// decrypt finds the key in the ciphertext, as the service does.
func (s *emulator) decrypt(text string) (any, *refusal) {
	bad := &refusal{400, "InvalidParameter", "The specified parameter is not valid."}
	blob, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(blob) < 2 || len(blob) < int(blob[0])+2 {
		return nil, bad
	}
	n := int(blob[0]) + 2
	k := s.keys[string(blob[1:n-1])]
	if k == nil {
		return nil, &refusal{404, "Forbidden.KeyNotFound", "The specified Key is not found."}
	}
	if r := usable(k); r != nil {
		return nil, r
	}
	if blob[n-1] == 0 || int(blob[n-1]) > len(k.versions) {
		return nil, bad
	}
	plain, err := k.versions[blob[n-1]-1].Open(nil, nil, blob[n:], blob[:n])
	if err != nil {
		return nil, bad
	}
	if s.garble {
		plain[0] ^= 1
	}
	return map[string]any{"Plaintext": base64.StdEncoding.EncodeToString(plain), "KeyId": string(blob[1 : n-1])}, nil
}
