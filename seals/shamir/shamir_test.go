package shamir

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
	"github.com/sealgate/sealgate/seals/sealtest"
)

var fixedTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newSeed(t *testing.T) *secret.Bytes {
	t.Helper()
	seed, err := secret.Random(nil, recovery.SeedLen)
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

func locked(t *testing.T, seed *secret.Bytes) *Wrapper {
	t.Helper()
	made, err := New(seals.Config{Name: "quorum", Type: "shamir"})
	if err != nil {
		t.Fatal(err)
	}
	w := made.(*Wrapper)
	public, err := recovery.PublicKey(seed)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.SetPublicKey(public); err != nil {
		t.Fatal(err)
	}
	return w
}

func unlocked(t *testing.T, seed *secret.Bytes) *Wrapper {
	t.Helper()
	w := locked(t, seed)
	if err := w.Unlock(seed.Expose()); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestConforms(t *testing.T) {
	sealtest.Run(t, sealtest.Harness{New: func(t *testing.T) *sealtest.Fixture {
		seed := newSeed(t)
		return &sealtest.Fixture{
			Wrapper: unlocked(t, seed),
			Other:   unlocked(t, newSeed(t)),
			Again:   func() wrapping.Wrapper { return unlocked(t, seed) },
		}
	}, Without: sealtest.Unless("custodians hold the key: no peer, no key state", "Other", "Again")})
}

func TestWrapsWithoutTheQuorumAndUnwrapsWithIt(t *testing.T) {
	t.Parallel()
	ctx, seed, plain := t.Context(), newSeed(t), []byte("the root key")
	w := locked(t, seed)
	blob, err := w.Encrypt(ctx, plain)
	if err != nil {
		t.Fatalf("Encrypt without the quorum: %v", err)
	}
	denied := func(when string) {
		t.Helper()
		if _, err := w.Decrypt(ctx, blob); seals.ClassOf(err) != seals.Denied || !errors.Is(err, ErrLocked) {
			t.Errorf("Decrypt %s: %v", when, err)
		}
	}
	denied("before Unlock")
	if err := w.Unlock(seed.Expose()); err != nil {
		t.Fatal(err)
	}
	if got, err := w.Decrypt(ctx, blob); err != nil || string(got) != string(plain) {
		t.Errorf("Decrypt after Unlock: %q, %v", got, err)
	}
	w.Lock()
	denied("after Lock")
}

func TestUnlockRefusesAnotherQuorum(t *testing.T) {
	t.Parallel()
	w := locked(t, newSeed(t))
	for what, key := range map[string][]byte{
		"another seed": newSeed(t).Expose(), "a short seed": make([]byte, 31), "a long seed": make([]byte, 33),
		"no seed": nil,
	} {
		if err := w.Unlock(key); seals.ClassOf(err) != seals.WrongKey {
			t.Errorf("Unlock with %s: %v", what, err)
		}
	}
}

func TestSharesOfAShareSetUnlock(t *testing.T) {
	t.Parallel()
	shareSet, shares, err := recovery.NewShareSet(recovery.Barrier, nil, 5, 3, nil, fixedTime)
	if err != nil {
		t.Fatal(err)
	}
	w := new(Wrapper)
	if err := w.SetPublicKey(shareSet.PublicKey); err != nil {
		t.Fatal(err)
	}
	blob, err := w.Encrypt(t.Context(), []byte("the root key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := recovery.Combine(shares[1:4])
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Unlock(key.Expose()); err != nil {
		t.Fatal(err)
	}
	if got, err := w.Decrypt(t.Context(), blob); err != nil || string(got) != "the root key" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestAnotherPublicKeyDropsThePrivateKey(t *testing.T) {
	t.Parallel()
	seed, next := newSeed(t), newSeed(t)
	w := unlocked(t, seed)
	old, err := w.Encrypt(t.Context(), []byte("k"))
	if err != nil {
		t.Fatal(err)
	}
	same, _ := recovery.PublicKey(seed)
	if err := w.SetPublicKey(same); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Decrypt(t.Context(), old); err != nil {
		t.Errorf("the same public key again locked the seal: %v", err)
	}
	public, _ := recovery.PublicKey(next)
	if err := w.SetPublicKey(public); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Decrypt(t.Context(), old); seals.ClassOf(err) != seals.WrongKey {
		t.Errorf("a blob of the previous quorum: %v", err)
	}
	fresh, err := w.Encrypt(t.Context(), []byte("k"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Decrypt(t.Context(), fresh); !errors.Is(err, ErrLocked) {
		t.Errorf("the new quorum's blob without its seed: %v", err)
	}
}

func TestNoQuorumBeforeInit(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := new(Wrapper)
	_, encErr := w.Encrypt(ctx, []byte("k"))
	_, decErr := w.Decrypt(ctx, &wrapping.BlobInfo{Ciphertext: make([]byte, 2000)})
	_, idErr := w.KeyId(ctx)
	for what, err := range map[string]error{"Encrypt": encErr, "KeyId": idErr} {
		if seals.ClassOf(err) != seals.Misconfigured || !errors.Is(err, ErrNoPublicKey) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if seals.ClassOf(decErr) != seals.Corrupt {
		t.Errorf("Decrypt of zeros: %v", decErr)
	}
	for _, bad := range [][]byte{nil, make([]byte, 10), make([]byte, 5000)} {
		if err := w.SetPublicKey(bad); seals.ClassOf(err) != seals.Corrupt {
			t.Errorf("a public key of %d bytes: %v", len(bad), err)
		}
	}
	seed := newSeed(t)
	if err := w.Unlock(seed.Expose()); err != nil {
		t.Fatal(err)
	}
	public, _ := recovery.PublicKey(seed)
	if id, err := w.KeyId(ctx); err != nil || id != KeyIDOf(public) {
		t.Errorf("KeyId after Unlock: %q, %v", id, err)
	}
}

func TestTakesNoParameters(t *testing.T) {
	t.Parallel()
	params := map[string]string{"key_shares": "5"}
	if _, err := New(seals.Config{Name: "quorum", Type: "shamir", Params: params}); seals.ClassOf(
		err,
	) != seals.Misconfigured {
		t.Errorf("New: %v", err)
	}
	if _, err := new(Wrapper).SetConfig(t.Context(), wrapping.WithConfigMap(params)); seals.ClassOf(
		err,
	) != seals.Misconfigured {
		t.Errorf("SetConfig: %v", err)
	}
}

// TestGoldenBlobs pins the format: every blob ever written must decrypt.
func TestGoldenBlobs(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("..", "..", "testdata", "seals", "shamir-v1.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct{ Name, Seed, KeyID, AAD, Plain, Ciphertext, Class string }
	if err := json.Unmarshal(raw, &vectors); err != nil || len(vectors) == 0 {
		t.Fatalf("%d vectors, %v", len(vectors), err)
	}
	for _, v := range vectors {
		seed, seedErr := hex.DecodeString(v.Seed)
		sealed, err := hex.DecodeString(v.Ciphertext)
		if err != nil || seedErr != nil {
			t.Fatal(err, seedErr)
		}
		blob := &wrapping.BlobInfo{Ciphertext: sealed, KeyInfo: &wrapping.KeyInfo{KeyId: v.KeyID}}
		old, err := recovery.PrivateKey(secret.Copy(seed)) // these vectors precede recovery.SealKey
		if err != nil {
			t.Fatal(err)
		}
		w := new(Wrapper)
		if err := errors.Join(w.SetPublicKey(old.PublicKey().Bytes()), w.Unlock(seed)); err != nil {
			t.Fatal(err)
		}
		if _, required := w.RecordKey(); required {
			t.Errorf("%s: a tag is required of an old share set", v.Name)
		}
		got, err := w.Decrypt(t.Context(), blob, wrapping.WithAad([]byte(v.AAD)))
		if string(seals.ClassOf(err)) != v.Class || string(got) != v.Plain {
			t.Errorf("%s: %q, %v; want %q and class %q", v.Name, got, err, v.Plain, v.Class)
		}
	}
}

// FuzzDecrypt: every blob gives an error or the wrapped plaintext, never a panic.
func FuzzDecrypt(f *testing.F) {
	seed := secret.New(make([]byte, recovery.SeedLen))
	w := new(Wrapper)
	if err := w.Unlock(seed.Expose()); err != nil {
		f.Fatal(err)
	}
	blob, err := w.Encrypt(f.Context(), []byte("plain"), wrapping.WithAad([]byte("aad")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(blob.Ciphertext, blob.KeyInfo.KeyId, []byte("aad"))
	f.Add([]byte{}, "", []byte{})
	f.Add([]byte{blobVersion, 0}, blob.KeyInfo.KeyId, []byte("aad"))
	f.Fuzz(func(t *testing.T, sealed []byte, id string, aad []byte) {
		bad := &wrapping.BlobInfo{Ciphertext: sealed, KeyInfo: &wrapping.KeyInfo{KeyId: id}}
		got, err := w.Decrypt(t.Context(), bad, wrapping.WithAad(aad))
		if err == nil && (string(got) != "plain" || string(aad) != "aad") {
			t.Fatal("a blob that was never created was decrypted")
		}
		if class := seals.ClassOf(err); err != nil && class != seals.Corrupt && class != seals.WrongKey {
			t.Fatalf("class %q: %v", class, err)
		}
	})
}

func BenchmarkWrapAndUnwrap(b *testing.B) {
	seed := secret.New(make([]byte, recovery.SeedLen))
	w := new(Wrapper)
	if err := w.Unlock(seed.Expose()); err != nil {
		b.Fatal(err)
	}
	root := make([]byte, 32)
	for b.Loop() {
		blob, err := w.Encrypt(b.Context(), root)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := w.Decrypt(b.Context(), blob); err != nil {
			b.Fatal(err)
		}
	}
}
