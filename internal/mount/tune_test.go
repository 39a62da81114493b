package mount_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
)

// tuner is a shelf that has a say.
type tuner struct {
	shelf
	kept   chan struct{}
	forgot *string
}

func (t tuner) Tune(_ context.Context, to mount.Entry) ([]storage.Op, error) {
	if to.Description == "no" {
		return nil, fault.New(fault.Invalid, "this description is refused")
	}
	return []storage.Op{storage.Put("mark", []byte(to.Description))}, nil
}

func (t tuner) Maintain(context.Context) error {
	select {
	case t.kept <- struct{}{}:
	default:
	}
	return nil
}

func (t tuner) RemoveTokenData(_ context.Context, accessor string) error {
	*t.forgot += accessor + " "
	return nil
}

func describe(text string) func(*mount.Entry) error {
	return func(m *mount.Entry) error {
		m.Description = text
		return nil
	}
}

func TestTune(t *testing.T) {
	t.Parallel()
	table, store := fresh(t, mount.DevMount("1"))
	err := table.Tune(t.Context(), "/secret", func(m *mount.Entry) error {
		m.Description, m.Options["a"] = "new", "b"
		m.Config = mount.Config{MaxLeaseTTL: 60, ListingVisibility: mount.Unauth, AuditNonHMACRequestKeys: []string{"x"}}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	commits := store.commits
	if err := table.Tune(t.Context(), "secret/", describe("new")); err != nil || store.commits != commits {
		t.Errorf("a change of nothing: %v, %d commits", err, store.commits-commits)
	}
	for name, table := range map[string]*mount.Table{"memory": table, "disk": reopened(t, store)} {
		m, _ := table.Get("secret")
		lease, most := m.Config.Effective()
		if m.Description != "new" || m.Options["a"] != "b" || m.Options["version"] != "1" || lease != 60 || most != 60 ||
			m.Config.AuditNonHMACRequestKeys[0] != "x" {
			t.Errorf("%s has %+v", name, m)
		}
	}
	mine := errors.New("the caller's own")
	for _, tc := range []struct {
		path   string
		change func(*mount.Entry) error
		want   string
	}{
		{"nope", describe("x"), `tune of path "nope/" failed: no mount entry found`},
		{"", describe("x"), "the path of the mount is missing"},
		{"sys/", describe("x"), `cannot tune "sys/"`},
		{"secret", func(*mount.Entry) error { return mine }, mine.Error()},
		{"secret", func(m *mount.Entry) error { m.Config.DefaultLeaseTTL = -1; return nil }, "must not be negative"},
		{"secret", func(m *mount.Entry) error { m.Config.ListingVisibility = "all"; return nil },
			"invalid listing_visibility"},
		{"secret", func(m *mount.Entry) error { m.Options["broken"] = "1"; return nil }, "this mount is broken"},
	} {
		if err := table.Tune(t.Context(), tc.path, tc.change); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.path, err, tc.want)
		}
	}
	if m, _ := table.Get("secret"); store.commits != commits || m.Options["broken"] != "" {
		t.Errorf("a refusal changed something: %+v", m)
	}
}

