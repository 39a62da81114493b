package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/recovery/transcript"
)

// scenarioRun is what the users of a server know: the shares that they hold, and what was
// acknowledged. scenario is an operation with several durable steps. It returns errDead when the
// server dies under it. do sends a request to a server that may be killed under it. give hands in
// one share of the rekey under way, and keeps what comes of the last one. updated is the answer to
// a share, as far as the matrix looks at it. verify proves new shares, in between with a restart of
// the verification. withVerification is a rekey whose new shares are proven. toRecipients is a
// rekey whose new shares are encrypted and backed up, and whose answer is acknowledged. identities
// are those of the four holders to whom shares are encrypted. plain decrypts what a rekey with
// recipients handed out. cancelled is a rekey that is cancelled while its new shares wait for
// verification, after a share was proven outside any ceremony. generateRoot makes another root
// token. TestCrashMatrix kills the real program before and after every durable step of every
// operation, starts it again, and holds what is there against what its users know: all data reads,
// and exactly one share set works, and its holders have it.
func TestCrashMatrix(t *testing.T) {
	points := make(chan int, len(scenarios))
	t.Run("scenarios", func(t *testing.T) {
		for _, sc := range scenarios {
			t.Run(sc.name, func(t *testing.T) {
				t.Parallel()
				base := prepare(t, sc)
				all := base.discover(t, sc)
				checkPoints(t, sc.name, all)
				for _, point := range all {
					t.Run(point, func(t *testing.T) { base.killAt(t, sc, point) })
				}
				points <- len(all)
			})
		}
	})
	close(points)
	sum := 0
	for n := range points {
		sum += n
	}
	fmt.Printf("crash matrix: %d points in %d operations\n", sum, len(scenarios))
}

// base is a stopped server's folder from which every run of a scenario starts.
type base struct {
	dir, root  string
	env        []string
	old        []string
	custodians bool
}

