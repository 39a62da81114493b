package api

import (
	"context"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/recovery"
)

// Rekey of both targets, as Vault's legacy paths have it, with one mend: starting and cancelling need a token, so that nobody without one
// changes somebody else's work. A share needs only the nonce, which whoever started the rekey hands out, or GET .../init shows.

// target is what a rekey path is about.
func (q *request) target() recovery.Target {
	if strings.HasPrefix(q.path, "sys/rekey-recovery-key/") {
		return recovery.Recovery
	}
	return recovery.Barrier
}

type rekeyStatusAnswer struct {
	Nonce                string   `json:"nonce"`
	Started              bool     `json:"started"`
	T                    int      `json:"t"`
	N                    int      `json:"n"`
	Progress             int      `json:"progress"`
	Required             int      `json:"required"`
	PGPFingerprints      []string `json:"pgp_fingerprints"`
	Backup               bool     `json:"backup"`
	VerificationRequired bool     `json:"verification_required"`
	VerificationNonce    string   `json:"verification_nonce,omitempty"`
}

func rekeyShown(s node.RekeyStatus) (*answer, error) {
	return shown(rekeyStatusAnswer{
		Nonce: s.Nonce, Started: s.Started, T: s.Threshold, N: s.Shares, Progress: s.Progress, Required: s.Required,
		PGPFingerprints: s.PGPFingerprints, Backup: s.Backup,
		VerificationRequired: s.VerificationRequired, VerificationNonce: s.VerificationNonce,
	})
}

func (h *handler) rekeyStatus(ctx context.Context, q *request) (*answer, error) {
	s, err := h.Node.RekeyStatus(ctx, q.target())
	if err != nil {
		return nil, err
	}
	return rekeyShown(s)
}

type rekeyBody struct {
	SecretShares        int      `json:"secret_shares"`
	SecretThreshold     int      `json:"secret_threshold"`
	PGPKeys             []string `json:"pgp_keys"`
	Backup              bool     `json:"backup"`
	RequireVerification bool     `json:"require_verification"`
}

func (h *handler) rekeyStart(ctx context.Context, q *request) (*answer, error) {
	var b rekeyBody
	if err := q.strict(&b); err != nil {
		return nil, err
	}
	if b.Backup && len(b.PGPKeys) == 0 {
		return nil, fault.New(fault.Invalid, "cannot request a backup of the new keys without providing PGP keys for encryption")
	}
	if len(b.PGPKeys) > 0 && len(b.PGPKeys) != b.SecretShares {
		return nil, fault.New(fault.Invalid, "incorrect number of PGP keys for rekey: %d keys for %d shares", len(b.PGPKeys), b.SecretShares)
	}
	s, err := h.Node.RekeyStart(ctx, q.target(), recovery.Params{
		Shares: b.SecretShares, Threshold: b.SecretThreshold, Recipients: b.PGPKeys, Backup: b.Backup, Verification: b.RequireVerification,
	}, q.identity.DisplayName)
	if err != nil {
		return nil, err
	}
	return rekeyShown(s)
}

// rekeyCancel ends a rekey. Clients of later Vaults name the nonce of the one they mean: then no other is ended.
func (h *handler) rekeyCancel(ctx context.Context, q *request) (*answer, error) {
	var b shareBody
	if err := q.strict(&b); err != nil {
		return nil, err
	}
	if b.Nonce != "" {
		s, err := h.Node.RekeyStatus(ctx, q.target())
		if err != nil {
			return nil, err
		}
		if s.Started && s.Nonce != b.Nonce {
			return nil, fault.New(fault.Invalid, "incorrect nonce supplied: another rekey is in progress than the one to be cancelled")
		}
	}
	if err := h.Node.RekeyCancel(ctx, q.target()); err != nil {
		return nil, err
	}
	return done()
}

type shareBody struct {
	Key   string `json:"key"`
	Nonce string `json:"nonce"`
}

type rekeyDoneAnswer struct {
	Nonce                string   `json:"nonce"`
	Complete             bool     `json:"complete"`
	Keys                 []string `json:"keys"`
	KeysBase64           []string `json:"keys_base64"`
	PGPFingerprints      []string `json:"pgp_fingerprints"`
	Backup               bool     `json:"backup"`
	VerificationRequired bool     `json:"verification_required"`
	VerificationNonce    string   `json:"verification_nonce,omitempty"`
}

func (h *handler) rekeyUpdate(ctx context.Context, q *request) (*answer, error) {
	var b shareBody
	if err := q.strict(&b); err != nil {
		return nil, err
	}
	if b.Key == "" {
		return nil, fault.New(fault.Invalid, "'key' must be specified in request body as JSON")
	}
	share, err := recovery.ParseShare(b.Key)
	if err != nil {
		return nil, fault.New(fault.Invalid, "%v", err)
	}
	defer share.Destroy()
	s, r, err := h.Node.RekeyGive(ctx, q.target(), b.Nonce, share)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return rekeyShown(s)
	}
	a := rekeyDoneAnswer{
		Nonce: r.Nonce, Complete: true, PGPFingerprints: r.PGPFingerprints, Backup: r.Backup,
		VerificationRequired: r.VerificationRequired, VerificationNonce: r.VerificationNonce,
	}
	a.Keys, a.KeysBase64 = handOut(r.Keys)
	return shown(a)
}
