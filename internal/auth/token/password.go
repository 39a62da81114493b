package token

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/sealgate/sealgate/internal/auth/policy"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// passwordPrefix is where password policies are, by name, escaped:
//
//	version u8 = 1 | the policy's text
const passwordPrefix = "core/password-policy/"

const passwordVersion = 1

var errNoPasswordPolicy = fault.New(fault.NotFound, "no password policy has this name")

// PasswordPolicy returns the text of a password policy. An unknown name is a [fault.NotFound].
func (s *Policies) PasswordPolicy(ctx context.Context, name string) (string, error) {
	record, err := s.entries.Get(ctx, passwordPrefix+escape(name))
	switch {
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrInvalidKey):
		return "", errNoPasswordPolicy
	case err != nil:
		return "", err
	case len(record) == 0 || record[0] != passwordVersion:
		return "", fmt.Errorf("%w: a password policy's version must be %d", ErrRecord, passwordVersion)
	}
	return string(record[1:]), nil
}

// WritePasswordPolicy checks and stores a password policy, given as plain text or base64.
func (s *Policies) WritePasswordPolicy(ctx context.Context, name, text string) error {
	if text == "" {
		return invalid("missing policy: give the password policy's text as \"policy\"")
	}
	if raw, err := base64.StdEncoding.DecodeString(text); err == nil && utf8.Valid(raw) {
		text = string(raw)
	}
	if _, err := policy.ParsePassword(text); err != nil {
		return invalid("invalid password policy: %v", err)
	}
	if len(name) > maxPolicyName {
		return invalid("the name of the policy has %d bytes; at most %d are accepted", len(name), maxPolicyName)
	}
	put := storage.Put(passwordPrefix+escape(name), append([]byte{passwordVersion}, text...))
	return s.entries.Commit(ctx, storage.Batch{Ops: []storage.Op{put}})
}

// DeletePasswordPolicy removes a password policy. A missing one is not an error.
func (s *Policies) DeletePasswordPolicy(ctx context.Context, name string) error {
	return s.entries.Commit(ctx, storage.Batch{Ops: []storage.Op{storage.Delete(passwordPrefix + escape(name))}})
}

// PasswordPolicies lists the names.
func (s *Policies) PasswordPolicies(ctx context.Context) (names []string, err error) {
	err = s.each(ctx, passwordPrefix, func(name string) error {
		names = append(names, unescape(name))
		return nil
	})
	return names, err
}

// NewPassword generates a password that satisfies a policy.
func (s *Policies) NewPassword(ctx context.Context, name string) (string, error) {
	text, err := s.PasswordPolicy(ctx, name)
	if err != nil {
		return "", err
	}
	p, err := policy.ParsePassword(text)
	if err != nil {
		return "", fault.Wrap(err, fault.Internal, "the password policy %q is not valid any more; overwrite it", name)
	}
	return p.Generate(s.rnd)
}
