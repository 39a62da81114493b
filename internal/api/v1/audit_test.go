package v1

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/api"
)

// audited gives a harness a file device, and returns the log's path.
func (w *harness) audited(options string) string {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), "logs", "audit.log")
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		w.t.Fatal(err)
	}
	w.expect("enable", w.do("PUT", "sys/audit/file", fmt.Sprintf(`{"type":"file","options":{"file_path":%q%s}}`, path,
		options)), 204, "")
	return path
}

func (w *harness) trail(path string) string {
	w.t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(raw)
}

func TestAuditDevices(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("nothing there", w.do("GET", "sys/audit", ""), 200, "")
	path := filepath.Join(t.TempDir(), "log")
	body := fmt.Sprintf(`{"type":"file","description":"main","options":{"file_path":%q,"log_raw":false}}`, path)
	w.expect("enable", w.do("PUT", "sys/audit/one", body), 204, "")
	w.expect("again", w.do("POST", "sys/audit/one/", body), 400, "")
	w.expect("again", w.do("POST", "sys/audit/one", body), 400, refusal("path already in use"))
	w.expect("without a path", w.do("POST", "sys/audit/two", `{"type":"file"}`), 400, refusal("file_path is required"))
	w.expect("unknown", w.do("POST", "sys/audit/two", `{"type":"pigeon"}`), 400, refusal(`unknown backend type: "pigeon"`))
	device := fmt.Sprintf(`"one/":{"description":"main","local":false,"options":{"file_path":%q,"log_raw":"false"},"path":"one/","type":"file"}`, path)
	for _, want := range []string{`{` + device + `,"request_id"`, `"data":{` + device + `}`} {
		if a := w.do("GET", "sys/audit", ""); !strings.Contains(a.Body.String(), want) {
			t.Errorf("the list is %s, want %s", a.Body, want)
		}
	}
	var hashed struct {
		Hash string
		Data struct{ Hash string }
	}
	w.decode(w.do("POST", "sys/audit-hash/one", `{"input":"`+w.token+`"}`), &hashed)
	if hashed.Hash != hashed.Data.Hash || !strings.Contains(w.trail(path), `"client_token":"`+hashed.Hash+`"`) {
		t.Errorf("sys/audit-hash says %+v, and the log\n%s", hashed, w.trail(path))
	}
	w.expect("hash of nowhere", w.do("POST", "sys/audit-hash/nope", `{"input":"x"}`), 400,
		refusal(`unknown audit backend "nope/"`))
	w.expect("hash of nothing", w.do("POST", "sys/audit-hash/one", `{}`), 400, refusal(`the "input" parameter is empty`))
	w.expect("disable", w.do("DELETE", "sys/audit/one", ""), 204, "")
	w.expect("disable what is not there", w.do("DELETE", "sys/audit/one", ""), 204, "")
	if a := w.do("GET", "sys/audit", ""); strings.Contains(a.Body.String(), "one/") {
		t.Errorf("disabled: %s", a.Body)
	}
}

func TestAuditedHeaders(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	log := w.audited("")
	const at = "sys/config/auditing/request-headers"
	w.expect("one", w.do("PUT", at+"/X-Trace", `{"hmac":false}`), 204, "")
	w.expect("hashed", w.do("PUT", at+"/X-Who", `{"hmac":true}`), 204, "")
	w.expect("a token", w.do("PUT", at+"/X-Vault-Token", `{}`), 400, "")
	if a := w.do("GET", at, ""); !strings.Contains(a.Body.String(),
		`"headers":{"x-trace":{"hmac":false},"x-who":{"hmac":true}}`) {
		t.Errorf("the headers are %s", a.Body)
	}
	if a := w.do("GET", at+"/x-who", ""); !strings.Contains(a.Body.String(), `"data":{"X-Who":{"hmac":true}}`) {
		t.Errorf("one header is %s", a.Body)
	}
	w.expect("unknown", w.do("GET", at+"/x-other", ""), 400, refusal("Could not find header in config"))
	w.do("GET", "secret/a", "", "X-Trace", "t-1", "X-Who", "me", "X-Other", "not shown")
	got := w.trail(log)
	if !strings.Contains(got, `"headers":{"x-trace":["t-1"],"x-who":["hmac-sha256:`) ||
		strings.Contains(got, "not shown") {
		t.Errorf("the log is\n%s", got)
	}
	w.expect("remove", w.do("DELETE", at+"/X-Trace", ""), 204, "")
	if a := w.do("GET", at, ""); strings.Contains(a.Body.String(), "x-trace") {
		t.Errorf("removed: %s", a.Body)
	}
}

