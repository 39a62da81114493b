package e2e

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealgate/sealgate/hsm/softhsm"
)

// stanza writes a pkcs11 seal that depends on no environment.
func stanza(params map[string]string) string {
	var b strings.Builder
	b.WriteString("seal \"pkcs11\" \"hsm\" {\n")
	for _, k := range slices.Sorted(maps.Keys(params)) {
		fmt.Fprintf(&b, "  %s = %q\n", k, params[k])
	}
	return b.String() + "}\n"
}

// with returns the parameters with some of them changed; "" removes one.
func with(params map[string]string, changes ...string) map[string]string {
	out := maps.Clone(params)
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == "" {
			delete(out, changes[i])
			continue
		}
		out[changes[i]] = changes[i+1]
	}
	return out
}

// mishap is a configuration that does not fit the token, and what the server is to say of it.
type mishap struct {
	name    string
	changes []string
	class   string
	words   []string // in cause or remedy
}

// TestHSMMishaps: whatever is wrong with the seal's configuration, the server starts, says what it
// is and what to do, initialises nothing, and needs no restart once it is fixed. A server that was
// initialised before stays sealed until then.
func TestHSMMishaps(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	token, err := softhsm.Init(filepath.Join(dir, "token"), softhsm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	onToken(t, token, "make", "aes", "root", "aes", "twins", "aes", "twins", "hmac", "mac", "aes", "forbidden")
	onToken(t, token, "forbid", "forbidden")
	for range 2 {
		secondToken(t, token, "double")
	}
	plain := filepath.Join(dir, "plain.txt")
	if err := os.WriteFile(plain, []byte("no library\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, m := range []mishap{
		{"library missing", []string{"lib", "/nowhere/libhsm.so"}, "misconfigured", []string{"/nowhere/libhsm.so", "lib"}},
		{"not a library", []string{"lib", plain}, "misconfigured", []string{plain, "lib"}},
		{"a folder for a library", []string{"lib", dir}, "misconfigured", []string{dir, "lib"}},
		{"another library", []string{"lib", "libc.so.6"}, "misconfigured", []string{"libc.so.6", "lib"}},
		{"token unknown", []string{"token_label", "elsewhere"}, "key gone",
			[]string{"elsewhere", token.Label, "token_label"}},
		{"two tokens", []string{"token_label", "double"}, "misconfigured", []string{"double", "token_serial"}},
		{"key missing", []string{"key_label", "absent"}, "key gone", []string{"absent", "key_label"}},
		{"key ambiguous", []string{"key_label", "twins"}, "misconfigured", []string{"2 keys", "twins", "key_id"}},
		{"key of the wrong type", []string{"key_label", "mac"}, "misconfigured",
			[]string{"mac", "generic secret", "key_label"}},
		{"key forbidden", []string{"key_label", "forbidden"}, "key disabled", []string{"forbidden", "CKA_", "attribute"}},
		{"mechanism that the key has not", []string{"mechanism", "CKM_RSA_PKCS_OAEP"}, "misconfigured",
			[]string{"root", "mechanism"}},
		{"PIN file missing", []string{"pin", "file:///nowhere/pin"}, "", nil},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			good := map[string]string{
				"lib": token.Lib, "token_label": token.Label, "token_serial": token.Serial, "pin": token.PIN, "key_label": "root",
			}
			if m.name == "two tokens" || m.name == "token unknown" {
				m.changes = append(m.changes, "token_serial", "")
			}
			r := newHarness(t, t.TempDir(), "")
			r.Env = []string{"SOFTHSM2_CONF=" + token.ConfigPath}
			r.known.add("the PIN", token.PIN)
			if m.class == "" {
				r.refusesToStart(t, with(good, m.changes...), "pin", "/nowhere/pin")
				return
			}
			r.goesThrough(t, good, with(good, m.changes...), m)
		})
	}
}

