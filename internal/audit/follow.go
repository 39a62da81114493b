package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// ErrUndeclared is returned by [Trail.Follow] while the table lacks a device that this node's configuration names: the node that leads has
// another configuration, or has not written it down yet. Such a node must not answer by itself, because the device would miss it.
var ErrUndeclared = errors.New("audit: the active node does not have an audit device that this node's configuration names")

// Holds reports whether this is a key whose change concerns the trail.
func (t *Trail) Holds(key string) bool { return key == tableKey }

// Follow is [Trail.Activate] on a node that must not write: it takes the table as the active node has left it. Devices that a configuration
// declares are those of this node's own. It is called again when the table has changed; where it fails, what was in force stays.
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
