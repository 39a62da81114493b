package node

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

// Backup is the encrypted new shares of a rekey that asked for one. It holds nothing that is not encrypted to its holder. Stored
// as JSON, with the version in "v", at core/backup/ and the target; written with the new shares, overwritten by the next backup.
type Backup struct {
	Version int                 `json:"v"`
	Nonce   string              `json:"nonce"`
	Keys    map[string][]string `json:"keys"` // by fingerprint: messages in hexadecimal
}

func backupPath(t recovery.Target) string { return pathBackup + t.String() }

// keepBackup adds the backup to the transaction that makes the new shares.
func (n *Node) keepBackup(tx *barrier.Tx, t recovery.Target, res *RekeyResult) error {
	if !res.Backup {
		return nil
	}
	b := Backup{Version: 1, Nonce: res.Nonce, Keys: map[string][]string{}}
	for i, print := range res.PGPFingerprints {
		b.Keys[print] = append(b.Keys[print], hex.EncodeToString(res.Keys[i].Expose()))
	}
	raw, err := json.Marshal(b)
	if err != nil {
		return fmt.Errorf("node: keeping a backup: %w", err)
	}
	tx.Put(backupPath(t), raw)
	return nil
}

// Backup returns the backup of a target's last rekey that asked for one.
func (n *Node) Backup(ctx context.Context, t recovery.Target) (*Backup, error) {
	a, err := n.Role()
	if err != nil {
		return nil, err
	}
	raw, err := a.barrier.Get(ctx, backupPath(t))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, fault.New(fault.Invalid, "no backed-up keys found")
	}
	if err != nil {
		return nil, storeFault(err, "the backup could not be read")
	}
	b := &Backup{}
	if err := json.Unmarshal(raw, b); err != nil || b.Version != 1 {
		return nil, fmt.Errorf("node: entry %s: version %d: %w", backupPath(t), b.Version, err)
	}
	return b, nil
}

// DeleteBackup removes a backup, if there is one.
func (n *Node) DeleteBackup(ctx context.Context, t recovery.Target) error {
	a, err := n.Role()
	if err != nil {
		return err
	}
	err = a.barrier.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Delete(backupPath(t))}})
	return storeFault(err, "the backup could not be deleted")
}
