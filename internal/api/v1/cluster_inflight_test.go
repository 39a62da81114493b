package v1

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

// depose ends the leader's term as a partition does, and waits for the next.
func (f *testCluster) depose() {
	f.t.Helper()
	f.hub.Depose()
	f.settled()
}

// TestCeremonyOverLeaders: a rekey with verification continues at the next leader with the shares
// that were given, whatever node they are given to, and its answer is had again there.
func TestCeremonyOverLeaders(t *testing.T) {
	t.Parallel()
	f := federate(t, 3)
	at := 0
	next := func() *testNode { at++; return f.nodes[at%3] }
	type status struct {
		Nonce             string   `json:"nonce"`
		Started           bool     `json:"started"`
		Progress          int      `json:"progress"`
		Complete          bool     `json:"complete"`
		Keys              []string `json:"keys"`
		VerificationNonce string   `json:"verification_nonce"`
	}
	call := func(method, path, body string) (s status) {
		t.Helper()
		code, text := next().do(method, path, body)
		if code != http.StatusOK {
			t.Fatalf("%s %s: %d %s", method, path, code, text)
		}
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	shares := f.init.RecoveryKeys
	for round := range 3 {
		begun := call("PUT", "sys/rekey-recovery-key/init", `{"secret_shares":3,"secret_threshold":2,"require_verification":true}`)
		f.depose()
		if s := call("PUT", "sys/rekey-recovery-key/update", fmt.Sprintf(`{"key":%q,"nonce":%q}`, shares[0],
			begun.Nonce)); s.Progress != 1 {
			t.Fatalf("round %d: %+v", round, s)
		}
		f.depose()
		if s := call("GET", "sys/rekey-recovery-key/init", ""); s.Progress != 1 || s.Nonce != begun.Nonce {
			t.Fatalf("round %d, at the next leader: %+v", round, s)
		}
		last := fmt.Sprintf(`{"key":%q,"nonce":%q}`, shares[1], begun.Nonce)
		made := call("PUT", "sys/rekey-recovery-key/update", last)
		f.depose()
		again := call("PUT", "sys/rekey-recovery-key/update", last) // the reply was lost
		if len(again.Keys) != 3 || fmt.Sprint(made.Keys) != fmt.Sprint(again.Keys) ||
			made.VerificationNonce != again.VerificationNonce {
			t.Fatalf("round %d: the answer is another one at the next leader", round)
		}
		for i, key := range made.Keys[:2] {
			f.depose()
			s := call("PUT", "sys/rekey-recovery-key/verify", fmt.Sprintf(`{"key":%q,"nonce":%q}`, key, made.VerificationNonce))
			if s.Complete != (i == 1) {
				t.Fatalf("round %d, new share %d: %+v", round, i+1, s)
			}
		}
		f.depose()
		if code, _ := next().do("POST", "sys/recovery/prove", fmt.Sprintf(`{"key":%q}`, shares[0])); code == http.StatusOK {
			t.Fatalf("round %d: a share of the previous set counts", round)
		}
		shares = made.Keys
		if code, text := next().do("POST", "sys/recovery/prove",
			fmt.Sprintf(`{"key":%q}`, shares[2])); code != http.StatusOK {
			t.Fatalf("round %d: a new share does not count: %d %s", round, code, text)
		}
	}
}

// unsure is a handle whose leader is made to be unsure of its leadership, as one that was stopped
// for a while is, and whose revision can be made not to be had.
type unsure struct {
	storage.Store
	shared
	doubt, unresponsive atomic.Bool
}

type shared interface {
	storage.Elector
	storage.Watcher
	storage.Sequencer
	storage.Snapshotter
}

type unsureLeadership struct {
	storage.Leadership
	of *unsure
}

func (o *unsureLeadership) Held() bool { return !o.of.doubt.Load() && o.Leadership.Held() }

func (u *unsure) Campaign(ctx context.Context, identity []byte) (storage.Leadership, error) {
	l, err := u.shared.Campaign(ctx, identity)
	if err != nil {
		return nil, err
	}
	return &unsureLeadership{l, u}, nil
}

func (u *unsure) Revision(ctx context.Context) (uint64, error) {
	if u.unresponsive.Load() {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return u.shared.Revision(ctx)
}

// TestUnsureLeader: a leader that cannot prove its leadership answers nothing, not even a refusal,
// and says so to who waits for it.
func TestUnsureLeader(t *testing.T) {
	t.Parallel()
	f := federate(t, 1)
	first := f.nodes[0]
	first.answer("POST", "secret/data/x", `{"data":{"k":"old"}}`)
	inner := f.hub.Open()
	u := &unsure{Store: inner, shared: inner}
	second := f.add(u)
	f.settled()
	first.answer("PUT", "sys/step-down", "")
	if l, _ := f.settled(); l != second {
		t.Fatalf("%s leads", l.name)
	}
	u.doubt.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for _, path := range []string{"secret/data/x", "secret/data/none"} {
		r, err := http.NewRequestWithContext(ctx, "GET", second.url+"/v1/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Vault-Token", f.root)
		if a, err := f.client.Do(r); err == nil {
			_ = a.Body.Close()
			if a.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%s: an unsure leader answered %d", path, a.StatusCode)
			}
		}
	}
	u.doubt.Store(false)
	second.answer("GET", "secret/data/x", "")
}

// TestStandbyThatCannotProve: a standby whose storage does not report the revision forwards what it
// would answer itself.
func TestStandbyThatCannotProve(t *testing.T) {
	t.Parallel()
	f := federate(t, 1)
	inner := f.hub.Open()
	u := &unsure{Store: inner, shared: inner}
	s := f.add(u)
	leader, _ := f.settled()
	leader.answer("POST", "secret/data/x", `{"data":{"k":"v"}}`)
	u.unresponsive.Store(true)
	s.answer("GET", "secret/data/x", "")
	if s.audited("secret/data/x") || !leader.audited("secret/data/x") {
		t.Error("a standby answered what it could not prove")
	}
	if code, text := s.do("GET", "sys/host-info", ""); code != http.StatusServiceUnavailable {
		t.Errorf("what is about the node itself: %d %s", code, text)
	}
	u.unresponsive.Store(false)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); { // the first request finds out that it can again
		if s.answer("GET", "secret/data/x", ""); s.audited("secret/data/x") {
			return
		}
	}
	t.Error("a standby forwards what it can prove")
}

