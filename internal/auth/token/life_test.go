package token

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

// harness is a token store on a storage in memory.
type harness struct {
	*Store
	t     testing.TB
	disk  *inmem.Store
	root  Identity
	clock *clock
	ended []string // accessors
	mu    sync.Mutex
}

func newHarness(t testing.TB) *harness {
	t.Helper()
	h := &harness{t: t, disk: inmem.New(), clock: &clock{now: start}}
	t.Cleanup(func() { _ = h.disk.Close() })
	f, err := Format(nil, start)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.disk.Commit(t.Context(), storage.Batch{Ops: f.Ops}); err != nil {
		t.Fatal(err)
	}
	h.open()
	h.root = h.mustIdentify(f.RootToken)
	return h
}

// sealing is a store that also seals, with the fixed key of the tests.
type sealing struct{ storage.Store }

func (sealing) SealEntry(ctx context.Context, path string, plain []byte) ([]byte, error) {
	return (&entries{}).SealEntry(ctx, path, plain)
}

func (sealing) OpenEntry(path string, entry []byte) ([]byte, error) {
	return (&entries{}).OpenEntry(path, entry)
}

// open is a restart: nothing is in memory.
func (h *harness) open() {
	h.t.Helper()
	s, err := Open(h.t.Context(), sealing{h.disk},
		Options{Now: h.clock.Now, Ended: func(_ context.Context, accessor string) error {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.ended = append(h.ended, accessor)
			return nil
		}})
	if err != nil {
		h.t.Fatal(err)
	}
	h.Store = s
}

func (h *harness) mustIdentify(token string) Identity {
	h.t.Helper()
	who, err := h.Identify(h.t.Context(), token)
	if err != nil {
		h.t.Fatal(err)
	}
	return who
}

func (h *harness) make(parent Identity, req CreateRequest) *Created {
	h.t.Helper()
	c, err := h.CreateToken(h.t.Context(), parent, req)
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

func (h *harness) lives(token string) bool {
	h.t.Helper()
	_, err := h.Identify(h.t.Context(), token)
	if err != nil && !fault.Is(err, fault.Denied) {
		h.t.Fatal(err)
	}
	return err == nil
}

// keys counts the entries below a prefix.
func (h *harness) keys(prefix string) int {
	h.t.Helper()
	n := 0
	err := h.disk.Snapshot(h.t.Context(), func(key string, _ []byte) error {
		if strings.HasPrefix(key, prefix) {
			n++
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return n
}

// left are the entries of tokens besides the root token's.
func (h *harness) left() string {
	out := ""
	for _, p := range []string{tokenPrefix, accessorPrefix, childPrefix, expiryPrefix, endedPrefix, releasedPrefix,
		leasePrefix, farLeasePrefix} {
		out += fmt.Sprintf("%s %d, ", strings.Trim(strings.TrimPrefix(p, "auth/"), "/"), h.keys(p))
	}
	return strings.TrimSuffix(out, ", ")
}

const onlyRoot = "token 1, accessor 1, child 0, expiry 0, ended 0, released 0, lease 0, lease-far 0"

func TestExpiry(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	brief := h.make(h.root, CreateRequest{TTL: time.Minute, Policies: []string{"p"}})
	child := h.make(h.mustIdentify(brief.Text), CreateRequest{TTL: time.Hour})
	long := h.make(h.root, CreateRequest{TTL: time.Hour, Policies: []string{"p"}})
	renewed := h.make(h.root, CreateRequest{TTL: time.Minute, Policies: []string{"p"}})
	h.clock.now = start.Add(30 * time.Second)
	if _, _, err := h.Renew(t.Context(), h.mustIdentify(renewed.Text), 2*time.Minute); err != nil {
		t.Fatal(err)
	}
	h.clock.now = start.Add(time.Minute)
	if h.lives(brief.Text) || h.lives(child.Text) || !h.lives(long.Text) || !h.lives(renewed.Text) {
		t.Error("after a minute two of four live")
	}
	h.open()
	h.clock.now = start.Add(time.Minute + time.Second)
	if err := (sweeper{h.Store}).clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := h.left(); got != "token 3, accessor 3, child 2, expiry 2, ended 0, released 0, lease 0, lease-far 2" {
		t.Errorf("left are %s", got)
	}
	if len(h.ended) != 2 {
		t.Errorf("%d tokens were reported as ended", len(h.ended))
	}
	h.clock.now = start.Add(2 * time.Hour)
	if err := (sweeper{h.Store}).clean(t.Context()); err != nil || h.left() != onlyRoot {
		t.Errorf("%v; left are %s", err, h.left())
	}
}

func TestRunSweepsWithoutRestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t)
		begun := time.Now()
		h.now = func() time.Time { return start.Add(time.Since(begun)) }
		h.make(h.root, CreateRequest{TTL: time.Minute, Policies: []string{"p"}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); h.Run(ctx) }()
		time.Sleep(50 * time.Second) // of the test's own time
		synctest.Wait()
		if h.left() == onlyRoot {
			t.Error("the token was removed too early")
		}
		time.Sleep(25 * time.Second)
		synctest.Wait()
		if h.left() != onlyRoot {
			t.Errorf("left are %s", h.left())
		}
		cancel()
		<-done
	})
}

