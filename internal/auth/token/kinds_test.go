package token

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

func TestBatchTokens(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	before := h.keys("auth/")
	made := h.make(h.root, CreateRequest{Type: "batch", TTL: time.Hour, Policies: []string{"p"},
		Meta: map[string]string{"a": "b"}})
	if n := h.keys("auth/"); n != before {
		t.Errorf("%d entries more; a batch token is not stored", n-before)
	}
	if !strings.HasPrefix(made.Text, "b.") || made.Token.Accessor != "" || made.Token.Renewable {
		t.Errorf("%.8s %+v", made.Text, made.Token)
	}
	h.open()
	if who := h.mustIdentify(made.Text); who.Token().Meta["a"] != "b" || who.Accessor != "" {
		t.Errorf("%+v", who.Token())
	}
	for i := 2; i < len(made.Text); i += 7 {
		bad := made.Text[:i] + string('A'+(made.Text[i]+1)%26) + made.Text[i+1:]
		if bad != made.Text && h.lives(bad) {
			t.Errorf("a batch token with another character at %d lives", i)
		}
	}
	if err := h.Revoke(t.Context(), made.Text); !fault.Is(err, fault.Invalid) {
		t.Errorf("revoking a batch token: %v", err)
	}
	h.clock.now = start.Add(time.Hour)
	if h.lives(made.Text) {
		t.Error("an expired batch token lives")
	}
}

// TestForgedBatchTokens: no entry of the storage makes a batch token, none has the root policy, and
// those of version 1, whose key was such an entry, have ended.
func TestForgedBatchTokens(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	forge := func(version byte, token *Token, seal func([]byte) []byte) string {
		record, err := token.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return batchLead + base64.RawURLEncoding.EncodeToString(append([]byte{version}, seal(record)...))
	}
	mine := &Token{Type: TypeBatch, DisplayName: "m", Path: "auth/token/create", Policies: []string{"root"},
		Created: start, Expires: start.Add(time.Hour)}
	byBarrier := func(record []byte) []byte {
		sealed, err := h.entries.(Sealer).SealEntry(t.Context(), batchPath, record)
		if err != nil {
			t.Fatal(err)
		}
		return sealed
	}
	if h.lives(forge(batchVersion, mine, byBarrier)) {
		t.Error("a batch token with the root policy lives")
	}
	mine.Policies = []string{"p"}
	if text := forge(batchVersion, mine, byBarrier); !h.lives(text) {
		t.Error("the forged token differs from a real one in more than its policy")
	}
	key := make([]byte, 33)
	key[0] = 1
	op := storage.Put(batchKeyKey, key)
	if err := h.disk.Commit(t.Context(), storage.Batch{Ops: []storage.Op{op}}); err != nil {
		t.Fatal(err)
	}
	byOwnKey := func(record []byte) []byte {
		return testAEAD().Seal(nil, nil, record, []byte("sealgate/auth/batch/v1"))
	}
	if h.lives(forge(1, mine, byOwnKey)) {
		t.Error("a batch token under a key of the storage lives")
	}
	if err := (sweeper{h.Store}).clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.disk.Get(t.Context(), batchKeyKey); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("the old key is still stored: %v", err)
	}
}

func FuzzFindToken(f *testing.F) {
	h := newHarness(f)
	batch := h.make(h.root, CreateRequest{Type: "batch", Policies: []string{"p"}}).Text
	service := h.make(h.root, CreateRequest{Policies: []string{"p"}}).Text
	for _, s := range []string{batch, service, "", "b.", "b.AA", "s.x", "\x00", batch[:40]} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		_, err := h.Identify(context.Background(), text)
		if text != batch && text != service && !fault.Is(err, fault.Denied) {
			t.Errorf("%q: %v", text, err)
		}
	})
}

func TestNetworks(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	role := NewRole("r")
	role.TokenBoundCIDRs = []string{"192.0.2.0/24", "2001:db8::1"}
	if err := h.WriteRole(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	made := h.make(h.root, CreateRequest{Role: role})
	for remote, want := range map[string]bool{"192.0.2.7:1": true, "[::ffff:192.0.2.7]:1": true, "[2001:db8::1]:9": true,
		"192.0.3.1:1": false, "@": false, "": false} {
		_, err := h.Authorize(t.Context(), made.Text, Need{Path: "x", Capability: Read, Remote: remote})
		if (err == nil) != want || err != nil && err.Error() != "permission denied" {
			t.Errorf("from %q: %v", remote, err)
		}
	}
}

func TestPolicyChangesCountAtOnce(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	write := func(text string) {
		t.Helper()
		if err := h.WritePolicy(t.Context(), PolicyWrite{Name: "P", Text: text}); err != nil {
			t.Fatal(err)
		}
	}
	token := h.make(h.root, CreateRequest{Policies: []string{"p"}}).Text
	may := func(path string) bool {
		_, err := h.Authorize(t.Context(), token, Need{Path: path, Capability: Read})
		return err == nil
	}
	if may("a") {
		t.Error("allowed by a policy that does not exist")
	}
	write(`path "a" { capabilities = ["read"] }`)
	if !may("a") || may("b") {
		t.Error("the first policy")
	}
	write(`path "b" { capabilities = ["read"] }`)
	if may("a") || !may("b") {
		t.Error("the second policy")
	}
	if err := h.DeletePolicy(t.Context(), "p"); err != nil || may("b") {
		t.Errorf("after it was deleted: %v", err)
	}
	for _, name := range []string{"a/b", "..", ".", "%2f", "ümlaut", "a b"} {
		if err := h.WritePolicy(t.Context(), PolicyWrite{Name: name, Text: `path "a" {}`}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	names, err := h.PolicyNames(t.Context())
	if got := strings.Join(names, " "); err != nil || got != "%2f . .. a b a/b default ümlaut root" {
		t.Errorf("%s, %v", got, err)
	}
}

// TestChangesDuringUse has policies, tokens and uses changed while others ask: for the race
// detector.
func TestChangesDuringUse(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	token := h.make(h.root, CreateRequest{Policies: []string{"p"}}).Text
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 50 {
				_, _ = h.Authorize(t.Context(), token, Need{Path: "a", Capability: Read})
				switch i {
				case 0:
					_ = h.WritePolicy(t.Context(), PolicyWrite{Name: "p", Text: fmt.Sprintf("path \"a%d\" {}", j)})
				case 1:
					c := h.make(h.root, CreateRequest{})
					h.make(h.mustIdentify(c.Text), CreateRequest{})
					_ = h.Revoke(t.Context(), c.Text)
				case 2:
					_, _, _ = h.Renew(t.Context(), h.mustIdentify(token), 0)
				case 3:
					_ = (sweeper{h.Store}).clean(t.Context())
				}
			}
		})
	}
	wg.Wait()
	if err := (sweeper{h.Store}).clean(t.Context()); err != nil ||
		h.left() != "token 2, accessor 2, child 1, expiry 1, ended 0, "+
			"released 0, lease 0, lease-far 1" {
		t.Errorf("%v; left are %s", err, h.left())
	}
}

func TestTidy(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	top := h.make(h.root, CreateRequest{})
	h.make(h.mustIdentify(top.Text), CreateRequest{})
	// A backup that lacks an entry.
	err := h.disk.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Delete(tokenKey(h.digest(top.Text)))}})
	if err != nil {
		t.Fatal(err)
	}
	h.open()
	h.Tidy()
	if err := (sweeper{h.Store}).clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := h.left(); got != "token 1, accessor 1, child 1, expiry 0, ended 0, released 0, lease 0, lease-far 0" {
		t.Errorf("left are %s", got)
	}
}
