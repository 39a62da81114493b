package seals

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/sealgate/sealgate/internal/secret"
	"github.com/sealgate/sealgate/recovery"
)

// Plan is which configured seals hold a part of the root key, and how many of them unseal.
type Plan struct {
	Members   []string
	Threshold int
}

// String returns the policy in words: "any of hsm, kms" or "2 of hsm, kms, cloud".
func (p Plan) String() string {
	list := ""
	for i, m := range p.Members {
		if i > 0 {
			list += ", "
		}
		list += m
	}
	if p.Threshold <= 1 {
		return "any of " + list
	}
	return fmt.Sprintf("%d of %s", p.Threshold, list)
}

// With returns the plan with one more member.
func (p Plan) With(name string) Plan {
	return Plan{append(slices.Clone(p.Members), name), p.Threshold}
}

// Without returns the plan without a member.
func (p Plan) Without(name string) Plan {
	members := slices.DeleteFunc(slices.Clone(p.Members), func(m string) bool { return m == name })
	return Plan{members, p.Threshold}
}

// Follow makes a stored record decide which seals the set wraps with: a seal that is configured and
// holds no part waits until it is added. A nil record follows the configuration, which applies at
// the initialisation.
func (s *Set) Follow(r *Record) {
	defer s.changes.Add(1)
	if r == nil {
		s.plan.Store(nil)
		return
	}
	p := &Plan{Threshold: r.Threshold}
	for _, m := range s.seals {
		if r.part(m.Name) != nil {
			p.Members = append(p.Members, m.Name)
		}
	}
	if len(p.Members) < p.Threshold { // the record is of other seals; it cannot be unsealed either
		p = nil
	}
	s.plan.Store(p)
}

// Plan returns which seals the set wraps with.
func (s *Set) Plan() Plan {
	if p := s.plan.Load(); p != nil {
		return *p
	}
	return s.Configured()
}

// Configured returns the plan of the configuration: every seal, under the configured policy.
func (s *Set) Configured() Plan {
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
		if slices.Contains(at, i) {
			return nil, Fail(Misconfigured, fmt.Errorf("seal %q is named twice", name), "name each seal once")
		}
		at = append(at, i)
	}
	if len(at) == 0 || p.Threshold < 1 || p.Threshold > len(at) {
		return nil, Fail(Misconfigured, fmt.Errorf("%d of %d seals cannot unseal", p.Threshold, len(at)),
			"choose a threshold from 1 to the number of seals")
	}
	return at, nil
}

// split returns the parts of a root key under a plan, which the caller destroys with destroy.
func (s *Set) split(root *Secret, p Plan) (parts []*Secret, destroy func(), err error) {
	if p.Threshold <= 1 {
		parts = make([]*Secret, len(p.Members))
		for i := range parts {
			parts[i] = root
		}
		return parts, func() {}, nil
	}
	parts, err = recovery.Split(root, len(p.Members), p.Threshold, s.opts.Rand)
	if err != nil {
		return nil, nil, fmt.Errorf("seals: splitting the root key: %w", err)
	}
	return parts, func() { destroyAll(parts) }, nil
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
	part, err := secret.Random(s.opts.Rand, RootKeyLen)
	if err != nil {
		return nil, err
	}
	defer part.Destroy()
	r := &Record{Cluster: trialCluster + cluster}
	p, err := s.wrapOne(ctx, r, i, m.Wrapper, part)
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
