package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage/etcd/etcdtest"
	"github.com/sealgate/sealgate/internal/storage/postgres/pgtest"
)

// rewrapReply is the answer of sys/rotate/rewrap.
type rewrapReply struct {
	State     string `json:"state"`
	Entries   int64  `json:"entries"`
	Remaining int64  `json:"remaining"`
	Retired   []int  `json:"retired_terms"`
	Damaged   []string
	Problem   string
	Change    []struct{ What string } `json:"change_outside"`
}

type termsReply struct {
	Term  int
	Exact bool
	Terms []struct {
		Term           int
		Active         bool
		Entries, Bytes int64
	}
}

// rewrapped rotates with a rewrap of another kind, and waits for its end.
func rewrapped(kind string) func(w *scenarioRun) error {
	return func(w *scenarioRun) error {
		body := map[string]any{"rewrap": true, kind: true}
		if err := w.do(200, "PUT", "sys/rotate", body, nil); err != nil {
			return err
		}
		return w.awaitRewrap()
	}
}

// awaitRewrap waits for the end of a rewrap.
func (w *scenarioRun) awaitRewrap() error {
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		var r struct{ Data rewrapReply }
		if err := w.do(200, "GET", "sys/rotate/rewrap", nil, &r); err != nil {
			return err
		}
		switch {
		case r.Data.State == "done", r.Data.State == "none":
			return nil
		case r.Data.State != "running", time.Now().After(deadline):
			return fmt.Errorf("the rewrap has the state %+v", r.Data)
		}
	}
}

// judgeRewrap: what was begun ends after the crash, all data reads, and no term is left that was to
// be destroyed. least is the generation of the root key after a compromise that was committed.
func judgeRewrap(least int) func(t *testing.T, w *scenarioRun) {
	return func(t *testing.T, w *scenarioRun) {
		w.unseal(t, w.old)
		if err := w.awaitRewrap(); err != nil {
			t.Fatal(err)
		}
		var r struct{ Data termsReply }
		w.harness.decode(w.harness.must(200, "GET", "sys/key-status", nil), &r)
		if r.Data.Term > least && w.begun(t) && (len(r.Data.Terms) != 1 || !r.Data.Terms[0].Active) {
			t.Errorf("after the rewrap the terms are %+v", r.Data.Terms)
		}
		w.judge(t, scenario{})
	}
}

// begun reports whether the rewrap was stored before the crash.
func (w *scenarioRun) begun(t *testing.T) bool {
	t.Helper()
	var r struct{ Data rewrapReply }
	w.harness.decode(w.harness.must(200, "GET", "sys/rotate/rewrap", nil), &r)
	return r.Data.State == "done"
}

func (f *Cluster) keyStatus(t *testing.T, i int) (out termsReply) {
	t.Helper()
	var r struct{ Data termsReply }
	f.Must(i, "GET", "sys/key-status", "", &r)
	return r.Data
}

// ended waits until the rewrap has ended on any leader.
func (f *Cluster) rewrapEnded(t *testing.T) rewrapReply {
	t.Helper()
	var last string
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		i := slices.IndexFunc(f.Nodes, func(s *Server) bool { return s.Pid() != 0 })
		r, err := f.Nodes[i].Do(t.Context(), "GET", "sys/rotate/rewrap", f.Root, nil)
		if err != nil || r.Code != http.StatusOK {
			last = fmt.Sprint(err, string(r.Body))
			continue
		}
		var out struct{ Data rewrapReply }
		if err := r.Decode(&out); err != nil {
			t.Fatal(err)
		}
		if out.Data.State == "done" || out.Data.State == "failed" {
			return out.Data
		}
		last = fmt.Sprintf("%+v", out.Data)
	}
	t.Fatalf("the rewrap does not end: %s", last)
	return rewrapReply{}
}

// exact waits until the census is exact.
func (f *Cluster) exact(t *testing.T) termsReply {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if s := f.keyStatus(t, f.Settled()); s.Exact {
			return s
		}
	}
	t.Fatal("the census does not become exact")
	return termsReply{}
}

