package mount

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/uuid"
)

// Tune changes a mount in one commit: change may modify the Description, Options and Config of the
// copy that it gets. The mount's backend may refuse, or add operations to the commit: see [Tuner].
func (t *Table) Tune(ctx context.Context, path string, change func(*Entry) error) error {
	clean, err := CleanPath(path)
	if err != nil {
		return err
	}
	if t.isProtected(clean) && clean != t.tunable {
		return fault.New(fault.Invalid, "cannot tune %q: it is built in and has no settings", clean)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.fresh(ctx); err != nil {
		return err
	}
	e := t.now.Load().byPath[clean]
	if e == nil {
		return fault.New(fault.Invalid, "tune of path %q failed: no mount entry found", clean)
	}
	to := e.Entry
	to.Options = maps.Clone(to.Options)
	if err := change(&to); err != nil {
		return err
	}
	if clean == t.tunable && to.Config.TokenType != e.Config.TokenType {
		return fault.New(fault.Invalid, "token_type of %q cannot be set: the request, or a token role, decides the type",
			clean)
	}
	if to.equal(e.Entry) {
		return nil
	}
	more, err := t.tuned(ctx, e, to)
	if err != nil {
		return err
	}
	mounts := t.List()
	mounts[slices.IndexFunc(mounts, func(m Entry) bool { return m.Path == clean })] = to
	return t.commit(ctx, mounts, more...)
}

// tuned asks the current backend and the new one for consent.
func (t *Table) tuned(ctx context.Context, e *mounted, to Entry) (more []storage.Op, err error) {
	if err := to.Config.Check(); err != nil {
		return nil, err
	}
	if backend, ok := e.backend.(Tuner); ok {
		ops, err := backend.Tune(ctx, to)
		if err != nil {
			return nil, err
		}
		for _, op := range ops {
			op.Key = t.data + to.UUID + "/" + op.Key
			more = append(more, op)
		}
	}
	if factory := t.factories[to.Type]; factory != nil {
		if _, err := factory(&view{base: t.base, prefix: t.data + to.UUID + "/", writeLock: &writeLock{}}, to); err != nil {
			return nil, err
		}
	}
	return more, nil
}

// Move is the result of a [Table.Remount].
type Move struct {
	ID       string // a UUID
	From, To string
}

// moves keeps the latest moves in memory; it may forget them, because a move is complete when
// Remount returns.
type moves []Move

const maxMoves = 64

// Remount changes a mount's path in one commit; its entries do not move.
func (t *Table) Remount(ctx context.Context, from, to string) (Move, error) {
	var m Move
	var err error
	if m.From, err = CleanPath(from); err != nil {
		return m, err
	}
	if m.To, err = CleanPath(to); err != nil {
		return m, err
	}
	for _, path := range []string{m.From, m.To} {
		if t.isProtected(path) {
			return m, fault.New(fault.Invalid, "cannot remount %q: only secrets engines can be moved, and not to a reserved "+
				"path", path)
		}
	}
	if m.ID, err = uuid.New(t.rnd); err != nil {
		return m, fmt.Errorf("mount: making a move's identifier: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.fresh(ctx); err != nil {
		return m, err
	}
	moved, ok := t.Get(m.From)
	if !ok {
		return m, fault.New(fault.Invalid, "no matching mount at %q; sys/mounts lists the mounts", m.From)
	}
	rest := slices.DeleteFunc(t.List(), func(o Entry) bool { return o.Path == m.From })
	if err := free(rest, m.To); err != nil {
		return m, err
	}
	moved.Path = m.To
	if err := t.commit(ctx, sorted(append(rest, moved))); err != nil {
		return m, err
	}
	t.moves = append(t.moves, m)
	t.moves = t.moves[max(0, len(t.moves)-maxMoves):]
	return m, nil
}

// Moved returns a move made since the node became active.
func (t *Table) Moved(id string) (Move, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.moves, func(m Move) bool { return m.ID == strings.ToLower(id) })
	if i < 0 {
		return Move{}, false
	}
	return t.moves[i], true
}

// RemoveTokenData removes the data that mounts keep for the token with this accessor: its
// cubbyhole. It is called when a token is revoked, and can be repeated.
func (t *Table) RemoveTokenData(ctx context.Context, accessor string) error {
	for _, f := range t.now.Load().removers {
		if err := f.RemoveTokenData(ctx, accessor); err != nil {
			return err
		}
	}
	return nil
}