func TestRenewal(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, tc := range []struct {
		name      string
		req       CreateRequest
		after     time.Duration
		increment time.Duration
		left      time.Duration
		warned    bool
	}{
		{"by what it had", CreateRequest{TTL: time.Hour}, 30 * time.Minute, 0, time.Hour, false},
		{"by an increment", CreateRequest{TTL: time.Hour}, 30 * time.Minute, 2 * time.Hour, 2 * time.Hour, false},
		{"by less", CreateRequest{TTL: time.Hour}, 30 * time.Minute, time.Minute, time.Minute, false},
		{"not beyond its maximum", CreateRequest{TTL: time.Hour, ExplicitMax: 90 * time.Minute}, 50 * time.Minute, time.Hour,
			40 * time.Minute, true},
		{"not beyond the system's", CreateRequest{TTL: MaxTTL}, 700 * time.Hour, 100 * time.Hour, 68 * time.Hour, true},
		{"always by its period", CreateRequest{Period: time.Hour}, 50 * time.Minute, time.Minute, time.Hour, false},
		{"its period and maximum", CreateRequest{Period: time.Hour, ExplicitMax: 90 * time.Minute}, 50 * time.Minute, 0,
			40 * time.Minute, true},
	} {
		h.clock.now = start
		tc.req.Policies = []string{"p"}
		made := h.make(h.root, tc.req)
		h.clock.now = start.Add(tc.after)
		who, warnings, err := h.Renew(t.Context(), h.mustIdentify(made.Text), tc.increment)
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if left := who.Token().Left(h.clock.now); left != tc.left || (len(warnings) > 0) != tc.warned {
			t.Errorf("%s: %v are left, %v; want %v", tc.name, left, warnings, tc.left)
		}
		h.open()
		if got := h.mustIdentify(made.Text).Token(); !got.Expires.Equal(who.Token().Expires) {
			t.Errorf("%s: after a restart it expires %v", tc.name, got.Expires)
		}
	}
}

func TestRevokingATreeIsOneCommit(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	top := h.make(h.root, CreateRequest{})
	level, tokens := []string{top.Text}, []string{}
	for range 3 {
		var next []string
		for _, p := range level {
			for range 3 {
				next = append(next, h.make(h.mustIdentify(p), CreateRequest{Policies: []string{"root"}}).Text)
			}
		}
		tokens, level = append(tokens, next...), next
	}
	bystander := h.make(h.root, CreateRequest{})
	if err := h.Revoke(t.Context(), top.Text); err != nil {
		t.Fatal(err)
	}
	for i, restart := range []bool{false, true} {
		if restart {
			h.open()
		}
		for _, token := range tokens {
			if h.lives(token) {
				t.Fatalf("a child lives on (%d)", i)
			}
		}
	}
	if !h.lives(bystander.Text) {
		t.Error("another token ended too")
	}
	if err := (sweeper{h.Store}).clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := h.left(); got != "token 2, accessor 2, child 1, expiry 0, ended 0, released 0, lease 0, lease-far 0" {
		t.Errorf("left are %s", got)
	}
	if len(h.ended) != 40 {
		t.Errorf("%d of 40 tokens were reported as ended", len(h.ended))
	}
}

// failing refuses commits on request.
type failing struct {
	Entries
	mu    sync.Mutex
	after int // commits that still work; negative: all
}

func (f *failing) Commit(ctx context.Context, b storage.Batch) error {
	f.mu.Lock()
	dead := f.after == 0
	if !dead {
		f.after--
	}
	f.mu.Unlock()
	if dead {
		return errors.New("killed")
	}
	return f.Entries.Commit(ctx, b)
}

// TestCleanUpGoesOnAfterACrash stops the clean-up before each of its commits, and continues with a
// fresh store.
func TestCleanUpGoesOnAfterACrash(t *testing.T) {
	t.Parallel()
	for stop := 0; ; stop++ {
		h := newHarness(t)
		top := h.make(h.root, CreateRequest{})
		var children []string
		for range 30 {
			c := h.make(h.mustIdentify(top.Text), CreateRequest{TTL: time.Hour, Policies: []string{"root"}})
			children = append(children, c.Text)
			h.make(h.mustIdentify(c.Text), CreateRequest{TTL: time.Hour, Policies: []string{"p"}})
		}
		if err := h.Revoke(t.Context(), top.Text); err != nil {
			t.Fatal(err)
		}
		f := &failing{Entries: h.disk, after: stop}
		h.entries = f
		err := (sweeper{h.Store}).clean(t.Context())
		h.open()
		for _, c := range children {
			if h.lives(c) {
				t.Fatalf("a child lives after the clean-up stopped at commit %d", stop)
			}
		}
		if again := (sweeper{h.Store}).clean(t.Context()); again != nil || h.left() != onlyRoot {
			t.Fatalf("stopped at %d: %v; left are %s", stop, again, h.left())
		}
		if err == nil {
			if stop < 5 {
				t.Errorf("only %d commits were there to stop at", stop)
			}
			return
		}
	}
}

