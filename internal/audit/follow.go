package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// ErrUndeclared is returned by [Trail.Follow] while the table lacks a device of this node's
// configuration: the leader has another configuration, or has not stored it yet. This node must
// then forward all requests, because the device would miss its answers.
var ErrUndeclared = errors.New("audit: the active node lacks an audit device of this node's configuration; give all " +
	"nodes the same audit stanzas")

// Holds reports whether a change of this key concerns the trail.
func (t *Trail) Holds(key string) bool { return key == tableKey }

// Follow is [Trail.Activate] on a node that must not write: it adopts the table that the active
// node stored. Devices in the configuration are this node's own. It is called again when the table
// has changed; if it fails, the previous devices stay in use.
func (t *Trail) Follow(ctx context.Context, e Entries) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	tab, err := readTable(ctx, e)
	if err != nil {
		return err
	}
	tab.Devices = slices.DeleteFunc(slices.Clone(tab.Devices), func(s stored) bool {
		return s.Declared && !slices.ContainsFunc(t.o.Declared, func(c Config) bool { return c.Path == s.Path })
	})
	for _, c := range t.o.Declared {
		i := tab.index(c.Path)
		if i < 0 {
			return fmt.Errorf("%w: %s", ErrUndeclared, c.Path)
		}
		tab.Devices[i] = newStored(c, tab.Devices[i].UUID)
	}
	before := t.now.Load()
	next, err := t.assemble(ctx, e, tab, before)
	if err == nil {
		err = t.flush(next)
	}
	if err != nil {
		return errors.Join(err, without(next, before).close())
	}
	t.entries, t.table = e, tab
	t.now.Store(next)
	return without(before, next).close()
}
