package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/audit"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/seals"
)

// aging is a seal whose key gets newer versions, and may be scheduled for deletion.
type aging struct {
	*flaky
	mu       sync.Mutex
	version  int
	deletion time.Time
}

func (a *aging) change(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

func (a *aging) KeyVersion(context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return fmt.Sprint(a.version), nil
}

func (a *aging) Describe(ctx context.Context) (seals.KeyState, error) {
	v, err := a.KeyVersion(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	return seals.KeyState{Version: v, Latest: v, State: "enabled", DeletionDate: a.deletion}, err
}

// journal is a log that a test reads while it is written.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.b.String(), text)
}

// oldAge is a node on a seal whose key ages, with an audit file.
func oldAge(t *testing.T, trail bool) (*harness, *aging, *Node, *journal, string) {
	h := newHarness(t)
	a := &aging{flaky: h.wrap, version: 1}
	log, file := &journal{}, filepath.Join(t.TempDir(), "audit.log")
	cfg := Config{
		Store: h.store, StorageType: "inmem", Seals: h.set(seals.Seal{Name: "box", Type: "static", Wrapper: a}), Now: h.clock,
		Log: slog.New(slog.NewTextHandler(log, nil)),
		Timing: Timing{Probe: 5 * time.Millisecond, ProbeFailing: 5 * time.Millisecond, Describe: 10 * time.Millisecond,
			RetryMin: time.Millisecond,
			RetryMax: 4 * time.Millisecond},
	}
	if trail {
		tr,
			err :=
			audit.New(audit.Options{Declared: []audit.Config{{Path: "file/", Type: "file",
				Options: map[string]string{"file_path": file}, Declared: true}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := tr.Close(); err != nil {
				t.Error(err)
			}
		})
		cfg.Trail = tr
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); n.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	if _, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1}); err != nil {
		t.Fatal(err)
	}
	return h, a, n, log, file
}

func (h *harness) version() string {
	h.t.Helper()
	r, err := seals.UnmarshalRecord([]byte(h.raw(keySealed)))
	if err != nil {
		h.t.Fatal(err)
	}
	return r.Parts[0].KeyVersion
}

// TestRewrapByItself: when a seal's key has a newer version, the root key is wrapped by it
// automatically, once; the log and the audit trail report it.
func TestRewrapByItself(t *testing.T) {
	t.Parallel()
	h, a, n, log, file := oldAge(t, true)
	h.write(n, "a", "1")
	generation, keyring := n.state.Load().record.Generation, h.raw("core/keyring")
	for v := 2; v <= 4; v++ {
		a.change(func() { a.version = v })
		eventually(t, "wrapped by the newest version", func() bool { return h.version() == fmt.Sprint(v) })
	}
	eventually(t, "nothing is due any more", func() bool {
		st, err := n.SealStatus(t.Context())
		return err == nil && st.FullyWrapped && st.Seals[0].KeyVersion == "4" && len(st.Seals[0].Needed) == 1 &&
			st.Seals[0].Needed[0].KeyVersion == "4"
	})
	if n.state.Load().record.Generation != generation || h.raw("core/keyring") != keyring {
		t.Error("more than the blob changed")
	}
	if got := log.count("old_version=3"); got != 1 || log.count("new_version=4") != 1 {
		t.Errorf("the log reports it %d times", got)
	}
	var entries []string
	eventually(t, "the audit trail has the request and the response", func() bool {
		entries = nil
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			var e struct {
				Type    string
				Request struct {
					Path string
					Data map[string]string
				}
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatal(err)
			}
			if e.Request.Path == "sys/sealwrap/rewrap" {
				entries = append(entries, fmt.Sprint(e.Type, e.Request.Data))
			}
		}
		return len(entries) == 6
	})
	if entries[0] != "requestmap[new_version:2 old_version:1 seal:box]" || !strings.HasPrefix(entries[5], "response") {
		t.Errorf("%q", entries)
	}
	h.mustRead(n, "a", "1")
}

// TestRewrapThatFails: the old record stays, the log says what to do, and it works when the seal
// does.
func TestRewrapThatFails(t *testing.T) {
	t.Parallel()
	h, a, n, log, _ := oldAge(t, false)
	old := n.state.Load().record
	st, err := n.SealStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h.wrap.set(seals.Fail(seals.Denied, errors.New("no kms:Encrypt"), "grant kms:Encrypt"))
	a.change(func() { a.version = 2 })
	n.keeper.rewrap(t.Context(), st.Seals[0])
	n.keeper.rewrap(t.Context(), st.Seals[0])
	if n.state.Load().record != old || h.version() != "1" {
		t.Error("the record changed although the seal refused")
	}
	if log.count("grant kms:Encrypt") == 0 || log.count("the old version is still needed") != 1 {
		t.Error("the log does not say once what failed and what to do")
	}
	h.wrap.set(nil)
	eventually(t, "the seal would unseal again", func() bool { return n.Health().WouldUnseal })
	if err := n.keeper.rewrapOne(t.Context(), n.role.Load(), st.Seals[0], admin); err != nil || h.version() != "2" {
		t.Errorf("%v, version %s", err, h.version())
	}
}

// TestRewrapMeetsRotation: what was sealed anew while the seal was asked is not undone.
func TestRewrapMeetsRotation(t *testing.T) {
	t.Parallel()
	h, a, n, _, _ := oldAge(t, false)
	st, err := n.SealStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	a.change(func() { a.version = 2 })
	n.transition.Lock()
	failed := make(chan error)
	go func() { failed <- n.keeper.rewrapOne(t.Context(), n.role.Load(), st.Seals[0], admin) }()
	next := *n.state.Load().record
	n.change(func(f *nodeState) { f.record = &next })
	n.transition.Unlock()
	if err := <-failed; err != nil && !fault.Is(err, fault.Unavailable) {
		t.Error(err)
	}
	if err := n.RotateRoot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h.version() != "2" || n.state.Load().record.Generation != 2 {
		t.Error("the new root key is not what is stored")
	}
}

// TestDeletionAlarm: a key that will be destroyed is reported at once, once a day, in health and
// status, until that is cancelled.
func TestDeletionAlarm(t *testing.T) {
	t.Parallel()
	h, a, n, log, _ := oldAge(t, false)
	at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	a.change(func() { a.deletion = at })
	eventually(t, "health reports the date", func() bool { return n.Health().KeyDeletion.Equal(at) })
	const line = "will be destroyed at 2026-02-03T04:05:06Z"
	eventually(t, "the log reports the date", func() bool {
		return log.count("deletion="+at.Format(time.RFC3339)) == 1 &&
			log.count(line) == 1
	})
	st, err := n.SealStatus(t.Context())
	if err != nil || len(st.Warnings) != 1 || !strings.Contains(st.Warnings[0], line) {
		t.Errorf("%v, %q", err, st.Warnings)
	}
	h.wait(25 * time.Hour)
	eventually(t, "the log repeats it the next day", func() bool { return log.count(line) == 2 })
	a.change(func() { a.deletion = at.Add(24 * time.Hour) })
	eventually(t, "the log reports another date", func() bool { return log.count("2026-02-04T04:05:06Z") > 0 })
	a.change(func() { a.deletion = time.Time{} })
	eventually(t, "the log reports the end", func() bool { return log.count("no longer scheduled for deletion") == 1 })
	if !n.Health().KeyDeletion.IsZero() {
		t.Error("health still reports it")
	}
}

var _ wrapping.Wrapper = (*aging)(nil)
