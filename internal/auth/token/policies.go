package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// Bounds of the caches. Evicted entries are read again.
const (
	maxParsed   = 4096
	maxCompiled = 512
)

// Policies stores policy documents and password policies, and compiles the policies of tokens. It
// is safe for concurrent use.
type Policies struct {
	records
	now      func() time.Time
	rnd      io.Reader
	meters   meters
	policies policyCache
}

// policyCache holds parsed policies, and the compiled policy sets of tokens.
type policyCache struct {
	writing    sync.Mutex    // held while a document is changed
	generation atomic.Uint64 // grows with every change and invalidates what was compiled before

	mu     sync.Mutex
	parsed map[string]*policy.Policy // nil: no policy has this name
	sets   map[string]*compiled
}

// compiled is a compiled set of policies.
type compiled struct {
	acl        *policy.ACL
	generation uint64
}

func (c *compiled) fresh(generation uint64, now func() time.Time) bool {
	if c == nil || c.generation != generation {
		return false
	}
	until := c.acl.Until()
	return until.IsZero() || now().Before(until)
}

func (p *policyCache) forget(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.parsed, name)
	clear(p.sets)
	p.generation.Add(1)
}

// rules returns the compiled policies of a token. Tokens with the same policies share it.
func (s *Policies) rules(ctx context.Context, e *entry) (*policy.ACL, error) {
	p := &s.policies
	if c := e.rules.Load(); c.fresh(p.generation.Load(), s.now) {
		return c.acl, nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	generation := p.generation.Load()
	set := strings.Join(e.token.Policies, "\x00")
	c := p.sets[set]
	if !c.fresh(generation, s.now) {
		acl, err := s.compile(ctx, e.token.Policies)
		if err != nil {
			return nil, err
		}
		c = &compiled{acl, generation}
		makeRoom(&p.sets, maxCompiled)
		p.sets[set] = c
	}
	e.rules.Store(c)
	return c.acl, nil
}

func makeRoom[V any](m *map[string]V, most int) {
	if *m == nil {
		*m = map[string]V{}
	}
	for name := range *m {
		if len(*m) < most {
			return
		}
		delete(*m, name)
	}
}

// compile reads policies. Missing ones allow nothing; an unreadable one refuses everything. The
// caller holds mu.
func (s *Policies) compile(ctx context.Context, names []string) (*policy.ACL, error) {
	p := &s.policies
	var all []*policy.Policy
	for _, name := range names {
		parsed, ok := p.parsed[name]
		if !ok {
			document, err := s.Policy(ctx, name)
			if err != nil && !fault.Is(err, fault.NotFound) {
				return nil, err
			}
			if err == nil {
				if parsed, err = policy.Parse(document.Text); err != nil {
					return nil, fault.Wrap(err, fault.Internal, "the policy %q is not valid any more; overwrite or delete it", name)
				}
				parsed = parsed.As(name)
			}
			makeRoom(&p.parsed, maxParsed)
			p.parsed[name] = parsed
		}
		if parsed != nil {
			all = append(all, parsed)
		}
	}
	return policy.Compile(s.now(), all...), nil
}

// policyKey returns the storage key of a policy's document.
func policyKey(name string) string { return policyPrefix + escape(name) }

func policyOf(key string) (string, bool) {
	name, ok := strings.CutPrefix(key, policyPrefix)
	return unescape(name), ok
}

// escape turns any name into one key segment: "/", "%" and a leading "." become "%" and their code
// in hex.
func escape(name string) string {
	var b strings.Builder
	for i := range len(name) {
		if c := name[i]; c == '/' || c == '%' || c == 0 || c == '.' && i == 0 {
			fmt.Fprintf(&b, "%%%02x", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func unescape(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		var c byte
		if name[i] == '%' && i+2 < len(name) {
			if _, err := fmt.Sscanf(name[i+1:i+3], "%02x", &c); err == nil {
				b.WriteByte(c)
				i += 2
				continue
			}
		}
		b.WriteByte(name[i])
	}
	return b.String()
}

// PolicyExists reports whether a policy exists.
func (s *Policies) PolicyExists(ctx context.Context, name string) (bool, error) {
	if name == rootPolicy || name == defaultPolicy {
		return true, nil
	}
	_, err := s.entries.Get(ctx, policyKey(name))
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrInvalidKey) {
		return false, nil
	}
	return err == nil, err
}
