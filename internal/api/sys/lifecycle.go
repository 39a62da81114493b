package sys

import (
	"context"
	"encoding/json"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/api/ceremonies"
	"github.com/sealgate/sealgate/internal/fips"
	"github.com/sealgate/sealgate/internal/node"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/seals"
)

// The two answers of sys/init, as values that are sent as they are.
var (
	initialized   any = json.RawMessage(`{"initialized":true}`)
	uninitialized any = json.RawMessage(`{"initialized":false}`)
)

func initStatus(ctx context.Context, h *api.Handler, _ *api.Request) (*api.Answer, error) {
	is, err := h.Node.Initialized(ctx)
	if err != nil {
		return nil, err
	}
	if is {
		return api.Show(initialized)
	}
	return api.Show(uninitialized)
}

type initBodyFields struct {
	SecretShares      int      `json:"secret_shares"`
	SecretThreshold   int      `json:"secret_threshold"`
	PGPKeys           []string `json:"pgp_keys"`
	RecoveryShares    int      `json:"recovery_shares"`
	RecoveryThreshold int      `json:"recovery_threshold"`
	RecoveryPGPKeys   []string `json:"recovery_pgp_keys"`
	RootTokenPGPKey   string   `json:"root_token_pgp_key"`
	Holders           []string `json:"holders"` // ours: the names of the shares' holders
}

type initAnswer struct {
	Keys               []string `json:"keys"`
	KeysBase64         []string `json:"keys_base64"`
	RecoveryKeys       []string `json:"recovery_keys,omitempty"`
	RecoveryKeysBase64 []string `json:"recovery_keys_base64,omitempty"`
	RootToken          string   `json:"root_token"`
	SnapshotKey        []byte   `json:"snapshot_public_key,omitempty"` // ours: it verifies snapshots
}

func initialize(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	var b initBodyFields
	if err := q.Strict(&b); err != nil {
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
	a := initAnswer{RootToken: r.RootToken, SnapshotKey: r.SnapshotKey}
	a.Keys, a.KeysBase64 = ceremonies.HandOut(r.Keys)
	a.RecoveryKeys, a.RecoveryKeysBase64 = ceremonies.HandOut(r.RecoveryKeys)
	return api.Show(a)
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
	Version          string         `json:"version"`          // Vault's, with ours as build metadata
	SealgateVersion  string         `json:"sealgate_version"` // ours
	BuildDate        string         `json:"build_date"`       // Vault's name
	CommitDate       string         `json:"commit_date"`      // OpenBao's
	Migration        bool           `json:"migration"`
	ClusterName      string         `json:"cluster_name,omitempty"`
	ClusterID        string         `json:"cluster_id,omitempty"`
	StorageType      string         `json:"storage_type"`
	Seals            []seals.Status `json:"seals,omitempty"` // ours
	Warnings         []string       `json:"warnings,omitempty"`
	FIPS             string         `json:"fips"` // ours: see fips.Mode
	// Upstreams are the ids of the clusters without which this one cannot unseal; clusters find loops
	// by them. Every client may see them, as it may see the id of this cluster.
	Upstreams      []string      `json:"unseals_through,omitempty"`
	StorageFailure *storageFault `json:"storage_failure,omitempty"` // ours
}

// storageFault is why calls of the storage fail.
type storageFault struct {
	Class  string    `json:"class"`
	Since  time.Time `json:"since"`
	Remedy string    `json:"remedy"`
	Cause  string    `json:"cause,omitempty"` // with addresses: see showsDetail
}

func describe(f *storage.Failure) *storageFault {
	if f == nil {
		return nil
	}
	return &storageFault{Class: string(f.Class), Since: f.Since.UTC().Round(time.Millisecond), Remedy: f.Class.Remedy(),
		Cause: f.Err.Error()}
}

// sealStatus answers from the newest rendering, except where an audit device fails: what it reports
// is not part of the node's state.
func sealStatus(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	detail := showsDetail(ctx, h, q)
	at := &h.Statuses.Seal
	if detail {
		at = &h.Statuses.SealDetail
	}
	version := func() (node.StatusVersion, bool) { return node.StatusVersionOf(h.Node) }
	var warnings []string
	if h.Trail != nil {
		warnings = h.Trail.Warnings()
	}
	if len(warnings) > 0 {
		version = func() (node.StatusVersion, bool) { return node.StatusVersion{}, false }
	}
	body, err := at.Get(version, func() (any, error) {
		a, err := newSealStatus(ctx, h, detail, warnings)
		if err != nil {
			return nil, err
		}
		return api.Render(a)
	})
	if err != nil {
		return nil, err
	}
	return api.Show(body)
}

func newSealStatus(ctx context.Context, h *api.Handler, detail bool, warnings []string) (*sealStatusAnswer, error) {
	s, err := h.Node.SealStatus(ctx)
	if err != nil {
		return nil, err
	}
	a := &sealStatusAnswer{
		Type: s.Type, Initialized: s.Initialized, Sealed: s.Sealed,
		Threshold: s.Threshold, Shares: s.Shares, Progress: s.Progress, Nonce: s.Nonce,
		RecoverySeal: s.RecoverySeal, Version: h.ShownVersion(), SealgateVersion: h.Version,
		BuildDate: h.CommitDate, CommitDate: h.CommitDate,
		Migration: s.Migration, ClusterName: s.ClusterName, ClusterID: s.ClusterID, StorageType: s.StorageType,
		Seals: s.Seals, Warnings: append(s.Warnings, warnings...), Upstreams: s.Upstreams, FIPS: fips.Mode(),
		StorageFailure: describe(s.StorageFailure),
	}
	if !detail {
		if a.StorageFailure != nil {
			a.StorageFailure.Cause = ""
		}
		a.Seals, a.Warnings = public(s.Seals), publicWarnings(a.Warnings)
	}
	if s.RecoverySeal {
		a.RecoverySealType = "shamir" // how the recovery key is split
	}
	return a, nil
}
