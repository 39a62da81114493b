package ceremonies

import (
	"cmp"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/recovery"
)

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
	HoldersGiven         []string `json:"holders_given,omitempty"` // ours
}

// rekeyShown renders a status for the request's path.
func rekeyShown(q *api.Request, s ceremony.RekeyStatus) (*api.Answer, error) {
	if !legacy(q) {
		return api.Show(rotationStatus(s, q.Route.Target))
	}
	return api.Show(rekeyStatusAnswer{
		Nonce: s.Nonce, Started: s.Started, T: s.Threshold, N: s.Shares, Progress: s.Progress, Required: s.Required,
		PGPFingerprints: s.PGPFingerprints, Backup: s.Backup,
		VerificationRequired: s.VerificationRequired, VerificationNonce: s.VerificationNonce, HoldersGiven: s.HoldersGiven,
	})
}

// rotationStatus leaves out what is not set yet, and members of PGP where it is not used. A key
// without shares of its own counts as 1 of 1.
func rotationStatus(s ceremony.RekeyStatus, t recovery.Target) map[string]any {
	m := map[string]any{"started": s.Started, "t": s.Threshold, "n": s.Shares, "required": s.Required}
	if !s.Started {
		return m
	}
	if t == recovery.Barrier {
		m["t"], m["n"] = cmp.Or(s.Threshold, 1), cmp.Or(s.Shares, 1)
	}
	m["nonce"], m["progress"] = s.Nonce, s.Progress
	m["verification_required"], m["verification_nonce"] = s.VerificationRequired, s.VerificationNonce
	if len(s.PGPFingerprints) > 0 {
		m["pgp_fingerprints"], m["backup"] = s.PGPFingerprints, s.Backup
	}
	if len(s.HoldersGiven) > 0 {
		m["holders_given"] = s.HoldersGiven
	}
	return m
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

// rekeyDone answers the last share on Vault's paths. It destroys the shares once they are rendered.
func rekeyDone(r *ceremony.RekeyResult) (*api.Answer, error) {
	a := rekeyDoneAnswer{
		Nonce: r.Nonce, Complete: true, PGPFingerprints: r.PGPFingerprints, Backup: r.Backup,
		VerificationRequired: r.VerificationRequired, VerificationNonce: r.VerificationNonce,
	}
	a.Keys, a.KeysBase64 = HandOut(r.Keys)
	return api.Show(a)
}

// rotationDone does the same on OpenBao's paths. The answer to a start has the numbers of shares in
// place of a nonce.
func rotationDone(r *ceremony.RekeyResult, atOnce bool) (*api.Answer, error) {
	m := map[string]any{
		"complete": true, "pgp_fingerprints": r.PGPFingerprints, "backup": r.Backup,
		"verification_required": r.VerificationRequired, "verification_nonce": r.VerificationNonce,
	}
	if atOnce {
		m["t"], m["n"] = r.Threshold, r.Shares
	} else {
		m["nonce"] = r.Nonce
	}
	m["keys"], m["keys_base64"] = HandOut(r.Keys)
	return api.Show(m)
}
