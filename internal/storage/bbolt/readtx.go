package bbolt

import (
	"sync"

	bolt "go.etcd.io/bbolt"
)

// readTx is a read transaction. One goroutine uses it at a time.
type readTx struct {
	*bolt.Tx
	entries *bolt.Bucket // nil until it was asked for
	state   uint64       // of the database when it began, as readTxs counts
}

// maxIdle bounds the idle read transactions.
const maxIdle = 16

// readTxs keeps read transactions that ended between two writes, for the next reads of the same
// state: beginning one costs more than finding an entry. An open transaction keeps the library from
// reusing pages and from mapping more of the file, so none is idle while something is written, the
// file is closed or another one takes its place. The zero value keeps none.
type readTxs struct {
	mu    sync.Mutex
	keeps bool
	state uint64 // counts the times that keep was called
	idle  []*readTx
}

// keep begins to keep transactions. What began before is not kept. The writer calls it after a
// commit and before it answers, so that a caller reads what it wrote.
func (k *readTxs) keep() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keeps = true
	k.state++
}

// end ends the idle transactions, and keeps none until keep is called.
func (k *readTxs) end() {
	k.mu.Lock()
	idle := k.idle
	k.keeps, k.idle = false, nil
	k.mu.Unlock()
	for _, tx := range idle {
		_ = tx.Rollback() // it cannot fail for one that is open
	}
}

// take returns an idle transaction; nil if there is none.
func (k *readTxs) take() *readTx {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := len(k.idle) - 1
	if n < 0 {
		return nil
	}
	tx := k.idle[n]
	k.idle = k.idle[:n]
	return tx
}

// begin begins a transaction.
func (k *readTxs) begin(db *bolt.DB) (*readTx, error) {
	k.mu.Lock()
	state := k.state
	k.mu.Unlock()
	tx, err := db.Begin(false) // after the state was read: it may be newer, never older
	if err != nil {
		return nil, err
	}
	return &readTx{Tx: tx, state: state}, nil
}

// give keeps a transaction, if that is sound, or ends it.
func (k *readTxs) give(tx *readTx, sound bool) {
	k.mu.Lock()
	kept := sound && k.keeps && tx.state == k.state && len(k.idle) < maxIdle
	if kept {
		k.idle = append(k.idle, tx)
	}
	k.mu.Unlock()
	if !kept {
		_ = tx.Rollback()
	}
}