func TestBackendsCanRefuseTuning(t *testing.T) {
	t.Parallel()
	kept, forgot := make(chan struct{}, 1), ""
	o := mount.Options{Factories: map[string]mount.Factory{"kv": func(s mount.Storage, _ mount.Entry) (mount.Backend,
		error) {
		return tuner{shelf{s}, kept, &forgot}, nil
	}}}
	_, store := fresh(t, mount.DevMount("1"))
	table, err := mount.Open(t.Context(), store, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := table.Tune(t.Context(), "secret", describe("no")); err == nil ||
		err.Error() != "this description is refused" {
		t.Errorf("a refusal of the backend: %v", err)
	}
	store.before = storage.ErrFull
	if err := table.Tune(t.Context(), "secret", describe("yes")); !errors.Is(err, storage.ErrFull) {
		t.Errorf("on a full disk: %v", err)
	}
	store.before = nil
	if left := keysBelow(t, store, "logical/"); len(left) != 0 {
		t.Errorf("a change that was not made left %v", left)
	}
	if err := table.Tune(t.Context(), "secret", describe("yes")); err != nil {
		t.Fatal(err)
	}
	if left := keysBelow(t, store, "logical/"); len(left) != 1 || !strings.HasSuffix(left[0], "/mark") {
		t.Errorf("the backend's operation wrote %v", left)
	}
	if err := table.RemoveTokenData(t.Context(), "A"); err != nil || forgot != "A " {
		t.Errorf("forgot %s, %v", forgot, err)
	}
	defer run(t, table)()
	for range 2 { // at the beginning, and after a change
		<-kept
		if err := table.Tune(t.Context(), "secret", describe("again")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRemount(t *testing.T) {
	t.Parallel()
	table, store := fresh(t, mount.DevMount("1"), mount.Entry{Path: "other/", Type: "kv"})
	before, _ := table.Get("secret")
	put(t, table, "secret/a")
	m, err := table.Remount(t.Context(), "secret", "/team/secret")
	if err != nil || m.From != "secret/" || m.To != "team/secret/" {
		t.Fatalf("%+v, %v", m, err)
	}
	put(t, table, "team/secret/b")
	after, _ := table.Get("team/secret")
	if after.UUID != before.UUID || after.Accessor != before.Accessor ||
		len(keysBelow(t, store, "logical/"+before.UUID+"/")) != 2 {
		t.Errorf("moved from %+v to %+v: %v", before, after, keysBelow(t, store, "logical/"))
	}
	if got := paths(reopened(t, store)); got != "cubbyhole/ identity/ other/ sys/ team/secret/" {
		t.Errorf("after a restart: %s", got)
	}
	if _, _, _, err := table.Route("secret/a"); !fault.Is(err, fault.NotFound) {
		t.Errorf("the old path: %v", err)
	}
	if got, ok := table.Moved(strings.ToUpper(m.ID)); !ok || got != m {
		t.Errorf("Moved = %+v, %v", got, ok)
	}
	for from, to := range map[string]string{
		"nope": "x", "": "x", "other": "team", "sys": "x", "team/secret": "sys/x", "team/secret/": "other/below",
		"auth/token": "x", "other/": "a//b",
	} {
		if _, err := table.Remount(t.Context(), from, to); !fault.Is(err, fault.Invalid) {
			t.Errorf("from %q to %q: %v", from, to, err)
		}
	}
	for i := range 80 {
		if _, err := table.Remount(t.Context(), []string{"team/secret", "a"}[i%2],
			[]string{"a", "team/secret"}[i%2]); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := table.Moved(m.ID); ok {
		t.Error("a move is remembered for ever")
	}
}

func TestWritesAcrossAChangeAreRefused(t *testing.T) {
	t.Parallel()
	table, _ := fresh(t, mount.DevMount("1"))
	old, _, _, err := table.Route("secret/a")
	if err != nil {
		t.Fatal(err)
	}
	for i, change := range []func() error{
		func() error { return table.Tune(t.Context(), "secret", describe("x")) },
		func() error { _, err := table.Remount(t.Context(), "secret", "b"); return err },
		func() error { return table.Unmount(t.Context(), "b") },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if _, err := old.Handle(t.Context(), &mount.Request{Path: "a"}); !errors.Is(err, mount.ErrChanged) {
			t.Errorf("a write by the backend of before change %d: %v", i, err)
		}
		if i == 0 {
			put(t, table, "secret/a")
		}
	}
	if got := fmt.Sprint(fault.KindOf(mount.ErrChanged)); got != fmt.Sprint(fault.NotFound) {
		t.Errorf("ErrChanged is of kind %s", got)
	}
}
