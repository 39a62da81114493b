package recovery

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
)

// enrolledSet returns recovery shares whose quorum is enrolled, and the key that they combine to.
func enrolledSet(t testing.TB) (*ShareSet, []*Secret, *Secret) {
	t.Helper()
	set, shares, err := NewShareSet(Recovery, nil, 3, 2, rand.Reader, time.Unix(1000, 0))
	if err != nil {
		t.Fatal(err)
	}
	key, err := Combine(shares[1:])
	if err != nil {
		t.Fatal(err)
	}
	if set.Decrypts() {
		t.Fatal("new recovery shares decrypt without an enrolment")
	}
	enrolled, err := set.ForBreakGlass(key)
	if err != nil {
		t.Fatal(err)
	}
	return enrolled, shares, key
}

func testRoot() *Secret { return NewSecret(bytes.Repeat([]byte{7}, 32)) }

// TestBreakGlassOpensForItsQuorumAlone: a record opens with its own shares; what a storage writer
// can make of it, or write himself to the same public key, does not open.
func TestBreakGlassOpensForItsQuorumAlone(t *testing.T) {
	t.Parallel()
	set, _, key := enrolledSet(t)
	root := testRoot()
	sealed, err := SealBreakGlass(root, "cluster-1", 4, set)
	if err != nil {
		t.Fatal(err)
	}
	stored, of, err := UnmarshalBreakGlass(sealed.Marshal())
	if err != nil || of.Decrypts() || of.Threshold != 2 {
		t.Fatalf("%+v, %v", of, err)
	}
	if got, err := stored.Open(key); err != nil || !got.Equal(root) {
		t.Fatalf("the quorum's key gives %v", err)
	}
	if !stored.Holds("cluster-1", 4, set) || stored.Holds("cluster-1", 5, set) || stored.Holds("cluster-2", 4, set) ||
		stored.Holds("cluster-1", 4, set.Public()) {
		t.Error("Holds accepts another generation, cluster or share set, or refuses its own")
	}
	other, _, otherKey := enrolledSet(t)
	if _, err := stored.Open(otherKey); !errors.Is(err, ErrBreakGlassForged) {
		t.Errorf("the key of another quorum: %v", err)
	}
	// An attacker who writes the storage knows the public key, and nothing of the shares.
	writer := set.Public()
	writer.RecordKey = NewSecret(make([]byte, SeedLen))
	forged, err := SealBreakGlass(NewSecret(make([]byte, 32)), "cluster-1", 4, writer)
	if err != nil {
		t.Fatal(err)
	}
	moved := *stored
	moved.Cluster = "cluster-2"
	older := *stored
	older.Generation = 3
	exchanged := *stored
	exchanged.ShareSet = other.Public().Marshal()
	for name, r := range map[string]*BreakGlass{
		"written by a stranger": forged, "of another cluster": &moved, "of another generation": &older,
		"of another share set": &exchanged,
	} {
		if _, err := r.Open(key); !errors.Is(err, ErrBreakGlassForged) {
			t.Errorf("a record %s: %v", name, err)
		}
		if r.Holds("cluster-1", 4, set) {
			t.Errorf("a record %s is believed", name)
		}
	}
}

// TestBreakGlassNeedsEnrolment: recovery shares that are not enrolled, and unseal shares, decrypt
// no break-glass record, and an enrolment ends with the role.
func TestBreakGlassNeedsEnrolment(t *testing.T) {
	t.Parallel()
	set, _, key := enrolledSet(t)
	root := testRoot()
	for name, c := range map[string]*ShareSet{"nil": nil, "public": set.Public(), "removed": set.ForRecovery()} {
		if _, err := SealBreakGlass(root, "c", 1, c); !errors.Is(err, ErrNotEnrolled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	custodians, err := set.ForBarrier(key)
	if err != nil || custodians.Decrypts() {
		t.Errorf("unseal shares are enrolled: %v", err)
	}
	if _, err := custodians.ForBreakGlass(key); !errors.Is(err, ErrPurpose) {
		t.Errorf("unseal shares can be enrolled: %v", err)
	}
	if _, err := set.ForBreakGlass(testRoot()); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another key enrols: %v", err)
	}
	if bytes.Equal(custodians.PublicKey, set.PublicKey) || bytes.Equal(set.PublicKey, mustPlain(t, key)) {
		t.Error("break-glass uses the key of another role")
	}
}

func mustPlain(t *testing.T, key *Secret) []byte {
	t.Helper()
	k, err := PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return k.PublicKey().Bytes()
}

// TestRekeyedEnrolment: shares that are made for an enrolled quorum decrypt, and those before do
// not.
func TestRekeyedEnrolment(t *testing.T) {
	t.Parallel()
	set, _, key := enrolledSet(t)
	next, shares, err := NewBreakGlassSet(set, 5, 3, rand.Reader, time.Unix(2000, 0))
	if err != nil || !next.Decrypts() || next.PreviousKey != nil || next.Generation != 2 {
		t.Fatalf("%+v, %v", next, err)
	}
	again, err := UnmarshalShareSet(next.Marshal())
	if err != nil || !again.Decrypts() {
		t.Fatalf("the enrolment is not in the record: %v", err)
	}
	sealed, err := SealBreakGlass(testRoot(), "c", 2, again)
	if err != nil {
		t.Fatal(err)
	}
	nextKey, err := Combine(shares[2:])
	if err != nil {
		t.Fatal(err)
	}
	if root, err := sealed.Open(nextKey); err != nil || !root.Equal(testRoot()) {
		t.Errorf("the new shares: %v", err)
	}
	if _, err := sealed.Open(key); !errors.Is(err, ErrBreakGlassForged) {
		t.Errorf("the shares before: %v", err)
	}
}

func FuzzBreakGlass(f *testing.F) {
	set, _, _ := enrolledSet(f)
	r, err := SealBreakGlass(testRoot(), "cluster", 1, set)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(r.Marshal())
	f.Add([]byte{1})
	f.Add(append(r.Marshal(), 0))
	seed := secret.New(make([]byte, SeedLen))
	f.Fuzz(func(t *testing.T, record []byte) {
		r, of, err := UnmarshalBreakGlass(record)
		if err != nil {
			if !errors.Is(err, ErrRecord) {
				t.Errorf("%v", err)
			}
			return
		}
		if !bytes.Equal(r.Marshal(), record) || of.Decrypts() {
			t.Errorf("%x became %x", record, r.Marshal())
		}
		if _, err := r.Open(seed); err == nil {
			t.Error("a zero seed opens it")
		}
	})
}

// TestGoldenBreakGlass: what was once written opens for ever, and what was refused stays refused.
func TestGoldenBreakGlass(t *testing.T) {
	t.Parallel()
	for _, v := range golden[struct{ Name, Seed, Root, Error, Record string }](t, "breakglass-v1.json") {
		r, of, err := UnmarshalBreakGlass(unhex(t, v.Record))
		if v.Error == "malformed" {
			if !errors.Is(err, ErrRecord) {
				t.Errorf("%s: %v", v.Name, err)
			}
			continue
		}
		if err != nil || of.HolderName(2) != "ben" || r.Cluster == "" || !bytes.Equal(r.Marshal(), unhex(t, v.Record)) {
			t.Fatalf("%s: %+v, %v", v.Name, of, err)
		}
		root, err := r.Open(NewSecret(unhex(t, v.Seed)))
		if v.Error == "forged" {
			if !errors.Is(err, ErrBreakGlassForged) {
				t.Errorf("%s: %v", v.Name, err)
			}
			continue
		}
		if err != nil || !root.Equal(NewSecret(unhex(t, v.Root))) {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
}
