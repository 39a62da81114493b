package ceremony

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/recovery"
)

// Backup is the new shares of a rekey that asked for a backup, each encrypted to its holder. It is
// stored as JSON below "core/backup/", written in the commit that makes the shares, and replaced by
// the next backup of the target.
type Backup struct {
	Version int                 `json:"v"` // 1
	Nonce   string              `json:"nonce"`
	Keys    map[string][]string `json:"keys"` // by fingerprint: messages in hexadecimal
}

// keepBackup adds the backup to the transaction that makes the new shares.
func (m *Manager) keepBackup(tx *barrier.Tx, t recovery.Target, res *RekeyResult) error {
	if !res.Backup {
		return nil
	}
	b := Backup{Version: 1, Nonce: res.Nonce, Keys: map[string][]string{}}
	for i, print := range res.PGPFingerprints {
		b.Keys[print] = append(b.Keys[print], hex.EncodeToString(res.Keys[i].Expose()))
	}
	raw, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("ceremony: encoding a backup: %w", err)
	}
	tx.Put(backupPath(t), raw)
	return nil
}

// Backup returns the backup of a target's last rekey that asked for one.
func (m *Manager) Backup(ctx context.Context, t recovery.Target) (*Backup, error) {
	u, err := m.Host.Unsealed()
	if err != nil {
		return nil, err
	}
	raw, err := u.Barrier.Get(ctx, backupPath(t))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, fault.New(fault.Invalid, "no backed-up keys found")
	}
	if err != nil {
		return nil, barrier.Fault(err, "the backup could not be read")
	}
	b := &Backup{}
	if err := json.Unmarshal(raw, b); err != nil {
		return nil, fmt.Errorf("ceremony: entry %s: %w", backupPath(t), err)
	}
	if b.Version != 1 {
		return nil, fmt.Errorf("ceremony: entry %s has format version %d; this program reads version 1",
			backupPath(t), b.Version)
	}
	return b, nil
}

// DeleteBackup removes a backup, if there is one.
func (m *Manager) DeleteBackup(ctx context.Context, t recovery.Target) error {
	u, err := m.Host.Unsealed()
	if err != nil {
		return err
	}
	err = u.Barrier.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Delete(backupPath(t))}})
	return barrier.Fault(err, "the backup could not be deleted")
}
