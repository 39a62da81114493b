package node

import (
	"context"
	"sync/atomic"
	"testing"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
	"google.golang.org/protobuf/proto"

	"github.com/sealgate/sealgate/seals"
)

// racer is a cabinet that runs a function once a key has proven a part that it wrapped for the
// record: after its second encryption, the first being the trial.
type racer struct {
	*cabinet
	wrapped atomic.Int32
	proven  func()
}

type raced struct {
	one
	r *racer
}

func (r *racer) UseKey(id string) (wrapping.Wrapper, error) { return raced{one{r.cabinet, id}, r}, nil }

func (r raced) Encrypt(ctx context.Context, b []byte, o ...wrapping.Option) (*wrapping.BlobInfo, error) {
	r.r.wrapped.Add(1)
	return r.one.Encrypt(ctx, b, o...)
}

func (r *racer) Decrypt(ctx context.Context, b *wrapping.BlobInfo, o ...wrapping.Option) ([]byte, error) {
	id := b.GetKeyInfo().GetKeyId()
	w, err := r.use(id)
	if err != nil {
		return nil, err
	}
	b = proto.Clone(b).(*wrapping.BlobInfo) //nolint:forcetypeassert // a clone has the same type
	b.KeyInfo.KeyId = id[:2]                // as the box has it
	out, err := w.Decrypt(ctx, b, o...)
	if id != "a0" && r.wrapped.CompareAndSwap(2, 100) {
		r.proven()
	}
	return out, err
}

// TestEndedRotationIsNotCommitted: one administrator rotates the key of the only seal, and ends
// that rotation, which destroys the new key without a quorum, before the record is committed. The
// record must not name the destroyed key then.
func TestEndedRotationIsNotCommitted(t *testing.T) {
	h := newHarness(t)
	r := &racer{cabinet: h.cabinet("a0")}
	n, _ := h.start(h.set(seals.Seal{Name: "hsm", Type: "cabinet", Wrapper: r}))
	if _, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	sa := SealAdminOf(n)
	ended := false
	r.proven = func() {
		a := n.writer()
		k, err := readSealKeys(t.Context(), a.barrier, "hsm")
		if err != nil || k.Next == nil {
			t.Errorf("no next key: %+v, %v", k, err)
			return
		}
		_, err = sa.Retire(t.Context(), "hsm", k.Next.ID, true, admin)
		if err != nil {
			t.Errorf("ending the rotation: %v", err)
		}
		ended = true
	}
	h.refused("ended meanwhile")(sa.RotateKey(t.Context(), "hsm", "", admin))
	if !ended || len(r.gone) != 1 {
		t.Fatalf("the rotation was not ended: destroyed %v", r.gone)
	}
	if k := partOf(h.record(), "hsm").KeyID; k != "a0" {
		t.Errorf("the stored record needs the key %s, and %v are destroyed", k, r.gone)
	}
}

// TestKeyToBeDestroyedWrapsNothing: a key whose destruction a quorum has ordered, and which
// exists still because its device failed, is not adopted again: the order would destroy it in
// use.
func TestKeyToBeDestroyedWrapsNothing(t *testing.T) {
	h := newHarness(t)
	c := h.cabinet("a0")
	n, _ := h.start(h.set(seals.Seal{Name: "hsm", Type: "cabinet", Wrapper: c}))
	if _, err := n.Init(t.Context(), InitRequest{RecoveryShares: 1, RecoveryThreshold: 1}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "active", isActive(n))
	sa := SealAdminOf(n)
	c.put("b0")
	h.change(sa.RotateKey(t.Context(), "hsm", "b0", admin))
	a := n.writer()
	k, err := readSealKeys(t.Context(), a.barrier, "hsm")
	if err != nil || len(k.Old) != 1 {
		t.Fatalf("%+v, %v", k, err)
	}
	k.Old[0].Destroying = true
	tx := a.barrier.Begin()
	if err := k.put(tx, "hsm"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.refused("ordered to be destroyed")(sa.RotateKey(t.Context(), "hsm", "a0", admin))
	if k := partOf(h.record(), "hsm").KeyID; k != "b0" {
		t.Errorf("the stored record needs the key %s", k)
	}
}
