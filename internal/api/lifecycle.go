package api

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
	"github.com/sealgate/sealgate/seals"
)

func (h *handler) initStatus(ctx context.Context, _ *request) (*answer, error) {
	initialized, err := h.Node.Initialized(ctx)
	if err != nil {
		return nil, err
	}
	return shown(struct {
		Initialized bool `json:"initialized"`
	}{initialized})
}

type initBodyFields struct {
	SecretShares      int      `json:"secret_shares"`
	SecretThreshold   int      `json:"secret_threshold"`
	PGPKeys           []string `json:"pgp_keys"`
	RecoveryShares    int      `json:"recovery_shares"`
	RecoveryThreshold int      `json:"recovery_threshold"`
	RecoveryPGPKeys   []string `json:"recovery_pgp_keys"`
	RootTokenPGPKey   string   `json:"root_token_pgp_key"`
	Holders           []string `json:"holders"` // ours: the names of those who will have the shares
}

type initAnswer struct {
	Keys               []string `json:"keys"`
	KeysBase64         []string `json:"keys_base64"`
	RecoveryKeys       []string `json:"recovery_keys,omitempty"`
	RecoveryKeysBase64 []string `json:"recovery_keys_base64,omitempty"`
	RootToken          string   `json:"root_token"`
}

func (h *handler) init(ctx context.Context, q *request) (*answer, error) {
	var b initBodyFields
	if err := q.strict(&b); err != nil {
		return nil, err
	}
	r, err := h.Node.Init(ctx, node.InitRequest{
		SecretShares: b.SecretShares, SecretThreshold: b.SecretThreshold, PGPKeys: b.PGPKeys,
		RecoveryShares: b.RecoveryShares, RecoveryThreshold: b.RecoveryThreshold, RecoveryPGPKeys: b.RecoveryPGPKeys,
		RootTokenPGPKey: b.RootTokenPGPKey, Holders: b.Holders,
	})
	if err != nil {
		return nil, err
	}
	a := initAnswer{RootToken: r.RootToken}
	a.Keys, a.KeysBase64 = handOut(r.Keys)
	a.RecoveryKeys, a.RecoveryKeysBase64 = handOut(r.RecoveryKeys)
	return shown(a)
}

// handOut gives shares, or the messages that they were encrypted to, the two forms in which people get them. It destroys
// them: the texts are all that is left.
func handOut(shares []*secret.Bytes) (asHex, asBase64 []string) {
	asHex, asBase64 = []string{}, []string{}
	for _, s := range shares {
		asHex = append(asHex, hex.EncodeToString(s.Expose()))
		asBase64 = append(asBase64, base64.StdEncoding.EncodeToString(s.Expose()))
		s.Destroy()
	}
	return asHex, asBase64
}

type sealStatusAnswer struct {
	Type             string         `json:"type"`
	Initialized      bool           `json:"initialized"`
	Sealed           bool           `json:"sealed"`
	Threshold        int            `json:"t"`
	Shares           int            `json:"n"`
	Progress         int            `json:"progress"`
	Nonce            string         `json:"nonce"`
	RecoverySeal     bool           `json:"recovery_seal"`
	RecoverySealType string         `json:"recovery_seal_type,omitempty"`
	Version          string         `json:"version"`
	BuildDate        string         `json:"build_date"`  // Vault's name
	CommitDate       string         `json:"commit_date"` // OpenBao's
	Migration        bool           `json:"migration"`
	ClusterName      string         `json:"cluster_name,omitempty"`
	ClusterID        string         `json:"cluster_id,omitempty"`
	StorageType      string         `json:"storage_type"`
	Seals            []seals.Status `json:"seals,omitempty"` // ours
	Warnings         []string       `json:"warnings,omitempty"`
}

