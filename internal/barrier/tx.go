package barrier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/internal/storage"
)

// settleTimeout bounds the read after a commit whose outcome is unknown.
const settleTimeout = 10 * time.Second

// Tx collects what one storage commit carries: entries, records that are sealed otherwise, and
// changes of the keyring. Nothing happens before [Tx.Commit]; values must stay unchanged until
// then. It is for one goroutine.
type Tx struct {
	b      *Barrier
	err    error // of an earlier call; Commit returns it
	ops    []storage.Op
	raw    []bool // ops[i] is written unencrypted
	ifs    []storage.Condition
	rotate bool
	retire uint32 // terms before it are removed; 0: none
	root   *alternate

	distrust uint32 // others may know the terms before it; 0: unchanged
	refuse   bool   // control records of distrusted terms do not open any more

	format *ring // the first keyring, of a barrier that is being formatted
	done   bool
}

// Begin starts a transaction.
func (b *Barrier) Begin() *Tx { return &Tx{b: b} }

// Format makes a barrier for an empty store, with a first term, and the transaction that writes it.
// The barrier is unsealed once that has committed, and nothing is written before. The root key has
// 32 bytes; the barrier keeps a copy.
func Format(store storage.Store, root *secret.Bytes, generation uint64, o Options) (*Barrier, *Tx, error) {
	b := New(store, o)
	if root.Len() != keySize {
		return nil, nil, fmt.Errorf("%w: a root key has %d bytes, not %d", ErrWrongRoot, keySize, root.Len())
	}
	first, err := b.makeTerm(1)
	if err != nil {
		return nil, nil, err
	}
	r := &ring{root: secret.Locked(root.Expose()), generation: generation, terms: []*term{first}, active: first}
	return b, &Tx{b: b, format: r}, nil
}

func (b *Barrier) makeTerm(id uint32) (*term, error) {
	key, err := secret.Random(b.rand, keySize)
	if err != nil {
		return nil, err
	}
	defer key.Destroy()
	return newTerm(id, secret.Locked(key.Expose()), b.now().UTC())
}

// Put seals plain at path, by the new term where the transaction rotates.
func (tx *Tx) Put(path string, plain []byte) { tx.add(storage.Put(path, plain), false) }

// Delete removes the entry at path.
func (tx *Tx) Delete(path string) { tx.add(storage.Delete(path), false) }

// PutRaw stores a record that is not an entry of the barrier.
func (tx *Tx) PutRaw(key string, record []byte) { tx.add(storage.Put(key, record), true) }

// DeleteRaw removes such a record.
func (tx *Tx) DeleteRaw(key string) { tx.add(storage.Delete(key), true) }

// Written returns what the transaction writes at key; ok is false where it does not write there. A
// deleted entry is nil.
func (tx *Tx) Written(key string) (value []byte, ok bool) {
	for _, op := range tx.ops {
		if op.Key == key {
			return op.Value, true
		}
	}
	return nil, false
}

func (tx *Tx) add(op storage.Op, raw bool) {
	tx.ops, tx.raw = append(tx.ops, op), append(tx.raw, raw)
}

// IfAbsent makes the commit fail with storage.ErrConflict where key exists.
func (tx *Tx) IfAbsent(key string) { tx.ifs = append(tx.ifs, storage.IfAbsent(key)) }

// RotateKeyring adds a term and makes it the active one.
func (tx *Tx) RotateKeyring() { tx.rotate = true }

// ReplaceRoot seals the keyring by another root key, of which it keeps a copy. The generation must
// be above the one in use.
func (tx *Tx) ReplaceRoot(root *secret.Bytes, generation uint64) {
	if root.Len() != keySize {
		tx.err = fmt.Errorf("%w: a root key has %d bytes, not %d", ErrWrongRoot, keySize, root.Len())
		return
	}
	tx.root = &alternate{root: secret.Locked(root.Expose()), generation: generation}
}

// NewRoot returns the root key by which the transaction replaces the one in use, and its
// generation; nil where it stays. The key stays the transaction's.
func (tx *Tx) NewRoot() (root *secret.Bytes, generation uint64) {
	if tx.root == nil {
		return nil, 0
	}
	return tx.root.root, tx.root.generation
}

// Commit commits the whole transaction in one storage commit, or nothing. It is called once.
//
// Where a transaction changes the keyring and the storage leaves the outcome open, Commit reads the
// keyring back: nil then means that the change is stored, an error that it was not. Where that
// fails too, the barrier writes nothing until Reload succeeds.
func (tx *Tx) Commit(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			tx.forget()
		}
		tx.root, tx.format = nil, nil // now the barrier's, or destroyed
	}()
	switch {
	case tx.err != nil:
		return tx.err
	case tx.done:
		return errors.New("barrier: the transaction was committed before")
	}
	tx.done = true
	if err := checkBatch(storage.Batch{If: tx.ifs, Ops: tx.ops}); err != nil {
		return err
	}
	b := tx.b
	b.writing.RLock()
	defer b.writing.RUnlock()
	if !tx.changesKeyring() {
		return tx.commitData(ctx)
	}
	b.change.Lock()
	defer b.change.Unlock()
	b.counting.Lock()
	defer b.counting.Unlock()
	old, next, err := tx.prepare(ctx)
	if err != nil {
		return err
	}
	batch, bounds, err := tx.keyringBatch(old, next)
	if err != nil {
		next.destroy(old)
		return err
	}
	if old == nil {
		b.census.begin() // nothing else can be stored: the commit fails where a keyring is
	}
	if err := b.commit(ctx, batch); err != nil {
		return b.settle(ctx, old, next, bounds, err)
	}
	b.accept(next, bounds)
	return nil
}

