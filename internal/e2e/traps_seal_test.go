package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sealedHarness is a server that was sealed by the API, and its recovery shares.
func sealedHarness(t *testing.T) (*harness, []string) {
	t.Helper()
	r := newStaticHarness(t)
	r.mustStart()
	shares := r.mustInit()
	r.must(204, "PUT", "sys/seal", nil)
	return r, shares
}

// Kept: scripts that seal twice, with a token that may be revoked by then, see success both times.
// The answer reveals nothing that sys/health does not.
func TestTrap12SealingWhatIsSealed(t *testing.T) {
	t.Parallel()
	r, _ := sealedHarness(t)
	for _, who := range []*harness{r, r.as("s.unknown"), r.as("")} {
		who.must(204, "PUT", "sys/seal", nil)
	}
	if !r.status().Sealed {
		t.Error("not sealed")
	}
}

// Fixed: without a token that may, it is 403, as it will be where there is a standby to step down
// for. With one it is 204, as SDKs expect.
func TestTrap13StepDownAlone(t *testing.T) {
	t.Parallel()
	r := hsmTrapHarness.enter(t)
	r.must(204, "PUT", "sys/step-down", nil)
	for _, token := range []string{"", "s.unknown",
		r.tokenFor("trap13", `path "sys/step-down" { capabilities = ["update"] }`)} {
		r.as(token).must(403, "PUT", "sys/step-down", nil)
	}
}

// Kept: clients in Java and Rust decode these members, and monitors compare them.
func TestTrap14HealthWhileSealed(t *testing.T) {
	t.Parallel()
	r, _ := sealedHarness(t)
	var h map[string]any
	r.decode(r.must(503, "GET", "sys/health", nil), &h)
	for key, want := range map[string]any{
		"initialized": true, "sealed": true, "standby": true, "performance_standby": false,
		"replication_performance_mode": "unknown", "replication_dr_mode": "unknown",
	} {
		if h[key] != want {
			t.Errorf("%s is %v; want %v", key, h[key], want)
		}
	}
}

// Kept: `status` of every client looks for these words. A server that stands alone has no need of
// them in sys/leader, which says so; whatever else is asked of a sealed server says them, known or
// not, with a token or without.
func TestTrap15WordsOfASealedServer(t *testing.T) {
	t.Parallel()
	r, _ := sealedHarness(t)
	if got := strings.TrimSpace(string(r.must(200, "GET", "sys/leader", nil).Body)); got != `{"ha_enabled":false}` {
		t.Errorf("sys/leader: %s", got)
	}
	for _, who := range []*harness{r, r.as("s.unknown"), r.as("")} {
		for _, path := range []string{"kv/a", "sys/mounts", "sys/key-status", "sys/nothing", "nowhere/at/all",
			"auth/token/lookup-self"} {
			if text := who.must(503, "GET", path, nil).Errors(); text != "Vault is sealed" {
				t.Errorf("%s: %s", path, text)
			}
		}
	}
	out, _ := r.run(2, "", "status")
	saysAll(t, "status", out, "Sealed", "HA Enabled")
}

// Kept: scripts give 0 for "as usual".
func TestTrap16ZeroSharesMeanFive(t *testing.T) {
	t.Parallel()
	r := newShamirHarness(t)
	r.mustStart()
	if shares := r.runInit("-key-shares=0", "-key-threshold=0"); len(shares) != 5 {
		t.Errorf("%d shares; want 5", len(shares))
	}
	if st := r.status(); st.T != 3 || st.N != 5 {
		t.Errorf("threshold %d of %d; want 3 of 5", st.T, st.N)
	}
}

// Fixed: a seal's name and priority mean what they say, and disable_mlock=false locks the memory of
// keys where the limits allow it, and never prevents the start. Disabled is the switch of a
// migration: the server starts, and waits for shares with -migrate.
func TestTrap34SealsAndMlock(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	config := Config(r.Addr, strings.Replace(staticSeal, "\"box\" {", "\"vault-box\" {\n  priority = \"1\"\n", 1)) +
		"disable_mlock = false\n"
	if err := r.WriteConfig(config); err != nil {
		t.Fatal(err)
	}
	r.mustStart()
	r.mustInit()
	if st := r.status(); len(st.Seals) != 1 || st.Seals[0].Name != "vault-box" {
		t.Errorf("seals: %+v", st.Seals)
	}
	r.mustStop()
	r.configure(strings.Replace(staticSeal, "{", "{\n  disabled = true\n", 1))
	r.mustStart()
	var st struct {
		Type              string
		Sealed, Migration bool
	}
	r.decode(r.must(200, "GET", "sys/seal-status", nil), &st)
	if st.Migration {
		t.Errorf("the seal box holds nothing that could be migrated: %+v", st)
	}
	r.mustStop()
	r.configure(strings.Replace(staticSeal, "\"box\" {", "\"vault-box\" {\n  disabled = true\n", 1))
	r.mustStart()
	r.decode(r.must(200, "GET", "sys/seal-status", nil), &st)
	if st.Type != "shamir" || !st.Sealed || !st.Migration {
		t.Errorf("%+v", st)
	}
}