// secondToken makes one more token in the folder of another.
func secondToken(t *testing.T, beside *softhsm.Token, label string) {
	t.Helper()
	cmd := exec.Command("softhsm2-util", "--init-token", "--free", "--module", beside.Lib, "--label", label, "--pin",
		"1234567", "--so-pin", "7654321")
	cmd.Env = append(os.Environ(), "SOFTHSM2_CONF="+beside.ConfigPath)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func (r *harness) configure(seal string) {
	r.t.Helper()
	if err := r.WriteConfig(Config(r.Addr, seal) + socketListener); err != nil {
		r.t.Fatal(err)
	}
}

func (r *harness) reload() {
	r.t.Helper()
	if err := r.Signal(syscall.SIGHUP); err != nil {
		r.t.Fatal(err)
	}
}

// refusesToStart: an error in the file alone is reported at once, with its line.
func (r *harness) refusesToStart(t *testing.T, bad map[string]string, words ...string) {
	t.Helper()
	r.configure(stanza(bad))
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	code, err := r.Wait(patience)
	if err != nil || code != 1 {
		t.Fatalf("exit code %d, %v; want 1", code, err)
	}
	for _, w := range append(words, "sealgate.hcl:") {
		if !strings.Contains(r.Log(), w) {
			t.Errorf("the error does not say %q:\n%s", w, r.Log())
		}
	}
}

func (r *harness) goesThrough(t *testing.T, good, bad map[string]string, m mishap) {
	t.Helper()
	r.configure(stanza(bad))
	r.mustStart()
	init := r.call("PUT", "sys/init", map[string]int{"recovery_shares": 3, "recovery_threshold": 2})
	if init.Code != 400 && init.Code != 503 {
		t.Fatalf("init: %d %s", init.Code, init.Body)
	}
	saysAll(t, "init", init.Errors(), append(m.words, m.class, "nothing was written")...)
	if st := r.status(); st.Initialized || !st.Sealed {
		t.Errorf("after an init that failed: %+v", st)
	}
	r.failsAs(t, m, 501)

	r.configure(stanza(good))
	r.reload()
	r.eventually(patience, "initialised once the configuration is fixed", func() bool {
		reply := r.call("PUT", "sys/init", map[string]int{"recovery_shares": 3, "recovery_threshold": 2})
		var out initReply
		r.decode(reply, &out)
		r.root = out.RootToken
		return reply.Code == 200
	})
	r.must(204, "POST", "sys/mounts/kv", map[string]string{"type": "kv"})
	r.mustPut("a", "kept")
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}

	r.configure(stanza(bad))
	r.mustStart()
	r.failsAs(t, m, 503)
	if reply := r.call("GET", "kv/a", nil); reply.Code != 503 || reply.Errors() != "Vault is sealed" {
		t.Errorf("a read while sealed: %d %s", reply.Code, reply.Body)
	}
	r.configure(stanza(good))
	r.reload()
	if err := r.Until(patience, "unsealed once the configuration is fixed", unsealed); err != nil {
		t.Fatal(err)
	}
	r.mustGet("a", "kept")
}

func unsealed(h Health, code int) bool { return code == 200 && !h.Sealed }

// failsAs waits until health and seal-status report the failure.
func (r *harness) failsAs(t *testing.T, m mishap, health int) {
	t.Helper()
	if _, code, err := r.Health(t.Context()); err != nil || code != health {
		t.Errorf("health: %d, %v; want %d", code, err, health)
	}
	var st sealStatus
	r.eventually(patience, "reporting the failure", func() bool {
		st = r.status()
		return len(st.Seals) == 1 && st.Seals[0].Class != "" && (health != 503 || len(st.Warnings) > 0)
	})
	s := st.Seals[0]
	if s.Class != m.class || s.WouldUnseal || s.Cause == "" || s.Remedy == "" {
		t.Errorf("seal-status: %+v; want class %q", s, m.class)
	}
	saysAll(t, "seal-status", s.Cause+"\n"+s.Remedy, m.words...)
	if health == 503 {
		saysAll(t, "the warning", strings.Join(st.Warnings, "\n"), append(m.words, m.class)...)
		r.logs(m.class)
	}
}

func saysAll(t *testing.T, where, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s does not say %q: %s", where, w, text)
		}
	}
}

