package e2e

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/testkit"
)

// removal is an operation whose deciding commit is answered, and whose remains are removed later.
type removal struct {
	name  string
	begin func(w *scenarioRun, b *removalBase) error // decides
	ended func(r *harness) bool                      // nothing is left to remove
	holds func(t *testing.T, r *harness, b *removalBase, decided bool)
}

// removalBase is a stopped server with a mount of 130 entries, and a token with 40 children, one of
// which has a child.
type removalBase struct {
	*base
	parent, child, grandchild string
}

var removals = []removal{
	{name: "compact", begin: func(w *scenarioRun, _ *removalBase) error {
		return w.do(200, "PUT", "sys/storage/compact", nil, nil)
	}, ended: func(*harness) bool { return true }, holds: func(t *testing.T, r *harness, b *removalBase, _ bool) {
		r.mustGet("stays", "here")
		r.must(200, "GET", "gone/100", nil)
		if left, err := filepath.Glob(filepath.Join(r.Dir, "data", ".sealgate-*")); err != nil || len(left) > 0 {
			t.Errorf("left are %q, %v", left, err)
		}
		r.mustPut("after", "it")
	}},
	{name: "unmount", begin: func(w *scenarioRun, _ *removalBase) error {
		return w.do(204, "DELETE", "sys/mounts/gone", nil, nil)
	}, ended: func(r *harness) bool {
		return len(r.data(200, "GET", "sys/unmounted", nil)["unmounted"].([]any)) == 0
	}, holds: func(t *testing.T, r *harness, _ *removalBase, decided bool) {
		r.mustGet("stays", "here")
		want := 200
		if decided {
			want = 404
		}
		if got := r.call("GET", "gone/100", nil); got.Code != want {
			t.Errorf("an entry of the mount: %d %s; want %d", got.Code, got.Body, want)
		}
	}},
	{name: "revoke-tree", begin: func(w *scenarioRun, b *removalBase) error {
		return w.do(204, "POST", "auth/token/revoke", map[string]string{"token": b.parent}, nil)
	}, ended: func(r *harness) bool {
		var all struct{ Data struct{ Keys []string } }
		r.decode(r.must(200, "LIST", "auth/token/accessors", nil), &all)
		return len(all.Data.Keys) == 1 // the root token
	}, holds: func(t *testing.T, r *harness, b *removalBase, decided bool) {
		want := 200
		if decided {
			want = 403
		}
		for name, token := range map[string]string{"parent": b.parent, "child": b.child, "grandchild": b.grandchild} {
			if got, err := r.Do(t.Context(), "GET", "auth/token/lookup-self", token, nil); err != nil || got.Code != want {
				t.Errorf("the %s: %d %s, %v; want %d", name, got.Code, got.Body, err, want)
			}
		}
	}},
}

func newRemovalBase(t *testing.T) *removalBase {
	t.Helper()
	r := newStaticHarness(t)
	r.mustStart()
	r.mustInit()
	r.must(204, "POST", "sys/mounts/gone", map[string]string{"type": "kv"})
	r.mustPut("stays", "here")
	for i := range 130 {
		r.must(204, "PUT", fmt.Sprintf("gone/%d", i), map[string]string{"v": "x"})
	}
	b := &removalBase{base: &base{dir: r.Dir, root: r.root}}
	create := func(parent string) string {
		var made struct {
			Auth struct {
				Token string `json:"client_token"`
			}
		}
		got, err := r.Do(t.Context(), "POST", "auth/token/create", parent, map[string]any{"policies": []string{"root"},
			"ttl": "1h"})
		if err != nil || got.Code != 200 {
			t.Fatalf("creating a token: %d %s, %v", got.Code, got.Body, err)
		}
		r.decode(got, &made)
		r.known.add("a token", made.Auth.Token)
		return made.Auth.Token
	}
	b.parent = create(r.root)
	for range 40 {
		b.child = create(b.parent)
	}
	b.grandchild = create(b.child)
	r.mustStop()
	return b
}

// TestCrashMatrixRemovals kills the real program at each step of a removal: before the deciding
// commit nothing has happened; after it all of it is decided, and the next start ends the removal.
func TestCrashMatrixRemovals(t *testing.T) {
	t.Parallel()
	b := newRemovalBase(t)
	for _, each := range removals {
		t.Run(each.name, func(t *testing.T) {
			t.Parallel()
			points := each.points(t, b)
			for _, point := range points {
				t.Run(point, func(t *testing.T) { each.killedAt(t, b, point) })
			}
		})
	}
}

// points are the first and the last visit of each failpoint of the removal.
func (m removal) points(t *testing.T, b *removalBase) (points []string) {
	t.Helper()
	passed := b.discover(t, scenario{name: m.name, run: func(w *scenarioRun) error {
		if err := m.begin(w, b); err != nil {
			return err
		}
		testkit.Eventually(t, "the removal has ended", func() bool { return m.ended(w.harness) })
		m.holds(t, w.harness, b, true)
		return nil
	}})
	visits := map[string][]string{}
	for _, p := range passed {
		if name, _, _ := strings.Cut(p, "="); !strings.HasPrefix(name, "storage.commit.") {
			visits[name] = append(visits[name], p)
		}
	}
	names := slices.Sorted(maps.Keys(visits))
	for _, name := range names {
		all := visits[name]
		points = append(points, all[0])
		if len(all) > 1 {
			points = append(points, all[len(all)-1])
		}
	}
	if want := crashPoints[m.name]; !slices.Equal(names, want) {
		t.Errorf("failpoints of %s: %q, want %q", m.name, names, want)
	}
	return points
}

// killedAt decides the removal with the server killed at a point, and judges what is left.
func (m removal) killedAt(t *testing.T, b *removalBase, point string) {
	w := b.open(t)
	w.harness.Env = append(slices.Clone(b.env), "SEALGATE_FAILPOINT="+point)
	w.begin(t, scenario{})
	err := m.begin(w, b) // the server may die before or after the answer
	if err != nil && !errors.Is(err, errDead) {
		t.Fatal(err)
	}
	if code, err := w.harness.Wait(60 * time.Second); err != nil || code != -1 {
		t.Fatalf("exit code %d, %v; want death by a signal at %s", code, err, point)
	}
	w.harness.Env = slices.Clone(b.env)
	w.begin(t, scenario{})
	decided := point != "token.revoke=1"
	m.holds(t, w.harness, b, decided)
	if !decided {
		if err := m.begin(w, b); err != nil {
			t.Fatal(err)
		}
	}
	testkit.Eventually(t, "the removal has ended", func() bool { return m.ended(w.harness) })
	m.holds(t, w.harness, b, true)
}
