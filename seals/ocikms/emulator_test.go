package ocikms

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// The configured user: Oracle's library finds this in the file that OCI_CONFIG_FILE names.
const (
	tenancy     = "ocid1.tenancy.oc1..t"
	user        = "ocid1.user.oc1..u"
	fingerprint = "20:3b:97:13:55:1c:5b:0d:d3:37:d8:50:4e:c5:3a:34"
)

var (
	userKey    *rsa.PrivateKey
	configFile string
	authority  *httptest.Server // lends its certificate to every emulator
)

// TestMain sets what Oracle's library takes from the process: its configuration, and the
// authorities that it trusts.
func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "ocikms-")
	if err != nil {
		log.Print(err)
		return 1
	}
	defer os.RemoveAll(dir)
	if userKey, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		log.Print(err)
		return 1
	}
	authority = httptest.NewTLSServer(http.NotFoundHandler())
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Certificate().Raw})
	key := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(userKey)})
	authority.Close()
	configFile = filepath.Join(dir, "config")
	for name, text := range map[string]string{filepath.Join(dir, "ca.pem"): string(ca),
		filepath.Join(dir, "key.pem"): string(key), configFile: config("key.pem")} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			log.Print(err)
			return 1
		}
	}
	for name, v := range map[string]string{"HOME": dir, "OCI_CONFIG_FILE": configFile,
		"SSL_CERT_FILE": filepath.Join(dir, "ca.pem")} {
		if err := os.Setenv(name, v); err != nil {
			log.Print(err)
			return 1
		}
	}
	return m.Run()
}

func config(keyFile string) string {
	return fmt.Sprintf("[DEFAULT]\nuser=%s\nfingerprint=%s\ntenancy=%s\nregion=us-ashburn-1\nkey_file=%s\n", user,
		fingerprint, tenancy,
		filepath.Join(filepath.Dir(configFile), keyFile))
}

// emulator is a vault of Oracle's as far as the seal asks it; it is not Oracle's. Its rules:
// https://docs.oracle.com/iaas/api/#/en/key/release/EncryptedData/Encrypt,
// .../DecryptedData/Decrypt, .../Key/GetKey,
// https://docs.oracle.com/iaas/Content/API/References/apierrors.htm and
// https://docs.oracle.com/iaas/Content/API/Concepts/signingrequests.htm
type emulator struct {
	*httptest.Server

	mu                               sync.Mutex
	keys                             map[string]*key
	calls                            int
	unresponsive                     chan struct{}
	away, garble, throttled, refuses bool
	unknownUser                      bool
	answer                           string // not "": the body of every answer
	status                           int    // not 0: the status of every answer
}

type key struct {
	versions []cipher.AEAD // the last one encrypts
	state    string
	deletion time.Time
}

