package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// Role is a token role, the template of "auth/token/create/<name>". It is stored behind the barrier
// at "auth/role/<name, escaped>":
//
//	version u8 = 1 | JSON with the keys below; durations are nanoseconds
type Role struct {
	Name                   string        `json:"name"`
	AllowedPolicies        []string      `json:"allowed_policies,omitempty"`
	AllowedPoliciesGlob    []string      `json:"allowed_policies_glob,omitempty"`
	DisallowedPolicies     []string      `json:"disallowed_policies,omitempty"`
	DisallowedPoliciesGlob []string      `json:"disallowed_policies_glob,omitempty"`
	AllowedEntityAliases   []string      `json:"allowed_entity_aliases,omitempty"`
	Orphan                 bool          `json:"orphan,omitempty"`
	PathSuffix             string        `json:"path_suffix,omitempty"`
	Renewable              bool          `json:"renewable"`
	Period                 time.Duration `json:"period,omitempty"`           // what was written by the deprecated name
	ExplicitMax            time.Duration `json:"explicit_max_ttl,omitempty"` // likewise
	BoundCIDRs             []string      `json:"bound_cidrs,omitempty"`      // likewise
	TokenPeriod            time.Duration `json:"token_period,omitempty"`
	TokenExplicitMax       time.Duration `json:"token_explicit_max_ttl,omitempty"`
	TokenNoDefaultPolicy   bool          `json:"token_no_default_policy,omitempty"`
	TokenType              string        `json:"token_type"`
	TokenNumUses           int64         `json:"token_num_uses,omitempty"`
	TokenBoundCIDRs        []string      `json:"token_bound_cidrs,omitempty"`
}

const roleVersion = 1

// NewRole returns a role with Vault's defaults.
func NewRole(name string) *Role {
	return &Role{Name: name, Renewable: true, TokenType: "default-service"}
}

func (r *Role) period() time.Duration      { return max(r.TokenPeriod, r.Period) }
func (r *Role) explicitMax() time.Duration { return smallestSet(r.TokenExplicitMax, r.ExplicitMax) }

func smallestSet(a, b time.Duration) time.Duration {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// restricts reports whether the role limits the policies.
func (r *Role) restricts() bool {
	return len(r.AllowedPolicies)+len(r.AllowedPoliciesGlob)+len(r.DisallowedPolicies)+len(r.DisallowedPoliciesGlob) > 0
}

// presets returns the policies of a token that requests none.
func (r *Role) presets(parent []string) []string {
	if len(r.AllowedPolicies) > 0 {
		return slices.Clone(r.AllowedPolicies)
	}
	if len(r.AllowedPoliciesGlob) > 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(parent), func(p string) bool { return !r.admits(p) })
}

func (r *Role) admits(p string) bool {
	return !r.disallows(p) && (p == defaultPolicy || r.allows(p))
}

func (r *Role) disallows(p string) bool {
	return slices.Contains(r.DisallowedPolicies, p) || globs(r.DisallowedPoliciesGlob, p)
}

func (r *Role) allows(p string) bool {
	if len(r.AllowedPolicies)+len(r.AllowedPoliciesGlob) == 0 {
		return true
	}
	return slices.Contains(r.AllowedPolicies, p) || globs(r.AllowedPoliciesGlob, p)
}

func (r *Role) check(policies []string) error {
	for _, p := range policies {
		switch {
		case r.disallows(p):
			return invalid("token policy %q is disallowed by this role", p)
		case p != defaultPolicy && !r.allows(p):
			return invalid("token policies (%q) must be subset of the role's allowed policies (%q) or glob policies (%q)",
				policies, r.AllowedPolicies, r.AllowedPoliciesGlob)
		}
	}
	return nil
}

// globs reports whether a name matches one of the patterns, in which "*" matches any text.
func globs(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return glob(p, name) })
}

func glob(pattern, name string) bool {
	first, rest, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, first)
	if !ok {
		return false
	}
	for {
		part, next, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(name, part)
		}
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name, rest = name[i+len(part):], next
	}
}

