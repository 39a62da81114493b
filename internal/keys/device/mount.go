package device

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/seals"
)

// Mount is what one mount may do with the keys of a registry.
type Mount struct {
	r        *Registry
	path, id string
	allowed  []string

	transcript bool // it is no mount: see [Registry.ForTranscript]
}

// For returns the view of a mount, by its path, its UUID and the managed keys that its settings
// allow.
func (r *Registry) For(path, id string, allowed []string) *Mount {
	return &Mount{r: r, path: path, id: id, allowed: allowed}
}

// Providers returns the providers of the mount's versions, by the type of their driver.
func (m *Mount) Providers() map[string]keys.Provider {
	all := map[string]keys.Provider{}
	for _, kind := range m.r.hub.Types() {
		all[kind] = &provider{m}
	}
	all[Rooted] = &rooted{m}
	return all
}

// Chosen is a key for a version: what is stored of it.
type Chosen struct {
	Provider string
	Spec     keys.Spec
	Material keys.Material
}

// permitted finds an entry that the mount may use.
func (m *Mount) permitted(s *snapshot, f Face, name string) (*Entry, error) {
	e, err := s.find(f, name)
	if err != nil {
		return nil, err
	}
	switch {
	case e.may(m):
		return e, nil
	case f == External:
		return nil, fault.New(fault.Invalid, "failed to fetch external key: mount %q is missing grant for key %q", m.path,
			e.Label())
	}
	return nil, fault.New(fault.Invalid, "the mount %q may not use the managed key %q: add it to the mount's "+
		"allowed_managed_keys", m.path, e.Name)
}

// Adopt takes the key that an entry selects.
func (m *Mount) Adopt(ctx context.Context, f Face, name string) (Chosen, error) {
	s, err := m.r.current(ctx)
	if err != nil {
		return Chosen{}, err
	}
	e, err := m.permitted(s, f, name)
	if err != nil {
		return Chosen{}, err
	}
	d, err := m.r.hub.driver(e.Type)
	if err != nil {
		return Chosen{}, err
	}
	ref, err := d.Select(s.params(e))
	if err != nil {
		return Chosen{}, failed(e.Label(), err)
	}
	return m.take(ctx, s, e, ref)
}

// take opens a key of an entry's device for a version.
func (m *Mount) take(ctx context.Context, s *snapshot, e *Entry, ref Ref) (c Chosen, err error) {
	l, err := m.r.connect(s, e)
	if err != nil {
		return c, failed(e.Label(), err)
	}
	o, err := l.look(ctx, ref)
	if err != nil {
		return c, failed(e.Label(), err)
	}
	if err := m.r.guard(ctx, e.Type, e.Label(), o.facts.Identity); err != nil {
		return c, err
	}
	if err := m.unreserved(s, e, o.facts.Identity); err != nil {
		return c, err
	}
	if err := m.r.noteUsed(ctx, e, o.facts.Identity); err != nil {
		return c, err
	}
	stored, err := reference{e.Face, e.Label(), ref, o.facts.Identity}.marshal()
	if err != nil {
		return c, err
	}
	return Chosen{e.Type, o.facts.Spec, keys.Material{Reference: stored, Public: o.facts.Public}}, nil
}

// Plan is a key that is to be made in a device. Its name is known before it exists, so that what a
// crash leaves behind is found by it.
type Plan struct {
	entry *Entry
	snap  *snapshot
	link  *link
	ref   Ref
	spec  keys.Spec
}

// Name returns the name of the key in its device.
func (p *Plan) Name() string { return p.ref.Name }

// Note is the text of a [keys.Note] about the key.
func (p *Plan) Note() ([]byte, error) {
	b, err := reference{p.entry.Face, p.entry.Label(), p.ref, ""}.marshal()
	if err != nil {
		return nil, err
	}
	return b.Expose(), nil
}

// Next plans a key for the next version, beside that of a version. suffix makes its name unique.
func (m *Mount) Next(ctx context.Context, of keys.Material, spec keys.Spec, suffix string) (*Plan, error) {
	old, err := parseReference(of.Reference.Expose())
	if err != nil {
		return nil, err
	}
	p, err := m.plan(ctx, old.face, old.entry, suffix)
	if err != nil {
		return nil, err
	}
	if p.spec = spec; !p.entry.AllowGenerate {
		return nil, fault.New(fault.Invalid, "the key %s may not make keys in its device: name another key for the next "+
			"version, or set allow_generate_key", p.entry.Label())
	}
	return p, nil
}

