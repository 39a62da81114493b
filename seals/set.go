package seals

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
)

// RootKeyLen is the length of a root key in bytes: AES-256.
const RootKeyLen = 32

// DefaultDeadline bounds a call to a seal whose provider is not [Bounded].
const DefaultDeadline = 10 * time.Second

// Seal is one member of a set.
type Seal struct {
	Name    string // unique in the set; bound to the blob
	Type    string
	Wrapper wrapping.Wrapper
}

// Options configure a set.
type Options struct {
	Threshold int           // seals needed to unseal; 0 and 1 mean any of them
	Policy    *Plan         // which seals unseal together, in place of Threshold; nil: any Threshold of all
	Deadline  time.Duration // of a call to a provider that is not Bounded; 0 = DefaultDeadline
	Rand      io.Reader     // nil = crypto/rand
	Now       func() time.Time
	Log       *slog.Logger

	// AllowPolicyChange lets the stored policy differ from Threshold: a weaker record is unsealed,
	// and a stronger one may be replaced by a weaker one.
	AllowPolicyChange bool

	// AutoRewrap asks the server to take the root key from a seal whose key is about to be lost, where
	// the other seals satisfy the policy: see [Set.AutoRewraps].
	AutoRewrap bool

	// Observe is called after every call to a seal; operation is "encrypt", "decrypt" or
	// "describe". It may be nil.
	Observe func(operation, sealType string, took time.Duration, err error)
}

// Set is the seals that protect one root key. It is safe for concurrent use.
type Set struct {
	seals []Seal
	opts  Options
	calls []semaphore // one for each seal
	probe prober
	plan  atomic.Pointer[Plan] // see Follow; nil: the configuration's
	turns []schedule           // one for each seal; owned by RunHealthChecks

	recheck atomic.Bool // the next RunHealthChecks checks every seal

	changes atomic.Uint64 // see Changes

	warned sync.Map // names of the seals that warnPublic has reported

	life context.Context // ends at Close, and every call of Unwrap with it
	end  context.CancelFunc

	mu      sync.Mutex // guards closed, and running.Add against running.Wait
	closed  bool
	running sync.WaitGroup // the goroutines of Unwrap
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
		return nil, fmt.Errorf("seals: a threshold of %d with %d seals: configure 1 to %d seals, "+
			"and a threshold of at most their number", o.Threshold, n, maxSeals)
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
	}
	if err := checkConfigured(&o, seen); err != nil {
		return nil, err
	}
	s := &Set{seals: members, opts: o, calls: newSemaphores(len(members)), turns: make([]schedule, len(members))}
	s.life, s.end = context.WithCancel(context.Background())
	for _, m := range members {
		s.warnPublic(m)
	}
	return s, nil
}

// checkConfigured checks a policy that names its seals.
func checkConfigured(o *Options, configured map[string]bool) error {
	if o.Policy == nil {
		return nil
	}
	if err := o.Policy.Check(); err != nil {
		return err
	}
	for _, name := range o.Policy.Members {
		if !configured[name] {
			return Fail(Misconfigured, fmt.Errorf("seal_policy names seal %q, which has no stanza or is disabled", name),
				"add the stanza, or correct the name")
		}
	}
	p := o.Policy.normal()
	o.Policy, o.Threshold = &p, p.Threshold
	return nil
}

// warnPublic warns once of a seal whose blobs do not prove who made them. Providers learn the type
// of their key with its first use, so it is asked again after each.
func (s *Set) warnPublic(m Seal) {
	p, ok := m.Wrapper.(PublicWrapper)
	if !ok {
		return
	}
	remedy := p.WrapsPublicly()
	if remedy == "" {
		return
	}
	if _, warned := s.warned.LoadOrStore(m.Name, true); !warned {
		s.opts.Log.Warn("anybody who can write the storage and knows the public half of this seal's key can "+
			"substitute the root key", "seal", m.Name, "type", m.Type, "remedy", remedy)
	}
}

// Type returns the type of the first seal that holds a part, which stands for the set towards
// clients.
func (s *Set) Type() string {
	m, _ := s.Member(s.Plan().Members[0])
	return m.Type
}

// Seals returns the members in the order of the configuration.
func (s *Set) Seals() []Seal { return append([]Seal(nil), s.seals...) }

// Quorum returns the member that unseal custodians unlock, nil where there is none.
func (s *Set) Quorum() Quorum {
	for _, m := range s.seals {
		if q, ok := m.Wrapper.(Quorum); ok {
			return q
		}
	}
	return nil
}

// NeedsShares reports whether the set cannot unseal without its unseal custodians.
func (s *Set) NeedsShares() bool {
	return !s.Plan().Opens(func(name string) bool { return !s.isQuorum(name) })
}

// HasCustodians reports whether unseal custodians hold a part under a plan: their shares decrypt,
// whether or not the set needs them.
func (s *Set) HasCustodians(p Plan) bool { return slices.ContainsFunc(p.Members, s.isQuorum) }

func (s *Set) names() []string {
	out := make([]string, len(s.seals))
	for i, m := range s.seals {
		out[i] = m.Name
	}
	return out
}

func (s *Set) isQuorum(name string) bool {
	m, _ := s.Member(name)
	_, is := m.Wrapper.(Quorum)
	return is
}

// each runs f for every member at once and joins the errors in the order of the members.
func (s *Set) each(f func(int, Seal) error) error {
	errs := make([]error, len(s.seals))
	var group sync.WaitGroup
	for i, m := range s.seals[1:] {
		group.Go(func() { errs[i+1] = f(i+1, m) })
	}
	errs[0] = f(0, s.seals[0])
	group.Wait()
	return errors.Join(errs...)
}

// named adds the seal's name to a failure and keeps its class and remedy.
func named(m Seal, doing string, err error) error {
	f := *Classify(err)
	f.Err = fmt.Errorf("seal %q (%s) could not %s: %w", m.Name, m.Type, doing, f.Err)
	return &f
}

func destroyAll(parts []*Secret) {
	for _, p := range parts {
		p.Destroy()
	}
}

// Succeed hands the providers of this set the state of those that they replace. Call it before the
// old set is closed.
func (s *Set) Succeed(old *Set) {
	for _, m := range s.seals {
		for _, o := range old.seals {
			if next, ok := m.Wrapper.(Successor); ok && o.Name == m.Name && o.Type == m.Type {
				next.Succeed(o.Wrapper)
			}
		}
	}
}

// Close cancels the calls that Unwrap left running, waits for them, and closes the providers.
func (s *Set) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.running.Wait()
	var errs []error
	for _, m := range s.seals {
		if c, ok := m.Wrapper.(Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}
