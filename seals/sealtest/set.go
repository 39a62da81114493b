package sealtest

import (
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/seals"
)

// setOf returns a set with one seal.
func setOf(t *testing.T, name string, w wrapping.Wrapper) *seals.Set {
	t.Helper()
	kind, err := w.Type(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	set, err := seals.NewSet(
		[]seals.Seal{{Name: name, Type: kind.String(), Wrapper: w}},
		seals.Options{Deadline: patience},
	)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// wrapped returns a root key and its record.
func wrapped(t *testing.T, s *seals.Set, cluster string, generation uint64) (*secret.Bytes, *seals.Record) {
	t.Helper()
	root := secret.New(random(seals.RootKeyLen))
	r, err := s.Wrap(within(t, patience), cluster, generation, root, nil, nil)
	if err != nil {
		t.Fatalf("a set cannot wrap: %v", err)
	}
	return root, r
}

// otherSeal checks that a part cannot be moved to another seal, cluster or generation of the same
// key.
func otherSeal(t *testing.T, _ Harness, f *Fixture) {
	const cluster, generation = "4f0c6a9e-cluster", 7
	set := setOf(t, "main", f.Wrapper)
	root, good := wrapped(t, set, cluster, generation)
	for what, change := range map[string]func(*seals.Record){
		"another cluster":     func(r *seals.Record) { r.Cluster = "4f0c6a9f-cluster" },
		"a longer cluster id": func(r *seals.Record) { r.Cluster += "\nseal=main" },
		"the generation":      func(r *seals.Record) { r.Generation++ },
	} {
		r := *good
		change(&r)
		refuseRecord(t, what, set, &r, root)
	}
	spare := setOf(t, "spare", f.Wrapper)
	_, r := wrapped(t, spare, cluster, generation)
	r.Parts[0].Name = "main"
	refuseRecord(t, "another seal's blob", set, r, root)

	if got, err := set.Unwrap(within(t, patience), good, nil); err != nil || !got.Equal(root) {
		t.Errorf("the unchanged record: %v", err)
	}
}

func refuseRecord(t *testing.T, what string, s *seals.Set, r *seals.Record, root *secret.Bytes) {
	t.Helper()
	if _, err := s.Unwrap(within(t, patience), r, nil); err == nil {
		t.Errorf("%s: unwrapped", what)
	} else {
		checkFailure(t, what, err, root.Expose(), seals.Corrupt)
	}
	if s.WouldUnseal() {
		t.Errorf("%s: WouldUnseal is true", what)
	}
}

// oneRequestPerProbe checks that a probe costs one request.
func oneRequestPerProbe(t *testing.T, _ Harness, f *Fixture) {
	const proofs = 10
	set := setOf(t, "main", f.Wrapper)
	_, r := wrapped(t, set, "cluster", 1)
	set.Probe(within(t, patience), r)
	before := f.Calls()
	for range proofs {
		if st := set.Probe(within(t, patience), r)[0]; !st.WouldUnseal {
			t.Fatalf("the probe failed: %s", st.Cause)
		}
	}
	if n := f.Calls() - before; n != proofs {
		t.Errorf("%d probes cost %d requests", proofs, n)
	}
}
