package seals

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/recovery"
)

var errClosed = errors.New("the set of seals was closed")

// Unwrap returns the root key as soon as members that satisfy the record's policy have decrypted
// their part: the fastest sufficient ones decide, and none is waited for that is not needed. Calls
// to the other members continue until they end, so that their status is known; Close cancels them.
// quorum is an unlocked wrapper of the [Quorum] seal, for the record's custodians or the previous
// ones; nil where no shares were given. A record that is not authentic, or that protects less than
// the configured policy, is refused. The error joins the failures of all members.
func (s *Set) Unwrap(ctx context.Context, r *Record, quorum wrapping.Wrapper) (*Secret, error) {
	if err := s.checkPolicy(r); err != nil {
		return nil, err
	}
	isPrevious := false
	if quorum != nil {
		id, err := quorum.KeyId(ctx)
		isPrevious = err == nil && r.Previous != nil && id == r.Previous.Part.KeyID
		if err := r.verifyQuorum(quorum, isPrevious); err != nil {
			return nil, err
		}
	}
	if !s.begin(len(s.seals)) {
		return nil, Fail(Unreachable, errClosed, "the server is stopping or was reconfigured; try again")
	}
	calls, release := s.detached(ctx)
	c := newCollection(r.Plan(), len(s.seals), release.all)
	for i := range s.seals {
		go func() {
			defer s.running.Done()
			part, err := s.unwrapMember(calls, r, i, quorum, isPrevious)
			c.add(i, s.seals[i].Name, part, err)
		}()
	}
	<-c.ready
	release.parent()
	parts, err := c.take()
	defer func() {
		for _, p := range parts {
			p.Destroy()
		}
	}()
	root, err := s.combine(r, parts, err)
	if err != nil {
		return nil, err
	}
	if err := r.verifyRoot(root); err != nil {
		root.Destroy()
		return nil, err
	}
	return root, nil
}

// begin counts n goroutines of Unwrap, unless the set was closed.
func (s *Set) begin(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Add(n)
	return true
}

// releases ends what outliving set up: parent detaches the calls from the caller's context, all
// ends them.
type releases struct{ parent, all func() }

// detached returns a context that ends with ctx until releases.parent is called, and with the set.
func (s *Set) detached(ctx context.Context) (context.Context, releases) {
	calls, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if deadline, ok := ctx.Deadline(); ok {
		cancel()
		calls, cancel = context.WithDeadline(context.WithoutCancel(ctx), deadline)
	}
	stopParent := context.AfterFunc(ctx, cancel)
	stopSet := context.AfterFunc(s.life, cancel)
	return calls, releases{
		parent: func() { stopParent() },
		all:    func() { stopParent(); stopSet(); cancel() },
	}
}

// unwrapMember decrypts the part of one member.
func (s *Set) unwrapMember(
	ctx context.Context, r *Record, i int, quorum wrapping.Wrapper, isPrevious bool,
) (*Secret, error) {
	m := s.seals[i]
	p := r.part(m.Name)
	if p == nil {
		err := named(m, "unwrap", Fail(Misconfigured, errors.New("the stored root key was not wrapped by this seal"),
			"configure a seal that wrapped it (%s), or add this one while the server is unsealed: "+
				"sealgate operator seals add %s", r.names(), m.Name))
		s.note(m, nil, err)
		return nil, err
	}
	w := m.Wrapper
	if _, isQuorum := w.(Quorum); isQuorum {
		if quorum == nil {
			return nil, named(m, "unwrap", Fail(Denied, errors.New("the shares of its custodians were not given"),
				"have a threshold of share holders run `sealgate operator unseal`"))
		}
		w = quorum
		if isPrevious {
			p = &r.Previous.Part
		}
	}
	part, err := s.decrypt(ctx, r, i, w, p)
	s.note(m, p, err)
	return part, err
}

// collection gathers the parts of an Unwrap. Parts that arrive after take are destroyed.
type collection struct {
	policy Plan
	ready  chan struct{} // closed when the parts that arrived satisfy the policy, or no call is left
	ended  func()        // called when no call is left

	mu    sync.Mutex
	parts map[string]*Secret // by the seal's name
	errs  []error
	left  int
	met   bool
	taken bool
}

