package adversary

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/e2e"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/bbolt"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// victim is a server that an attacker works on.
type victim struct {
	*e2e.Server
	t      *testing.T
	seal   string
	root   string
	shares []string
}

// newVictim starts and initialises a server: three recovery shares, two of which count.
func newVictim(t *testing.T, config string) *victim {
	t.Helper()
	return newVictimUnder(t, staticSeal, config)
}

// newVictimUnder takes the seal, and variables for the environment.
func newVictimUnder(t *testing.T, seal, config string, env ...string) *victim {
	t.Helper()
	addr, err := e2e.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	env = append(env, "GORACE=atexit_sleep_ms=0")
	v := &victim{Server: &e2e.Server{Bin: binary, Dir: t.TempDir(), Addr: addr, Env: env}, t: t, seal: seal}
	v.configure(config)
	t.Cleanup(func() {
		if err := v.Stop(); err != nil {
			t.Errorf("%v\n%s", err, v.Log())
		}
	})
	v.start()
	var out struct {
		RootToken    string   `json:"root_token"`
		RecoveryKeys []string `json:"recovery_keys"`
	}
	v.decode(v.must(200, "PUT", "sys/init", map[string]int{"recovery_shares": 3, "recovery_threshold": 2}), &out)
	v.root, v.shares = out.RootToken, out.RecoveryKeys
	if err := v.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	return v
}

func (v *victim) configure(config string) {
	v.t.Helper()
	if err := v.WriteConfig(e2e.Config(v.Addr, v.seal) + config); err != nil {
		v.t.Fatal(err)
	}
}

func (v *victim) start() {
	v.t.Helper()
	if err := v.Start(); err != nil {
		v.t.Fatal(err)
	}
	if err := v.UntilUp(); err != nil {
		v.t.Fatalf("%v\n%s", err, v.Log())
	}
}

func (v *victim) stop() {
	v.t.Helper()
	if err := v.Stop(); err != nil {
		v.t.Fatal(err)
	}
}

func (v *victim) must(code int, method, path string, body any) e2e.Reply {
	v.t.Helper()
	reply, err := v.Do(v.t.Context(), method, path, v.root, body)
	if err != nil || reply.Code != code {
		v.t.Fatalf("%s %s: %d %s, %v; want %d", method, path, reply.Code, reply.Body, err, code)
	}
	return reply
}

func (v *victim) decode(reply e2e.Reply, into any) {
	v.t.Helper()
	if err := reply.Decode(into); err != nil {
		v.t.Fatal(err)
	}
}

// rekey replaces the recovery shares.
func (v *victim) rekey() {
	v.t.Helper()
	var st struct{ Nonce string }
	start := map[string]int{"secret_shares": 3, "secret_threshold": 2}
	v.decode(v.must(200, "PUT", "sys/rekey-recovery-key/init", start), &st)
	var done struct {
		Complete bool
		Keys     []string
	}
	for _, share := range v.shares[:2] {
		give := map[string]string{"key": share, "nonce": st.Nonce}
		v.decode(v.must(200, "PUT", "sys/rekey-recovery-key/update", give), &done)
	}
	if !done.Complete || len(done.Keys) != 3 {
		v.t.Fatalf("the rekey did not complete: %+v", done)
	}
	v.shares = done.Keys
}

// edit changes the bytes in the storage of a stopped server, as who has the disk does.
func (v *victim) edit(change func(ctx context.Context, s storage.Store) error) {
	v.t.Helper()
	s, err := bbolt.Open(v.t.Context(), filepath.Join(v.Dir, "data"), bbolt.Options{})
	if err != nil {
		v.t.Fatal(err)
	}
	if err := change(v.t.Context(), s); err != nil {
		v.t.Error(err)
	}
	if err := s.Close(); err != nil {
		v.t.Fatal(err)
	}
}

// read returns an entry of a stopped server.
func (v *victim) read(key string) (value []byte) {
	v.t.Helper()
	v.edit(func(ctx context.Context, s storage.Store) (err error) {
		value, err = s.Get(ctx, key)
		return err
	})
	return value
}

func put(ctx context.Context, s storage.Store, key string, value []byte) error {
	return s.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put(key, value)}})
}

// forgeRecord changes the sealed record.
func forgeRecord(ctx context.Context, s storage.Store, change func(*seals.Record)) error {
	raw, err := s.Get(ctx, "core/seal")
	if err != nil {
		return err
	}
	record, err := seals.UnmarshalRecord(raw)
	if err != nil {
		return err
	}
	change(record)
	if raw, err = record.Marshal(); err != nil {
		return err
	}
	return put(ctx, s, "core/seal", raw)
}

