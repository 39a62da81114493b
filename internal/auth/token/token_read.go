package token

import (
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
)

// UnmarshalToken is the inverse of [Token.Marshal], and also reads version 1. It fails with
// [ErrRecord].
func UnmarshalToken(record []byte) (*Token, error) {
	s := cryptobyte.String(record)
	var version uint8
	if !s.ReadUint8(&version) || version < tokenVersion1 || version > tokenVersion {
		return nil, fmt.Errorf("%w: a token's version must be %d or %d", ErrRecord, tokenVersion1, tokenVersion)
	}
	t := &Token{}
	if err := t.readFirst(&s); err != nil {
		return nil, err
	}
	if version == tokenVersion1 {
		t.Renewable = !t.Root()
	} else if err := t.readSecond(&s); err != nil {
		return nil, err
	}
	if !s.Empty() {
		return nil, fmt.Errorf("%w: a token's record is too long", ErrRecord)
	}
	return t, nil
}

var errCut = fmt.Errorf("%w: a token's record is cut short", ErrRecord)

// readFirst reads the fields of version 1.
func (t *Token) readFirst(s *cryptobyte.String) error {
	var kind uint8
	var accessor, name, path, parent, policies cryptobyte.String
	var created, ttl, expires uint64
	if !s.ReadUint8(&kind) ||
		!s.ReadUint8LengthPrefixed(&accessor) || !s.ReadUint16LengthPrefixed(&name) ||
		!s.ReadUint16LengthPrefixed(&path) || !s.ReadUint8LengthPrefixed(&parent) ||
		!s.ReadUint24LengthPrefixed(&policies) ||
		!s.ReadUint64(&created) || !s.ReadUint64(&ttl) || !s.ReadUint64(&expires) {
		return errCut
	}
	if t.Type = Type(kind); t.Type != TypeService && t.Type != TypeBatch {
		return fmt.Errorf("%w: unknown type of token %d", ErrRecord, kind)
	}
	if n := len(parent); n != 0 && n != len(digest{}) {
		return fmt.Errorf("%w: a token's parent has %d bytes", ErrRecord, n)
	}
	t.Accessor, t.DisplayName, t.Path = string(accessor), string(name), string(path)
	t.Parent = slices.Clone([]byte(parent))
	for !policies.Empty() {
		var p cryptobyte.String
		if !policies.ReadUint16LengthPrefixed(&p) || len(t.Policies) == maxPolicies {
			return fmt.Errorf("%w: a token's policies", ErrRecord)
		}
		t.Policies = append(t.Policies, string(p))
	}
	t.Created = time.Unix(0, int64(created)).UTC()
	t.TTL, t.Expires = time.Duration(ttl), fromInstant(int64(expires))
	return nil
}

// readSecond reads the fields that version 2 added.
func (t *Token) readSecond(s *cryptobyte.String) error {
	var flags uint8
	var limit, period, uses, renewed uint64
	var role, meta, networks cryptobyte.String
	if !s.ReadUint8(&flags) || !s.ReadUint64(&limit) || !s.ReadUint64(&period) || !s.ReadUint64(&uses) ||
		!s.ReadUint64(&renewed) ||
		!s.ReadUint16LengthPrefixed(&role) || !s.ReadUint24LengthPrefixed(&meta) || !s.ReadUint16LengthPrefixed(&networks) {
		return errCut
	}
	if flags&^flagRenewable != 0 || int64(uses) < -1 {
		return fmt.Errorf("%w: a token's flags or uses", ErrRecord)
	}
	t.Renewable = flags&flagRenewable != 0
	t.ExplicitMax, t.Period, t.Uses = time.Duration(limit), time.Duration(period), int64(uses)
	t.Renewed, t.Role = fromInstant(int64(renewed)), string(role)
	if err := t.readMeta(meta); err != nil {
		return err
	}
	for !networks.Empty() {
		var n cryptobyte.String
		if !networks.ReadUint8LengthPrefixed(&n) {
			return fmt.Errorf("%w: a token's networks", ErrRecord)
		}
		t.Networks = append(t.Networks, string(n))
	}
	return nil
}

func (t *Token) readMeta(meta cryptobyte.String) error {
	last := ""
	for !meta.Empty() {
		var key, v cryptobyte.String
		if !meta.ReadUint16LengthPrefixed(&key) || !meta.ReadUint16LengthPrefixed(&v) || len(t.Meta) == maxMeta {
			return fmt.Errorf("%w: a token's metadata", ErrRecord)
		}
		if t.Meta == nil {
			t.Meta = map[string]string{}
		} else if string(key) <= last {
			return fmt.Errorf("%w: a token's metadata are out of order", ErrRecord)
		}
		last = string(key)
		t.Meta[last] = string(v)
	}
	return nil
}
