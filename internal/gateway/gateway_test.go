package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/audit"
	"github.com/sealgate/sealgate/internal/fault"
)

// testRoles runs f once for each of its roles; the result of all but the last is dropped, because
// that role has ended.
type testRoles struct {
	ended int
	err   error // of finding a role
}

func (r *testRoles) Do(ctx context.Context, f func(ctx context.Context, v View) error) error {
	if r.err != nil {
		return r.err
	}
	for range r.ended {
		_ = f(ctx, View{})
	}
	return f(ctx, View{})
}

// newCore is a core with one audit device, whose file is returned.
func newCore(t *testing.T, roles Roles) (*Core, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "logs", "audit.log")
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	trail, err := audit.New(audit.Options{Deadline: 5 * time.Second,
		Declared: []audit.Config{{Path: "file/", Type: "file", Options: map[string]string{"file_path": file}}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = trail.Close() })
	return &Core{Roles: roles, Trail: trail}, file
}

// entries returns the kinds and errors of the entries in a file: "request", "response denied".
func entries(t *testing.T, file string) (all []string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		var e struct{ Type, Error string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.TrimSpace(e.Type+" "+e.Error))
	}
	return all
}

func allow(context.Context, View) ([]string, error) { return []string{"p"}, nil }

// TestAudited: the result of the role that lasted is answered, between one entry and another.
func TestAudited(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		roles     testRoles
		authorize func(context.Context, View) ([]string, error)
		fails     error
		want      int
		kind      fault.Kind
		entries   []string
	}{
		"one role":          {testRoles{}, allow, nil, 1, 0, []string{"request", "response"}},
		"a role that ended": {testRoles{ended: 2}, allow, nil, 3, 0, []string{"request", "response"}},
		"denied": {testRoles{}, func(context.Context, View) ([]string, error) {
			return nil, fault.New(fault.Denied, "denied")
		}, nil, 0, fault.Denied, []string{"request denied", "response denied"}},
		"sealed": {testRoles{err: fault.New(fault.Sealed, "sealed")}, allow, nil, 0, fault.Sealed, nil},
		"a key that fails": {testRoles{}, allow, fault.New(fault.Invalid, "not authentic"), 1, fault.Invalid,
			[]string{"request", "response not authentic"}},
		"an error of another kind": {testRoles{}, allow, errors.New("a path in /etc"), 1, fault.Internal,
			[]string{"request", "response internal error; see the server's log"}},
	} {
		core, file := newCore(t, &tc.roles)
		worked := 0
		got, err := Audited(t.Context(), core, Caller{Name: "c"}, Entry{Path: "transit/encrypt/k", Type: "test"},
			tc.authorize, func(context.Context, View) (int, map[string]string, error) {
				worked++
				return worked, nil, tc.fails
			})
		failed := tc.kind != 0 || tc.fails != nil
		if failed && (!fault.Is(err, tc.kind) || got != 0) || !failed && (err != nil || got != tc.want) || worked != tc.want {
			t.Errorf("%s: %d, %v; it worked %d times", name, got, err, worked)
		}
		if all := entries(t, file); strings.Join(all, "|") != strings.Join(tc.entries, "|") {
			t.Errorf("%s: entries %q, want %q", name, all, tc.entries)
		}
	}
}

// TestUnrecorded: without an audit device that writes, nothing is done and nothing is answered.
func TestUnrecorded(t *testing.T) {
	t.Parallel()
	core, file := newCore(t, &testRoles{})
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", file); err != nil {
		t.Fatal(err)
	}
	core.Trail.Reopen()
	worked := false
	got, err := Audited(t.Context(), core, Caller{Name: "c"}, Entry{Path: "transit/encrypt/k", Type: "test"}, allow,
		func(context.Context, View) (string, map[string]string, error) {
			worked = true
			return "a secret", nil, nil
		})
	if !errors.Is(err, ErrUnrecorded) || got != "" || worked {
		t.Errorf("%q, %v, worked: %t", got, err, worked)
	}
}

func TestKeyPath(t *testing.T) {
	t.Parallel()
	if got := (Key{Mount: "/hsm/transit/", Name: "k"}).Path("encrypt"); got != "hsm/transit/encrypt/k" {
		t.Errorf("the policy path is %q", got)
	}
}
