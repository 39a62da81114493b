package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// world is what those who use a server know: the shares that they hold, and what was acknowledged.
type world struct {
	rig    *rig
	people bool     // the shares unseal
	target string   // whose shares are rekeyed: "rekey" (barrier) or "rekey-recovery-key"
	old    []string // the shares before the scenario
	fresh  []string // the shares that the scenario was given
	nonce  string   // of the rekey
	last   string   // the share given last
}

// scenario is an operation with several durable steps. It returns errDead when the server dies under it.
type scenario struct {
	name   string
	people bool
	fresh  bool // begins before the initialisation
	run    func(w *world) error
	shares bool // it makes new shares
}

var errDead = errors.New("the server died")

// do sends a request to a server that may be killed under it.
func (w *world) do(want int, method, path string, body, out any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	r, err := w.rig.Do(ctx, method, path, w.rig.root, body)
	if err != nil {
		return fmt.Errorf("%w: %v", errDead, err)
	}
	if r.Code != want {
		return fmt.Errorf("%s %s: status %d: %s", method, path, r.Code, r.Body)
	}
	if out == nil {
		return nil
	}
	return r.Decode(out)
}

func (w *world) init() error {
	body := map[string]int{"recovery_shares": 5, "recovery_threshold": 3}
	if w.people {
		body = map[string]int{"secret_shares": 5, "secret_threshold": 3}
	}
	var out initReply
	if err := w.do(200, "PUT", "sys/init", body, &out); err != nil {
		return err
	}
	w.rig.root, w.old = out.RootToken, slices.Concat(out.Keys, out.RecoveryKeys)
	return nil
}

func (w *world) rekey() error {
	var st struct{ Nonce string }
	if err := w.do(200, "PUT", "sys/"+w.target+"/init", map[string]int{"secret_shares": 4, "secret_threshold": 2}, &st); err != nil {
		return err
	}
	w.nonce = st.Nonce
	for _, share := range w.old[:3] {
		if err := w.give(share); err != nil {
			return err
		}
	}
	return nil
}

// give hands in one share of the rekey under way, and keeps what comes of the last one.
func (w *world) give(share string) error {
	w.last = share
	var out struct {
		Complete bool
		Keys     []string `json:"keys_base64"`
	}
	if err := w.do(200, "PUT", "sys/"+w.target+"/update", map[string]string{"key": share, "nonce": w.nonce}, &out); err != nil {
		return err
	}
	if out.Complete && len(out.Keys) > 0 {
		w.fresh = out.Keys
	}
	return nil
}

var scenarios = []scenario{
	{name: "init", fresh: true, run: func(w *world) error { return w.init() }},
	{name: "init-shamir", fresh: true, people: true, run: func(w *world) error { return w.init() }},
	{name: "rotate", run: func(w *world) error { return w.do(204, "PUT", "sys/rotate", nil, nil) }},
	{name: "rotate-root", run: func(w *world) error { return w.do(204, "PUT", "sys/rotate/root", nil, nil) }},
	{name: "rekey-recovery", shares: true, run: func(w *world) error { w.target = "rekey-recovery-key"; return w.rekey() }},
	{name: "rekey-barrier", run: func(w *world) error { w.target = "rekey"; return w.rekey() }},
	{name: "rotate-shamir", people: true, run: func(w *world) error { return w.do(204, "PUT", "sys/rotate", nil, nil) }},
	{name: "rotate-root-shamir", people: true, run: func(w *world) error { return w.do(204, "PUT", "sys/rotate/root", nil, nil) }},
	{name: "rekey-barrier-shamir", people: true, shares: true, run: func(w *world) error { w.target = "rekey"; return w.rekey() }},
}