var hashes = regexp.MustCompile(`hmac-sha256:[0-9a-f]{64}`)

// TestTrail pins what a day's requests leave in the log.
func TestTrail(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	recoveryKeys := w.init(`{"recovery_shares":3,"recovery_threshold":2,"holders":["alice","bob","carol"]}`).RecoveryKeys
	log := w.audited("")
	weak := w.grant("weak", moment.AddDate(1, 0, 0), "default")
	w.do("PUT", "secret/a", `{"password":"hunter2","n":1}`)
	w.do("PUT", "secret/a", `{"password":"hunter2","n":2}`)
	w.do("GET", "secret/a", "")
	w.do("LIST", "secret/", "")
	w.do("GET", "secret/nothing", "")
	w.do("PUT", "secret/a", `{"broken`)
	w.do("GET", "secret/a", "", "X-Vault-Token", weak)
	w.do("GET", "secret/a", "", "X-Vault-Token", "s.unknown")
	w.do("GET", "secret/a", "", "X-Vault-Token", "")
	w.do("DELETE", "secret/a", "")
	w.do("GET", "nowhere/a", "")
	w.do("PUT", "sys/recovery/prove", `{"key":"`+recoveryKeys[0]+`"}`)
	w.do("PUT", "sys/recovery/prove", `{"key":"`+strings.Repeat("ab", 33)+`"}`)
	w.do("PUT", "sys/rekey-recovery-key/init", `{"secret_shares":1,"secret_threshold":1}`)
	nonce := w.nonce("sys/rekey-recovery-key/init")
	for _, key := range recoveryKeys[1:] {
		w.do("PUT", "sys/rekey-recovery-key/update", `{"key":"`+key+`","nonce":"`+nonce+`"}`)
	}
	for _, path := range []string{"sys/health", "sys/seal-status", "sys/leader", "sys/init"} {
		w.do("GET", path, "")
	}
	w.do("PUT", "sys/seal", "")
	w.do("PUT", "sys/unseal", `{"key":"`+recoveryKeys[0]+`"}`)
	got := hashes.ReplaceAllString(normal(w.trail(log)), "HASH")
	got = regexp.MustCompile(`"client_id":"[^"]*"`).ReplaceAllString(got, `"client_id":"ID"`)
	got = regexp.MustCompile(`("transcript_head":"\d+):[0-9a-f]{64}"`).ReplaceAllString(got, `$1:HEAD"`)
	got = strings.ReplaceAll(got, filepath.Dir(log), "DIR")
	golden(t, "trail.jsonl", got)
	for line := range strings.Lines(got) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

// contents is everything in the storage but counters, which only grow.
func (w *harness) contents(prefix string) map[string]string {
	w.t.Helper()
	names, err := w.store.List(w.t.Context(), prefix, "", 0)
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[string]string{}
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			for k, v := range w.contents(prefix + name) {
				all[k] = v
			}
			continue
		}
		if key := prefix + name; key != "core/encryptions" {
			value, err := w.store.Get(w.t.Context(), key)
			if err != nil {
				w.t.Fatal(err)
			}
			all[key] = string(value)
		}
	}
	return all
}

// TestWhatCannotBeAuditedDoesNotHappen makes every request of the table, with the root token and
// without, while no device can be written. None is answered but those that anybody may look at, and
// not a byte of the storage changes.
func TestWhatCannotBeAuditedDoesNotHappen(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("write", w.do("PUT", "secret/secret", `{"x":"y"}`), 204, "")
	log := w.audited("")
	if err := os.RemoveAll(filepath.Dir(log)); err != nil {
		t.Fatal(err)
	}
	before := w.contents("")
	lines := append(slices.Clone(table.Routes),
		api.Route{Methods: []string{"GET", "PUT", "DELETE", "LIST", "PATCH", "SCAN"}, Path: "secret/*"},
		api.Route{Methods: []string{"GET", "PUT"}, Path: "sys/nowhere"})
	for _, r := range lines {
		path := strings.ReplaceAll(r.Path, "*", "secret")
		for _, method := range r.Methods {
			for _, token := range []string{w.token, "", "s.unknown"} {
				if r.Audit == api.AuditDevices && token == w.token {
					continue // the way out: TestOnlyAuditDeviceDead
				}
				a := w.do(method, path, `{}`, "X-Vault-Token", token)
				if r.Access == api.AlwaysOpen && method == "GET" {
					continue
				}
				if a.Code != 500 || !strings.Contains(a.Body.String(), "cannot be audited, so nothing was done") {
					t.Errorf("%s %s: %d %s", method, path, a.Code, a.Body)
				}
			}
		}
	}
	after := w.contents("")
	for key, value := range after {
		if before[key] != value {
			t.Errorf("%s was changed", key)
		}
	}
	if len(after) != len(before) {
		t.Errorf("%d entries became %d", len(before), len(after))
	}
	if err := os.Mkdir(filepath.Dir(log), 0o700); err != nil {
		t.Fatal(err)
	}
	w.expect("with a log again", w.do("GET", "secret/secret", ""), 200, "")
}