// logs waits until the server's log says all the words: what it printed takes a moment to arrive.
func (r *harness) logs(words ...string) {
	r.t.Helper()
	for _, w := range words {
		r.eventually(patience, "logging "+w, func() bool { return strings.Contains(r.Log(), w) })
	}
}

// eventually waits; a time below patience is a promise.
func (r *harness) eventually(d time.Duration, what string, ok func() bool) {
	r.t.Helper()
	begun, most := time.Now(), max(d, patience)
	for !ok() {
		if time.Since(begun) > most {
			r.t.Fatalf("not %s within %s", what, most)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if d < patience {
		promised(r.t, what, time.Since(begun), d)
	}
}

// spy finds OpenSC's library that writes down every call to another.
func spy(t *testing.T) string {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/*/pkcs11/pkcs11-spy.so", "/usr/lib/*/pkcs11-spy.so",
		"/usr/lib64/pkcs11-spy.so", "/usr/lib64/pkcs11/pkcs11-spy.so",
		"/usr/lib/pkcs11/pkcs11-spy.so", "/opt/homebrew/lib/pkcs11-spy.so"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0]
		}
	}
	t.Fatal("no pkcs11-spy.so: install opensc (make setup does)")
	return ""
}

// TestWrongPIN counts the log-ins, as the token sees them: a wrong PIN is sent once, however long
// the server runs and however often it reloads an unchanged configuration. The right one unseals
// it.
func TestWrongPIN(t *testing.T) {
	t.Parallel()
	r := newHSMHarness(t, "")
	calls := filepath.Join(r.Dir, "calls")
	logins := func() int {
		raw, _ := os.ReadFile(calls)
		return strings.Count(string(raw), "C_Login\n")
	}
	pinFile := filepath.Join(r.Dir, "pin")
	writePIN := func(pin string) {
		if err := os.WriteFile(pinFile, []byte(pin+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.Env = []string{"SOFTHSM2_CONF=" + r.token.ConfigPath, "PKCS11SPY=" + r.token.Lib, "PKCS11SPY_OUTPUT=" + calls}
	r.configure(stanza(map[string]string{
		"lib": spy(t), "token_label": r.token.Label, "pin": "file://" + pinFile, "key_label": "root", "generate_key": "true",
	}))
	const wrong = "919191919191"
	r.known.add("the wrong PIN", wrong)

	writePIN(wrong)
	r.mustStart()
	for range 4 {
		reply := r.call("PUT", "sys/init", map[string]int{"recovery_shares": 1, "recovery_threshold": 1})
		if reply.Code != 503 {
			t.Fatalf("init with a wrong PIN: %d %s", reply.Code, reply.Body)
		}
		saysAll(t, "init", reply.Errors(), "denied", "refuses the PIN", "correct pin")
	}
	if n := logins(); n != 1 {
		t.Errorf("the wrong PIN was sent %d times to initialise; want once", n)
	}
	writePIN(r.token.PIN)
	r.reload()
	r.eventually(patience, "reloaded", func() bool { return strings.Contains(r.Log(), "; seals") })
	r.mustInit()
	r.mustPut("a", "kept")
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}

	writePIN(wrong)
	before := logins()
	r.mustStart()
	r.eventually(patience, "denied", func() bool { return r.status().Seals[0].Class == "denied" })
	reloads := strings.Count(r.Log(), "; seals")
	r.reload()
	r.eventually(patience, "reloaded", func() bool { return strings.Count(r.Log(), "; seals") > reloads })
	tries := map[string]bool{}
	r.eventually(patience, "tried again", func() bool {
		tries[r.status().Seals[0].LastProbe] = true
		return len(tries) >= 4
	})
	if n := logins() - before; n != 1 {
		t.Errorf("the wrong PIN was sent %d times to unseal; want once", n)
	}
	writePIN(r.token.PIN)
	r.reload()
	if err := r.Until(patience, "unsealed with the right PIN", unsealed); err != nil {
		t.Fatal(err)
	}
	r.mustGet("a", "kept")
}
