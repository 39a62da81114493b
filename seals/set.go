package seals

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
)

// RootKeyLen is the length of a root key in bytes: AES-256.
const RootKeyLen = 32

// DefaultDeadline bounds each call to a seal.
const DefaultDeadline = 10 * time.Second

// Seal is one member of a set.
type Seal struct {
	Name    string // unique in the set; part of what a blob is bound to
	Type    string
	Wrapper wrapping.Wrapper
}

// Options are what a set needs beside its seals.
type Options struct {
	Threshold int           // seals needed to unseal; 0 and 1 mean any of them
	Deadline  time.Duration // of each call to a seal; 0 = DefaultDeadline
	Rand      io.Reader     // nil = crypto/rand
	Now       func() time.Time
	Log       *slog.Logger

	// Observe is told of every encryption ("encrypt") and decryption ("decrypt") by a seal; nil: nobody is.
	Observe func(operation, sealType string, took time.Duration, err error)
}

// Set is the seals that protect one root key. It is safe for concurrent use.
type Set struct {
	seals []Seal
	opts  Options
	calls []semaphore // one for each seal
	probe prober
	turns []schedule // one for each seal; of [Set.RunHealthChecks] alone
}

// NewSet checks the policy and returns the set. It calls no seal.
func NewSet(members []Seal, o Options) (*Set, error) {
	if o.Threshold == 0 {
		o.Threshold = 1
	}
	if o.Deadline == 0 {
		o.Deadline = DefaultDeadline
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Observe == nil {
		o.Observe = func(string, string, time.Duration, error) {}
	}
	if n := len(members); n == 0 || n > maxSeals || o.Threshold < 1 || o.Threshold > n {
		return nil, fmt.Errorf("seals: %d of %d seals: need between 1 and %d seals and a threshold that they can meet",
			o.Threshold, n, maxSeals)
	}
	seen := map[string]bool{}
	for _, m := range members {
		if m.Name == "" || len(m.Name) > 255 || m.Wrapper == nil {
			return nil, fmt.Errorf("seals: a seal of type %q needs a name of 1 to 255 bytes and a provider", m.Type)
		}
		if seen[m.Name] {
			return nil, fmt.Errorf("seals: two seals are named %q; give each its own name", m.Name)
		}
		seen[m.Name] = true
		if b, ok := m.Wrapper.(Binder); ok && !b.BindsAAD() {
			o.Log.Warn("this seal cannot bind its ciphertext to cluster, seal and generation", "seal", m.Name, "type", m.Type)
		}
	}
	return &Set{seals: members, opts: o, calls: newSemaphores(len(members)), turns: make([]schedule, len(members))}, nil
}

// Type is the type that stands for the set towards clients: that of its first seal.
func (s *Set) Type() string { return s.seals[0].Type }

// Seals lists the members in the order of the configuration.
func (s *Set) Seals() []Seal { return append([]Seal(nil), s.seals...) }

// Quorum returns the member behind which people stand, nil where there is none.
func (s *Set) Quorum() Quorum {
	for _, m := range s.seals {
		if q, ok := m.Wrapper.(Quorum); ok {
			return q
		}
	}
	return nil
}

// NeedsShares reports whether the set cannot unseal without its quorum of custodians.
func (s *Set) NeedsShares() bool {
	automatic := 0
	for _, m := range s.seals {
		if _, ok := m.Wrapper.(Quorum); !ok {
			automatic++
		}
	}
	return automatic < s.opts.Threshold
}

// Custodians is the quorum that a root key is wrapped to: what stands in the record for them, and their public key.
type Custodians struct {
	ShareSet  []byte
	PublicKey []byte
}

// Wrap seals a root key with every member: each blob is decrypted again and compared before the record is
// returned. Where a threshold above one is asked for, each seal gets one share of the key. people are those whom the quorum
// seal wraps to, nil without one; former, where they are given, stay able to unseal as well.
func (s *Set) Wrap(ctx context.Context, cluster string, generation uint64, root *secret.Bytes, custodians, previous *Custodians) (*Record, error) {
	if root.Len() != RootKeyLen {
		return nil, fmt.Errorf("seals: a root key of %d bytes; want %d", root.Len(), RootKeyLen)
	}
	parts := make([]*secret.Bytes, len(s.seals))
	for i := range parts {
		parts[i] = root
	}
	if s.opts.Threshold > 1 {
		shares, err := recovery.Split(root, len(s.seals), s.opts.Threshold, s.opts.Rand)
		if err != nil {
			return nil, fmt.Errorf("seals: splitting the root key: %w", err)
		}
		defer destroyAll(shares)
		parts = shares
	}
	r := &Record{Generation: generation, Cluster: cluster, Threshold: s.opts.Threshold, Parts: make([]Part, len(s.seals))}
	if custodians != nil {
		r.ShareSet = custodians.ShareSet
	}
	if previous != nil {
		r.Previous = &Previous{ShareSet: previous.ShareSet}
	}
	return r, s.each(func(i int, m Seal) error {
		err := s.wrapMember(ctx, r, i, parts[i], custodians, previous)
		s.noteUnproven(m, err)
		return err
	})
}

// wrapMember wraps one part with one seal; with the quorum seal, to each of the quorums.
func (s *Set) wrapMember(ctx context.Context, r *Record, i int, part *secret.Bytes, custodians, previous *Custodians) error {
	m := s.seals[i]
	q, ok := m.Wrapper.(Quorum)
	if !ok {
		p, err := s.wrapOne(ctx, r, i, m.Wrapper, part)
		if err != nil {
			return err
		}
		r.Parts[i] = *p
		return s.prove(ctx, r, i, p)
	}
	// Nobody's shares are here to decrypt with: that the public key is the people's own was seen when it was made.
	for _, to := range []struct {
		custodians *Custodians
		part       func(Part)
	}{{custodians, func(p Part) { r.Parts[i] = p }}, {previous, func(p Part) { r.Previous.Part = p }}} {
		if to.custodians == nil {
			continue
		}
		w, err := q.For(to.custodians.PublicKey)
		if err != nil {
			return named(m, "wrap to its people", err)
		}
		p, err := s.wrapOne(ctx, r, i, w, part)
		if err != nil {
			return err
		}
		to.part(*p)
	}
	if custodians == nil {
		return named(m, "wrap", Fail(Misconfigured, errors.New("there are no people to wrap to"), "initialise the server with unseal shares"))
	}
	return nil
}

// each runs f for every member at once and joins their errors.
func (s *Set) each(f func(int, Seal) error) error {
	errs := make([]error, len(s.seals))
	done := make(chan struct{})
	for i, m := range s.seals {
		go func() {
			defer func() { done <- struct{}{} }()
			errs[i] = f(i, m)
		}()
	}
	for range s.seals {
		<-done
	}
	return errors.Join(errs...)
}

func (s *Set) wrapOne(ctx context.Context, r *Record, i int, w wrapping.Wrapper, part *secret.Bytes) (*Part, error) {
	m := s.seals[i]
	aad := binding(r, m.Name)
	begun := time.Now()
	plain := part.Clone() // the call may outlive its deadline, and the part is destroyed behind it
	blob, err := bounded(ctx, s.calls[i], s.opts.Deadline, func(ctx context.Context) (*wrapping.BlobInfo, error) {
		defer plain.Destroy()
		return w.Encrypt(ctx, plain.Expose(), wrapping.WithAad(aad))
	}, nil)
	s.opts.Observe("encrypt", m.Type, time.Since(begun), err)
	if err != nil {
		return nil, named(m, "encrypt", err)
	}
	p := &Part{Name: m.Name, Type: m.Type, KeyID: blob.GetKeyInfo().GetKeyId(), Digest: digest(part.Expose()), Blob: blob}
	if v, ok := w.(Stamper); ok {
		p.KeyVersion = v.VersionOf(blob)
	}
	if v, ok := w.(Versioned); ok && p.KeyVersion == "" {
		p.KeyVersion, err = bounded(ctx, s.calls[i], s.opts.Deadline, v.KeyVersion, nil)
		if err != nil {
			return nil, named(m, "read the key version of", err)
		}
	}
	return p, nil
}

// prove decrypts a part and compares it with its digest.
func (s *Set) prove(ctx context.Context, r *Record, i int, p *Part) error {
	plain, err := s.decrypt(ctx, r, i, s.seals[i].Wrapper, p)
	plain.Destroy()
	return err
}

func (s *Set) decrypt(ctx context.Context, r *Record, i int, w wrapping.Wrapper, p *Part) (*secret.Bytes, error) {
	m := s.seals[i]
	aad, begun := binding(r, m.Name), time.Now()
	plain, err := bounded(ctx, s.calls[i], s.opts.Deadline, func(ctx context.Context) ([]byte, error) {
		return w.Decrypt(ctx, p.Blob, wrapping.WithAad(aad))
	}, func(late []byte) { clear(late) })
	s.opts.Observe("decrypt", m.Type, time.Since(begun), err)
	if err != nil {
		return nil, named(m, "decrypt", err)
	}
	if !p.holds(plain) {
		clear(plain)
		return nil, named(m, "decrypt", Fail(Corrupt, errors.New("what came back is not what was wrapped"),
			"restore the sealed record from a backup, or see whether the device or service returns other data than it should"))
	}
	return secret.New(plain), nil
}

// Unwrap gets the root key back from as many members as the record asks for. quorum stands for the members' own
// quorum seal where people gave their key: it is unlocked, and of the record's people or of its former ones; nil where nobody
// came. The error joins the failures of all members.
func (s *Set) Unwrap(ctx context.Context, r *Record, quorum wrapping.Wrapper) (*secret.Bytes, error) {
	parts := make([]*secret.Bytes, len(s.seals))
	defer destroyAll(parts)
	err := s.each(func(i int, m Seal) error {
		p := r.part(m.Name)
		if p == nil {
			return named(m, "use", Fail(Misconfigured, errors.New("the stored root key was not wrapped by this seal"),
				"name a seal that wrapped it (%s), or add this one by re-wrapping while unsealed", r.names()))
		}
		w := m.Wrapper
		if _, isQuorum := w.(Quorum); isQuorum && quorum != nil {
			w = quorum
			if id, err := quorum.KeyId(ctx); err == nil && r.Previous != nil && id == r.Previous.Part.KeyID {
				p = &r.Previous.Part
			}
		}
		var err error
		parts[i], err = s.decrypt(ctx, r, i, w, p)
		s.note(m, p, err)
		return err
	})
	var got []*secret.Bytes
	for _, p := range parts {
		if p != nil {
			got = append(got, p)
		}
	}
	switch {
	case len(got) < r.Threshold && err == nil:
		return nil, Fail(Misconfigured, fmt.Errorf("%d of the %d seals that are needed are configured", len(got), r.Threshold),
			"configure more of the seals that wrapped the root key: %s", r.names())
	case len(got) < r.Threshold:
		return nil, err
	case r.Threshold == 1:
		return got[0].Clone(), nil
	}
	root, err := recovery.Combine(got[:r.Threshold])
	if err != nil {
		return nil, Fail(Corrupt, err, "restore the sealed record from a backup")
	}
	return root, nil
}

func (r *Record) names() string {
	out := ""
	for i, p := range r.Parts {
		if i > 0 {
			out += ", "
		}
		out += fmt.Sprintf("%s %q", p.Type, p.Name)
	}
	return out
}

// named puts the seal's name in front of a failure, keeping class and remedy.
func named(m Seal, doing string, err error) error {
	f := *Classify(err)
	f.Err = fmt.Errorf("seal %q (%s) could not %s: %w", m.Name, m.Type, doing, f.Err)
	return &f
}

// binding is the additional authenticated data of one part: lines of name=value, so that it
// reads well in a cloud's audit log. Values are ids and names chosen by the operator; none is secret.
func binding(r *Record, seal string) []byte {
	return fmt.Appendf(nil, "sealgate.seal=v1\ncluster=%s\nseal=%s\ngeneration=%d\n", r.Cluster, seal, r.Generation)
}

func destroyAll(parts []*secret.Bytes) {
	for _, p := range parts {
		p.Destroy()
	}
}

// Succeed is called on a set that replaces another, before that is closed.
func (s *Set) Succeed(old *Set) {
	for _, m := range s.seals {
		for _, o := range old.seals {
			if next, ok := m.Wrapper.(Successor); ok && o.Name == m.Name && o.Type == m.Type {
				next.Succeed(o.Wrapper)
			}
		}
	}
}

// Close ends what the providers hold.
func (s *Set) Close() error {
	var errs []error
	for _, m := range s.seals {
		if c, ok := m.Wrapper.(Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}
