package ceremonies

import (
	"context"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/ceremony"
)

func recoveryShown(s ceremony.GenerateRootStatus) (*api.Answer, error) {
	a := rootAnswer(s)
	a.EncodedRootToken = "" // it is not a root token
	return api.Show(a)
}

func RecoveryStatus(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	s, err := h.Recovery.Status(ctx)
	if err != nil {
		return nil, rootError(err)
	}
	return recoveryShown(s)
}

func RecoveryStart(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	b, err := readRootBody(q)
	if err != nil {
		return nil, err
	}
	if err := h.LimitStart(q); err != nil {
		return nil, err
	}
	s, err := h.Recovery.Start(ctx, b.OTP, b.PGPKey)
	if err != nil {
		return nil, rootError(err)
	}
	return recoveryShown(s)
}

func RecoveryCancel(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	_, share, err := cancelShare(q)
	if err != nil {
		return nil, rootError(err)
	}
	defer share.Destroy()
	if err := h.Recovery.Cancel(ctx, share); err != nil {
		return nil, rootError(err)
	}
	return api.Done()
}

func RecoveryUpdate(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	nonce, share, err := givenShare(q, missingInRoot)
	if err != nil {
		return nil, rootError(err)
	}
	defer share.Destroy()
	s, err := h.Recovery.Give(ctx, nonce, share)
	if err != nil {
		return nil, rootError(err)
	}
	s.OTPLength = 0 // as in the answers of generate-root
	return recoveryShown(s)
}
