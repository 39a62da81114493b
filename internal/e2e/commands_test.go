package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// run runs a client command, whose exit code must be the given one, and returns what it printed on
// both outputs.
func (r *harness) run(code int, stdin string, args ...string) (out, errs string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	res, err := r.CLI(ctx, r.root, stdin, args...)
	if err != nil || res.Code != code {
		r.t.Fatalf("sealgate %s: exit code %d, %v; want %d\n%s%s", strings.Join(args, " "), res.Code, err,
			code, res.Out, res.Err)
	}
	return res.Out, res.Err
}

func (r *harness) runJSON(v any, stdin string, args ...string) {
	r.t.Helper()
	out, _ := r.run(0, stdin, append(args[:len(args):len(args)], "-format=json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		r.t.Fatalf("sealgate %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// initOutput is what `operator init -format=json` prints.
type initOutput struct {
	Keys     []string `json:"unseal_keys_b64"`
	Recovery []string `json:"recovery_keys_b64"`
	Root     string   `json:"root_token"`
}

func (r *harness) runInit(args ...string) (shares []string) {
	r.t.Helper()
	var out initOutput
	r.runJSON(&out, "", append([]string{"operator", "init"}, args...)...)
	r.root = out.Root
	r.known.add("the root token", out.Root)
	shares = append(out.Keys, out.Recovery...)
	for _, s := range shares {
		r.known.addShare(s)
	}
	return shares
}

// rekeyOutput is what `operator rekey -format=json` prints, of both shapes.
type rekeyOutput struct {
	Nonce    string
	Progress int
	Complete bool
	Keys     []string `json:"keys_base64"`
}

// TestCommandsUnderShamir is a life under unseal shares, by the commands.
func TestCommandsUnderShamir(t *testing.T) {
	t.Parallel()
	r := newShamirHarness(t)
	r.run(1, "", "status") // no server is listening
	r.run(2, "", "read", "kv/a")
	r.mustStart()
	r.run(2, "", "operator", "init", "-status")
	r.run(2, "", "operator", "init", "-key-shares=2", "-key-threshold=3")
	shares := r.runInit("-key-shares=3", "-key-threshold=2")
	r.run(0, "", "operator", "init", "-status")
	r.run(2, "", "operator", "init")
	out, _ := r.run(2, "", "status")
	saysAll(t, "status", out, "Sealed", "true", "Unseal Progress", "0/2", "Total Shares", "3")
	_, errs := r.run(2, "", "operator", "unseal", base64.StdEncoding.EncodeToString(make([]byte, 33)))
	saysAll(t, "a wrong share", errs, "Code: 400", "invalid key")
	r.run(0, "", "operator", "unseal", shares[0])
	r.run(0, "", "operator", "unseal", "-reset")
	r.run(0, "", "operator", "unseal", shares[0])
	r.run(0, shares[2]+"\n", "operator", "unseal", "-")
	out, _ = r.run(0, "", "status")
	saysAll(t, "status", out, "Cluster ID", "HA Enabled", "false")

	r.run(0, "", "secrets", "enable", "-path=kv", "-version=1", "kv")
	r.run(0, "", "write", "kv/a", "user=alice", "pin=1234")
	out, _ = r.run(0, "", "read", "-field=user", "kv/a")
	if out != "alice" {
		t.Errorf("read -field: %q", out)
	}
	out, _ = r.run(0, "", "list", "kv")
	saysAll(t, "list", out, "Keys", "a")
	r.run(0, "", "delete", "kv/a")
	r.run(2, "", "read", "kv/a")

	var started rekeyOutput
	r.runJSON(&started, "", "operator", "rekey", "-init", "-key-shares=1", "-key-threshold=1")
	r.known.add("a nonce", started.Nonce)
	_, errs = r.run(1, "", "operator", "rekey", shares[0])
	saysAll(t, "rekey without a nonce", errs, "Missing nonce value")
	_, errs = r.run(2, "", "operator", "rekey", "-nonce=00000000-0000-4000-8000-000000000000", shares[0])
	saysAll(t, "rekey with a wrong nonce", errs, "Code: 400")
	if strings.Contains(errs, started.Nonce) {
		t.Error("the error shows the nonce")
	}
	var out1, out2 rekeyOutput
	r.runJSON(&out1, shares[1]+"\n", "operator", "rekey", "-nonce="+started.Nonce, "-") // piped
	r.runJSON(&out2, "", "operator", "rekey", "-nonce="+started.Nonce, shares[0])
	if out1.Progress != 1 || !out2.Complete || len(out2.Keys) != 1 {
		t.Errorf("rekey: %+v, then complete=%v with %d keys", out1, out2.Complete, len(out2.Keys))
	}
	r.known.addShare(out2.Keys[0])
	out, _ = r.run(0, "", "operator", "seal")
	saysAll(t, "seal", out, "Success! Vault is sealed.")
	r.run(0, "", "operator", "unseal", out2.Keys[0])
	r.run(0, "", "status")
	r.run(127, "", "fly")
	r.run(1, "", "operator", "rekey", "-target=moon")
	r.run(1, "", "status", "-no-such-flag")
	r.root = "s.000000000000000000000000"
	_, errs = r.run(2, "", "operator", "rotate")
	saysAll(t, "rotate with an unknown token", errs, "Code: 403", "permission denied")
}

// TestCommandsOfAutoSeal covers the commands under an auto-unseal seal. A rekey without a target
// means the recovery shares.
func TestCommandsOfAutoSeal(t *testing.T) {
	t.Parallel()
	r := newHSMHarness(t, "")
	r.mustStart()
	shares := r.runInit("-recovery-shares=3", "-recovery-threshold=2")
	r.run(0, "", "status")
	out, errs := r.run(0, "", "operator", "rekey", "-init", "-key-shares=2", "-key-threshold=2")
	saysAll(t, "rekey", out+errs, "recovery")
	r.run(0, "", "operator", "rekey", "-cancel", "-target=recovery")
	var st rekeyOutput
	r.runJSON(&st, "", "operator", "rekey", "-init", "-target=recovery", "-key-shares=2", "-key-threshold=2")
	for i, s := range shares[1:] {
		r.runJSON(&st, s, "operator", "rekey", "-target=recovery", "-nonce="+st.Nonce, "-")
		if st.Complete != (i == 1) {
			t.Errorf("after %d shares: %+v", i+1, st)
		}
	}
	for _, s := range st.Keys {
		r.known.addShare(s)
	}
	var before, after struct{ Term, Encryptions int }
	r.runJSON(&before, "", "operator", "key-status")
	out, _ = r.run(0, "", "operator", "rotate")
	saysAll(t, "rotate", out, "Success! Rotated key", "Key Term", "Install Time", "Encryption Count")
	r.runJSON(&after, "", "operator", "key-status")
	if after.Term != before.Term+1 {
		t.Errorf("term %d, then %d", before.Term, after.Term)
	}
	r.run(0, "", "operator", "step-down")
	r.run(0, "", "operator", "seal")
	r.run(2, "", "status")
	r.run(0, "", "operator", "unseal", st.Keys[0])
	r.run(0, "", "operator", "unseal", st.Keys[1])
	r.run(0, "", "status")
}

// TestSoftHSMCommand makes a token from a shell, a key on it with another program, and a server on
// both by the environment alone.
func TestSoftHSMCommand(t *testing.T) {
	t.Parallel()
	r := newHarness(t, t.TempDir(), "seal \"pkcs11\" {\n  key_label = \"root\"\n}\n")
	script := `set -eu
eval "$("$1" softhsm init -dir "$2" -label "it's a label")"
pkcs11-tool --module "$SEALGATE_HSM_LIB" --token-label "$SEALGATE_HSM_TOKEN_LABEL" --pin "$SEALGATE_HSM_PIN" \
  --keygen --key-type aes:32 --label root --id 01 >&2
env | grep -E '^(SEALGATE_HSM_|SOFTHSM2_CONF)'`
	out := shell(t, r.Dir, script, "-", binary, filepath.Join(r.Dir, "token"))
	r.Env = strings.Split(strings.TrimSpace(out), "\n")
	if len(r.Env) != 4 {
		t.Fatalf("the environment: %q", r.Env)
	}
	r.mustStart()
	r.mustInit()
	r.mustPut("a", "b")
	if err := r.Kill(); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	r.until(patience, "unsealed", unsealed)
	r.mustGet("a", "b")

	_, errs := r.run(1, "", "softhsm", "init", "-dir", filepath.Join(r.Dir, "token"))
	saysAll(t, "a second token in the same folder", errs, "not empty")
	r.run(1, "", "softhsm", "init")
}

// dev is a harness without a configuration, whose server runs with the given flags.
func newDevHarness(t *testing.T, args ...string) *harness {
	t.Helper()
	r := newHarness(t, t.TempDir(), "")
	temp := filepath.Join(r.Dir, "temp")
	if err := os.Mkdir(temp, 0o700); err != nil {
		t.Fatal(err)
	}
	r.Args = append(args, "-dev-listen-address="+r.Addr)
	r.Env = []string{"TMPDIR=" + temp}
	return r
}

// printed waits until the server has printed what follows a text.
func (r *harness) printed(before string) (after string) {
	r.t.Helper()
	r.eventually(patience, "printing "+before, func() bool {
		_, rest, ok := strings.Cut(r.Log(), before)
		after, _, _ = strings.Cut(rest, "\n")
		return ok && strings.Contains(rest, "\n")
	})
	return strings.TrimSpace(after)
}

func TestDevelopmentServers(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{
		"dev": {"-dev"}, "dev-hsm": {"-dev-hsm"}, "dev with a token": {"-dev", "-dev-root-token-id=mine"},
		"dev of version 1": {"-dev", "-dev-kv-v1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newDevHarness(t, flags...)
			r.mustStart()
			r.root = r.printed("Root Token: ")
			if name == "dev with a token" && r.root != "mine" {
				t.Errorf("root token %q", r.root)
			}
			r.until(patience, "unsealed", unsealed)
			r.run(0, "", "kv", "put", "secret/a", "v=b")
			if st := r.status(); name == "dev-hsm" && (st.Type != "pkcs11" || st.N != 5 || st.T != 3) {
				t.Errorf("seal-status: %+v", st)
			}
			token := r.root
			r.root = "" // the command finds it where the server put it
			out, _ := r.run(0, "", "kv", "get", "-field=v", "secret/a")
			if out != "b" {
				t.Errorf("read: %q", out)
			}
			r.root = token
			at := map[bool]string{false: "secret/data/a", true: "secret/a"}[name == "dev of version 1"]
			r.must(200, "GET", at, nil)
			r.mustStop()
			left, err := os.ReadDir(filepath.Join(r.Dir, "temp"))
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// TestDevelopmentWithConfiguration runs -dev with a file that has a listener with TLS. With
// persistent storage it is refused: the data would stay, with a root token that is printed or
// guessable.
func TestDevelopmentWithConfiguration(t *testing.T) {
	t.Parallel()
	r := newShamirHarness(t)
	a, _ := r.useTLS(t, "")
	res, err := r.CLI(t.Context(), "", "", "server", "-dev", "-dev-root-token-id=root", "-config=sealgate.hcl")
	if err != nil || res.Code != 1 || !strings.Contains(res.Err, "does not use persistent storage (bbolt)") {
		t.Errorf("-dev with bbolt: exit %d, %v: %s", res.Code, err, res.Err)
	}
	text, err := os.ReadFile(filepath.Join(r.Dir, "sealgate.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	memory := strings.Replace(string(text), "storage \"bbolt\" {\n  path = \"data\"\n}", "storage \"inmem\" {}", 1)
	if err := r.WriteConfig(memory); err != nil {
		t.Fatal(err)
	}
	plain, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start("-dev", "-dev-listen-address="+plain, "-dev-root-token-id=root"); err != nil {
		t.Fatal(err)
	}
	c := a.browser()
	r.eventually(patience, "answering by TLS", func() bool { _, err := serial(c, r.Addr); return err == nil })
	r.Addr = plain
	r.until(patience, "unsealed", unsealed)
	r.root = "root"
	r.must(200, "PUT", "secret/data/a", map[string]any{"data": map[string]string{"v": "b"}})
}

// TestWithoutCgo: the program that was built without a C compiler starts with a pkcs11 seal, stays
// sealed, and says what it lacks.
func TestWithoutCgo(t *testing.T) {
	t.Parallel()
	bin := filepath.Join(t.TempDir(), "sealgate")
	shell(t, ".", `CGO_ENABLED=0 go build -o "$1" github.com/sealgate/sealgate/cmd/sealgate`, "-", bin)
	r := newHSMHarness(t, "")
	r.Bin = bin
	r.mustStart()
	reply := r.call("PUT", "sys/init", map[string]int{"recovery_shares": 1, "recovery_threshold": 1})
	if reply.Code != 400 {
		t.Errorf("init: %d %s", reply.Code, reply.Body)
	}
	saysAll(t, "init", reply.Errors(), "misconfigured", "CGO_ENABLED", "nothing was written")
	r.failing("misconfigured", "PKCS#11", "CGO_ENABLED")
	r.mustStop()

	r.Bin = binary // with PKCS#11
	r.mustStart()
	r.mustInit()
	r.mustPut("a", "b")
	r.mustStop()
	r.Bin = bin
	r.mustStart()
	r.eventually(patience, "telling why it is sealed", func() bool { return len(r.status().Warnings) > 0 })
	r.failing("misconfigured", "PKCS#11", "CGO_ENABLED")
	r.mustStop()
	r.Bin = binary
	r.mustStart()
	r.until(patience, "unsealed", unsealed)
	r.mustGet("a", "b")
}
