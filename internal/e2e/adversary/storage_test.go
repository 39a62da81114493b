package adversary

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

// mallory makes a share set of the attacker's, of one share.
func mallory(t *testing.T, of recovery.Target) (*recovery.ShareSet, string) {
	t.Helper()
	set, shares, err := recovery.NewShareSet(of, nil, 1, 1, rand.Reader, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return set, hex.EncodeToString(shares[0].Expose())
}

// TestStorageWriterRootTokenOnLiveData: the attacker puts his own share set into the sealed record
// of an unsealed server, makes it reload by sys/init, and generates a root token with his share.
func TestStorageWriterRootTokenOnLiveData(t *testing.T) {
	t.Parallel()
	a := newTarget(t, shamirSeal, "")
	set, share := mallory(t, recovery.Barrier)
	a.forge(func(r *seals.Record) { r.ShareSet = set.Marshal() })
	if r := a.do("PUT", "sys/init", "", map[string]int{"secret_shares": 1, "secret_threshold": 1}); r.Code != 400 {
		t.Errorf("sys/init on an unsealed server: %d %s", r.Code, r.Body)
	}
	var attempt struct{ Nonce, OTP string }
	a.must(200, "PUT", "sys/generate-root/attempt", "", map[string]string{}, &attempt)
	r := a.do("PUT", "sys/generate-root/update", "", map[string]string{"key": share, "nonce": attempt.Nonce})
	if r.Code != 400 || bytes.Contains(r.Body, []byte("encoded_root_token\":\"")) {
		t.Errorf("the attacker's share: %d %s", r.Code, r.Body)
	}
	// The genuine custodians are not locked out.
	for i, s := range a.shares[:2] {
		var out struct {
			Complete bool
			Token    string `json:"encoded_root_token"`
		}
		a.must(200, "PUT", "sys/generate-root/update", "", map[string]string{"key": s, "nonce": attempt.Nonce}, &out)
		if out.Complete != (i == 1) || out.Complete && out.Token == "" {
			t.Errorf("share %d: %+v", i+1, out)
		}
	}
}

// TestStorageWriterRootKeyWrappedToHim: the attacker has his public key in the record, as the
// current or as the previous share set, when an administrator renews the root key.
func TestStorageWriterRootKeyWrappedToHim(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*seals.Record, *recovery.ShareSet){
		"current": func(r *seals.Record, s *recovery.ShareSet) { r.ShareSet = s.Marshal() },
		"previous": func(r *seals.Record, s *recovery.ShareSet) {
			r.Previous = &seals.Previous{ShareSet: s.Marshal(), Part: r.Parts[0]}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newTarget(t, shamirSeal, "")
			set, _ := mallory(t, recovery.Barrier)
			a.forge(func(r *seals.Record) { change(r, set) })
			before := a.record().Generation
			r := a.do("PUT", "sys/rotate/root", a.root, nil)
			if r.Code/100 == 2 && a.record().Generation == before {
				t.Errorf("the renewal reports %d and wrote nothing", r.Code)
			}
			now := a.record()

			if now.Generation != before && (bytes.Equal(now.ShareSet, set.Marshal()) || now.Previous != nil) {
				t.Errorf("the new root key is wrapped to the attacker's share set")
			}
			if err := a.Until(time.Minute, "unsealed", healthy); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestStorageWriterRestart: a store whose record was exchanged does not open at the next start, and
// says why.
func TestStorageWriterRestart(t *testing.T) {
	t.Parallel()
	a := newTarget(t, staticSeal, "")
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	a.forge(func(r *seals.Record) { r.Threshold, r.Generation = 1, r.Generation+1 })
	a.start()
	a.sealedFor("not unsealed")
}

// TestStorageWriterOldRecord: the record as it was before a renewal of the root key is refused.
func TestStorageWriterOldRecord(t *testing.T) {
	t.Parallel()
	a := newTarget(t, staticSeal, "")
	old := a.stored("core/seal")
	a.must(204, "PUT", "sys/rotate/root", a.root, nil, nil)
	if err := a.Stop(); err != nil {
		t.Fatal(err)
	}
	a.overwrite("core/seal", old)
	a.start()
	a.sealedFor("not unsealed")
}

// sealedFor waits until the log names a cause, and sees that the server stays sealed.
func (a *target) sealedFor(cause string) {
	a.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !strings.Contains(a.Log(), "unseal") || cause != "" && !strings.Contains(a.Log(), cause) {
		if time.Now().After(deadline) {
			a.t.Fatalf("no cause that names %q within a minute", cause)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if r := a.do("GET", "sys/seal-status", "", nil); !bytes.Contains(r.Body, []byte(`"sealed":true`)) {
		a.t.Errorf("the server opened a forged store: %s", r.Body)
	}
}

// TestStorageWriterChangesThePolicy: the attacker edits the policy of a record with groups, and no
// configuration demands one. The server opens none of his records, and the genuine one again.
func TestStorageWriterChangesThePolicy(t *testing.T) {
	t.Parallel()
	const box = "seal \"static\" %q {\n  current_key_id = \"k\"\n  current_key = %q\n}\n"
	var stanzas string
	for _, name := range []string{"a", "b", "c"} {
		stanzas += fmt.Sprintf(box, name, strings.Repeat("0"+name, 32))
	}
	a := newTarget(t, stanzas, "")
	policy := map[string]string{"policy": "any(a, b) and c"}
	a.must(200, "PUT", "sys/seals/policy", a.root, policy, nil)
	genuine := a.stored("core/seal")
	if r := a.record(); r.Version != 3 || r.Plan().Expression() != "any(a, b) and c" {
		t.Fatalf("version %d, %s", r.Version, r.Plan())
	}
	for name, change := range map[string]func(*seals.Record){
		"threshold":   func(r *seals.Record) { r.Threshold = 1 },
		"group order": func(r *seals.Record) { r.Terms = []seals.Term{{Threshold: 1, Size: 1}, {Threshold: 1, Size: 2}} },
		"no groups":   func(r *seals.Record) { r.Version, r.Terms, r.Threshold = 2, nil, 1 },
		"a member less": func(r *seals.Record) {
			r.Version, r.Terms, r.Threshold, r.Parts = 2, nil, 2, r.Parts[1:]
		},
	} {
		if err := a.Kill(); err != nil {
			t.Fatal(err)
		}
		a.overwrite("core/seal", genuine)
		a.forge(change)
		said := strings.Count(a.Log(), "not unsealed")
		a.start()
		deadline := time.Now().Add(time.Minute)
		for strings.Count(a.Log(), "not unsealed") == said && time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond)
		}
		if r := a.do("GET", "sys/seal-status", "", nil); !bytes.Contains(r.Body, []byte(`"sealed":true`)) ||
			strings.Count(a.Log(), "not unsealed") == said {
			t.Errorf("%s: %s", name, r.Body)
		}
	}
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	a.overwrite("core/seal", genuine)
	a.start()
	if err := a.UntilUnsealed(); err != nil {
		t.Error(err)
	}
}
