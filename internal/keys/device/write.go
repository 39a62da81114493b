package device

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/uuid"
	"github.com/sealgate/sealgate/seals"
)

// Change is what a request makes of a configuration. The functions get it as it is, secrets
// included, or empty; parameters are given separately, because secrets may be left out.
type Change struct {
	Given   Params
	Replace bool         // parameters that are not given are removed; secrets that were shown are kept
	Entry   func(*Entry) // nil: nothing but parameters changes
}

func (c Change) params(stored Params, known []string, of Parameters) (Params, error) {
	if !c.Replace {
		return merge(stored, c.Given, known, of)
	}
	base := Params{}
	for _, name := range of.Secret {
		if v := c.Given[name]; v == Redacted || v == "redacted" {
			base[name] = stored[name]
		}
	}
	return merge(base, c.Given, known, of)
}

// WriteConfig stores a configuration of OpenBao's face. Keys that use it are tried first.
func (r *Registry) WriteConfig(ctx context.Context, name, kind string, ch Change) error {
	if err := checkName("configuration", name); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.read(ctx)
	if err != nil {
		return err
	}
	return r.orTidy(s, r.writeConfig(ctx, s, name, kind, ch))
}

// orTidy closes what a change that failed has opened.
func (r *Registry) orTidy(s *snapshot, err error) error {
	if err != nil {
		_ = r.tidy(s) // the error of the change is the one that matters
	}
	return err
}

func (r *Registry) writeConfig(ctx context.Context, s *snapshot, name, kind string, ch Change) error {
	next := &Config{Name: name, Type: kind}
	var err error
	var stored Params
	if old := s.configs[name]; old != nil {
		if stored = old.Params; kind == "" {
			next.Type = old.Type
		}
	}
	if next.Type == "" {
		return fault.New(fault.Invalid, `missing required field "plugin"`)
	}
	d, err := r.hub.driver(next.Type)
	if err != nil {
		return err
	}
	of := d.Parameters()
	if next.Params, err = ch.params(stored, of.Connection, of); err != nil {
		return err
	}
	if _, err := r.hub.connect(r, next.Type, name, next.Params); err != nil {
		return refused(name, err)
	}
	tried := *s
	tried.configs = maps.Clone(s.configs)
	tried.configs[name] = next
	for _, e := range s.entries[External] {
		if e.Config != name {
			continue
		}
		e := *e
		if e.Type = next.Type; e.Type != s.entries[External][e.Label()].Type {
			return fault.New(fault.Invalid, "the configuration %s has keys: remove them before its plugin is changed", name)
		}
		if err := r.try(ctx, &tried, &e); err != nil {
			return err
		}
	}
	return r.store(ctx, next.key(), next)
}

// Write stores an entry after a round trip with its key, which it makes in the device where that is
// allowed and there is none.
func (r *Registry) Write(ctx context.Context, e Entry, ch Change) error {
	if err := checkName("key", e.Name); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.read(ctx)
	if err != nil {
		return err
	}
	return r.orTidy(s, r.write(ctx, s, e, ch))
}

func (r *Registry) write(ctx context.Context, s *snapshot, e Entry, ch Change) error {
	if e.Face == External {
		c := s.configs[e.Config]
		if c == nil {
			return fault.New(fault.Invalid, "config %q not found", e.Config)
		}
		e.Type = c.Type
	}
	d, err := r.hub.driver(e.Type)
	if err != nil {
		return err
	}
	old := s.entries[e.Face][e.Label()]
	next := e
	if old != nil {
		next = *old
		next.Usages, next.Mounts = slices.Clone(old.Usages), slices.Clone(old.Mounts)
	} else if next.ID, err = uuid.New(nil); err != nil {
		return err
	}
	of := d.Parameters()
	known := of.Key
	if e.Face == Managed {
		known = slices.Concat(of.Connection, of.Key)
	}
	if next.Params, err = ch.params(next.Params, known, of); err != nil {
		return err
	}
	if ch.Entry != nil {
		ch.Entry(&next)
	}
	if err := r.try(ctx, s, &next); err != nil {
		return err
	}
	if old != nil && old.Identity != "" && old.Identity != next.Identity && !next.AllowReplace {
		return fault.New(fault.Invalid, "the parameters select another key than before, which allow_replace_key forbids: "+
			"versions that were made with the old key could not be used")
	}
	if err := s.keepSigner(old, &next); err != nil {
		return err
	}
	return r.store(ctx, next.key(), &next)
}

// tryWithin bounds a trial, whatever timeout the configuration sets: other changes wait for it.
const tryWithin = 20 * time.Second

