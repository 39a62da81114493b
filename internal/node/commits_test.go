package node

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
)

// counted counts the commits that reach a store.
type counted struct {
	storage.Store
	n atomic.Int64
}

func (c *counted) Commit(ctx context.Context, b storage.Batch) error {
	c.n.Add(1)
	return c.Store.Commit(ctx, b)
}

// TestCommitsPerStep: a step of a ceremony is one commit, and now and then a second that books
// encryptions.
func TestCommitsPerStep(t *testing.T) {
	h := newHarness(t)
	store := &counted{Store: h.store}
	h.store = store
	n, _, old := h.initAuto(5, 3)
	step := func(what string, f func() error) {
		t.Helper()
		before := store.n.Load()
		if err := f(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if d := store.n.Load() - before; d < 1 || d > 2 {
			t.Errorf("%s: %d commits", what, d)
		}
	}
	var st ceremony.RekeyStatus
	step("start", func() (err error) {
		st, _, err = n.Ceremonies().RekeyStart(t.Context(), recovery.Recovery, recovery.Params{Shares: 255, Threshold: 2,
			Verification: true}, admin)
		return err
	})
	var res *ceremony.RekeyResult
	for _, s := range old[:3] {
		step("give", func() (err error) {
			_, res, err = n.Ceremonies().RekeyGive(t.Context(), recovery.Recovery, st.Nonce, s)
			return err
		})
	}
	for _, s := range res.Keys[:2] {
		step("verify", func() error {
			_, err := n.Ceremonies().RekeyVerify(t.Context(), recovery.Recovery, res.VerificationNonce, s)
			return err
		})
	}
	step("prove", func() error {
		_, err := n.Ceremonies().Prove(t.Context(), res.Keys[200])
		return err
	})
	step("rotate", func() error { return n.Rotate(t.Context()) })
	step("rotate root", func() error { return n.RotateRoot(t.Context()) })
	step("re-wrap", func() error { return n.RewrapSeals(t.Context(), admin) })
}