// ToImport plans a key that is imported: the one that an entry selects and that is not there yet.
func (m *Mount) ToImport(ctx context.Context, f Face, name string, spec keys.Spec) (*Plan, error) {
	p, err := m.plan(ctx, f, name, "")
	if err == nil && p.entry.Identity != "" {
		err = fault.New(fault.Invalid, "the key %s is in its device already: make a key of type managed_key with it",
			p.entry.Label())
	}
	return p.importable(spec, err)
}

// NextImported plans a key that is imported for the next version, beside that of a version.
func (m *Mount) NextImported(ctx context.Context, of keys.Material, spec keys.Spec, suffix string) (*Plan, error) {
	old, err := parseReference(of.Reference.Expose())
	if err != nil {
		return nil, err
	}
	p, err := m.plan(ctx, old.face, old.entry, suffix)
	return p.importable(spec, err)
}

func (p *Plan) importable(spec keys.Spec, err error) (*Plan, error) {
	if err != nil {
		return nil, err
	}
	if p.spec = spec; !p.entry.AllowStore {
		return nil, fault.New(fault.Invalid, "the key %s does not take keys from outside: set allow_store_key",
			p.entry.Label())
	}
	return p, nil
}

func (m *Mount) plan(ctx context.Context, f Face, name, suffix string) (*Plan, error) {
	s, err := m.r.current(ctx)
	if err != nil {
		return nil, err
	}
	e, err := m.permitted(s, f, name)
	if err != nil {
		return nil, err
	}
	d, err := m.r.hub.driver(e.Type)
	if err != nil {
		return nil, err
	}
	base, err := d.Select(s.params(e))
	if err != nil {
		return nil, failed(e.Label(), err)
	}
	l, err := m.r.connect(s, e)
	if err != nil {
		return nil, failed(e.Label(), err)
	}
	if base.Name == "" {
		base.Name = e.Name
	}
	ref := Ref{Name: base.Name + suffix}
	if suffix == "" {
		ref.ID = base.ID
	}
	return &Plan{entry: e, snap: s, link: l, ref: ref}, nil
}

// Make makes the key of a plan, or takes the one that an earlier attempt has made.
func (m *Mount) Make(ctx context.Context, p *Plan) (Chosen, error) {
	g, ok := p.link.Connection.(Generator)
	if !ok {
		return Chosen{}, fault.New(fault.Invalid, "keys of type %s cannot be made here: make the key in the service, and "+
			"name its configuration for the next version", p.entry.Type)
	}
	if err := m.r.guardNew(ctx, p.entry, p.link, p.ref); err != nil {
		return Chosen{}, err
	}
	if err := m.r.noteNew(ctx, p.entry, p.link, p.ref); err != nil {
		return Chosen{}, err
	}
	made, err := g.Generate(ctx, p.ref, p.spec)
	return m.made(ctx, p, made, err)
}

// Import imports a key into the device of a plan.
func (m *Mount) Import(ctx context.Context, p *Plan, private *secret.Bytes) (Chosen, error) {
	i, ok := p.link.Connection.(Importer)
	if !ok {
		return Chosen{}, fault.New(fault.Invalid, "keys cannot be imported into devices of type %s", p.entry.Type)
	}
	if err := m.r.guardNew(ctx, p.entry, p.link, p.ref); err != nil {
		return Chosen{}, err
	}
	if err := m.r.noteNew(ctx, p.entry, p.link, p.ref); err != nil {
		return Chosen{}, err
	}
	made, err := i.Import(ctx, p.ref, p.spec, private)
	if errors.Is(err, ErrExists) { // whatever it is, it need not be this key
		return Chosen{}, fault.New(fault.Invalid, "the device has a key named %s already: remove it there, or make a key of "+
			"type managed_key with it", p.ref.Name)
	}
	c, err := m.made(ctx, p, made, err)
	if err == nil && p.entry.Identity == "" {
		err = m.r.settle(ctx, p.entry.Face, p.entry.Label())
	}
	return c, err
}

