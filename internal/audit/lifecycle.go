package audit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/uuid"
)

// Activate reads the devices and their salts from the barrier, and reconciles the table with the
// configuration. It is called before the first request that needs an unsealed node; if it fails,
// the node must stay sealed.
func (t *Trail) Activate(ctx context.Context, e Entries) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, err := readTable(ctx, e)
	if err != nil {
		return err
	}
	tab, ops, err := t.reconcile(old)
	if err != nil {
		return err
	}
	if len(ops) > 0 {
		if err := e.Commit(ctx, storage.Batch{Ops: ops}); err != nil {
			return fmt.Errorf("audit: writing the table of devices: %w", err)
		}
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

// reconcile updates the table to the configuration. Devices enabled by request stay, unless the
// configuration uses their path.
func (t *Trail) reconcile(old table) (tab table, ops []storage.Op, err error) {
	tab.Headers = old.Headers
	changed := false
	for _, s := range old.Devices {
		named := slices.ContainsFunc(t.o.Declared, func(c Config) bool { return c.Path == s.Path })
		switch {
		case named:
		case s.Declared:
			t.o.Log.Info("an audit device was removed from the configuration", "device", s.Path)
			ops = append(ops, storage.Delete(saltKey(s.UUID)))
			changed = true
		default:
			tab.Devices = append(tab.Devices, s)
		}
	}
	for _, c := range t.o.Declared {
		if i := old.index(c.Path); i >= 0 {
			s := newStored(c, old.Devices[i].UUID)
			changed = changed || !same(s.config(), old.Devices[i].config())
			tab.Devices = append(tab.Devices, s)
			continue
		}
		s, salt, err := t.register(c)
		if err != nil {
			return tab, nil, err
		}
		tab.Devices = append(tab.Devices, s)
		ops = append(ops, salt)
		changed = true
	}
	if !changed {
		return tab, nil, nil
	}
	value, err := tab.marshal()
	return tab, append(ops, storage.Put(tableKey, value)), err
}

func same(a, b Config) bool {
	return a.Path == b.Path && a.Type == b.Type && a.Description == b.Description && a.Local == b.Local &&
		a.Declared == b.Declared &&
		maps.Equal(a.Options, b.Options)
}

// register gives a device its id and salt.
func (t *Trail) register(c Config) (stored, storage.Op, error) {
	rnd := t.o.Rand
	if rnd == nil {
		rnd = rand.Reader
	}
	ids, err := newUUIDs(rnd, 2)
	if err != nil {
		return stored{}, storage.Op{}, err
	}
	return newStored(c, ids[0]), storage.Put(saltKey(ids[0]), marshalSalt(ids[1])), nil
}

func newUUIDs(rnd io.Reader, n int) ([]string, error) {
	var out []string
	for range n {
		id, err := uuid.New(rnd)
		if err != nil {
			return nil, fmt.Errorf("audit: making a device's salt: %w", err)
		}
		out = append(out, id)
	}
	return out, nil
}

// assemble creates the devices of a table. Running devices with the same options are kept. It
// returns the set even with an error: it may contain devices that were started.
func (t *Trail) assemble(ctx context.Context, e Entries, tab table, before *set) (*set, error) {
	next := &set{headers: tab.Headers, active: true}
	for _, s := range tab.Devices {
		a, err := t.attach(s.config(), before)
		if err != nil {
			return next, err
		}
		next.devices = append(next.devices, a)
		salt, err := readSalt(ctx, e, s.UUID)
		if err != nil {
			return next, err
		}
		a.hash = newHasher(salt)
	}
	return next, nil
}

// attach finds the device among the running ones, or starts it.
func (t *Trail) attach(c Config, before *set) (*attached, error) {
	for _, a := range before.devices {
		if same(a.Config, c) {
			return &attached{c, &formatter{settings: a.settings}, a.device, a.took}, nil
		}
	}
	a, err := t.start(c)
	if err != nil {
		return nil, fmt.Errorf("audit: the device %s: %w", c.Path, err)
	}
	return a, nil
}

// without returns the devices of s that are not in other.
func without(s, other *set) *set {
	out := &set{}
	for _, a := range s.devices {
		if !slices.ContainsFunc(other.devices, func(b *attached) bool { return a.device == b.device }) {
			out.devices = append(out.devices, a)
		}
	}
	return out
}

// Deactivate forgets the salts and closes the devices that are not in the configuration. It is
// called when no request can take effect any more.
func (t *Trail) Deactivate() {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, next := t.now.Load(), &set{}
	for _, a := range before.devices {
		if a.Declared {
			next.devices = append(next.devices, &attached{a.Config, &formatter{settings: a.settings}, a.device, a.took})
		}
	}
	t.entries, t.table = nil, table{}
	t.now.Store(next)
	if err := without(before, next).close(); err != nil {
		t.o.Log.Warn("an audit device failed to close", "error", err)
	}
}

// Enable adds a device. Unless the option skip_test is set it first writes a test entry, and
// refuses a device that cannot be written.
func (t *Trail) Enable(ctx context.Context, c Config) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.entries == nil {
		return ErrSealed
	}
	path, err := CleanPath(c.Path)
	if err != nil {
		return err
	}
	c.Path, c.Declared, c.Options = path, false, maps.Clone(c.Options)
	switch {
	case t.o.ForbidAPI:
		return fault.New(fault.Invalid, "cannot enable audit device via API; the server's configuration has "+
			"unsafe_allow_api_audit_creation = false: "+
			"use an audit stanza there")
	case t.taken(path):
		return fault.New(fault.Invalid, "path already in use")
	case len(t.table.Devices) >= maxDevices:
		return fault.New(fault.Invalid, "there are already %d audit devices, the maximum; disable one first", maxDevices)
	}
	if err := t.checkConfined(c); err != nil {
		return err
	}
	a, err := t.start(c)
	if err != nil {
		return err
	}
	if err := t.enable(ctx, c, a); err != nil {
		return errors.Join(err, a.device.close())
	}
	t.o.Log.Info("audit device enabled", "device", path, "type", c.Type, "writes_to", a.settings.String())
	return nil
}

