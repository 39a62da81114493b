package ceremonies

import (
	"context"
	"errors"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/field"
)

// A root token by a quorum of shares. All tokens may be lost, so an attempt can be started without
// one; an attempt that was started with a token can be cancelled only with one.

type rootStatusAnswer struct {
	Nonce            string   `json:"nonce"`
	Started          bool     `json:"started"`
	Progress         int      `json:"progress"`
	Required         int      `json:"required"`
	Complete         bool     `json:"complete"`
	EncodedToken     string   `json:"encoded_token"`
	EncodedRootToken string   `json:"encoded_root_token"` // the same; empty in recovery mode
	PGPFingerprint   string   `json:"pgp_fingerprint"`
	OTP              string   `json:"otp"`
	OTPLength        int      `json:"otp_length"`
	HoldersGiven     []string `json:"holders_given,omitempty"` // ours
}

func rootAnswer(s ceremony.GenerateRootStatus) rootStatusAnswer {
	return rootStatusAnswer{
		Nonce: s.Nonce, Started: s.Started, Progress: s.Progress, Required: s.Required, Complete: s.Complete,
		EncodedToken: s.EncodedToken, EncodedRootToken: s.EncodedToken, PGPFingerprint: s.PGPFingerprint,
		OTP: s.OTP, OTPLength: s.OTPLength, HoldersGiven: s.HoldersGiven,
	}
}

// rootShown renders a status for the request's path: OpenBao's leaves out what is not set yet.
func rootShown(q *api.Request, s ceremony.GenerateRootStatus) (*api.Answer, error) {
	if legacy(q) {
		return api.Show(rootAnswer(s))
	}
	m := map[string]any{
		"started": s.Started, "progress": s.Progress, "required": s.Required, "complete": s.Complete,
		"encoded_token": s.EncodedToken, "otp": s.OTP, "otp_length": s.OTPLength,
	}
	if s.Started {
		m["nonce"], m["pgp_fingerprint"] = s.Nonce, s.PGPFingerprint
	}
	if len(s.HoldersGiven) > 0 {
		m["holders_given"] = s.HoldersGiven
	}
	return api.Show(m)
}

func rootStatus(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	s, err := h.Node.Ceremonies().GenerateRootStatus(ctx)
	if err != nil {
		return nil, rootError(err)
	}
	if !showsHolders(ctx, q) {
		s.HoldersGiven = nil
	}
	return rootShown(q, s)
}

type rootBody struct {
	OTP    string `json:"otp"`
	PGPKey string `json:"pgp_key"`
}

func readRootBody(q *api.Request) (b rootBody, err error) {
	if legacy(q) {
		err = q.Strict(&b)
		return b, err
	}
	data, err := q.Object()
	if err != nil {
		return b, err
	}
	f := field.Map(data)
	return b, errors.Join(f.Text("otp", &b.OTP), f.Text("pgp_key", &b.PGPKey))
}

func rootStart(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	b, err := readRootBody(q)
	if err != nil {
		return nil, err
	}
	if err := h.LimitStart(q); err != nil {
		return nil, err
	}
	s, err := h.Node.Ceremonies().GenerateRootStart(ctx, b.OTP, b.PGPKey, starter(q))
	if err != nil {
		return nil, rootError(err)
	}
	return rootShown(q, s)
}

// rootCancel ends the attempt. A client without a token needs a share of the current share set.
func rootCancel(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	nonce, share, err := cancelShare(q)
	if err != nil {
		return nil, rootError(err)
	}
	defer share.Destroy()
	if err := h.Node.Ceremonies().GenerateRootCancel(ctx, nonce, share, starter(q)); err != nil {
		return nil, rootError(err)
	}
	return api.Done()
}

func rootUpdate(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	nonce, share, err := givenShare(q, missingInRoot)
	if err != nil {
		return nil, rootError(err)
	}
	defer share.Destroy()
	s, err := h.Node.Ceremonies().GenerateRootGive(ctx, nonce, share)
	if err != nil {
		return nil, rootError(err)
	}
	s.OTPLength = 0 // as in Vault
	return rootShown(q, s)
}

// rootAcknowledge wipes the encoded token that is kept for the client that gave the last share: it
// has arrived.
func rootAcknowledge(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	nonce, share, err := givenShare(q, missingInRoot)
	if err != nil {
		return nil, rootError(err)
	}
	defer share.Destroy()
	if err := h.Node.Ceremonies().GenerateRootAcknowledge(ctx, nonce, share); err != nil {
		return nil, rootError(err)
	}
	return api.Done()
}
