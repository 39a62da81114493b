package sealtest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"sync"
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"google.golang.org/protobuf/proto"

	"github.com/sealgate/sealgate/seals"
)

func roundTrip(t *testing.T, _ Harness, f *Fixture) {
	for _, n := range []int{1, 16, 32, 33, 1024} {
		plain := random(n)
		kept := bytes.Clone(plain)
		blob := encrypt(t, f.Wrapper, plain)
		if !bytes.Equal(plain, kept) {
			t.Fatalf("Encrypt changed the %d bytes that it was given", n)
		}
		before := proto.Clone(blob)
		decrypt(t, f.Wrapper, blob, plain)
		decrypt(t, f.Wrapper, stored(t, blob), plain)
		if !proto.Equal(before, blob) {
			t.Error("Decrypt changed the blob that it was given")
		}
		if bytes.Equal(encrypt(t, f.Wrapper, plain).Ciphertext, blob.Ciphertext) {
			t.Error("the same plaintext gave the same ciphertext twice")
		}
	}
	// Some devices refuse an empty plaintext, which is fine if they return an error.
	blob, err := f.Wrapper.Encrypt(within(t, patience), nil, wrapping.WithAad(aad))
	if err != nil {
		checkFailure(t, "empty plaintext", err, nil, seals.ClassOf(err))
		return
	}
	if got, err := f.Wrapper.Decrypt(within(t, patience), blob, wrapping.WithAad(aad)); err != nil || len(got) != 0 {
		t.Errorf("the empty plaintext decrypts to %d bytes, %v", len(got), err)
	}
}

// stored returns the blob as a record returns it.
func stored(t *testing.T, blob *wrapping.BlobInfo) *wrapping.BlobInfo {
	t.Helper()
	raw, err := proto.Marshal(blob)
	if err != nil {
		t.Fatal(err)
	}
	out := new(wrapping.BlobInfo)
	if err := proto.Unmarshal(raw, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func keyID(t *testing.T, _ Harness, f *Fixture) {
	if kind, err := f.Wrapper.Type(t.Context()); err != nil || kind == "" || kind == wrapping.WrapperTypeUnknown {
		t.Errorf("Type is %q, %v", kind, err)
	}
	id := keyIDOf(t, f.Wrapper)
	blob := encrypt(t, f.Wrapper, random(32))
	if blob.KeyInfo.GetKeyId() != id {
		t.Errorf("KeyId is %q, the id in the blob %q", id, blob.KeyInfo.GetKeyId())
	}
	if again := keyIDOf(t, f.Wrapper); again != id {
		t.Errorf("an encryption changed KeyId from %q to %q", id, again)
	}
	if f.Other != nil && keyIDOf(t, f.Other) == id {
		t.Errorf("two keys have the id %q", id)
	}
}

func keyIDOf(t *testing.T, w wrapping.Wrapper) string {
	t.Helper()
	id, err := w.KeyId(within(t, patience))
	if err != nil || id == "" {
		t.Fatalf("KeyId is %q, %v", id, err)
	}
	return id
}

func restart(t *testing.T, _ Harness, f *Fixture) {
	plain := random(32)
	blob := stored(t, encrypt(t, f.Wrapper, plain))
	again := f.Again()
	decrypt(t, again, blob, plain)
	if a, b := keyIDOf(t, again), keyIDOf(t, f.Wrapper); a != b {
		t.Errorf("KeyId is %q after a restart, %q before", a, b)
	}
}

func concurrent(t *testing.T, h Harness, f *Fixture) {
	var wg sync.WaitGroup
	ctx := within(t, patience)
	shared, common := encrypt(t, f.Wrapper, []byte("shared")), []byte("shared")
	for i := range cmp.Or(h.Goroutines, 64) {
		wg.Go(func() {
			plain := fmt.Appendf(nil, "goroutine %d", i)
			for range 4 {
				blob, err := f.Wrapper.Encrypt(ctx, plain, wrapping.WithAad(aad))
				if err != nil {
					t.Errorf("concurrent Encrypt: %v", err)
					return
				}
				if got, err := f.Wrapper.Decrypt(ctx, blob, wrapping.WithAad(aad)); err != nil ||
					!bytes.Equal(got, plain) {
					t.Errorf("concurrent Decrypt: %q, %v", got, err)
				}
				if got, err := f.Wrapper.Decrypt(ctx, shared, wrapping.WithAad(aad)); err != nil ||
					!bytes.Equal(got, common) {
					t.Errorf("Decrypt of a shared blob: %q, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

func cancelled(t *testing.T, _ Harness, f *Fixture) {
	plain := random(32)
	blob := encrypt(t, f.Wrapper, plain)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Wrapper.Encrypt(ctx, plain, wrapping.WithAad(aad)); err == nil {
		t.Error("Encrypt succeeded with a cancelled context")
	} else {
		checkFailure(t, "Encrypt with a context that is over", err, plain, seals.Unreachable)
	}
	if _, err := f.Wrapper.Decrypt(ctx, blob, wrapping.WithAad(aad)); err == nil {
		t.Error("Decrypt succeeded with a cancelled context")
	} else {
		checkFailure(t, "Decrypt with a context that is over", err, plain, seals.Unreachable)
	}
	decrypt(t, f.Wrapper, blob, plain)
}