// TestSettingsAreFollowed: quotas and origins that another node has set count.
func TestSettingsAreFollowed(t *testing.T) {
	t.Parallel()
	f := federate(t, 2)
	leader, standbys := f.settled()
	s := standbys[0]
	s.answer("GET", "sys/config/cors", "")
	leader.answer("POST", "sys/config/cors", `{"allowed_origins":["https://a.example"]}`)
	if got := s.answer("GET", "sys/config/cors", "")["data"].(map[string]any)["enabled"]; got != true {
		t.Errorf("CORS on a standby: %v", got)
	}
	leader.answer("POST", "sys/quotas/rate-limit/q", `{"rate":1,"interval":"1h","path":"secret/"}`)
	codes := map[int]int{}
	for range 3 {
		code, _ := s.do("GET", "secret/data/none", "")
		codes[code]++
	}
	if codes[http.StatusTooManyRequests] != 2 {
		t.Errorf("a quota that another node has set: %v", codes)
	}
	leader.answer("PUT", "sys/audit/more", `{"type":"file","options":{"file_path":"discard"}}`)
	devices := s.answer("GET", "sys/audit", "")["data"].(map[string]any)
	if devices["more/"] == nil {
		t.Errorf("an audit device that another node has enabled: %v", devices)
	}
}

// TestSnapshotsInACluster: saved and restored through a standby; the restore happens once, and all
// nodes continue with what it brought.
func TestSnapshotsInACluster(t *testing.T) {
	t.Parallel()
	f := federate(t, 3)
	_, standbys := f.settled()
	standbys[0].answer("POST", "secret/data/x", `{"data":{"k":"then"}}`)
	code, archive := standbys[0].do("GET", "sys/storage/raft/snapshot", "")
	if code != http.StatusOK {
		t.Fatalf("save: %d %s", code, archive)
	}
	standbys[0].answer("POST", "secret/data/x", `{"data":{"k":"later"}}`)
	begun := time.Now()
	if code, text := standbys[1].do("POST", "sys/storage/raft/snapshot", archive); code/100 != 2 {
		t.Fatalf("restore: %d %s", code, text)
	}
	t.Logf("the restore took %v", time.Since(begun))
	f.settled()
	restores := 0
	for _, n := range f.nodes {
		if got := n.answer("GET", "secret/data/x", "")["data"].(map[string]any)["data"].(map[string]any)["k"]; got != "then" {
			t.Errorf("%s reads %v", n.name, got)
		}
		restores += strings.Count(n.log.String(), "a snapshot replaced the data")
	}
	if restores != 1 {
		t.Errorf("%d restores", restores)
	}
}
