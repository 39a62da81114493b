package barrier

import (
	"context"
	"testing"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

func TestSmoke(t *testing.T) {
	ctx := context.Background()
	store := inmem.New()
	root, _ := secret.Random(nil, 32)
	b, tx, err := Format(store, root, 1, Options{})
	if err != nil {
		t.Fatal(err)
	}
	tx.Put("a/b", []byte("hello"))
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := b.Rotate(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Put("a/c", []byte("x"))}}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", b.KeyStatus())
	if err := b.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	b = New(store, Options{})
	if err := b.Unseal(ctx, root, 1); err != nil {
		t.Fatal(err)
	}
	v, err := b.Get(ctx, "a/b")
	t.Logf("%s %v %+v", v, err, b.KeyStatus())
}
