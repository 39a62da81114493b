package auth

import (
	"context"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
)

// A lease is a service token that expires, by another name: the path that made it, and "h" with the token's hash in hex.
//
//	auth/userpass/login/alice/h3b0c...

const leaseLead = "h"

// LeaseID names a token's lease; "" where it has none.
func (s *Store) LeaseID(who Identity) string {
	if who.entry == nil || who.entry.token.Type == TypeBatch || who.entry.token.Expires.IsZero() {
		return ""
	}
	return who.entry.token.Path + "/" + leaseLead + who.entry.digest.String()
}

// errLease is for a lease that is not there. Callers have texts of their own for it.
var errLease = fault.New(fault.NotFound, "there is no such lease")

// ByLease finds the token of a lease. What is none, or has ended, is a [fault.NotFound].
func (s *Store) ByLease(ctx context.Context, id string) (Identity, error) {
	id = strings.Trim(id, "/")
	i := strings.LastIndexByte(id, '/')
	name, ok := strings.CutPrefix(id[i+1:], leaseLead)
	d, valid := parseDigest(name)
	if i < 0 || !ok || !valid || hex.EncodeToString(d[:]) != name {
		return Identity{}, errLease
	}
	e, err := s.findDigest(ctx, d)
	if errors.Is(err, errDenied) || err == nil && (e.token.Path != id[:i] || e.token.Expires.IsZero()) {
		return Identity{}, errLease
	}
	if err != nil {
		return Identity{}, err
	}
	return e.identity, nil
}

// LeaseNames lists, in order, what comes directly below a prefix ("auth/userpass/login/" or ""): names of leases, and beginnings of
// longer paths with a slash behind. It reads every token, and gives at most limit names; more tells that there are others.
func (s *Store) LeaseNames(ctx context.Context, prefix string, limit int) (names []string, more bool, err error) {
	seen := map[string]bool{}
	err = s.eachLease(ctx, prefix, func(e *entry) error {
		name, rest, deeper := strings.Cut(s.LeaseID(e.identity)[len(prefix):], "/")
		if deeper && rest != "" {
			name += "/"
		}
		if len(seen) >= limit && !seen[name] {
			more = true
			return nil
		}
		seen[name] = true
		return nil
	})
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, more, err
}

// eachLease calls f with every token that lives and whose lease begins with prefix, which is empty or ends in a slash.
func (s *Store) eachLease(ctx context.Context, prefix string, f func(*entry) error) error {
	return s.each(ctx, tokenPrefix, func(name string) error {
		d, ok := parseDigest(name)
		if !ok {
			return nil
		}
		e, err := s.read(ctx, d) // past the memory, which has better use
		if err == nil && strings.HasPrefix(s.LeaseID(e.identity), prefix) && !e.token.Expires.IsZero() {
			if err = s.living(ctx, e); err == nil {
				err = f(e)
			}
		}
		if errors.Is(err, errDenied) {
			return nil
		}
		return err
	})
}

// RevokePath ends every token whose lease begins with prefix, which ends in a slash, and that was made before a moment; the zero time is
// no bound. It reads every token; it can be cut off, and called again.
func (s *Store) RevokePath(ctx context.Context, prefix string, before time.Time) error {
	return s.eachLease(ctx, prefix, func(e *entry) error {
		if !before.IsZero() && e.token.Created.After(before) {
			return nil
		}
		return s.revoke(ctx, e.digest)
	})
}