// roleStore stores token roles.
type roleStore struct{ records }

// Role reads a role. An unknown one is a [fault.NotFound].
func (s roleStore) Role(ctx context.Context, name string) (*Role, error) {
	record, err := s.entries.Get(ctx, rolePrefix+escape(name))
	if errors.Is(err, storage.ErrNotFound) || errors.Is(err, storage.ErrInvalidKey) {
		return nil, fault.New(fault.NotFound, "unknown role %s", name)
	}
	if err != nil {
		return nil, err
	}
	r := &Role{}
	if len(record) == 0 || record[0] != roleVersion {
		err = fmt.Errorf("%w: a role's version must be %d", ErrRecord, roleVersion)
	} else {
		err = json.Unmarshal(record[1:], r)
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "the record of the role %q is damaged; overwrite or delete it", name)
	}
	return r, nil
}

// WriteRole checks and stores a role.
func (s roleStore) WriteRole(ctx context.Context, r *Role) error {
	r.AllowedPolicies, r.DisallowedPolicies = clean(r.AllowedPolicies), clean(r.DisallowedPolicies)
	r.AllowedPoliciesGlob, r.DisallowedPoliciesGlob = clean(r.AllowedPoliciesGlob), clean(r.DisallowedPoliciesGlob)
	r.AllowedEntityAliases = clean(r.AllowedEntityAliases)
	switch {
	case r.Name == "" || len(r.Name) > maxPolicyName:
		return invalid("the name of a role has 1 to %d bytes", maxPolicyName)
	case !slices.Contains([]string{"service", "batch", "default-service", "default-batch"}, r.TokenType):
		return invalid("invalid 'token_type' value %q: use service, batch, default-service or default-batch", r.TokenType)
	case r.TokenType == "batch" && r.unfitForBatch() != "":
		return invalid("'token_type' cannot be 'batch' when role is set to generate %s", r.unfitForBatch())
	case min(r.Period, r.TokenPeriod, r.ExplicitMax, r.TokenExplicitMax) < 0 || r.TokenNumUses < 0:
		return invalid("durations and numbers of uses must not be negative")
	case strings.Trim(r.PathSuffix, "/") != r.PathSuffix || strings.ContainsFunc(r.PathSuffix,
		func(c rune) bool { return c <= ' ' || c == 0x7f }):
		return invalid("path_suffix contains a character that is not allowed in a path, or begins or ends with a slash")
	}
	for _, n := range r.TokenBoundCIDRs {
		if _, ok := ParseNetwork(n); !ok {
			return invalid("token_bound_cidrs: %q is not an address or a network such as 192.0.2.0/24", n)
		}
	}
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return s.entries.Commit(ctx,
		storage.Batch{Ops: []storage.Op{storage.Put(rolePrefix+escape(r.Name), append([]byte{roleVersion}, body...))}})
}

// unfitForBatch returns what batch tokens cannot be; "" if the role asks for none of it. A role is
// renewable unless it says otherwise, which batch tokens are never: that is not refused.
func (r *Role) unfitForBatch() string {
	switch {
	case !r.Orphan:
		return "non-orphan tokens"
	case r.period() > 0:
		return "periodic tokens"
	case r.explicitMax() > 0:
		return "tokens with an explicit max TTL"
	case r.TokenNumUses > 0:
		return "tokens with limited use count"
	}
	return ""
}

// DeleteRole removes a role. A missing one is not an error.
func (s roleStore) DeleteRole(ctx context.Context, name string) error {
	return s.entries.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Delete(rolePrefix + escape(name))}})
}

// Roles lists the names of all roles.
func (s roleStore) Roles(ctx context.Context) ([]string, error) {
	var names []string
	err := s.each(ctx, rolePrefix, func(name string) error {
		names = append(names, unescape(name))
		return nil
	})
	slices.Sort(names)
	return names, err
}