func prepare(t *testing.T, sc scenario) *base {
	t.Helper()
	r := newShamirHarness
	if !sc.custodians {
		r = func(t *testing.T) *harness { return newHSMHarness(t, "") }
	}
	w := &scenarioRun{harness: r(t), custodians: sc.custodians}
	b := &base{dir: w.harness.Dir, env: w.harness.Env, custodians: sc.custodians}
	if sc.fresh {
		return b
	}
	w.harness.mustStart()
	if err := w.init(); err != nil {
		t.Fatal(err)
	}
	w.unseal(t, w.old)
	w.harness.must(204, "POST", "sys/mounts/kv", map[string]string{"type": "kv"})
	for i := range 3 {
		w.harness.mustPut(fmt.Sprint(i), fmt.Sprint("value ", i))
	}
	if sc.setup != nil {
		if err := sc.setup(w); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.harness.Stop(); err != nil {
		t.Fatal(err)
	}
	if sc.lost {
		lose := strings.NewReplacer("key_label = \"root\"\n  generate_key = true", "key_label = \"lost\"")
		if err := w.changeConfig(func(config string) string {
			return "break_glass = true\n" + lose.Replace(config)
		}); err != nil {
			t.Fatal(err)
		}
	}
	b.root, b.old = w.harness.root, w.old
	return b
}

// open copies the base and returns a run on the copy.
func (b *base) open(t *testing.T) *scenarioRun {
	t.Helper()
	r := newHarness(t, t.TempDir(), "")
	config, err := os.ReadFile(filepath.Join(b.dir, "sealgate.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(config), "\n")
	for i, l := range lines {
		if strings.Contains(l, "address ") && strings.Contains(l, "127.0.0.1:") {
			lines[i] = fmt.Sprintf("  address = %q", r.Addr)
		}
	}
	if err := r.WriteConfig(strings.Join(lines, "\n")); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(b.dir, "data")
	if _, err := os.Stat(data); err == nil {
		if err := os.CopyFS(filepath.Join(r.Dir, "data"), os.DirFS(data)); err != nil {
			t.Fatal(err)
		}
	}
	r.Env, r.root = slices.Clone(b.env), b.root
	return &scenarioRun{harness: r, custodians: b.custodians, old: b.old}
}

// discover runs a scenario to its end and returns the points that it passed, but for those before
// its first request.
func (b *base) discover(t *testing.T, sc scenario) []string {
	t.Helper()
	w := b.open(t)
	log := filepath.Join(w.harness.Dir, "points")
	w.harness.Env = append(w.harness.Env, "SEALGATE_FAILPOINT_LOG="+log)
	w.begin(t, sc)
	before := readPoints(t, log)
	if err := sc.run(w); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range readPoints(t, log) {
		if !slices.Contains(before, p) {
			out = append(out, p)
		}
	}
	return out
}

func readPoints(t *testing.T, log string) []string {
	t.Helper()
	raw, err := os.ReadFile(log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Fields(string(raw))
}

// begin starts the server and brings it to where the scenario begins.
func (w *scenarioRun) begin(t *testing.T, sc scenario) {
	t.Helper()
	w.harness.mustStart()
	if !sc.fresh && !sc.lost {
		w.unseal(t, w.old)
	}
}

// unseal gives shares under a Shamir seal; elsewhere it waits for the HSM to unseal the server.
func (w *scenarioRun) unseal(t *testing.T, shares []string) {
	t.Helper()
	if w.custodians {
		for _, s := range shares[:3] {
			w.harness.must(200, "PUT", "sys/unseal", map[string]string{"key": s})
		}
	}
	if err := w.harness.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
}

// killAt runs the scenario with the server killed at a point, and judges what is left.
func (b *base) killAt(t *testing.T, sc scenario, point string) {
	w := b.open(t)
	env := w.harness.Env
	w.harness.Env = append(slices.Clone(env), "SEALGATE_FAILPOINT="+point)
	w.begin(t, sc)
	err := sc.run(w)
	if err != nil && !errors.Is(err, errDead) {
		t.Fatalf("the server was to die at %s, but the scenario ended with: %v", point, err)
	}
	// A step that follows the last answer, such as maintenance, is reached soon after it.
	if code, failed := w.harness.Wait(patience); failed != nil || code != -1 {
		t.Fatalf("the server was to die at %s, and the scenario ended with: %v; exit code %d, %v; want death by a signal",
			point, err, code, failed)
	}
	w.harness.Env = env
	w.harness.mustStart()
	switch {
	case sc.fresh:
		w.judgeInit(t, sc)
		return
	case sc.judge != nil:
		sc.judge(t, w)
		return
	}
	w.judge(t, sc)
}

// judgeInit: the store is initialised or not, never between; where it is not, initialising works.
func (w *scenarioRun) judgeInit(t *testing.T, sc scenario) {
	t.Helper()
	if w.harness.status().Initialized {
		if !w.custodians {
			if err := w.harness.UntilUnsealed(); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	if err := sc.run(w); err != nil {
		t.Fatalf("initialising after the crash: %v", err)
	}
	w.unseal(t, w.old)
}

// judge: the server unseals with one generation of shares, and all data reads.
func (w *scenarioRun) judge(t *testing.T, sc scenario) {
	t.Helper()
	generations := map[string][]string{"old": w.old}
	if w.custodians {
		w.unsealWithEither(t)
	} else if err := w.harness.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	if sc.shares {
		w.fetchLostShares(t)
		w.finishVerification(t)
		generations["new"] = plain(t, w.fresh)
	}
	for i := range 3 {
		w.harness.mustGet(fmt.Sprint(i), fmt.Sprint("value ", i))
	}
	w.harness.mustPut("after", "the crash")
	w.harness.must(204, "PUT", "sys/rotate", nil)
	w.harness.must(204, "PUT", "sys/rotate/root", nil)
	w.oneGenerationWorks(t, generations)
	w.harness.mustGet("after", "the crash")
}

// unsealWithEither tries the old shares, then the new ones if they were received. Where they were
// not, the old ones must unseal the server even after the commit: the answer with the new ones is
// behind the barrier.
func (w *scenarioRun) unsealWithEither(t *testing.T) {
	t.Helper()
	shares := w.old[:3]
	if r := w.harness.call("PUT", "sys/unseal", map[string]string{"key": shares[0]}); r.Code != 200 {
		if w.fresh == nil {
			t.Fatalf("the old shares are refused and no one received the new ones: %s", r.Body)
		}
		shares = w.fresh
	}
	for _, s := range shares {
		w.harness.must(200, "PUT", "sys/unseal", map[string]string{"key": s})
	}
	if err := w.harness.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
}

// fetchLostShares gives the last share again, as its holder would whose terminal showed no answer.
func (w *scenarioRun) fetchLostShares(t *testing.T) {
	t.Helper()
	if w.last == "" || w.fresh != nil {
		return
	}
	if out, err := w.update(w.last); err == nil && len(out.Keys) > 0 {
		w.fresh, w.vnonce = out.Keys, out.VerificationNonce
	}
}

// finishVerification continues a verification after the crash, with the shares that were received.
func (w *scenarioRun) finishVerification(t *testing.T) {
	t.Helper()
	r := w.harness.call("GET", "sys/"+w.target+"/verify", nil)
	if r.Code != 200 || w.fresh == nil {
		return
	}
	var st struct{ Nonce string }
	w.harness.decode(r, &st)
	w.vnonce = st.Nonce
	for _, share := range w.fresh {
		if err := w.proof(share); err != nil && !strings.Contains(err.Error(), "already been provided") {
			return // it is complete
		}
	}
}

// transcriptIsWhole verifies the chain offline.
func (w *scenarioRun) transcriptIsWhole(t *testing.T) {
	t.Helper()
	var out struct{ Data json.RawMessage }
	w.harness.decode(w.harness.must(200, "GET", "sys/recovery/transcript", nil), &out)
	report, err := transcript.VerifyFile(bytes.NewReader(out.Data), nil, nil)
	if err != nil || !report.OK() {
		t.Fatalf("the transcript: %v, %+v", err, report)
	}
}

// oneGenerationWorks starts a rekey and gives it a share of every set that was received.
func (w *scenarioRun) oneGenerationWorks(t *testing.T, generations map[string][]string) {
	t.Helper()
	target := "rekey-recovery-key"
	if w.custodians {
		target = "rekey"
	}
	w.harness.must(204, "DELETE", "sys/"+target+"/init", nil)
	var st struct{ Nonce string }
	w.harness.decode(w.harness.must(200, "PUT", "sys/"+target+"/init",
		map[string]int{"secret_shares": 1, "secret_threshold": 1}), &st)
	var working []string
	for _, name := range slices.Sorted(maps.Keys(generations)) {
		shares := generations[name]
		if len(shares) == 0 {
			continue
		}
		if r := w.harness.call("PUT", "sys/"+target+"/update", map[string]string{"key": shares[0],
			"nonce": st.Nonce}); r.Code == 200 {
			working = append(working, name)
		}
	}
	w.transcriptIsWhole(t)
	if len(working) != 1 {
		t.Fatalf("share sets that work: %v; want exactly one that was received", working)
	}
}
