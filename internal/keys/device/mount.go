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

	importing bool
}

// Name returns the name of the key in its device.
func (p *Plan) Name() string { return p.ref.Name }

// Importing reports whether the key comes from outside.
func (p *Plan) Importing() bool { return p.importing }

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
	if p, err = p.importable(spec, err); err != nil {
		return nil, err
	}
	return p, p.free(ctx)
}

// free refuses a name that a key in the device has: only a key that is not there yet is announced.
func (p *Plan) free(ctx context.Context) error {
	_, err := p.link.look(ctx, Ref{Name: p.ref.Name})
	switch {
	case seals.ClassOf(err) == seals.KeyGone:
		return nil
	case err != nil:
		return failed(p.entry.Label(), err)
	}
	return p.taken()
}

func (p *Plan) taken() error {
	return fault.New(fault.Invalid, "the device has a key named %s already: remove it there, or make a key of type "+
		"managed_key with it", p.ref.Name)
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
	i, ok := p.link.Connection.(Importer)
	if !ok {
		return nil, fault.New(fault.Invalid, "keys cannot be imported into devices of type %s", p.entry.Type)
	}
	p.ref, p.importing = i.Fresh(p.ref), true
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

// Import imports a key into the device of a plan. Once a version has it, [Mount.Settle] notes it.
func (m *Mount) Import(ctx context.Context, p *Plan, private *secret.Bytes) (Chosen, error) {
	i := p.link.Connection.(Importer) // checked when it was planned
	if err := m.r.guardNew(ctx, p.entry, p.link, p.ref); err != nil {
		return Chosen{}, err
	}
	if err := m.r.noteNew(ctx, p.entry, p.link, p.ref); err != nil {
		return Chosen{}, err
	}
	made, err := i.Import(ctx, p.ref, p.spec, private)
	if errors.Is(err, ErrExists) { // whatever it is, it need not be this key
		return Chosen{}, p.taken()
	}
	return m.made(ctx, p, made, err)
}

// Settle notes the key of a version as the one that its entry selects, where none is noted yet.
func (m *Mount) Settle(ctx context.Context, of keys.Material) error {
	ref, err := parseReference(of.Reference.Expose())
	if err != nil {
		return err
	}
	s, err := m.r.current(ctx)
	if err != nil {
		return err
	}
	e, err := m.permitted(s, ref.face, ref.entry)
	if err != nil || e.Identity != "" {
		return err
	}
	return m.r.settle(ctx, e.Face, e.Label())
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

// remove destroys a key that no version has. One that an entry selects meanwhile is in use, and
// stays.
func (m *Mount) remove(ctx context.Context, s *snapshot, e *Entry, ref Ref) error {
	l, err := m.r.connect(s, e)
	if err != nil {
		return failed(e.Label(), err)
	}
	defer l.forget(ref)
	identity, err := identityOf(ctx, l, ref)
	switch {
	case seals.ClassOf(err) == seals.KeyGone || err == nil && s.selects(identity):
		return nil
	case err != nil:
		return failed(e.Label(), err)
	case !e.AllowDestroy:
		return fault.New(fault.Invalid, "the key %s may not be destroyed in its device: set allow_destroy_key, or destroy "+
			"it there", e.Label())
	}
	d, ok := l.Connection.(Remover)
	if !ok {
		return fault.New(fault.Invalid, "keys of type %s cannot be destroyed here: destroy the key in the service", e.Type)
	}
	if err := m.r.guard(ctx, e.Type, e.Label(), identity); err != nil { // it may have become a seal's since it was made
		return err
	}
	if err := m.unreserved(s, e, identity); err != nil {
		return err
	}
	if err := d.Remove(ctx, ref); err != nil && seals.ClassOf(err) != seals.KeyGone {
		return failed(e.Label(), err)
	}
	return nil
}

// identityOf finds a key. One that cannot be used, such as half of a pair, has the identity that
// its reference says.
func identityOf(ctx context.Context, l *link, ref Ref) (string, error) {
	o, err := l.look(ctx, ref)
	if err == nil {
		return o.facts.Identity, nil
	}
	n, ok := l.Connection.(Namer)
	if !ok || ref.ID == "" || seals.ClassOf(err) != seals.KeyDisabled {
		return "", err
	}
	return n.Identity(ref), nil
}

// selects reports whether the parameters of an entry select a key.
func (s *snapshot) selects(identity string) bool {
	for _, face := range s.entries {
		for _, e := range face {
			if e.Identity == identity {
				return true
			}
		}
	}
	return false
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

// Held describes the key that a version refers to.
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