// rewraps rewraps all data of a cluster under a kill -9 of its leader, and then replaces keys that
// are compromised.
func (f *Cluster) rewraps(t *testing.T) {
	ctx := t.Context()
	const entries = 120
	for i := range entries {
		if !f.Put(ctx, f.Settled(), fmt.Sprint("k", i), fmt.Sprint("value ", i)) {
			t.Fatal("a write was refused")
		}
	}
	before := f.exact(t)
	if len(before.Terms) != 1 || before.Terms[0].Entries < entries {
		t.Fatalf("the census is %+v", before)
	}
	leader := f.Settled()
	f.Must(leader, "PUT", "sys/rotate", `{"rewrap":true,"retire":true,"rate":60}`, nil)
	if err := f.Nodes[leader].Kill(); err != nil {
		t.Fatal(err)
	}
	f.Settled()
	f.Must(f.Settled(), "PUT", "sys/rotate/rewrap/resume", `{"rate":0}`, nil)
	if r := f.rewrapEnded(t); r.State != "done" || !slices.Equal(r.Retired, []int{1}) {
		t.Fatalf("the rewrap ended as %+v", r)
	}
	if err := f.Nodes[leader].Start(); err != nil {
		t.Fatal(err)
	}
	if f.shares {
		if err := f.Nodes[leader].UntilUp(); err != nil {
			t.Fatal(err)
		}
		f.Unseal(leader)
	}
	f.readsAll(t, entries)
	after := f.exact(t)
	if len(after.Terms) != 1 || after.Terms[0].Term != 2 || after.Terms[0].Entries < before.Terms[0].Entries {
		t.Errorf("the census was %+v, and is %+v", before, after)
	}

	batch := f.batchToken(t)
	f.Must(f.Settled(), "PUT", "sys/rotate", `{"compromised":true}`, nil)
	r := f.rewrapEnded(t)
	if r.State != "done" || len(r.Change) == 0 {
		t.Fatalf("the replacement of the keys ended as %+v", r)
	}
	f.readsAll(t, entries)
	if s := f.exact(t); len(s.Terms) != 1 || s.Terms[0].Term != 3 {
		t.Errorf("after a compromise the terms are %+v", s.Terms)
	}
	for i, s := range f.Nodes {
		if r, err := s.Do(ctx, "GET", "kv/data/k1", batch, nil); err != nil || r.Code != http.StatusForbidden {
			t.Errorf("node %d takes a batch token of the old term: %d %v", i, r.Code, err)
		}
	}
}

func (f *Cluster) batchToken(t *testing.T) string {
	t.Helper()
	var r struct {
		Auth struct {
			ClientToken string `json:"client_token"`
		}
	}
	f.Must(f.Settled(), "PUT", "sys/policies/acl/reader", `{"policy":"path \"kv/*\" { capabilities = [\"read\"] }"}`, nil)
	f.Must(f.Settled(), "POST", "auth/token/create", `{"type":"batch","policies":["reader"]}`, &r)
	token := r.Auth.ClientToken
	for i, s := range f.Nodes { // also cached there
		if r, err := s.Do(t.Context(), "GET", "kv/data/k1", token, nil); err != nil || r.Code != http.StatusOK {
			t.Fatalf("node %d refuses the batch token: %d %s %v", i, r.Code, r.Body, err)
		}
	}
	return token
}

func (f *Cluster) readsAll(t *testing.T, entries int) {
	t.Helper()
	f.Settled()
	for i := range entries {
		node := i % len(f.Nodes)
		if got, code := f.Get(t.Context(), node, fmt.Sprint("k", i)); got != fmt.Sprint("value ", i) {
			t.Fatalf("node %d: k%d = %q, %d", node, i, got, code)
		}
	}
}

func TestRewrapOnEtcd(t *testing.T) {
	t.Parallel()
	c := etcdtest.Start(t, etcdtest.Options{NoSync: true})
	f := NewCluster(t, binary, func(int) string {
		return OnEtcd(c.Direct[0])
	}, 3)
	f.Begin()
	f.rewraps(t)
}

func TestRewrapOnPostgres(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t)
	database := s.Database(t)
	f := NewShamirCluster(t, binary, func(int) string {
		return OnPostgres(database)
	}, 2)
	f.Begin()
	f.rewraps(t)
	if log := f.Nodes[0].Log() + f.Nodes[1].Log(); !strings.Contains(log, "issues certificates from a new authority") {
		t.Error("no leader stepped down after the compromise")
	}
}