func newEmulator(t testing.TB) *emulator {
	t.Helper()
	s := &emulator{keys: map[string]*key{}}
	s.Server = httptest.NewUnstartedServer(s)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	for _, id := range []string{"ocid1.key.oc1.iad.v.wrap", "ocid1.key.oc1.iad.v.other"} {
		s.keys[id] = &key{state: "ENABLED"}
		s.rotate(id)
	}
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
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil || away {
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
	w.Header().Set("X-Stand-In", "not Oracle: for tests only")
	w.Header().Set("Content-Type", "application/json")
	if s.answer != "" || s.status != 0 {
		w.WriteHeader(max(s.status, 200))
		_, _ = w.Write([]byte(s.answer))
		return
	}
	out, refused := s.operate(r, body)
	if refused != nil {
		w.WriteHeader(refused.status)
		out = map[string]string{"code": refused.code, "message": refused.message}
	}
	_ = json.NewEncoder(w).Encode(out)
}

var signature = regexp.MustCompile(`^Signature version="1",headers="([^"]+)",keyId="([^"]+)",` +
	`algorithm="rsa-sha256",signature="([^"]+)"$`)

// signed checks the signature of a request as the service does: over the target, the host, the date
// and, with a body, over its digest.
func (s *emulator) signed(r *http.Request, body []byte) bool {
	m := signature.FindStringSubmatch(r.Header.Get("Authorization"))
	if m == nil || m[2] != tenancy+"/"+user+"/"+fingerprint || s.unknownUser {
		return false
	}
	var lines []string
	for name := range strings.FieldsSeq(m[1]) {
		v := r.Header.Get(name)
		switch name {
		case "(request-target)":
			v = strings.ToLower(r.Method) + " " + r.URL.RequestURI()
		case "host":
			v = r.Host
		case "content-length":
			v = fmt.Sprint(r.ContentLength)
		}
		lines = append(lines, name+": "+v)
	}
	digest := sha256.Sum256(body)
	if r.Method == http.MethodPost && (!strings.Contains(m[1], "x-content-sha256") ||
		r.Header.Get("X-Content-Sha256") != base64.StdEncoding.EncodeToString(digest[:])) {
		return false
	}
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	raw, err := base64.StdEncoding.DecodeString(m[3])
	return err == nil && rsa.VerifyPKCS1v15(&userKey.PublicKey, crypto.SHA256, sum[:], raw) == nil
}

func (s *emulator) operate(r *http.Request, body []byte) (any, *refusal) {
	switch {
	case !s.signed(r, body):
		return nil, &refusal{401, "NotAuthenticated",
			"The required information to complete authentication was not provided or was incorrect."}
	case s.throttled:
		return nil, &refusal{429, "TooManyRequests", "User-rate limit exceeded."}
	}
	var in struct{ KeyID, Plaintext, Ciphertext string }
	if id, ok := strings.CutPrefix(r.URL.Path, "/20180608/keys/"); ok {
		in.KeyID = id
	} else if err := json.Unmarshal(body, &in); err != nil {
		return nil, &refusal{400, "CannotParseRequest", "The request is incorrectly formatted."}
	}
	k := s.keys[in.KeyID]
	if k == nil || s.refuses {
		return nil, &refusal{404, "NotAuthorizedOrNotFound",
			"Key or Vault does not exist or you are not authorized to access them."}
	}
	version := func(n int) string { return fmt.Sprintf("%s.version.%d", in.KeyID, n) }
	current := version(len(k.versions))
	if r.Method == http.MethodGet {
		out := map[string]any{"id": in.KeyID, "compartmentId": "c", "vaultId": "v", "displayName": "k",
			"currentKeyVersion": current, "lifecycleState": k.state,
			"timeCreated": "2026-01-02T03:04:05Z", "protectionMode": "HSM",
			"keyShape": map[string]any{"algorithm": "AES", "length": 32}}
		if !k.deletion.IsZero() {
			out["timeOfDeletion"] = k.deletion.UTC().Format(time.RFC3339)
		}
		return out, nil
	}
	if k.state != "ENABLED" {
		return nil, &refusal{409, "IncorrectState", "The key is not in the enabled state."}
	}
	switch r.URL.Path {
	case "/20180608/encrypt":
		plain, err := base64.StdEncoding.DecodeString(in.Plaintext)
		if err != nil || len(plain) > 4096 {
			return nil, &refusal{400, "InvalidParameter", "plaintext is not base64, or longer than 4096 bytes"}
		}
		sealed := append([]byte{byte(len(k.versions))}, k.versions[len(k.versions)-1].Seal(nil, nil, plain,
			[]byte(in.KeyID))...)
		return map[string]string{"ciphertext": base64.StdEncoding.EncodeToString(sealed), "keyId": in.KeyID,
			"keyVersionId": current}, nil
	case "/20180608/decrypt":
		return s.decrypt(k, in.KeyID, in.Ciphertext)
	}
	return nil, &refusal{404, "NotFound", "no such operation"}
}

func (s *emulator) decrypt(k *key, id, text string) (any, *refusal) {
	bad := &refusal{400, "InvalidParameter", "The ciphertext is not valid."}
	sealed, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(sealed) < 2 || sealed[0] == 0 || int(sealed[0]) > len(k.versions) {
		return nil, bad
	}
	plain, err := k.versions[sealed[0]-1].Open(nil, nil, sealed[1:], []byte(id))
	if err != nil {
		return nil, bad
	}
	if s.garble {
		plain[0] ^= 1
	}
	return map[string]string{"plaintext": base64.StdEncoding.EncodeToString(plain), "plaintextChecksum": "0",
		"keyId": id}, nil
}