func (tx *Tx) changesKeyring() bool {
	return tx.rotate || tx.root != nil || tx.format != nil || tx.retire > 0 || tx.distrust > 0 || tx.refuse
}

// forget overwrites the keys of a transaction that failed.
func (tx *Tx) forget() {
	if tx.root != nil {
		tx.root.root.Destroy()
	}
	if tx.format != nil {
		tx.format.destroy(nil)
	}
}

// commitData is the commit of a transaction that leaves the keyring alone. The caller holds
// writing.
func (tx *Tx) commitData(ctx context.Context) error {
	r, err := tx.b.writable(ctx)
	if err != nil {
		return err
	}
	if n := tx.puts(); n > 0 {
		if err := tx.b.count(ctx, r.active, n); err != nil {
			return err
		}
	}
	return tx.b.commit(ctx, storage.Batch{If: tx.ifs, Ops: tx.sealed(r), Epoch: tx.b.epoch.Load()})
}

// puts returns how many values the transaction encrypts.
func (tx *Tx) puts() int {
	n := 0
	for i, op := range tx.ops {
		if !op.Delete && !tx.raw[i] {
			n++
		}
	}
	return n
}

func (tx *Tx) sealed(r *ring) []storage.Op {
	ops := make([]storage.Op, len(tx.ops), len(tx.ops)+OwnOps)
	for i, op := range tx.ops {
		ops[i] = op
		if !op.Delete && !tx.raw[i] {
			ops[i].Value = r.active.seal(op.Key, op.Value)
		}
	}
	return ops
}

// prepare returns the ring in use (nil for a new barrier) and the one that replaces it, not yet
// sealed.
func (tx *Tx) prepare(ctx context.Context) (old, next *ring, err error) {
	b := tx.b
	old = b.ring.Load()
	if tx.format != nil {
		if old != nil {
			return nil, nil, ErrFormatted
		}
		return nil, tx.format, nil
	}
	if old != nil && old.frozen {
		if err := b.reload(ctx); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrUncertain, err)
		}
		old = b.ring.Load()
	}
	if old == nil {
		return nil, nil, ErrSealed
	}
	next = &ring{root: old.root, generation: old.generation, terms: old.terms, active: old.active,
		trust: old.trust}
	if tx.rotate {
		if len(old.terms) >= maxTerms {
			return nil, nil, fmt.Errorf("%w (%d)", ErrTerms, maxTerms)
		}
		t, err := b.makeTerm(old.terms[len(old.terms)-1].id + 1)
		if err != nil {
			return nil, nil, err
		}
		next = old.with(t)
	}
	if tx.retire > 0 {
		next.terms = slices.DeleteFunc(slices.Clone(next.terms), func(t *term) bool { return t.id < tx.retire })
	}
	if err := tx.changeTrust(next); err != nil {
		return nil, nil, err
	}
	if tx.root != nil {
		if tx.root.generation <= old.generation {
			return nil, nil, fmt.Errorf("barrier: generation %d of the root key does not follow generation %d",
				tx.root.generation, old.generation)
		}
		next.root, next.generation = tx.root.root, tx.root.generation
	}
	return old, next, nil
}

// keyringBatch makes the batch with the transaction and its new keyring. The condition on the old
// keyring keeps two writers, or a commit that arrives late, from losing a term.
func (tx *Tx) keyringBatch(old, next *ring) (storage.Batch, []uint64, error) {
	if err := next.seal(); err != nil {
		return storage.Batch{}, nil, err
	}
	if _, err := next.active.count.take(tx.puts()); err != nil {
		return storage.Batch{}, nil, err
	}
	counts, bounds, err := next.booking(next.active)
	if err != nil {
		return storage.Batch{}, nil, err
	}
	unchanged := storage.IfAbsent(KeyringPath)
	if old != nil {
		unchanged = storage.IfValue(KeyringPath, old.record)
	}
	ops := append(tx.sealed(next), storage.Put(KeyringPath, next.record), counts)
	if tx.root != nil && old != nil && tx.b.handOver != nil {
		op, ok, err := tx.b.handOverOp(old, next)
		if err != nil {
			return storage.Batch{}, nil, err
		}
		if ok {
			ops = append(ops, op)
		}
	}
	conditions := append(tx.ifs[:len(tx.ifs):len(tx.ifs)], unchanged)
	return storage.Batch{If: conditions, Ops: ops, Epoch: tx.b.epoch.Load()}, bounds, nil
}

// accept makes a stored ring the one in use.
func (b *Barrier) accept(next *ring, bounds []uint64) {
	next.booked(bounds)
	b.swap(next)
	b.dropAlternate(nil)
}

// settle makes memory equal disk after a commit that failed.
func (b *Barrier) settle(ctx context.Context, old, next *ring, bounds []uint64, cause error) error {
	if storage.NothingWritten(cause) && !errors.Is(cause, storage.ErrConflict) {
		next.destroy(old)
		return cause
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	record, err := b.store.Get(ctx, KeyringPath)
	if err == nil && bytes.Equal(record, next.record) {
		b.accept(next, bounds)
		return nil
	}
	if old == nil {
		next.destroy(nil)
		if errors.Is(cause, storage.ErrConflict) && err == nil {
			return fmt.Errorf("%w: %w", ErrFormatted, cause)
		}
		return cause
	}
	if next.root != old.root {
		b.dropAlternate(&alternate{root: next.root.Clone(), generation: next.generation})
	}
	next.destroy(old)
	if err == nil && bytes.Equal(record, old.record) {
		return cause
	}
	if err := b.reload(ctx); err != nil {
		frozen := *old
		frozen.frozen = true
		b.ring.Store(&frozen)
		b.log.Error("writes are refused until the keyring can be read", "error", err)
		return fmt.Errorf("%w: %w; reading it: %w", ErrUncertain, cause, err)
	}
	return cause
}