// staysShut checks that a started server does not open, and that its seal-status says why.
func (v *victim) staysShut(why string) {
	v.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		reply, err := v.Do(v.t.Context(), "GET", "sys/seal-status", "", nil)
		if err != nil {
			v.t.Fatal(err)
		}
		var st struct{ Sealed bool }
		v.decode(reply, &st)
		if !st.Sealed {
			v.t.Fatalf("the server opened a storage that the attacker changed:\n%s", v.Log())
		}
		if strings.Contains(v.Log(), why) {
			return
		}
		if time.Now().After(deadline) {
			v.t.Fatalf("the log does not say %q:\n%s", why, v.Log())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestDiskWriterAtRest: an attacker can write the storage of a stopped server.
func TestDiskWriterAtRest(t *testing.T) {
	t.Parallel()
	mine, _, err := recovery.NewShareSet(recovery.Barrier, nil, 1, 1, rand.Reader, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		goal    string
		act     func(*testing.T, *victim) // leaves the server stopped
		outcome string
	}{
		{
			goal: "have the next root key wrapped to the attacker's share set",
			act: func(_ *testing.T, v *victim) {
				v.stop()
				v.edit(func(ctx context.Context, s storage.Store) error {
					return forgeRecord(ctx, s, func(r *seals.Record) { r.ShareSet = mine.Marshal() })
				})
			},
			outcome: "not unsealed",
		},
		{
			goal: "have the next root key wrapped to a forged previous share set",
			act: func(_ *testing.T, v *victim) {
				v.stop()
				v.edit(func(ctx context.Context, s storage.Store) error {
					return forgeRecord(ctx, s, func(r *seals.Record) {
						r.Previous = &seals.Previous{ShareSet: mine.Marshal(), Part: r.Parts[0]}
					})
				})
			},
			outcome: "not unsealed",
		},
		{
			goal: "bring back recovery shares that were replaced",
			act: func(_ *testing.T, v *victim) {
				v.stop()
				old := v.read("core/custody/recovery")
				v.start()
				if err := v.UntilUnsealed(); err != nil {
					v.t.Fatal(err)
				}
				v.rekey()
				v.stop()
				v.edit(func(ctx context.Context, s storage.Store) error { return put(ctx, s, "core/custody/recovery", old) })
			},
			outcome: "core/custody/recovery was changed outside this program",
		},
		{
			goal: "cut off the end of the ceremony transcript",
			act: func(_ *testing.T, v *victim) {
				v.rekey()
				v.stop()
				old := v.read("core/transcript/head")
				v.start()
				if err := v.UntilUnsealed(); err != nil {
					v.t.Fatal(err)
				}
				v.rekey()
				v.stop()
				v.edit(func(ctx context.Context, s storage.Store) error { return put(ctx, s, "core/transcript/head", old) })
			},
			outcome: "core/transcript/head was changed outside this program",
		},
		{
			goal: "remove the attestation",
			act: func(_ *testing.T, v *victim) {
				v.stop()
				v.edit(func(ctx context.Context, s storage.Store) error {
					return s.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Delete("core/cluster")}})
				})
			},
			outcome: "not unsealed",
		},
	} {
		t.Run(strings.ReplaceAll(row.goal, " ", "-"), func(t *testing.T) {
			t.Parallel()
			v := newVictim(t, "")
			row.act(t, v)
			v.start()
			v.staysShut(row.outcome)
		})
	}
}

// TestRolledBackStorage: attacker: who puts back a copy of the whole storage; goal: revive what was
// revoked since; outcome: the anchor on the node's own disk refuses, and names the deliberate way
// past it.
func TestRolledBackStorage(t *testing.T) {
	t.Parallel()
	elsewhere := filepath.Join(t.TempDir(), "anchor.json")
	v := newVictim(t, fmt.Sprintf("anchor \"file\" {\n  path = %q\n}\n", elsewhere))
	v.stop()
	data, kept := filepath.Join(v.Dir, "data"), filepath.Join(v.Dir, "kept")
	if err := os.CopyFS(kept, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	v.start()
	if err := v.UntilUnsealed(); err != nil {
		t.Fatal(err)
	}
	v.must(204, "POST", "auth/token/revoke-self", nil)
	v.stop()
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(data, os.DirFS(kept)); err != nil {
		t.Fatal(err)
	}
	v.start()
	v.staysShut("the storage was rolled back")
	_, rest, ok := strings.Cut(v.Log(), "-accept-rollback=")
	if !ok {
		t.Fatalf("the log does not name the way past the anchor:\n%s", v.Log())
	}
	accept := strings.FieldsFunc(rest, func(r rune) bool { return strings.ContainsRune(" \"'\n\\;", r) })[0]
	v.stop()
	if err := v.Start("-accept-rollback=" + accept); err != nil {
		t.Fatal(err)
	}
	if err := v.UntilUnsealed(); err != nil {
		t.Fatalf("%v\n%s", err, v.Log())
	}
}
