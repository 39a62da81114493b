package e2e

import (
	"fmt"
	"slices"
	"testing"
)

// TestSDKs: what programs written for Vault or OpenBao do with their libraries works by TLS,
// unmodified, under both kinds of seal.
func TestSDKs(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(*testing.T, string, *authority) sdk{"vault": vaultSDK, "openbao": baoSDK} {
		for _, custodians := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s shamir=%v", name, custodians), func(t *testing.T) {
				t.Parallel()
				r := newShamirHarness(t)
				if !custodians {
					r = newStaticHarness(t)
				}
				a, _ := r.useTLS(t, "")
				r.startTLS(a)
				s := &sdkStory{t: t, harness: r, custodians: custodians, sdk: open(t, r.Addr, a)}
				s.lifecycle()
				s.rekey()
				s.rotate()
				s.logical()
			})
		}
	}
}

type sdkStory struct {
	sdk
	t          *testing.T
	harness    *harness
	custodians bool
	shares     []string
}

func (s *sdkStory) ok(what string, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatalf("%s: %v", what, err)
	}
}

func (s *sdkStory) want(what string, err error, got, want any) {
	s.t.Helper()
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		s.t.Fatalf("%s: %v, %v; want %v", what, got, err, want)
	}
}

func (s *sdkStory) lifecycle() {
	done, err := s.initialized()
	s.want("InitStatus", err, done, false)
	initialized, sealed, err := s.health()
	s.want("Health", err, []bool{initialized, sealed}, []bool{false, true})
	var root string
	s.shares, root, err = s.init(s.custodians)
	s.want("Init", err, len(s.shares), 3)
	s.harness.known.add("the root token", root)
	s.token(root)
	if s.custodians {
		s.unsealAll()
	}
	st, err := s.status()
	s.want("SealStatus", err, st, sdkStatus{true, false, 2, 3, 0})
	ha, err := s.ha()
	s.want("Leader", err, ha, false)
	s.ok("Seal", s.seal())
	initialized, sealed, err = s.health()
	s.want("Health", err, []bool{initialized, sealed}, []bool{true, true})
	open, err := s.unseal(s.shares[0])
	s.want("Unseal", err, open, false)
	progress, err := s.reset()
	s.want("ResetUnsealProcess", err, progress, 0)
	s.unsealAll()
}

func (s *sdkStory) unsealAll() {
	s.t.Helper()
	open := false
	var err error
	for i := 0; !open && i < len(s.shares); i++ {
		s.harness.known.addShare(s.shares[i])
		open, err = s.unseal(s.shares[i])
		s.ok("Unseal", err)
	}
	if !open {
		s.t.Fatal("still sealed")
	}
}

func (s *sdkStory) rekey() {
	recovery := !s.custodians
	nonce, err := s.rekeyStart(recovery)
	s.ok("RekeyInit", err)
	s.ok("RekeyCancel", s.rekeyCancel(recovery, nonce))
	started, progress, err := s.rekeyStatus(recovery)
	s.want("RekeyStatus", err, []any{started, progress}, []any{false, 0})
	nonce, err = s.rekeyStart(recovery)
	s.ok("RekeyInit", err)
	s.harness.known.add("a nonce", nonce)
	complete, _, err := s.rekeyGive(recovery, s.shares[0], nonce)
	s.want("RekeyUpdate", err, complete, false)
	started, progress, err = s.rekeyStatus(recovery)
	s.want("RekeyStatus", err, []any{started, progress}, []any{true, 1})
	if _, _, err := s.rekeyGive(recovery, s.shares[0], nonce); err == nil {
		s.t.Error("the same share twice was accepted")
	}
	complete, fresh, err := s.rekeyGive(recovery, s.shares[2], nonce)
	s.want("RekeyUpdate", err, []any{complete, len(fresh)}, []any{true, 4})
	old := s.shares
	s.shares = fresh
	s.ok("Seal", s.seal())
	s.unsealAll()
	if recovery { // the barrier can be rekeyed by recovery shares; nothing is handed out then
		nonce, err = s.rekeyStart(false)
		s.ok("RekeyInit", err)
		if _, _, err := s.rekeyGive(false, old[0], nonce); err == nil {
			s.t.Error("an old share was accepted")
		}
		for i, share := range fresh[:3] {
			complete, keys, err := s.rekeyGive(false, share, nonce)
			s.want("RekeyUpdate", err, []any{complete, len(keys)}, []any{i == 2, 0})
		}
	}
}

func (s *sdkStory) rotate() {
	before, err := s.term()
	s.ok("KeyStatus", err)
	for _, f := range s.rotations {
		s.ok("Rotate", f())
	}
	after, err := s.term()
	if err != nil || after <= before {
		s.t.Errorf("term %d, then %d, %v", before, after, err)
	}
}

func (s *sdkStory) logical() {
	s.ok("Mount", s.mount("team/secrets"))
	mounts, err := s.mounts()
	if err != nil || !slices.Contains(mounts, "team/secrets/") || !slices.Contains(mounts, "sys/") {
		s.t.Errorf("ListMounts: %v, %v", mounts, err)
	}
	s.ok("Write", s.write("team/secrets/a/b", map[string]any{"user": "alice", "n": 12345678901234567,
		"list": []string{"x"}}))
	got, err := s.read("team/secrets/a/b")
	s.want("Read", err, got, map[string]any{"user": "alice", "n": 12345678901234567, "list": []string{"x"}})
	got, err = s.list("team/secrets/a")
	s.want("List", err, got, map[string]any{"keys": []string{"b"}})
	s.ok("Delete", s.remove("team/secrets/a/b"))
	got, err = s.read("team/secrets/a/b")
	s.want("Read of nothing", err, got, map[string]any(nil))
	got, err = s.list("team/secrets/a")
	s.want("List of nothing", err, got, map[string]any(nil))
	s.ok("Unmount", s.unmount("team/secrets"))
	if err := s.write("team/secrets/a", map[string]any{"x": "y"}); err == nil {
		s.t.Error("a write to what was unmounted was accepted")
	}
	s.token("s.000000000000000000000000")
	if _, err := s.read("team/secrets/a"); err == nil {
		s.t.Error("an unknown token could read")
	}
}
