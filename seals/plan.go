package seals

import (
	"context"
	"errors"
	"fmt"
	"slices"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
)

// Follow makes a stored record decide which seals the set wraps with: a seal that is configured and
// holds no part waits until it is added, and one that holds a part encrypts by the key that made
// it. A nil record follows the configuration, which applies at the initialisation. It reports
// whether the plan changed: every seal is due for a check then.
func (s *Set) Follow(r *Record) (changed bool) {
	defer s.changes.Add(1)
	before := s.Plan()
	s.follow(r)
	if changed = before.Expression() != s.Plan().Expression(); changed {
		s.recheck.Store(true)
	}
	return changed
}

func (s *Set) follow(r *Record) {
	if r == nil {
		s.plan.Store(nil)
		return
	}
	s.followKeys(r)
	p := r.Plan().only(s.has)
	if !p.Grouped() {
		p.Members = p.Members[:0]
		for _, m := range s.seals { // in the order of the configuration, whose first type stands for the set
			if r.part(m.Name) != nil {
				p.Members = append(p.Members, m.Name)
			}
		}
	}
	if !p.OpensWith(p.Members) { // the record is of other seals; it cannot be unsealed either
		s.plan.Store(nil)
		return
	}
	s.plan.Store(&p)
}

// Plan returns which seals the set wraps with.
func (s *Set) Plan() Plan {
	if p := s.plan.Load(); p != nil {
		return *p
	}
	return s.Configured()
}

// Configured returns the plan of the configuration: the seals that its policy names, every seal
// where it names none.
func (s *Set) Configured() Plan {
	if s.opts.Policy != nil {
		return *s.opts.Policy
	}
	p := Plan{Threshold: s.opts.Threshold}
	for _, m := range s.seals {
		p.Members = append(p.Members, m.Name)
	}
	return p
}

// AutoRewraps reports whether a seal whose key is about to be lost leaves the record automatically.
func (s *Set) AutoRewraps() bool { return s.opts.AutoRewrap }

// Candidates lists the configured seals that hold no part of a record.
func (s *Set) Candidates(r *Record) (out []string) {
	for _, m := range s.seals {
		if r != nil && r.part(m.Name) == nil {
			out = append(out, m.Name)
		}
	}
	return out
}

// unconfigured returns a seal that holds a part of a record and is not in the set, "" without one.
func (s *Set) unconfigured(r *Record) string {
	if r == nil {
		return ""
	}
	for i := range r.Parts {
		if !s.has(r.Parts[i].Name) {
			return r.Parts[i].Name
		}
	}
	return ""
}

// Member returns a seal of the set by name.
func (s *Set) Member(name string) (Seal, bool) {
	i := s.index(name)
	if i < 0 {
		return Seal{}, false
	}
	return s.seals[i], true
}

func (s *Set) index(name string) int {
	return slices.IndexFunc(s.seals, func(m Seal) bool { return m.Name == name })
}

// members returns the indexes of the plan's seals.
func (s *Set) members(p Plan) ([]int, error) {
	var at []int
	for _, name := range p.Members {
		i := s.index(name)
		if i < 0 {
			return nil, Fail(Misconfigured, fmt.Errorf("no seal %q is configured", name),
				"add its stanza to the configuration and reload it (SIGHUP)")
		}
		at = append(at, i)
	}
	return at, p.Check()
}

// split returns the parts of a root key under a plan, which the caller destroys. A term gets the
// root key where any term suffices, else share number i of it, for the term at i-1 of the plan. The
// members of a group get the share of their term where any of them suffices, else shares of its
// first 32 bytes: what is left is the share's number.
func (s *Set) split(root *Secret, p Plan) (parts []*Secret, err error) {
	defer func() {
		if err != nil {
			destroyAll(parts)
		}
	}()
	terms := p.terms()
	tops, err := s.share(root, p.Threshold, len(terms))
	if err != nil {
		return nil, err
	}
	defer destroyAll(tops)
	for i, t := range terms {
		key := tops[i]
		if t.Threshold > 1 {
			key = NewSecret(slices.Clone(tops[i].Expose()[:RootKeyLen]))
			defer key.Destroy()
		}
		members, err := s.share(key, t.Threshold, t.Size)
		if err != nil {
			return parts, err
		}
		parts = append(parts, members...)
	}
	return parts, nil
}

// share returns n copies of a key, or n Shamir shares of it where more than one is needed.
func (s *Set) share(key *Secret, threshold, n int) ([]*Secret, error) {
	if threshold > 1 {
		parts, err := recovery.Split(key, n, threshold, s.opts.Rand)
		if err != nil {
			return nil, fmt.Errorf("seals: splitting the root key: %w", err)
		}
		return parts, nil
	}
	parts := make([]*Secret, n)
	for i := range parts {
		parts[i] = key.Clone()
	}
	return parts, nil
}

// RotateKey makes a new version of the key of one seal, by the seal's own service.
func (s *Set) RotateKey(ctx context.Context, name string) error {
	i := s.index(name)
	if i < 0 {
		return Fail(Misconfigured, fmt.Errorf("no seal %q is configured", name), "name a configured seal")
	}
	m := s.seals[i]
	rotator, ok := m.Wrapper.(KeyRotator)
	if !ok {
		return Fail(Misconfigured, fmt.Errorf("seals of type %s cannot rotate their key", m.Type),
			"rotate it where it is, and the server wraps the root key again; or add a seal with the new key (sealgate "+
				"operator seals add) and remove this one")
	}
	_, err := invoke(ctx, s, i, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, rotator.RotateKey(ctx)
	}, nil)
	if err != nil {
		return named(m, "rotate its key", err)
	}
	return nil
}

// trialCluster binds a trial, so that no trial can be taken for a part.
const trialCluster = "trial: random bytes that prove the use of a seal, in cluster "

// Trial wraps random bytes with one seal and proves them. Another node that opens the result with
// [Set.OpenTrial] has proven that it can use the same key with its own credentials.
func (s *Set) Trial(ctx context.Context, cluster, name string) (*Part, error) {
	i := s.index(name)
	if i < 0 {
		return nil, Fail(Misconfigured, fmt.Errorf("no seal %q is configured", name),
			"add its stanza to the configuration and reload it (SIGHUP)")
	}
	m := s.seals[i]
	if _, isQuorum := m.Wrapper.(Quorum); isQuorum {
		return nil, Fail(Misconfigured, errors.New("custodians cannot be tried without their shares"),
			"name a seal that unseals automatically")
	}
	return s.trialBy(ctx, cluster, i, m.Wrapper)
}

// trialBy wraps the random bytes with a wrapper of a seal.
func (s *Set) trialBy(ctx context.Context, cluster string, i int, w wrapping.Wrapper) (*Part, error) {
	part, err := secret.Random(s.opts.Rand, RootKeyLen)
	if err != nil {
		return nil, err
	}
	defer part.Destroy()
	r := &Record{Cluster: trialCluster + cluster}
	p, err := s.wrapOne(ctx, r, i, w, part)
	if err == nil {
		err = s.prove(ctx, r, i, p)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// OpenTrial proves that this set can open a trial of another node.
func (s *Set) OpenTrial(ctx context.Context, cluster string, p *Part) error {
	i := s.index(p.Name)
	if i < 0 || s.seals[i].Type != p.Type {
		return Fail(Misconfigured, fmt.Errorf("no seal %q of type %s is configured", p.Name, p.Type),
			"add its stanza to the configuration of this node and reload it (SIGHUP)")
	}
	return s.prove(ctx, &Record{Cluster: trialCluster + cluster}, i, p)
}