func newCollection(policy Plan, calls int, ended func()) *collection {
	return &collection{policy: policy, ready: make(chan struct{}), ended: ended, parts: map[string]*Secret{},
		errs: make([]error, calls), left: calls}
}

// add records the result of call number i.
func (c *collection) add(i int, name string, part *Secret, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left--
	was := c.met
	switch {
	case err != nil:
		c.errs[i] = err
	case c.taken:
		part.Destroy()
	default:
		c.parts[name] = part
		c.met = c.policy.Opens(func(m string) bool { return c.parts[m] != nil })
	}
	if !was && (c.met || c.left == 0) {
		close(c.ready)
	}
	if c.left == 0 {
		c.ended()
	}
}

// take returns the parts that have arrived, which the caller destroys, and the joined errors.
func (c *collection) take() (map[string]*Secret, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken = true
	return c.parts, errors.Join(c.errs...)
}

// combine makes the root key of parts. err is why parts are missing.
func (s *Set) combine(r *Record, parts map[string]*Secret, err error) (*Secret, error) {
	policy := r.Plan()
	if !policy.Opens(func(m string) bool { return parts[m] != nil }) {
		if err == nil {
			return nil, s.missing(r)
		}
		return nil, lacking(r, parts, err)
	}
	var tops []*Secret
	defer func() { destroyAll(tops) }()
	rest := policy.Members
	for i, t := range policy.terms() {
		if len(tops) == policy.Threshold {
			break
		}
		var have []*Secret
		for _, m := range rest[:t.Size] {
			if p := parts[m]; p != nil && len(have) < t.Threshold {
				have = append(have, p)
			}
		}
		rest = rest[t.Size:]
		if len(have) < t.Threshold {
			continue
		}
		top, err := combineTerm(have, byte(i+1), policy.Threshold > 1)
		if err != nil {
			return nil, err
		}
		tops = append(tops, top)
	}
	if policy.Threshold == 1 {
		return tops[0].Clone(), nil
	}
	return combineShares(tops)
}

// combineTerm makes the secret of one term: the root key, or its share with the given number. See
// split.
func combineTerm(have []*Secret, number byte, share bool) (*Secret, error) {
	if len(have) == 1 {
		return have[0].Clone(), nil
	}
	key, err := combineShares(have)
	if err != nil || !share {
		return key, err
	}
	defer key.Destroy()
	return NewSecret(append(append(make([]byte, 0, key.Len()+1), key.Expose()...), number)), nil
}

func combineShares(parts []*Secret) (*Secret, error) {
	key, err := recovery.Combine(parts)
	if err != nil {
		return nil, Fail(Corrupt, err, "restore the sealed record from a backup")
	}
	return key, nil
}

// lacking adds to the failures of several seals what the policy needs and which seals answered. The
// class and the remedy are those of the first failure.
func lacking(r *Record, parts map[string]*Secret, err error) error {
	if len(r.Parts) == 1 {
		return err
	}
	var have []string
	for _, m := range r.Plan().Members {
		if parts[m] != nil {
			have = append(have, m)
		}
	}
	answered := "none of them opened its part"
	if len(have) > 0 {
		answered = "only " + strings.Join(have, ", ") + " opened"
	}
	f := *Classify(err)
	f.Err = fmt.Errorf("the root key needs %s; %s: %w", r.Plan(), answered, err)
	return &f
}

// Missing returns a failure that names the seals of a record, where fewer of them are configured
// than the record needs; nil else.
func (s *Set) Missing(r *Record) error {
	if r == nil {
		return nil
	}
	if r.Plan().Opens(s.has) {
		return nil
	}
	return s.missing(r)
}

func (s *Set) missing(r *Record) error {
	have := 0
	for _, m := range s.seals {
		if r.part(m.Name) != nil {
			have++
		}
	}
	if r.Plan().Grouped() {
		return Fail(Misconfigured, fmt.Errorf("the stored root key is wrapped by %s under the policy %s, and the "+
			"configured seals do not satisfy it", r.names(), r.Plan()),
			"add the seal stanzas of these seals, with their names, and restart")
	}
	return Fail(Misconfigured, fmt.Errorf("the stored root key is wrapped by %s, and the configuration has %d of "+
		"the %d seals "+
		"that are needed", r.names(), have, r.Threshold),
		"add the seal stanzas of these seals, with their names, and restart")
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