func (h *handler) sealStatus(ctx context.Context, _ *request) (*answer, error) {
	s, err := h.Node.SealStatus(ctx)
	if err != nil {
		return nil, err
	}
	a := sealStatusAnswer{
		Type: s.Type, Initialized: s.Initialized, Sealed: s.Sealed,
		Threshold: s.Threshold, Shares: s.Shares, Progress: s.Progress, Nonce: s.Nonce,
		RecoverySeal: s.RecoverySeal, Version: h.Version, BuildDate: h.CommitDate, CommitDate: h.CommitDate,
		Migration: s.Migration, ClusterName: s.ClusterName, ClusterID: s.ClusterID, StorageType: s.StorageType,
		Seals: s.Seals, Warnings: s.Warnings,
	}
	if s.RecoverySeal {
		a.RecoverySealType = "shamir" // how the recovery key is shared out
	}
	return shown(a)
}

type unsealBody struct {
	Key     string `json:"key"`
	Reset   bool   `json:"reset"`
	Migrate bool   `json:"migrate"`
}

// unseal follows the order of contract 1.3: a share that nobody needs any more is not even measured.
func (h *handler) unseal(ctx context.Context, q *request) (*answer, error) {
	var b unsealBody
	if err := q.strict(&b); err != nil {
		return nil, err
	}
	switch {
	case b.Reset:
		if err := h.Node.ResetUnseal(ctx); err != nil {
			return nil, err
		}
	case b.Key == "":
		return nil, fault.New(fault.Invalid, "'key' must be specified in request body as JSON, or 'reset' set to true")
	default:
		if err := h.giveUnsealShare(ctx, b); err != nil {
			return nil, err
		}
	}
	return h.sealStatus(ctx, q)
}

func (h *handler) giveUnsealShare(ctx context.Context, b unsealBody) error {
	share, err := recovery.ParseShare(b.Key)
	defer share.Destroy()
	if errors.Is(err, recovery.ErrShareEncoding) {
		return fault.Wrap(err, fault.Invalid, "%v", err)
	}
	s, failed := h.Node.SealStatus(ctx)
	switch {
	case failed != nil:
		return failed
	case !s.Initialized:
		return fault.New(fault.Invalid, "Vault is not initialized")
	case !s.Sealed:
		return nil
	case err != nil:
		return fault.New(fault.Invalid, "invalid key: %v", err)
	}
	return h.Node.Unseal(ctx, share, b.Migrate)
}

func (h *handler) seal(ctx context.Context, q *request) (*answer, error) {
	if q.state == nil { // sealed already; no token was looked at
		return done()
	}
	if err := h.Node.Seal(ctx); err != nil {
		return nil, err
	}
	return done()
}

// stepDown has nobody to step down for in a node without a cluster.
func (h *handler) stepDown(ctx context.Context, _ *request) (*answer, error) {
	if h.Node.Clustered() {
		if err := h.Node.StepDown(ctx); err != nil {
			return nil, err
		}
	}
	return done()
}

// leaderAnswer has what is not known left out.
type leaderAnswer struct {
	HAEnabled      bool   `json:"ha_enabled"`
	Self           bool   `json:"is_self,omitempty"`
	ActiveTime     string `json:"active_time,omitempty"`
	Address        string `json:"leader_address,omitempty"`
	ClusterAddress string `json:"leader_cluster_address,omitempty"`
}

// leader is who answers. A sealed node of a cluster says that it is sealed, in the words that command lines look for.
func (h *handler) leader(ctx context.Context, _ *request) (*answer, error) {
	if !h.Node.Clustered() {
		return shown(leaderAnswer{})
	}
	if h.Node.Health().Sealed {
		return nil, fault.New(fault.Sealed, textSealed)
	}
	l, err := h.Node.CurrentLeader(ctx)
	if err != nil {
		return nil, err
	}
	a := leaderAnswer{HAEnabled: true}
	if l != nil {
		a.Self, a.Address, a.ClusterAddress = l.Self, l.APIAddr, l.ClusterAddr
		if l.Self {
			a.ActiveTime = l.Since.UTC().Format(time.RFC3339Nano)
		}
	}
	return shown(a)
}