// TestCrashMatrix kills the real program before and after every durable step of every operation, starts it again, and holds what is
// there against what its users know: all data reads, and exactly one generation of shares works, which somebody holds.
func TestCrashMatrix(t *testing.T) {
	points := make(chan int, len(scenarios))
	t.Run("scenarios", func(t *testing.T) {
		for _, sc := range scenarios {
			t.Run(sc.name, func(t *testing.T) {
				t.Parallel()
				base := prepare(t, sc)
				all := base.discover(t, sc)
				if len(all) < 2 {
					t.Fatalf("only %d points: are the failpoints built in?", len(all))
				}
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
	dir, root string
	env       []string
	old       []string
	people    bool
}

func prepare(t *testing.T, sc scenario) *base {
	t.Helper()
	r := newPeopleRig
	if !sc.people {
		r = func(t *testing.T) *rig { return newHSMRig(t, "") }
	}
	w := &world{rig: r(t), people: sc.people}
	b := &base{dir: w.rig.Dir, env: w.rig.Env, people: sc.people}
	if sc.fresh {
		return b
	}
	w.rig.mustStart()
	if err := w.init(); err != nil {
		t.Fatal(err)
	}
	w.unseal(t, w.old)
	w.rig.must(204, "POST", "sys/mounts/kv", map[string]string{"type": "kv"})
	for i := range 3 {
		w.rig.mustPut(fmt.Sprint(i), fmt.Sprint("value ", i))
	}
	if err := w.rig.Stop(); err != nil {
		t.Fatal(err)
	}
	b.root, b.old = w.rig.root, w.old
	return b
}

// open copies the base and returns a world on the copy.
func (b *base) open(t *testing.T) *world {
	t.Helper()
	r := newRig(t, t.TempDir(), "")
	config, err := os.ReadFile(filepath.Join(b.dir, "sealgate.hcl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(config), "\n")
	for i, l := range lines {
		if strings.Contains(l, "address ") {
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
	return &world{rig: r, people: b.people, old: b.old}
}

// discover runs a scenario to its end and returns the points that it passed, but for those before its first request.
func (b *base) discover(t *testing.T, sc scenario) []string {
	t.Helper()
	w := b.open(t)
	log := filepath.Join(w.rig.Dir, "points")
	w.rig.Env = append(w.rig.Env, "SEALGATE_FAILPOINT_LOG="+log)
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
func (w *world) begin(t *testing.T, sc scenario) {
	t.Helper()
	w.rig.mustStart()
	if !sc.fresh {
		w.unseal(t, w.old)
	}
}

// unseal gives shares where people unseal, and waits for the HSM to do it elsewhere.
func (w *world) unseal(t *testing.T, shares []string) {
	t.Helper()
	if w.people {
		for _, s := range shares[:3] {
			w.rig.must(200, "PUT", "sys/unseal", map[string]string{"key": s})
		}
	}
	if err := w.rig.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
}

// killAt runs the scenario with the server killed at a point, and judges what is left.
func (b *base) killAt(t *testing.T, sc scenario, point string) {
	w := b.open(t)
	env := w.rig.Env
	w.rig.Env = append(slices.Clone(env), "SEALGATE_FAILPOINT="+point)
	w.begin(t, sc)
	if err := sc.run(w); !errors.Is(err, errDead) {
		t.Fatalf("the server was to die at %s, but the scenario ended with: %v", point, err)
	}
	if code, err := w.rig.Wait(10 * time.Second); err != nil || code != -1 {
		t.Fatalf("exit code %d, %v; want death by a signal", code, err)
	}
	w.rig.Env = env
	w.rig.mustStart()
	if sc.fresh {
		w.judgeInit(t, sc)
		return
	}
	w.judge(t, sc)
}

// judgeInit: the store is initialised or not, never between; where it is not, initialising works.
func (w *world) judgeInit(t *testing.T, sc scenario) {
	t.Helper()
	if w.rig.status().Initialized {
		if !w.people {
			if err := w.rig.UntilUnsealed(); err != nil {
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
func (w *world) judge(t *testing.T, sc scenario) {
	t.Helper()
	generations := map[string][]string{"old": w.old}
	if w.people {
		w.unsealWithEither(t, generations)
	} else if err := w.rig.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	if sc.shares {
		w.fetchLostShares(t)
		generations["new"] = w.fresh
	}
	for i := range 3 {
		w.rig.mustGet(fmt.Sprint(i), fmt.Sprint("value ", i))
	}
	w.rig.mustPut("after", "the crash")
	w.rig.must(204, "PUT", "sys/rotate", nil)
	w.rig.must(204, "PUT", "sys/rotate/root", nil)
	w.oneGenerationWorks(t, generations)
	w.rig.mustGet("after", "the crash")
}

// unsealWithEither tries the old shares, and asks for the new ones by a lost answer where the old are refused. The answer lies
// behind the barrier, so new unseal shares cannot be fetched while sealed: those who held the old shares unseal with them only
// where the commit did not happen.
func (w *world) unsealWithEither(t *testing.T, generations map[string][]string) {
	t.Helper()
	for _, s := range w.old[:3] {
		r := w.rig.call("PUT", "sys/unseal", map[string]string{"key": s})
		if r.Code != 200 {
			t.Fatalf("the old shares are refused and nobody holds the new ones: %s", r.Body)
		}
	}
	if err := w.rig.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
}

// fetchLostShares gives the last share again, as its holder would whose terminal showed no answer.
func (w *world) fetchLostShares(t *testing.T) {
	t.Helper()
	if w.last == "" || w.fresh != nil {
		return
	}
	r := w.rig.call("PUT", "sys/"+w.target+"/update", map[string]string{"key": w.last, "nonce": w.nonce})
	var out struct {
		Keys []string `json:"keys_base64"`
	}
	if r.Code == 200 {
		w.rig.decode(r, &out)
		w.fresh = out.Keys
	}
}

// oneGenerationWorks starts a rekey and offers it a share of every generation that somebody holds.
func (w *world) oneGenerationWorks(t *testing.T, generations map[string][]string) {
	t.Helper()
	target := "rekey-recovery-key"
	if w.people {
		target = "rekey"
	}
	w.rig.must(204, "DELETE", "sys/"+target+"/init", nil)
	var st struct{ Nonce string }
	w.rig.decode(w.rig.must(200, "PUT", "sys/"+target+"/init", map[string]int{"secret_shares": 1, "secret_threshold": 1}), &st)
	var working []string
	for _, name := range slices.Sorted(maps.Keys(generations)) {
		shares := generations[name]
		if len(shares) == 0 {
			continue
		}
		if r := w.rig.call("PUT", "sys/"+target+"/update", map[string]string{"key": shares[0], "nonce": st.Nonce}); r.Code == 200 {
			working = append(working, name)
		}
	}
	if len(working) != 1 {
		t.Fatalf("generations of shares that work: %v; want exactly one that somebody holds", working)
	}
}