// Fixed: the server starts, a missing key is reported before anything is written, and a wrong
// library path is an error with the path and the name of the setting.
func TestTrap35HSMIsLookedAtEarly(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ from, to, env, class, words string }{
		"key":     {"generate_key = true", "generate_key = false", "A=b", "key gone", "key_label"},
		"library": {"", "", "SEALGATE_HSM_LIB=/nowhere/libhsm.so", "misconfigured", "/nowhere/libhsm.so"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newHSMHarness(t, "")
			text, err := os.ReadFile(filepath.Join(r.Dir, "sealgate.hcl"))
			if err != nil {
				t.Fatal(err)
			}
			if err := r.WriteConfig(strings.Replace(string(text), tc.from, tc.to, 1)); err != nil {
				t.Fatal(err)
			}
			r.Env = append(r.Env, tc.env)
			r.mustStart()
			init := r.call("PUT", "sys/init", map[string]int{"recovery_shares": 1, "recovery_threshold": 1})
			if init.Code != 400 && init.Code != 503 {
				t.Errorf("init: %d", init.Code)
			}
			saysAll(t, "init", init.Errors(), tc.class, tc.words, "nothing was written")
			if r.status().Initialized {
				t.Error("a refused initialisation left something behind")
			}
		})
	}
}

// Kept: an operator who seals an auto-unseal server wants it sealed: it waits for recovery shares,
// or for a restart.
func TestTrap36SealedByTheAPIStaysSealed(t *testing.T) {
	t.Parallel()
	r, shares := sealedHarness(t)
	for i, share := range shares[:3] {
		if st := r.status(); !st.Sealed {
			t.Fatalf("unsealed after %d shares", i)
		}
		r.must(200, "PUT", "sys/unseal", map[string]string{"key": share})
	}
	if r.status().Sealed {
		t.Fatal("sealed after three of three shares")
	}
	r.must(204, "PUT", "sys/seal", nil)
	r.mustStop()
	r.mustStart()
	if err := r.UntilUnsealed(); err != nil {
		t.Error(err)
	}
}

// Kept: harnesses write right after init.
func TestTrap37InitLeavesItUnsealed(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	var out initReply
	r.decode(r.must(200, "PUT", "sys/init", map[string]int{"recovery_shares": 1, "recovery_threshold": 1}), &out)
	r.root = out.RootToken
	r.must(204, "POST", "sys/mounts/kv", map[string]string{"type": "kv"})
	if r.status().Sealed {
		t.Error("sealed")
	}
}

// Absent: there is no standby that could be behind. What rotate answered, key-status shows.
func TestTrap38KeyStatusAfterRotate(t *testing.T) {
	t.Parallel()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	for range 20 {
		before := r.data(200, "GET", "sys/key-status", nil)
		r.must(204, "PUT", "sys/rotate", nil)
		if after := r.data(200, "GET", "sys/key-status", nil); after["term"] != before["term"].(float64)+1 {
			t.Fatalf("term %v, then %v", before["term"], after["term"])
		}
	}
}

// Kept: who names a namespace must not act on the whole server. The root namespace may be named.
func TestTrap39NamespacesOnLifecyclePaths(t *testing.T) {
	t.Parallel()
	r := hsmTrapHarness.enter(t)
	for _, request := range []string{
		"GET sys/init", "PUT sys/seal", "PUT sys/step-down", "PUT sys/unseal", "GET sys/health", "GET sys/rekey/init",
		"GET sys/rekey-recovery-key/init",
		"GET sys/generate-root/attempt", "GET sys/metrics", "GET sys/in-flight-req",
	} {
		method, path, _ := strings.Cut(request, " ")
		reply, _ := r.send(method, path, "", "X-Vault-Namespace", "team")
		if reply.Code != 400 || reply.Errors() != "operation unavailable in namespaces" {
			t.Errorf("%s: %d %s", request, reply.Code, reply.Body)
		}
	}
	for _, root := range []string{"", "root", "root/", "/"} {
		if reply, _ := r.send("GET", "sys/health", "", "X-Vault-Namespace", root); reply.Code != 200 {
			t.Errorf("namespace %q: %d %s", root, reply.Code, reply.Body)
		}
	}
	for _, path := range []string{"kv/a", "sys/mounts"} {
		if reply, _ := r.send("GET", path, "", "X-Vault-Namespace", "team"); reply.Code != 404 ||
			reply.Errors() != "namespace not found" {
			t.Errorf("%s: %d %s", path, reply.Code, reply.Body)
		}
	}
}

// Kept: there is one file for the token, whichever client wrote it.
func TestTrap40TokenFile(t *testing.T) {
	t.Parallel()
	r := hsmTrapHarness.enter(t)
	token := r.root
	home := t.TempDir()
	r = &harness{Server: &Server{Bin: r.Bin, Dir: home, Addr: r.Addr}, t: t}
	file := filepath.Join(home, ".vault-token")
	r.run(0, token, "login", "-no-print", "-")
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != int64(len(token)) {
		t.Fatalf("~/.vault-token: %v, %v", info, err)
	}
	out, _ := r.run(0, "", "token", "lookup", "-format=json")
	var shown struct{ Data struct{ ID string } }
	if err := json.Unmarshal([]byte(out), &shown); err != nil || shown.Data.ID != token {
		t.Errorf("token lookup: %v", err)
	}
}
