package token

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// chooseLife sets the token's TTL and whether it is renewable.
func (c *creation) chooseLife(context.Context) error {
	t := c.token
	t.Renewable = !c.NotRenewable
	t.Period, t.ExplicitMax, t.TTL = c.Period, c.ExplicitMax, c.TTL
	if r := c.Role; r != nil {
		t.Renewable = t.Renewable && r.Renewable
		if p := r.period(); p > 0 && t.Type != TypeBatch { // a role of type default-batch may have a period
			if t.Period > 0 {
				p = min(p, t.Period)
				c.warn = append(c.warn, fmt.Sprintf("Period specified both during creation call and in role; using the lesser "+
					"value of %d seconds", int64(p/time.Second)))
			}
			t.Period = p
		}
		if m := r.explicitMax(); m > 0 && t.Type == TypeBatch {
			t.TTL = smallestSet(t.TTL, m) // a batch token is not renewed, and has no maximum of its own
		} else if m > 0 && (t.ExplicitMax == 0 || t.ExplicitMax > m) {
			if t.ExplicitMax > m {
				c.warn = append(c.warn, fmt.Sprintf("Explicit max TTL specified both during creation call and in role; using the "+
					"lesser value of %d seconds",
					int64(m/time.Second)))
			}
			t.ExplicitMax = m
		}
	}
	if t.Period > MaxTTL {
		t.Period = MaxTTL
		c.warn = append(c.warn, fmt.Sprintf("Period is greater than the allowed value of %q; it is capped accordingly",
			shortDuration(MaxTTL)))
	}
	if t.ExplicitMax > MaxTTL && t.Period == 0 {
		c.warn = append(c.warn, fmt.Sprintf("Explicit max TTL of %q is greater than system/mount allowed value; value is "+
			"being capped to %q",
			shortDuration(t.ExplicitMax), shortDuration(MaxTTL)))
		t.ExplicitMax = MaxTTL
	}
	if t.Root() && t.TTL == 0 && t.Period == 0 && t.ExplicitMax == 0 {
		if !c.parent.token.Expires.IsZero() {
			return invalid("expiring root tokens cannot create non-expiring root tokens")
		}
		t.Renewable = false
		return nil
	}
	if c.MountMax > 0 && c.MountMax < MaxTTL && t.Period == 0 && t.Type != TypeBatch {
		t.ExplicitMax = smallestSet(c.MountMax, t.ExplicitMax)
	}
	t.TTL = c.capped()
	t.Expires = t.Created.Add(t.TTL)
	return nil
}

// capped returns the TTL within its bounds.
func (c *creation) capped() time.Duration {
	t := c.token
	ttl, limit := t.TTL, MaxTTL
	if t.Period > 0 {
		ttl, limit = t.Period, 0
	}
	if limit > 0 && c.MountMax > 0 {
		limit = min(limit, c.MountMax)
	}
	if t.ExplicitMax > 0 && (limit == 0 || t.ExplicitMax < limit) {
		limit = t.ExplicitMax
	}
	if ttl == 0 {
		ttl = cmp.Or(c.MountDefault, MaxTTL)
		if limit > 0 {
			ttl = min(ttl, limit)
		}
	}
	if limit > 0 && ttl > limit {
		c.warn = append(c.warn, cappedTTL(ttl, limit))
		ttl = limit
	}
	return ttl
}

// choosePolicies sets the token's policies. Without sudo they must be a subset of the parent's.
func (c *creation) choosePolicies(context.Context) error {
	parent := c.parent.token.Policies
	asked := clean(c.Policies)
	given := len(c.Policies) > 0 // a list of blanks asks for no policy, and inherits none
	for _, p := range asked {
		if p == wrapPolicy {
			return invalid("cannot assign policy %q", p)
		}
	}
	withDefault := !c.NoDefault
	switch r := c.Role; {
	case r != nil && r.restricts():
		if !given {
			asked = r.presets(parent)
		}
		if err := r.check(asked); err != nil {
			return err
		}
		withDefault = withDefault && !r.TokenNoDefaultPolicy && r.admits(defaultPolicy)
	case !given:
		asked = slices.Clone(parent)
		withDefault = withDefault && slices.Contains(parent, defaultPolicy)
		if c.NoDefault {
			asked = slices.DeleteFunc(asked, func(p string) bool { return p == defaultPolicy })
		}
	case !c.sudo:
		for _, p := range asked {
			if !slices.Contains(parent, p) {
				return invalid("child policies must be subset of parent")
			}
		}
		withDefault = withDefault && slices.Contains(parent, defaultPolicy)
	}
	if slices.Contains(asked, rootPolicy) && !c.parent.identity.Root {
		return invalid("root tokens may not be created without parent token being root")
	}
	if c.Role != nil && c.Role.TokenNoDefaultPolicy {
		withDefault = false
	}
	c.token.Policies = final(asked, withDefault)
	return nil
}

// clean normalises policy names: lower case, trimmed, unique, sorted.
func clean(names []string) []string {
	out := make([]string, 0, len(names))
	for _, n := range names {
		if n = strings.ToLower(strings.TrimSpace(n)); n != "" {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func final(names []string, withDefault bool) []string {
	if slices.Contains(names, rootPolicy) {
		return []string{rootPolicy}
	}
	if withDefault {
		names = append(names, defaultPolicy)
	}
	return clean(names)
}

// checkPolicies bounds the number of policies and warns of those that do not exist.
func (c *creation) checkPolicies(ctx context.Context) error {
	if len(c.token.Policies) > maxPolicies {
		return invalid("the token would have %d policies; at most %d are accepted", len(c.token.Policies), maxPolicies)
	}
	if len(c.token.Meta) > maxMeta {
		return invalid("the token would have %d metadata entries; at most %d are accepted", len(c.token.Meta), maxMeta)
	}
	for _, name := range c.token.Policies {
		ok, err := c.s.PolicyExists(ctx, name)
		if err != nil {
			return err
		}
		if !ok {
			c.warn = append(c.warn, fmt.Sprintf("Policy %q does not exist", name))
		}
	}
	return nil
}
