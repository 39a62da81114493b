package seals

import (
	"context"
	"errors"
	"fmt"
	"sync"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"

	"github.com/sealgate/sealgate/recovery"
)

var errClosed = errors.New("the set of seals was closed")

// Unwrap returns the root key as soon as as many members as the record asks for have decrypted
// their part. Calls to the other members continue until they end, so that their status is known;
// Close cancels them. quorum is an unlocked wrapper of the [Quorum] seal, for the record's
// custodians or the previous ones; nil where no shares were given. A record that is not authentic,
// or that protects less than the configured policy, is refused. The error joins the failures of all
// members.
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
	calls, release := s.outliving(ctx)
	c := newCollection(r.Threshold, len(s.seals), release.all)
	for i := range s.seals {
		go func() {
			defer s.running.Done()
			c.add(i)(s.unwrapMember(calls, r, i, quorum, isPrevious))
		}()
	}
	<-c.ready
	release.parent()
	parts, err := c.take()
	defer destroyAll(parts)
	root, err := combine(r, parts, err)
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

// outliving returns a context that ends with ctx until releases.parent is called, and with the set.
func (s *Set) outliving(ctx context.Context) (context.Context, releases) {
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
	if _, isQuorum := w.(Quorum); isQuorum && quorum != nil {
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
	need  int
	ready chan struct{} // closed when need parts arrived, or no call is left
	ended func()        // called when no call is left

	mu    sync.Mutex
	parts []*Secret
	errs  []error
	left  int
	taken bool
}

func newCollection(need, calls int, ended func()) *collection {
	return &collection{need: need, ready: make(chan struct{}), ended: ended, errs: make([]error, calls), left: calls}
}

// add returns the function that records the result of one call.
func (c *collection) add(i int) func(*Secret, error) {
	return func(part *Secret, err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.left--
		wasReady := len(c.parts) >= c.need
		switch {
		case err != nil:
			c.errs[i] = err
		case c.taken:
			part.Destroy()
		default:
			c.parts = append(c.parts, part)
		}
		if !wasReady && (len(c.parts) >= c.need || c.left == 0) {
			close(c.ready)
		}
		if c.left == 0 {
			c.ended()
		}
	}
}

// take returns the parts that have arrived, which the caller destroys, and the joined errors.
func (c *collection) take() ([]*Secret, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken = true
	return c.parts, errors.Join(c.errs...)
}

// combine makes the root key of parts. err is why parts are missing.
func combine(r *Record, parts []*Secret, err error) (*Secret, error) {
	switch {
	case len(parts) < r.Threshold && err == nil:
		return nil, Fail(
			Misconfigured,
			fmt.Errorf("%d of the %d seals that are needed are configured", len(parts), r.Threshold),
			"configure more of the seals that wrapped the root key: %s",
			r.names(),
		)
	case len(parts) < r.Threshold:
		return nil, err
	case r.Threshold == 1:
		return parts[0].Clone(), nil
	}
	root, err := recovery.Combine(parts[:r.Threshold])
	if err != nil {
		return nil, Fail(Corrupt, err, "restore the sealed record from a backup")
	}
	return root, nil
}

// Missing returns a failure that names the seals of a record, where fewer of them are configured
// than the record needs; nil else.
func (s *Set) Missing(r *Record) error {
	if r == nil {
		return nil
	}
	have := 0
	for _, m := range s.seals {
		if r.part(m.Name) != nil {
			have++
		}
	}
	if have >= r.Threshold {
		return nil
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