// try opens the key of an entry and makes a round trip with it. It notes which key that is.
func (r *Registry) try(ctx context.Context, s *snapshot, e *Entry) error {
	ctx, cancel := context.WithTimeout(ctx, tryWithin)
	defer cancel()
	d, err := r.hub.driver(e.Type)
	if err != nil {
		return err
	}
	ref, err := d.Select(s.params(e))
	if err != nil {
		return refused(e.Label(), err)
	}
	l, err := r.connect(s, e)
	if err != nil {
		return refused(e.Label(), err)
	}
	if err := r.guardNew(ctx, e, l, ref); err != nil {
		return err
	}
	o, err := l.look(ctx, ref)
	if seals.ClassOf(err) == seals.KeyGone && e.AllowGenerate {
		if err := r.noteNew(ctx, e, l, ref); err != nil {
			return err
		}
		o, err = r.generateFirst(ctx, l, d, s.params(e), ref)
	}
	if seals.ClassOf(err) == seals.KeyGone && e.AllowStore && err != nil {
		e.Identity = "" // a key will be imported
		return nil
	}
	if err != nil {
		return refused(e.Label(), err)
	}
	if err := r.guard(ctx, e.Type, e.Label(), o.facts.Identity); err != nil {
		return err
	}
	if len(e.Usages) == 0 {
		e.Usages = o.facts.Uses
	}
	if err := roundTrip(ctx, e, o); err != nil {
		return refused(e.Label(), err)
	}
	e.Identity = o.facts.Identity
	return r.noteUsed(ctx, e, e.Identity)
}

// generateFirst makes the key that an entry's parameters select.
func (r *Registry) generateFirst(ctx context.Context, l *link, d Driver, p Params, ref Ref) (*opened, error) {
	g, ok := l.Connection.(Generator)
	t, typed := d.(Typer)
	if !ok || !typed {
		return nil, fault.New(fault.Invalid, "keys of this type cannot be made here: make the key in the device or service")
	}
	spec, known, err := t.Spec(p)
	if err != nil {
		return nil, err
	}
	if !known {
		return nil, fault.New(fault.Invalid, "the parameters do not say what key to make")
	}
	made, err := g.Generate(ctx, ref, spec)
	if err != nil && !errors.Is(err, ErrExists) {
		return nil, err
	}
	if err != nil {
		made = ref // another request made it first
	}
	return l.look(ctx, made)
}

func (r *Registry) store(ctx context.Context, key string, v any) error {
	record, err := marshal(v)
	if err != nil {
		return err
	}
	return r.commit(ctx, storage.Put(key, record.Expose()))
}

// Grant lets a mount use a key of OpenBao's face. id is the mount's UUID, "" where there is none
// yet.
func (r *Registry) Grant(ctx context.Context, label, mount, id string) error {
	return r.changeGrant(ctx, label, mount, func(e *Entry) {
		e.Mounts = append(e.Mounts, mount)
		slices.Sort(e.Mounts)
		if id != "" {
			e.MountIDs[mount] = id
		}
	})
}

// Withdraw ends a grant.
func (r *Registry) Withdraw(ctx context.Context, label, mount string) error {
	return r.changeGrant(ctx, label, mount, func(*Entry) {})
}

// changeGrant replaces the grant of a mount.
func (r *Registry) changeGrant(ctx context.Context, label, mount string, grant func(*Entry)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.read(ctx)
	if err != nil {
		return err
	}
	old, err := s.find(External, label)
	if err != nil {
		return err
	}
	next := *old
	next.Mounts = slices.DeleteFunc(slices.Clone(old.Mounts), func(m string) bool { return m == mount })
	next.MountIDs = map[string]string{}
	maps.Copy(next.MountIDs, old.MountIDs)
	delete(next.MountIDs, mount)
	grant(&next)
	return r.store(ctx, next.key(), &next)
}

// Remove removes an entry. The key stays in its device.
func (r *Registry) Remove(ctx context.Context, f Face, label string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.read(ctx)
	if err != nil {
		return err
	}
	e := s.entries[f][label]
	if e == nil {
		return nil
	}
	if s.signs(e) {
		return fault.New(fault.Invalid, "the managed key %s signs the transcript: name another signer in "+
			"sys/config/transcript first, or remove it there", e.Label())
	}
	return r.commit(ctx, storage.Delete(e.key()))
}

// RemoveConfig removes a configuration that has no keys.
func (r *Registry) RemoveConfig(ctx context.Context, name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.read(ctx)
	if err != nil {
		return err
	}
	if s.configs[name] == nil {
		return nil
	}
	for _, e := range s.entries[External] {
		if e.Config == name {
			return fault.New(fault.Invalid, "the configuration %s has keys, such as %s: remove them first", name, e.Name)
		}
	}
	return r.commit(ctx, storage.Delete(s.configs[name].key()))
}

// settle notes which key the parameters of an entry select, once there is one.
func (r *Registry) settle(ctx context.Context, f Face, label string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.read(ctx)
	if err != nil {
		return err
	}
	e, err := s.find(f, label)
	if err != nil {
		return err
	}
	next := *e
	if err := r.try(ctx, s, &next); err != nil {
		return err
	}
	return r.store(ctx, next.key(), &next)
}

// Test makes a round trip with an entry's key again.
func (r *Registry) Test(ctx context.Context, f Face, label string) error {
	s, err := r.current(ctx)
	if err != nil {
		return err
	}
	e, err := s.find(f, label)
	if err != nil {
		return err
	}
	tried := *e
	tried.AllowGenerate, tried.AllowStore = false, false
	if err := r.try(ctx, s, &tried); err != nil {
		return err
	}
	if e.Identity != "" && tried.Identity != e.Identity {
		return refused(label, seals.Fail(seals.WrongKey, errWrongKey, "restore the key"))
	}
	return nil
}
