package ceremonies

import (
	"context"
	"errors"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/field"
	"github.com/sealgate/sealgate/recovery"
)

// Rekey of both targets, by Vault's paths and by OpenBao's. Unlike in Vault, starting and
// cancelling need a token on both, so that no client without one changes another's work. On Vault's
// paths a share needs only the nonce, which the start, and GET .../init, return.

func rekeyStatus(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	s, err := h.Node.Ceremonies().RekeyStatus(ctx, q.Route.Target)
	if err != nil {
		return nil, rekeyError(q, err)
	}
	if !showsHolders(ctx, q) {
		s.HoldersGiven = nil
	}
	return rekeyShown(q, s)
}

type rekeyBody struct {
	SecretShares        int      `json:"secret_shares"`
	SecretThreshold     int      `json:"secret_threshold"`
	PGPKeys             []string `json:"pgp_keys"`
	Backup              bool     `json:"backup"`
	RequireVerification bool     `json:"require_verification"`
	Holders             []string `json:"holders"` // ours: the names of the shares' holders
}

func readRekeyBody(q *api.Request) (b rekeyBody, err error) {
	if legacy(q) {
		err = q.Strict(&b)
		return b, err
	}
	data, err := q.Object()
	if err != nil {
		return b, err
	}
	f := field.Map(data)
	var shares, threshold int64
	err = errors.Join(
		f.Number("secret_shares", &shares), f.Number("secret_threshold", &threshold), f.List("pgp_keys", &b.PGPKeys),
		f.Flag("backup", &b.Backup), f.Flag("require_verification", &b.RequireVerification), f.List("holders", &b.Holders))
	b.SecretShares, b.SecretThreshold = int(shares), int(threshold)
	return b, err
}

// check finds what is wrong with the body alone.
func (b *rekeyBody) check(q *api.Request) (warnings []string, err error) {
	if b.Backup && len(b.PGPKeys) == 0 {
		if legacy(q) {
			return nil,
				fault.New(fault.Invalid, "cannot request a backup of the new keys without providing PGP keys for encryption")
		}
		b.Backup = false // OpenBao accepts it and does nothing; here the client gets a warning
		warnings = []string{"no backup will be made: only encrypted shares are kept, and no PGP keys were given"}
	}
	if len(b.PGPKeys) > 0 && len(b.PGPKeys) != b.SecretShares {
		return nil, fault.New(fault.Invalid, "incorrect number of PGP keys for rekey: %d keys for %d shares",
			len(b.PGPKeys), b.SecretShares)
	}
	return warnings, nil
}

func rekeyStart(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	b, err := readRekeyBody(q)
	if err != nil {
		return nil, err
	}
	warnings, err := b.check(q)
	if err != nil {
		return nil, err
	}
	if err := canShowShares(ctx, h, q); err != nil {
		return nil, err
	}
	s, r, err := h.Node.Ceremonies().RekeyStart(ctx, q.Route.Target, recovery.Params{
		Shares: b.SecretShares, Threshold: b.SecretThreshold, Recipients: b.PGPKeys, Backup: b.Backup,
		Verification: b.RequireVerification,
		Holders:      b.Holders,
	}, starter(q))
	if err != nil {
		return nil, rekeyError(q, err)
	}
	var a *api.Answer
	if r != nil {
		a, err = rotationDone(r, true)
	} else {
		a, err = rekeyShown(q, s)
	}
	if a != nil {
		a.Warnings = warnings
	}
	return a, err
}

// canShowShares refuses a start that would complete at once. The first recovery shares need no
// other shares, but clients of Vault's path expect shares only in the answer to a share: they would
// not show them.
func canShowShares(ctx context.Context, h *api.Handler, q *api.Request) error {
	if !legacy(q) || q.Route.Target != recovery.Recovery {
		return nil
	}
	s, err := h.Node.Ceremonies().RekeyStatus(ctx, recovery.Recovery)
	if err != nil {
		return rekeyError(q, err)
	}
	if s.Required == 0 && !s.Started {
		return fault.New(fault.Invalid, "there are no recovery keys yet that could authorise this, and none are needed "+
			"to make the first: "+
			"use sys/rotate/recovery/init (operator rotate-keys), which answers with them at once; clients of this path "+
			"would not show them")
	}
	return nil
}

// rekeyCancel ends a rekey. A nonce in the body names the one that is meant: no other is ended.
func rekeyCancel(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	b, err := readShareBody(q)
	if err != nil {
		return nil, err
	}
	if err := h.Node.Ceremonies().RekeyCancel(ctx, q.Route.Target, b.Nonce, starter(q)); err != nil {
		return nil, rekeyError(q, err)
	}
	return api.Done()
}

func rekeyUpdate(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	nonce, share, err := givenShare(q, missingInRotation)
	if err != nil {
		return nil, err
	}
	defer share.Destroy()
	s, r, err := h.Node.Ceremonies().RekeyGive(ctx, q.Route.Target, nonce, share)
	switch {
	case err != nil:
		return nil, rekeyError(q, err)
	case r == nil:
		return rekeyShown(q, s)
	case legacy(q):
		return rekeyDone(r)
	}
	return rotationDone(r, false)
}

// rekeyAcknowledge wipes the answer that is kept for the client that gave the last share: the new
// shares have arrived.
func rekeyAcknowledge(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	nonce, share, err := givenShare(q, missingInRotation)
	if err != nil {
		return nil, err
	}
	defer share.Destroy()
	if err := h.Node.Ceremonies().RekeyAcknowledge(ctx, q.Route.Target, nonce, share); err != nil {
		return nil, rekeyError(q, err)
	}
	return api.Done()
}