// TestReleasedChildrenLiveThroughACrash is the same for a token that is revoked alone.
func TestReleasedChildrenLiveThroughACrash(t *testing.T) {
	t.Parallel()
	for stop := 0; ; stop++ {
		h := newHarness(t)
		top := h.make(h.root, CreateRequest{})
		var children []string
		for range 5 {
			children = append(children, h.make(h.mustIdentify(top.Text), CreateRequest{Policies: []string{"root"}}).Text)
		}
		if err := h.Release(t.Context(), h.mustIdentify(top.Text)); err != nil {
			t.Fatal(err)
		}
		h.entries = &failing{Entries: h.disk, after: stop}
		err := (sweeper{h.Store}).clean(t.Context())
		for range 2 {
			for _, c := range children {
				if !h.lives(c) {
					t.Fatalf("a child died when adoption stopped at commit %d", stop)
				}
			}
			h.open()
		}
		if again := (sweeper{h.Store}).clean(t.Context()); again != nil || h.keys(releasedPrefix) != 0 {
			t.Fatalf("stopped at %d: %v", stop, again)
		}
		for _, c := range children {
			if !h.mustIdentify(c).Token().Orphan() {
				t.Error("a child is no orphan")
			}
		}
		if err == nil {
			return
		}
	}
}

// TestLineageModel makes, revokes, releases and restarts at random and compares with a plain model.
func TestLineageModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		h := newHarness(t)
		type node struct {
			text   string
			parent int // -1: none
			gone   bool
		}
		var nodes []*node
		alive := func(n *node) bool {
			for ; ; n = nodes[n.parent] {
				if n.gone {
					return false
				}
				if n.parent < 0 {
					return true
				}
			}
		}
		for range rapid.IntRange(1, 40).Draw(rt, "steps") {
			pick := -1
			if len(nodes) > 0 {
				pick = rapid.IntRange(-1, len(nodes)-1).Draw(rt, "token")
			}
			op := rapid.SampledFrom([]string{"make", "make", "make", "revoke", "release", "clean", "restart"}).Draw(rt, "op")
			switch {
			case op == "clean":
				if err := (sweeper{h.Store}).clean(t.Context()); err != nil {
					rt.Fatal(err)
				}
			case op == "restart":
				h.open()
			case op == "make" && pick < 0:
				nodes = append(nodes, &node{h.make(h.root, CreateRequest{NoParent: true}).Text, -1, false})
			case pick < 0 || !alive(nodes[pick]):
			case op == "make":
				nodes = append(nodes, &node{h.make(h.mustIdentify(nodes[pick].text), CreateRequest{}).Text, pick, false})
			case op == "revoke":
				nodes[pick].gone = true
				if err := h.Revoke(t.Context(), nodes[pick].text); err != nil {
					rt.Fatal(err)
				}
			default:
				if err := h.Release(t.Context(), h.mustIdentify(nodes[pick].text)); err != nil {
					rt.Fatal(err)
				}
				nodes[pick].gone = true
				for _, n := range nodes {
					if n.parent == pick {
						n.parent = -1
					}
				}
			}
			for i, n := range nodes {
				if h.lives(n.text) != alive(n) {
					rt.Fatalf("token %d lives: %v; it should: %v", i, h.lives(n.text), alive(n))
				}
			}
		}
	})
}

// TestBlankPoliciesInheritNothing: a list of blanks, which a script with an unset variable sends,
// must not make a copy of the parent: of a root token above all.
func TestBlankPoliciesInheritNothing(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	if err := h.WritePolicy(t.Context(), PolicyWrite{Name: "make",
		Text: `path "auth/token/*" { capabilities = ["update"] }`}); err != nil {
		t.Fatal(err)
	}
	narrow := h.mustIdentify(h.make(h.root, CreateRequest{Policies: []string{"make"}, Path: "auth/token/create"}).Text)
	role := NewRole("r")
	role.AllowedPolicies = []string{"foo"}
	for _, blank := range [][]string{{""}, {" "}, {"", ""}, {"\t", " "}} {
		for what, made := range map[string]*Created{
			"of root":                   h.make(h.root, CreateRequest{Policies: blank}),
			"an orphan of root":         h.make(h.root, CreateRequest{Policies: blank, Orphan: true}),
			"a batch token of root":     h.make(h.root, CreateRequest{Policies: blank, Type: "batch"}),
			"by a role that allows foo": h.make(h.root, CreateRequest{Policies: blank, Role: role}),
			"of a narrow token":         h.make(narrow, CreateRequest{Policies: blank}),
		} {
			if got := strings.Join(made.Token.Policies, " "); got != "default" {
				t.Errorf("policies %q, %s: %q", blank, what, got)
			}
		}
	}
	if got := h.make(h.root, CreateRequest{}).Token.Policies; len(got) != 1 || got[0] != "root" {
		t.Errorf("without a list: %q", got)
	}
	login, err := h.Login(t.Context(), LoginRequest{Path: "auth/x/login", Policies: []string{" "}})
	if err != nil || strings.Join(login.Token.Policies, " ") != "default" {
		t.Errorf("a login: %v, %v", login, err)
	}
}