// taken reports whether a path equals, contains or is inside that of another device.
func (t *Trail) taken(path string) bool {
	return slices.ContainsFunc(t.table.Devices, func(s stored) bool {
		return len(s.Path) <= len(path) && path[:len(s.Path)] == s.Path || len(path) < len(s.Path) &&
			s.Path[:len(path)] == path
	})
}

func (t *Trail) enable(ctx context.Context, c Config, a *attached) error {
	s, salt, err := t.register(c)
	if err != nil {
		return err
	}
	a.hash = newHasher(string(salt.Value[1:]))
	if !a.skipTest {
		if err := t.probe(a); err != nil {
			return fault.Wrap(err, fault.Invalid, "the audit device failed its test entry, so it was not enabled: %v", err)
		}
	}
	next := table{Devices: append(slices.Clone(t.table.Devices), s), Headers: t.table.Headers}
	if err := t.commit(ctx, next, salt); err != nil {
		return err
	}
	now := t.now.Load()
	t.now.Store(&set{devices: append(slices.Clone(now.devices), a), headers: now.headers, active: true})
	return nil
}

// probe writes a test entry.
func (t *Trail) probe(a *attached) error {
	ids, err := newUUIDs(rand.Reader, 1)
	if err != nil {
		return err
	}
	only := &set{devices: []*attached{a}, active: true}
	r := &Record{trail: t, set: only, request: &Request{ID: ids[0], Operation: "update", Path: "sys/audit/test"}}
	return r.offer(only, "request", nil, "", t.o.Now())
}

// commit writes a table and keeps it in memory. If the outcome is unknown it reads the table back.
func (t *Trail) commit(ctx context.Context, next table, ops ...storage.Op) error {
	value, err := next.marshal()
	if err != nil {
		return err
	}
	err = t.entries.Commit(ctx, storage.Batch{Ops: append(ops, storage.Put(tableKey, value))})
	if err == nil {
		t.table = next
		return nil
	}
	if storage.NothingWritten(err) {
		return err
	}
	there, failed := readTable(ctx, t.entries)
	if failed != nil {
		return errors.Join(err, failed)
	}
	if again, _ := there.marshal(); string(again) == string(value) {
		t.table = next
		return nil
	}
	return err
}

// Disable removes a device. A missing one is not an error.
func (t *Trail) Disable(ctx context.Context, path string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.entries == nil {
		return ErrSealed
	}
	clean, err := CleanPath(path)
	if err != nil {
		return err
	}
	i := t.table.index(clean)
	if i < 0 {
		return nil
	}
	gone := t.table.Devices[i]
	if gone.Declared {
		return fault.New(fault.Invalid, "the audit device %q is declared in the server's configuration: remove its stanza "+
			"there", clean)
	}
	next := table{Devices: slices.Delete(slices.Clone(t.table.Devices), i, i+1), Headers: t.table.Headers}
	if err := t.commit(ctx, next, storage.Delete(saltKey(gone.UUID))); err != nil {
		return err
	}
	before := t.now.Load()
	after := &set{headers: before.headers, active: true}
	for _, a := range before.devices {
		if a.Path != clean {
			after.devices = append(after.devices, a)
		}
	}
	t.now.Store(after)
	if err := without(before, after).close(); err != nil {
		t.o.Log.Warn("an audit device failed to close", "device", clean, "error", err)
	}
	t.o.Log.Info("audit device disabled", "device", clean)
	return nil
}
