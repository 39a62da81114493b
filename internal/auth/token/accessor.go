package token

import (
	"context"
	"errors"
	"fmt"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// errAccessor is Vault's text, in its two-line shape.
var errAccessor = fault.New(fault.Invalid, "1 error occurred:\n\t* invalid accessor\n\n")

// marshalAccessor returns the record at "auth/accessor/<hex of the accessor's hash>": version u8 =
// 1 | the token's hash.
func marshalAccessor(d digest) []byte { return append([]byte{accessVersion}, d[:]...) }

func unmarshalAccessor(record []byte) (d digest, err error) {
	if len(record) != 1+len(d) || record[0] != accessVersion {
		return d, fmt.Errorf("%w: an accessor must be version %d and %d bytes", ErrRecord, accessVersion, len(d))
	}
	return digest(record[1:]), nil
}

func (s *Store) accessorKey(accessor string) string {
	return accessorPrefix + s.hash(purposeAccessor, accessor).String()
}

// ByAccessor finds the token with an accessor. An unknown one is a [fault.Invalid] "invalid
// accessor".
func (s *Store) ByAccessor(ctx context.Context, accessor string) (Identity, error) {
	if accessor == "" || len(accessor) > maxToken {
		return Identity{}, errAccessor
	}
	record, err := s.entries.Get(ctx, s.accessorKey(accessor))
	if errors.Is(err, storage.ErrNotFound) {
		return Identity{}, errAccessor
	}
	if err != nil {
		return Identity{}, err
	}
	d, err := unmarshalAccessor(record)
	if err != nil {
		return Identity{}, fault.Wrap(err, fault.Internal, "the record of the accessor is damaged")
	}
	e, err := s.findDigest(ctx, d)
	if errors.Is(err, errDenied) {
		return Identity{}, errAccessor
	}
	if err != nil {
		return Identity{}, err
	}
	return e.identity, nil
}

// page is how many names one list call returns.
const page = 1000

// each calls f with the names directly below a prefix. f may delete them.
func (s records) each(ctx context.Context, prefix string, f func(name string) error) error {
	for after := ""; ; {
		names, err := s.entries.List(ctx, prefix, after, page)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := f(name); err != nil {
				return err
			}
		}
		if len(names) < page {
			return nil
		}
		after = names[len(names)-1]
	}
}

// Accessors lists the accessors of all valid tokens. It reads every token, so it is for operators.
func (s *Store) Accessors(ctx context.Context) ([]string, error) {
	var out []string
	err := s.each(ctx, tokenPrefix, func(name string) error {
		d, ok := parseDigest(name)
		if !ok {
			return nil
		}
		e, err := s.read(ctx, d) // bypasses the cache, which would lose its hot entries
		if errors.Is(err, errDenied) {
			return nil
		}
		if err != nil {
			return err
		}
		if s.living(ctx, e) == nil && e.token.Accessor != "" {
			out = append(out, e.token.Accessor)
		}
		return nil
	})
	return out, err
}
