package approle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/auth/method"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

// traced is a storage that records the kind of each access, and fails a commit on request.
type traced struct {
	*inmem.Store
	mu    sync.Mutex
	trace []string
	fail  error
}

func (s *traced) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trace = append(s.trace, what)
}

func (s *traced) taken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.trace = nil }()
	return strings.Join(s.trace, " ")
}

func (s *traced) Get(ctx context.Context, key string) ([]byte, error) {
	kind, _, _ := strings.Cut(key, "/")
	s.note("get " + kind)
	return s.Store.Get(ctx, key)
}

func (s *traced) Commit(ctx context.Context, b storage.Batch) error {
	s.note("commit")
	if s.fail != nil {
		return s.fail
	}
	return s.Store.Commit(ctx, b)
}

// bench is a mount of the method, with a clock that the test sets.
type bench struct {
	*testing.T
	backend mount.Backend
	store   *traced
	now     time.Time
}

func start(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, store: &traced{Store: inmem.New()}, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	t.Cleanup(func() { _ = b.store.Close() })
	var err error
	b.backend, err = Factory(method.Options{Now: func() time.Time { return b.now }})(b.store, mount.Entry{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ask sends a request; data is a JSON object or "".
func (b *bench) ask(op mount.Operation, path, data string) (*mount.Response, error) {
	r := &mount.Request{Operation: op, Path: path, Remote: "192.0.2.1:1234"}
	if data != "" {
		dec := json.NewDecoder(strings.NewReader(data))
		dec.UseNumber()
		if err := dec.Decode(&r.Data); err != nil {
			b.Fatal(err)
		}
	}
	return b.backend.Handle(context.Background(), r)
}

// must sends a request that has to succeed, and returns a field of the response.
func (b *bench) must(op mount.Operation, path, data, field string) string {
	b.Helper()
	a, err := b.ask(op, path, data)
	if err != nil {
		b.Fatalf("%s: %v", path, err)
	}
	if field == "" {
		return ""
	}
	return fmt.Sprint(a.Data.(map[string]any)[field])
}

// role creates a role and returns its role id.
func (b *bench) role(name, data string) string {
	b.Helper()
	b.must(mount.Update, "role/"+name, data, "")
	return b.must(mount.Read, "role/"+name+"/role-id", "", "role_id")
}

func (b *bench) login(roleID, secretID string) error {
	a, err := b.ask(mount.Update, "login", fmt.Sprintf(`{"role_id":%q,"secret_id":%q}`, roleID, secretID))
	if err == nil && (a == nil || a.Login == nil) {
		err = errors.New("no login in the response")
	}
	return err
}

// entries lists all storage keys below a prefix.
func (b *bench) entries(prefix string) (keys []string) {
	b.Helper()
	err := b.store.Snapshot(context.Background(), func(key string, _ []byte) error {
		if strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return keys
}

// TestRoleIDsCannotBeProbed: a client without a secret id gets the same answer, for the same work,
// whether the role id exists or not, and whatever the role requires.
func TestRoleIDsCannotBeProbed(t *testing.T) {
	t.Parallel()
	b := start(t)
	known := map[string]string{
		"with a secret id":                      b.role("bound", `{}`),
		"by network alone, secret networks":     b.role("net", `{"bind_secret_id":false,"secret_id_bound_cidrs":"10.0.0.0/8"}`),
		"by network alone, networks of a token": b.role("tok", `{"bind_secret_id":false,"token_bound_cidrs":"10.0.0.0/8"}`),
		"with a secret id and networks":         b.role("both", `{"secret_id_bound_cidrs":"10.0.0.0/8","token_bound_cidrs":"10.0.0.0/8"}`),
	}
	for _, secretID := range []string{"", "guess", strings.Repeat("x", maxSecretID+1)} {
		b.store.taken()
		want := b.login("00000000-0000-0000-0000-000000000000", secretID)
		work := b.store.taken()
		if want == nil {
			t.Fatal("an unknown role logs in")
		}
		for what, roleID := range known {
			got := b.login(roleID, secretID)
			did := b.store.taken()
			if got == nil || got.Error() != want.Error() ||
				errors.Is(got, mount.ErrCredentials) != errors.Is(want, mount.ErrCredentials) {
				t.Errorf("%s, secret id %.8q: %v; an unknown role: %v", what, secretID, got, want)
			}
			if strings.Contains(what, "alone") {
				continue // has no secret ids to look up; its role id is its only credential
			}
			if did != work {
				t.Errorf("%s, secret id %.8q: %q; an unknown role: %q", what, secretID, did, work)
			}
		}
	}
}

// TestUsesAreCounted: concurrent logins with a secret id of three uses succeed three times.
func TestUsesAreCounted(t *testing.T) {
	t.Parallel()
	b := start(t)
	roleID := b.role("ci", `{"secret_id_num_uses":3}`)
	secretID := b.must(mount.Update, "role/ci/secret-id", "", "secret_id")
	results := make(chan error, 20)
	for range cap(results) {
		go func() { results <- b.login(roleID, secretID) }()
	}
	succeeded := 0
	for range cap(results) {
		err := <-results
		if err == nil {
			succeeded++
		} else if !errors.Is(err, mount.ErrCredentials) {
			t.Errorf("login: %v", err)
		}
	}
	if succeeded != 3 {
		t.Errorf("%d logins with a secret id of 3 uses", succeeded)
	}
	if left := append(b.entries("secret/"), b.entries("accessor/")...); len(left) != 0 {
		t.Errorf("left of a used secret id: %q", left)
	}
}

// TestAFailedCommitCostsAUse: a login whose use cannot be written is refused.
func TestAFailedCommitCostsAUse(t *testing.T) {
	t.Parallel()
	b := start(t)
	roleID := b.role("ci", `{"secret_id_num_uses":2}`)
	secretID := b.must(mount.Update, "role/ci/secret-id", "", "secret_id")
	b.store.fail = storage.ErrUnavailable
	if err := b.login(roleID, secretID); !errors.Is(err, storage.ErrUnavailable) {
		t.Errorf("a login without its commit: %v", err)
	}
	b.store.fail = nil
	for i, want := range []bool{true, true, false} {
		if err := b.login(roleID, secretID); (err == nil) != want {
			t.Errorf("login %d: %v", i+1, err)
		}
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	b := start(t)
	roleID := b.role("ci", `{"secret_id_ttl":"1h"}`)
	secretID := b.must(mount.Update, "role/ci/secret-id", "", "secret_id")
	short := b.must(mount.Update, "role/ci/secret-id", `{"ttl":"1m"}`, "secret_id")
	if _, err := b.ask(mount.Update, "role/ci/secret-id", `{"ttl":"2h"}`); err == nil {
		t.Error("a secret id outlives the role's secret_id_ttl")
	}
	b.now = b.now.Add(time.Minute)
	if err := b.login(roleID, short); !errors.Is(err, mount.ErrCredentials) {
		t.Errorf("an expired secret id: %v", err)
	}
	if err := b.login(roleID, secretID); err != nil {
		t.Errorf("a valid secret id: %v", err)
	}
	b.now = b.now.Add(time.Hour)
	b.must(mount.Update, "tidy/secret-id", "", "")
	if left := append(b.entries("secret/"), b.entries("accessor/")...); len(left) != 0 {
		t.Errorf("tidy leaves %q", left)
	}
}

// TestDeletedRole: its secret ids are useless for a new role of the same name and role id, also
// when the deletion was cut off after its first commit.
func TestDeletedRole(t *testing.T) {
	t.Parallel()
	b := start(t)
	roleID := b.role("ci", `{"role_id":"fixed"}`)
	secretID := b.must(mount.Update, "role/ci/secret-id", "", "secret_id")
	d := b.backend.(*backend)
	x, err := method.Load[role](t.Context(), d.store, rolePrefix+"ci")
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string][]byte{} // what a crash after the first commit leaves
	for _, key := range append(b.entries("secret/"), b.entries("accessor/")...) {
		if kept[key], err = b.store.Get(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	b.must(mount.Delete, "role/ci", "", "")
	gone, err := method.Put(gonePrefix+x.UUID, "ci")
	if err != nil {
		t.Fatal(err)
	}
	ops := []storage.Op{gone}
	for key, value := range kept {
		ops = append(ops, storage.Put(key, value))
	}
	if err := b.store.Commit(t.Context(), storage.Batch{Ops: ops}); err != nil {
		t.Fatal(err)
	}
	if err := b.login(roleID, secretID); err == nil {
		t.Error("a deleted role logs in")
	}
	b.role("ci", `{"role_id":"fixed"}`)
	if err := b.login(roleID, secretID); !errors.Is(err, mount.ErrCredentials) {
		t.Errorf("a secret id of a deleted role, for a new role: %v", err)
	}
	if err := d.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := append(b.entries("secret/"), b.entries("gone/")...); len(left) != 0 {
		t.Errorf("left of a deleted role: %q", left)
	}
}

// TestSecretsAreHashed: no key and no record contains a secret id, a role id lookup key or an
// accessor in a form that a reader of the storage could use.
func TestSecretsAreHashed(t *testing.T) {
	t.Parallel()
	b := start(t)
	b.role("ci", `{}`)
	secretID := b.must(mount.Update, "role/ci/custom-secret-id", `{"secret_id":"hunter2"}`, "secret_id")
	if secretID != "hunter2" {
		t.Fatalf("secret id %q", secretID)
	}
	err := b.store.Snapshot(t.Context(), func(key string, value []byte) error {
		if strings.Contains(key+string(value), "hunter2") {
			t.Errorf("%s holds the secret id", key)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSubset(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		inner, outer string
		want         bool
	}{
		{"", "", true}, {"10.0.0.0/8", "", true}, {"", "10.0.0.0/8", true}, {"10.1.0.0/16", "10.0.0.0/8", true},
		{"10.0.0.0/8", "10.1.0.0/16", false}, {"10.0.0.0/8 192.0.2.0/24", "10.0.0.0/8", false},
		{"192.0.2.1/32", "10.0.0.0/8 192.0.2.0/24", true}, {"2001:db8::/64", "10.0.0.0/8", false},
	} {
		if got := subset(strings.Fields(tc.inner), strings.Fields(tc.outer)); got != tc.want {
			t.Errorf("%q within %q: %v", tc.inner, tc.outer, got)
		}
	}
}

// TestNarrowedRole: the networks of a secret id hold no longer than the role allows them.
func TestNarrowedRole(t *testing.T) {
	t.Parallel()
	b := start(t)
	id := b.role("r", `{}`)
	secretID := b.must(mount.Update, "role/r/secret-id", `{"token_bound_cidrs":"192.0.2.0/24"}`, "secret_id")
	networks := func() []string {
		t.Helper()
		a, err := b.backend.Handle(t.Context(), &mount.Request{Operation: mount.Update, Path: "login",
			Remote: "192.0.2.7:1", Data: map[string]any{"role_id": id, "secret_id": secretID}})
		if err != nil {
			return []string{err.Error()}
		}
		return a.Login.Networks
	}
	for role, want := range map[string]string{
		`{"token_bound_cidrs":"192.0.2.0/24"}`:              "192.0.2.0/24",
		`{"token_bound_cidrs":"192.0.2.0/28"}`:              "192.0.2.0/28",
		`{"token_bound_cidrs":"198.51.100.0/24"}`:           "permission denied",
		`{"token_bound_cidrs":["192.0.2.7","203.0.113.1"]}`: "192.0.2.7 203.0.113.1",
	} {
		if _, err := b.ask(mount.Update, "role/r", role); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(networks(), " "); got != want {
			t.Errorf("%s: %q, want %q", role, got, want)
		}
	}
}
