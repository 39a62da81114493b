package seals

import (
	"context"
	"errors"
	"fmt"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
)

// KeyReplacer is implemented by providers whose keys have no versions, and whose stanza selects
// several keys: a new key is another object under the same name. Decrypt uses the key that the blob
// names.
type KeyReplacer interface {
	// MakeKey makes the key with an id of 32 hexadecimal digits that the caller chose, for the same
	// use and of the same kind as the key that Encrypt uses. It does nothing where the key exists.
	MakeKey(ctx context.Context, id string) error
	// UseKey returns a wrapper that uses the key with an id, which the provider's own configuration
	// need not select. The wrapper lives as long as the provider.
	UseKey(id string) (wrapping.Wrapper, error)
	// FollowKey makes Encrypt use the key that made a blob. Where that key is gone, Encrypt uses the
	// only one that the configuration selects.
	FollowKey(blob *wrapping.BlobInfo)
}

// KeyDestroyer is implemented by providers that can destroy a key, or a version of it, which is no
// longer used, or make its destruction due.
type KeyDestroyer interface {
	// DestroyKey destroys the key that a blob's key information names, or its version, as [Part] has
	// it. It refuses the key that Encrypt uses. A key that is gone is no error. The answer says what
	// was done, such as "destroyed" or "due for destruction at 2030-01-01T00:00:00Z".
	DestroyKey(ctx context.Context, key *wrapping.KeyInfo, version string) (done string, err error)
}

// ReplacesKeys reports whether a seal's key is replaced by another object: see [KeyReplacer].
func (s *Set) ReplacesKeys(name string) bool {
	m, _ := s.Member(name)
	_, ok := m.Wrapper.(KeyReplacer)
	return ok
}

// MakeKey makes a key that is to replace that of a seal.
func (s *Set) MakeKey(ctx context.Context, name, id string) error {
	i, k, err := s.replacer(name)
	if err != nil {
		return err
	}
	_, err = invoke(ctx, s, i, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, k.MakeKey(ctx, id)
	}, nil)
	if err != nil {
		return named(s.seals[i], "make a key", err)
	}
	return nil
}

func (s *Set) replacer(name string) (int, KeyReplacer, error) {
	i := s.index(name)
	if i < 0 {
		return 0, nil, Fail(Misconfigured, fmt.Errorf("no seal %q is configured", name), "name a configured seal")
	}
	k, ok := s.seals[i].Wrapper.(KeyReplacer)
	if !ok {
		return 0, nil, Fail(Misconfigured, fmt.Errorf("seals of type %s cannot replace their key", s.seals[i].Type),
			"add a seal with the new key (sealgate operator seals add) and remove this one")
	}
	return i, k, nil
}

// CheckReplaceKey reports why a seal cannot use another key. It asks no device.
func (s *Set) CheckReplaceKey(name, id string) error {
	i, k, err := s.replacer(name)
	if err != nil {
		return err
	}
	if _, err := k.UseKey(id); err != nil {
		return named(s.seals[i], "use another key", err)
	}
	return nil
}

// TrialOfKey is [Set.Trial] with a key that is to replace that of the seal.
func (s *Set) TrialOfKey(ctx context.Context, cluster, name, id string) (*Part, error) {
	i, k, err := s.replacer(name)
	if err != nil {
		return nil, err
	}
	w, err := k.UseKey(id)
	if err != nil {
		return nil, named(s.seals[i], "use the key", err)
	}
	return s.trialBy(ctx, cluster, i, w)
}

// ReplaceKey wraps the part of one seal again, by a key that replaces its own. The seal proves the
// part as it will find it in a record. It calls no other seal, and the part stays the same. The
// caller authenticates the new record: see [Record.Authenticate].
func (s *Set) ReplaceKey(ctx context.Context, r *Record, name, id string) (*Record, error) {
	i, k, err := s.replacer(name)
	if err != nil {
		return nil, err
	}
	m, p := s.seals[i], r.part(name)
	if p == nil {
		return nil, named(m, "replace its key", Fail(Misconfigured, errors.New("it holds no part of the root key"),
			"name one of: %s", r.names()))
	}
	w, err := k.UseKey(id)
	if err != nil {
		return nil, named(m, "use the key", err)
	}
	part, err := s.decrypt(ctx, r, i, m.Wrapper, p)
	if err != nil {
		return nil, err
	}
	defer part.Destroy()
	fresh, err := s.wrapOne(ctx, r, i, w, part)
	if err == nil {
		err = s.prove(ctx, r, i, fresh)
	}
	if err != nil {
		return nil, err
	}
	return r.with(*fresh), nil
}

// DestroyKey destroys an old key of a seal, or an old version, where its provider can.
func (s *Set) DestroyKey(
	ctx context.Context, name string, key *wrapping.KeyInfo, version string,
) (done string, err error) {
	i := s.index(name)
	if i < 0 {
		return "", Fail(Misconfigured, fmt.Errorf("no seal %q is configured", name), "name a configured seal")
	}
	m := s.seals[i]
	d, ok := m.Wrapper.(KeyDestroyer)
	if !ok {
		return "", Fail(Misconfigured, fmt.Errorf("seals of type %s cannot destroy their old keys", m.Type),
			"destroy it where it is, and run the command without -destroy")
	}
	done, err = invoke(ctx, s, i, func(ctx context.Context) (string, error) {
		return d.DestroyKey(ctx, key, version)
	}, nil)
	if err != nil {
		return "", named(m, "destroy its old key", err)
	}
	return done, nil
}

// DestroysKeys reports whether a seal's provider can destroy old keys.
func (s *Set) DestroysKeys(name string) bool {
	m, _ := s.Member(name)
	_, ok := m.Wrapper.(KeyDestroyer)
	return ok
}

// followKeys makes every seal encrypt by the key that made its part of the stored record.
func (s *Set) followKeys(r *Record) {
	for _, m := range s.seals {
		k, ok := m.Wrapper.(KeyReplacer)
		if p := r.part(m.Name); ok && p != nil {
			k.FollowKey(p.Blob)
		}
	}
}