func (m *Mount) made(ctx context.Context, p *Plan, made Ref, err error) (Chosen, error) {
	if errors.Is(err, ErrExists) {
		made, err = p.ref, nil
	}
	if err != nil {
		return Chosen{}, failed(p.entry.Label(), err)
	}
	c, err := m.take(ctx, p.snap, p.entry, made)
	if err == nil && c.Spec.Type != p.spec.Type {
		err = fault.New(fault.Invalid, "the device has a key of type %s under the name %s, which the version needs",
			c.Spec.Type, p.ref.Name)
	}
	return c, err
}

func (m *Mount) remove(ctx context.Context, s *snapshot, e *Entry, ref Ref) error {
	if !e.AllowDestroy {
		return fault.New(fault.Invalid, "the key %s may not be destroyed in its device: set allow_destroy_key, or destroy "+
			"it there", e.Label())
	}
	l, err := m.r.connect(s, e)
	if err != nil {
		return failed(e.Label(), err)
	}
	d, ok := l.Connection.(Remover)
	if !ok {
		return fault.New(fault.Invalid, "keys of type %s cannot be destroyed here: destroy the key in the service", e.Type)
	}
	o, err := l.look(ctx, ref)
	if err == nil { // it may have become a seal's since it was made
		if err := m.r.guard(ctx, e.Type, e.Label(), o.facts.Identity); err != nil {
			return err
		}
		if err := m.unreserved(s, e, o.facts.Identity); err != nil {
			return err
		}
		err = d.Remove(ctx, ref)
	}
	l.forget(ref)
	if seals.ClassOf(err) == seals.KeyGone {
		return nil
	}
	return failed(e.Label(), err)
}

// Abandon destroys the key of a note that no version has, where that is allowed. The name is that
// of the key in its device.
func (m *Mount) Abandon(ctx context.Context, note []byte) (name string, err error) {
	ref, err := parseReference(note)
	if err != nil {
		return "", err
	}
	s, err := m.r.current(ctx)
	if err != nil {
		return ref.ref.Name, err
	}
	e, err := m.permitted(s, ref.face, ref.entry)
	if err != nil {
		return ref.ref.Name, err
	}
	return ref.ref.Name, m.remove(ctx, s, e, ref.ref)
}

// Held is what a version's reference says.
type Held struct {
	Face  Face
	Entry string // label
	Name  string // of the key in its device

	Identity string // of the key, as [Facts] has it
}

// HeldBy reads the reference of a version, or the text of a note.
func HeldBy(reference []byte) (Held, error) {
	ref, err := parseReference(reference)
	return Held{ref.face, ref.entry, ref.ref.Name, ref.identity}, err
}

// MayGenerate reports whether the entry of a version may make keys in its device.
func (m *Mount) MayGenerate(ctx context.Context, of keys.Material) (bool, error) {
	ref, err := parseReference(of.Reference.Expose())
	if err != nil {
		return false, err
	}
	s, err := m.r.current(ctx)
	if err != nil {
		return false, err
	}
	e, err := m.permitted(s, ref.face, ref.entry)
	return err == nil && e.AllowGenerate, err
}

// use checks that the mount may use a version's key in a way.
func (m *Mount) use(s *snapshot, ref reference, u Usage) (*Entry, error) {
	e, err := m.permitted(s, ref.face, ref.entry)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(e.Usages, u) {
		return nil, fault.New(fault.Invalid, "the key %s may not be used to %s: its usages are %s", e.Label(), u,
			join(e.Usages))
	}
	return e, nil
}

// provider opens the versions of a mount's keys.
type provider struct{ m *Mount }

// Generate is refused: a key in a device is made by [Mount.Make].
func (p *provider) Generate(context.Context, keys.Spec) (keys.Material, error) {
	return keys.Material{}, fault.New(fault.Invalid, "name a managed key or an external key for the new version")
}

// Open returns a handle. It does not touch the device.
func (p *provider) Open(_ context.Context, s keys.Spec, v keys.Material) (any, error) {
	ref, err := parseReference(v.Reference.Expose())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", keys.ErrRecord, err)
	}
	h := &handle{m: p.m, ref: ref, spec: s}
	switch {
	case s.Type.AEAD():
		return &cipherHandle{h}, nil
	case s.Type == keys.HMAC:
		return &macHandle{h}, nil
	}
	public, err := keys.OpenPublic(s, v.Public)
	if err != nil {
		return nil, err
	}
	pair := pairHandle{h, public.(keys.Signer)}
	if s.Type.RSA() {
		return &rsaHandle{pair, public.(keys.Encrypter)}, nil
	}
	return &pair, nil
}
