package ceremonies

import (
	"context"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/ceremony"
)

// Verification of new shares: they replace the old ones once a threshold of them was proven.

type verifyStatusAnswer struct {
	N        int    `json:"n"`
	Nonce    string `json:"nonce"`
	Progress int    `json:"progress"`
	Started  bool   `json:"started"`
	T        int    `json:"t"`
}

type verifyDoneAnswer struct {
	Complete bool   `json:"complete"`
	Nonce    string `json:"nonce"`
}

func verifyShown(s ceremony.VerifyStatus) (*api.Answer, error) {
	if s.Complete {
		return api.Show(verifyDoneAnswer{Complete: true, Nonce: s.Nonce})
	}
	return api.Show(verifyStatusAnswer{N: s.Shares, Nonce: s.Nonce, Progress: s.Progress,
		Started: s.Started, T: s.Threshold})
}

func verifyStatus(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	s, err := h.Node.Ceremonies().RekeyVerifyStatus(ctx, q.Route.Target)
	if err != nil {
		return nil, rekeyError(q, err)
	}
	return verifyShown(s)
}

func verifyUpdate(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	nonce, share, err := givenShare(q, missingInRotation)
	if err != nil {
		return nil, err
	}
	defer share.Destroy()
	s, err := h.Node.Ceremonies().RekeyVerify(ctx, q.Route.Target, nonce, share)
	if err != nil {
		return nil, verifyError(q, err)
	}
	return verifyShown(s)
}

// verifyRestart discards the proofs so far, and returns the new nonce.
func verifyRestart(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	s, err := h.Node.Ceremonies().RekeyVerifyRestart(ctx, q.Route.Target)
	if err != nil {
		return nil, rekeyError(q, err)
	}
	return verifyShown(s)
}
