package seals_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/shamir"
	"github.com/sealgate/sealgate/seals/static"
)

func random(t *testing.T, n int) *secret.Bytes {
	t.Helper()
	b, err := secret.Random(nil, n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newStatic(t *testing.T, key string) wrapping.Wrapper {
	t.Helper()
	w, err := static.New(seals.Config{Name: key, Params: map[string]string{
		"current_key": strings.Repeat(key, 32)[:32], "current_key_id": key}})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func newSet(t *testing.T, o seals.Options, members ...seals.Seal) *seals.Set {
	t.Helper()
	s, err := seals.NewSet(members, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// quorum is a seed with its public key as a record has it.
func quorum(t *testing.T, name string) (seed *secret.Bytes, c *seals.Custodians) {
	t.Helper()
	seed = random(t, recovery.SeedLen)
	public, err := recovery.PublicKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	key, err := recovery.RecordKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	return seed, &seals.Custodians{ShareSet: []byte(name), PublicKey: public, RecordKey: key}
}

// unlock returns what a node unseals with when the shares of a quorum were given.
func unlock(t *testing.T, public []byte, seed *secret.Bytes) wrapping.Wrapper {
	t.Helper()
	w := new(shamir.Wrapper)
	if err := errors.Join(w.SetPublicKey(public), w.Unlock(seed.Expose())); err != nil {
		t.Fatal(err)
	}
	return w
}

func mustWrap(
	t *testing.T, s *seals.Set, root *secret.Bytes, custodians, previous *seals.Custodians,
) *seals.Record {
	t.Helper()
	r, err := s.Wrap(t.Context(), "cluster", 1, root, custodians, previous)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if r, err = seals.UnmarshalRecord(raw); err != nil {
		t.Fatal(err)
	}
	return r
}

// TestSubstitutedStore: an attacker who can write the storage wraps a root key of his own to the
// public key of the genuine custodians, which the storage contains. Their shares do not open it,
// by a record of either version, with or without tags of his own.
func TestSubstitutedStore(t *testing.T) {
	t.Parallel()
	set := newSet(t, seals.Options{}, seals.Seal{Name: "shamir", Type: "shamir", Wrapper: new(shamir.Wrapper)})
	seed, genuine := quorum(t, "genuine")
	_, other := quorum(t, "other")
	root := random(t, seals.RootKeyLen)
	record := mustWrap(t, set, root, genuine, nil)
	if got, err := set.Unwrap(t.Context(), record, unlock(t, genuine.PublicKey, seed)); err != nil || !got.Equal(root) {
		t.Fatalf("the genuine record: %v", err)
	}
	evil := random(t, seals.RootKeyLen)
	stolen := &seals.Custodians{ShareSet: genuine.ShareSet, PublicKey: genuine.PublicKey}
	forgeries := map[string]func() *seals.Record{
		"without a tag": func() *seals.Record { return mustWrap(t, set, evil, stolen, nil) },
		"with a tag by a key of his own": func() *seals.Record {
			by := *stolen
			by.RecordKey = other.RecordKey
			return mustWrap(t, set, evil, &by, nil)
		},
		"with the genuine tag": func() *seals.Record {
			r := mustWrap(t, set, evil, stolen, nil)
			r.QuorumTag = record.QuorumTag
			return r
		},
		"of format version 1": func() *seals.Record { return versionOne(t, genuine.PublicKey, evil) },
		"as the replaced quorum": func() *seals.Record {
			return mustWrap(t, set, evil, other, stolen)
		},
		"with its own part and the genuine record's frame": func() *seals.Record {
			r := *record
			r.Parts = mustWrap(t, set, evil, stolen, nil).Parts
			return &r
		},
		"with another share set": func() *seals.Record {
			r := *record
			r.ShareSet = []byte("with a holder of his own")
			return &r
		},
	}
	for name, forge := range forgeries {
		got, err := set.Unwrap(t.Context(), forge(), unlock(t, genuine.PublicKey, seed))
		if !errors.Is(err, seals.ErrForged) || seals.ClassOf(err) != seals.Corrupt || got != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// versionOne makes a record as version 1 of the format had it.
func versionOne(t *testing.T, public []byte, root *secret.Bytes) *seals.Record {
	t.Helper()
	w := new(shamir.Wrapper)
	if err := w.SetPublicKey(public); err != nil {
		t.Fatal(err)
	}
	r := &seals.Record{Version: 1, Generation: 1, Cluster: "cluster", Threshold: 1, ShareSet: []byte("genuine")}
	blob, err := w.Encrypt(t.Context(), root.Expose(),
		wrapping.WithAad([]byte("sealgate.seal=v1\ncluster=cluster\nseal=shamir\ngeneration=1\n")))
	if err != nil {
		t.Fatal(err)
	}
	r.Parts = []seals.Part{{Name: "shamir", Type: "shamir", KeyID: blob.KeyInfo.KeyId,
		Digest: seals.DigestForTest(root.Expose()), Blob: blob}}
	return r
}

// TestOldStoreOpens: the record of a store that was made before records were authenticated opens
// with its old shares, and says what it lacks.
func TestOldStoreOpens(t *testing.T) {
	t.Parallel()
	set := newSet(t, seals.Options{}, seals.Seal{Name: "shamir", Type: "shamir", Wrapper: new(shamir.Wrapper)})
	seed, root := random(t, recovery.SeedLen), random(t, seals.RootKeyLen)
	old, err := recovery.PrivateKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	public := old.PublicKey().Bytes()
	record := versionOne(t, public, root)
	if got, err := set.Unwrap(t.Context(), record, unlock(t, public, seed)); err != nil || !got.Equal(root) {
		t.Fatal(err)
	}
	if w := record.Weakness(); !strings.Contains(w, "version 1") {
		t.Errorf("weakness: %q", w)
	}
	next := mustWrap(t, set, root, &seals.Custodians{ShareSet: []byte("old"), PublicKey: public}, nil)
	if got, err := set.Unwrap(t.Context(), next, unlock(t, public, seed)); err != nil || !got.Equal(root) {
		t.Errorf("rewritten: %v", err)
	}
	if w := next.Weakness(); next.Version != 2 || !strings.Contains(w, "rekey") {
		t.Errorf("version %d, weakness: %q", next.Version, w)
	}
	_, fresh := quorum(t, "fresh")
	if w := mustWrap(t, set, root, fresh, nil).Weakness(); w != "" {
		t.Errorf("weakness of a new record: %q", w)
	}
}

// TestReplacedQuorum: until the new shares have arrived, both quorums open the record, and its tags
// cover both.
func TestReplacedQuorum(t *testing.T) {
	t.Parallel()
	set := newSet(t, seals.Options{}, seals.Seal{Name: "shamir", Type: "shamir", Wrapper: new(shamir.Wrapper)})
	newSeed, custodians := quorum(t, "new")
	oldSeed, previous := quorum(t, "old")
	root := random(t, seals.RootKeyLen)
	r := mustWrap(t, set, root, custodians, previous)
	for name, w := range map[string]wrapping.Wrapper{
		"new": unlock(t, custodians.PublicKey, newSeed), "old": unlock(t, previous.PublicKey, oldSeed),
	} {
		if got, err := set.Unwrap(t.Context(), r, w); err != nil || !got.Equal(root) {
			t.Errorf("%s shares: %v", name, err)
		}
	}
	r.Previous.ShareSet = []byte("forged")
	for name, w := range map[string]wrapping.Wrapper{
		"new": unlock(t, custodians.PublicKey, newSeed), "old": unlock(t, previous.PublicKey, oldSeed),
	} {
		if _, err := set.Unwrap(t.Context(), r, w); !errors.Is(err, seals.ErrForged) {
			t.Errorf("%s shares, forged share set: %v", name, err)
		}
	}
}

// TestThresholdDowngrade: neither a lower threshold nor another list of members is believed.
func TestThresholdDowngrade(t *testing.T) {
	t.Parallel()
	a := seals.Seal{Name: "a", Type: "static", Wrapper: newStatic(t, "a")}
	b := seals.Seal{Name: "b", Type: "static", Wrapper: newStatic(t, "b")}
	root := random(t, seals.RootKeyLen)
	both := newSet(t, seals.Options{Threshold: 2}, a, b)
	one := newSet(t, seals.Options{}, a, b)
	strong, weak := mustWrap(t, both, root, nil, nil), mustWrap(t, one, root, nil, nil)

	_, err := both.Unwrap(t.Context(), weak, nil)
	if !errors.Is(err, seals.ErrWeaker) || seals.ClassOf(err) != seals.Misconfigured ||
		!strings.Contains(err.Error(), "allow_change = true") {
		t.Errorf("a record of any seal, with 2 of 2 configured: %v", err)
	}
	allowed := newSet(t, seals.Options{Threshold: 2, AllowPolicyChange: true}, a, b)
	if got, err := allowed.Unwrap(t.Context(), weak, nil); err != nil || !got.Equal(root) {
		t.Errorf("a change of the policy that is allowed: %v", err)
	}
	for name, change := range map[string]func(*seals.Record){
		"threshold":   func(r *seals.Record) { r.Threshold = 1 },
		"members":     func(r *seals.Record) { r.Parts = r.Parts[:1]; r.Threshold = 1 },
		"another one": func(r *seals.Record) { r.Parts = append(r.Parts[:2:2], seals.Part{Name: "c", Type: "static"}) },
	} {
		r := *strong
		change(&r)
		if _, err := one.Unwrap(t.Context(), &r, nil); seals.ClassOf(err) != seals.Corrupt {
			t.Errorf("%s changed: %v", name, err)
		}
	}
	// What no part binds, the root tag does.
	r := *strong
	r.Parts = append([]seals.Part(nil), r.Parts...)
	r.Parts[0].KeyVersion = "another"
	if _, err := both.Unwrap(t.Context(), &r, nil); !errors.Is(err, seals.ErrForged) {
		t.Errorf("key version changed: %v", err)
	}
}

// TestPolicyIsNotWeakenedSilently: with a weaker policy configured, a stored record opens, and it
// is not replaced by a weaker one unless that is allowed.
func TestPolicyIsNotWeakenedSilently(t *testing.T) {
	t.Parallel()
	a := seals.Seal{Name: "a", Type: "static", Wrapper: newStatic(t, "a")}
	b := seals.Seal{Name: "b", Type: "static", Wrapper: newStatic(t, "b")}
	root := random(t, seals.RootKeyLen)
	strong := mustWrap(t, newSet(t, seals.Options{Threshold: 2}, a, b), root, nil, nil)
	for _, allow := range []bool{false, true} {
		set := newSet(t, seals.Options{AllowPolicyChange: allow}, a, b)
		if got, err := set.Unwrap(t.Context(), strong, nil); err != nil || !got.Equal(root) {
			t.Errorf("Unwrap: %v", err)
		}
		if err := set.CheckReplace(strong); (err == nil) != allow {
			t.Errorf("allowed %v: %v", allow, err)
		}
		text, stronger := set.PolicyDrift(strong)
		if !stronger || !strings.Contains(text, "2 of 2") || !strings.Contains(text, "any of 2") {
			t.Errorf("drift: %q, %v", text, stronger)
		}
	}
}

// TestPublicWrapperWarns: a set warns of a seal whose public key wraps.
func TestPublicWrapperWarns(t *testing.T) {
	var log strings.Builder
	_, err := seals.NewSet([]seals.Seal{{Name: "rsa", Type: "static", Wrapper: publicWrapper{}}},
		seals.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil || !strings.Contains(log.String(), "substitute the root key") ||
		!strings.Contains(log.String(), "use an AES key") {
		t.Errorf("%v, log: %s", err, log.String())
	}
}

type publicWrapper struct{ *static.Wrapper }

func (publicWrapper) WrapsPublicly() string { return "use an AES key" }