// TestAnswersAreWithheld: the log goes away while the request is under way.
func TestAnswersAreWithheld(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("write", w.do("PUT", "secret/a", `{"x":"y"}`), 204, "")
	log := w.audited("")
	for method, want := range map[string]string{"GET": "so nothing was done", "PUT": "so it is withheld"} {
		w.store.meanwhile(func(commit bool) {
			if commit != (method == "PUT") {
				return
			}
			if err := os.RemoveAll(filepath.Dir(log)); err != nil {
				t.Error(err)
			}
		})
		a := w.do(method, "secret/a", `{"x":"y"}`)
		w.store.meanwhile(nil)
		if a.Code != 500 || strings.Contains(a.Body.String(), `"x"`) || !strings.Contains(a.Body.String(), want) {
			t.Errorf("without audit of the answer to %s: %d %s", method, a.Code, a.Body)
		}
		if err := os.Mkdir(filepath.Dir(log), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTrailShowsNoSecret looks for shares, tokens and one-time passwords in a log that is set to
// log values.
func TestTrailShowsNoSecret(t *testing.T) {
	t.Parallel()
	w := newHarness(t, autoSeal(t))
	out := w.init(`{"recovery_shares":2,"recovery_threshold":2}`)
	log := w.audited(`,"log_raw":"true"`)
	secrets := append([]string{w.token, strings.Repeat("ab", 33)}, out.RecoveryKeys...)
	var started struct{ Nonce, OTP string }
	w.decode(w.do("PUT", "sys/generate-root/attempt", `{}`), &started)
	secrets = append(secrets, started.OTP)
	var last struct {
		EncodedToken string `json:"encoded_token"`
		Keys         []string
	}
	w.do("PUT", "sys/generate-root/update", `{"nonce":"`+started.Nonce+`","key":"`+secrets[1]+`"}`)
	for _, key := range out.RecoveryKeys {
		w.decode(w.do("PUT", "sys/generate-root/update", `{"nonce":"`+started.Nonce+`","key":"`+key+`"}`), &last)
	}
	secrets = append(secrets, last.EncodedToken)
	w.do("PUT", "sys/rekey-recovery-key/init", `{"secret_shares":2,"secret_threshold":2}`)
	nonce := w.nonce("sys/rekey-recovery-key/init")
	for _, key := range out.RecoveryKeys {
		w.decode(w.do("PUT", "sys/rekey-recovery-key/update", `{"key":"`+key+`","nonce":"`+nonce+`"}`), &last)
	}
	secrets = append(secrets, last.Keys...)
	w.do("POST", "auth/token/lookup-self", `{"token":"`+w.token+`"}`)
	w.do("PUT", "sys/init", `{"recovery_shares":1}`)
	w.do("PUT", "sys/unseal", `{"key":"`+last.Keys[0]+`"}`)
	w.do("PUT", "sys/decode-token", `{"encoded_token":"`+last.EncodedToken+`","otp":"`+started.OTP+`"}`)
	w.do("PUT", "secret/a", `{"shown":"in the clear"}`)
	got := w.trail(log)
	if !strings.Contains(got, "in the clear") {
		t.Error("log_raw hashes everything")
	}
	if len(secrets) != 8 {
		t.Errorf("%d secrets", len(secrets))
	}
	for i, s := range secrets {
		forms := []string{s}
		if raw, err := hex.DecodeString(s); err == nil {
			forms = append(forms, base64.StdEncoding.EncodeToString(raw))
		}
		for _, form := range forms {
			if form == "" || strings.Contains(got, form) {
				t.Errorf("secret %d is in the log", i)
			}
		}
	}
}

// TestUnsealIsAudited: the shares of custodians are on record by number and name, before and after
// the node is active.
func TestUnsealIsAudited(t *testing.T) {
	t.Parallel()
	w := newHarness(t, shamirSeal(t))
	out := w.init(`{"secret_shares":2,"secret_threshold":2,"holders":["alice","bob"]}`)
	w.unseal(out.Keys...)
	log := w.audited("")
	w.expect("seal", w.do("PUT", "sys/seal", ""), 204, "")
	w.do("PUT", "sys/unseal", `{"key":"`+strings.Repeat("cd", 33)+`"}`)
	w.unseal(out.Keys...)
	got := w.trail(log)
	for _, want := range []string{
		`"share":{"target":"barrier","number":1,"holder":"alice"}`, `"share":{"target":"barrier","number":2,"holder":"bob"}`,
		`"error":"invalid key: share`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("not in the log: %s\n%s", want, got)
		}
	}
	for _, key := range append(out.Keys, strings.Repeat("cd", 33)) {
		if strings.Contains(got, key) {
			t.Error("a share is in the log")
		}
	}
}

// TestTheLastShareNeedsATrail: where no device takes what happened while sealed, the node does not
// become active.
func TestTheLastShareNeedsATrail(t *testing.T) {
	t.Parallel()
	w := newHarness(t, shamirSeal(t))
	out := w.init(`{"secret_shares":1,"secret_threshold":1}`)
	w.unseal(out.Keys...)
	log := w.audited("")
	w.expect("seal", w.do("PUT", "sys/seal", ""), 204, "")
	if err := os.RemoveAll(filepath.Dir(log)); err != nil {
		t.Fatal(err)
	}
	if a := w.do("PUT", "sys/unseal", `{"key":"`+out.Keys[0]+`"}`); a.Code < 500 {
		t.Errorf("unsealed without a trail: %d %s", a.Code, a.Body)
	}
	w.expect("sealed", w.do("GET", "secret/a", ""), 503, refusal("Vault is sealed"))
	if err := os.Mkdir(filepath.Dir(log), 0o700); err != nil {
		t.Fatal(err)
	}
	w.unseal(out.Keys...)
	w.expect("unsealed", w.do("GET", "secret/a", ""), 404, "")
}

func TestAuditNeedsSudo(t *testing.T) {
	t.Parallel()
	for _, r := range table.Routes {
		if !strings.HasPrefix(r.Path, "sys/audit") && !strings.HasPrefix(r.Path, "sys/config/auditing/") {
			continue
		}
		if hash := strings.HasPrefix(r.Path, "sys/audit-hash"); r.Sudo == hash {
			t.Errorf("%s: sudo is %t", r.Path, r.Sudo)
		}
	}
}

// TestNumericCredentialsAreHashed: a password or a code of digits, sent without quotes, is as
// secret as with them, and has the same hash.
func TestNumericCredentialsAreHashed(t *testing.T) {
	t.Parallel()
	w := unsealed(t)
	w.expect("userpass", w.do("POST", "sys/auth/userpass", `{"type":"userpass"}`), 204, "")
	w.expect("approle", w.do("POST", "sys/auth/approle", `{"type":"approle"}`), 204, "")
	log := w.audited("")
	w.expect("user", w.do("POST", "auth/userpass/users/alice", `{"password":8675309123,"token_ttl":4242}`), 204, "")
	w.expect("login", w.do("POST", "auth/userpass/login/alice", `{"password":8675309123}`), 200, "")
	w.expect("login in quotes", w.do("POST", "auth/userpass/login/alice", `{"password":"8675309123"}`), 200, "")
	w.do("POST", "auth/userpass/login/alice", `{"password":"x","totp":918273}`)
	w.do("POST", "auth/approle/login", `{"role_id":-77665544,"secret_id":[33445566]}`)
	w.do("PUT", "sys/wrapping/unwrap", `{"token":99887766}`)
	got := w.trail(log)
	for _, s := range []string{"8675309123", "918273", "77665544", "33445566", "99887766"} {
		if strings.Contains(got, s) {
			t.Errorf("the trail has the credential %s", s)
		}
	}
	if !strings.Contains(got, `"token_ttl":4242`) {
		t.Error("other numbers are hashed, too")
	}
	hashes := map[string]bool{}
	for _, m := range regexp.MustCompile(`"data":\{"password":("[^"]*")`).FindAllStringSubmatch(got, -1) {
		hashes[m[1]] = true
	}
	if len(hashes) != 2 { // of the right password, and of "x"
		t.Errorf("the password has %d hashes", len(hashes)-1)
	}
}
