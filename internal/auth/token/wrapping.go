package token

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/storage"
)

// A wrapping token holds one answer, which is handed out once. It is a service token of one use whose policy allows nothing, so that using it
// for anything else ends it: whoever it was meant for notices. The answer lies beside the token's record and goes in the
// same commit: of two that unwrap at the same time one gets it, and after a crash it is there with its token or gone with it.

// wrappedPrefix is where answers lie: + the hash of the token.
const wrappedPrefix = "auth/wrapped/"

const wrappedVersion = 1

// Wrapping is an answer to be wrapped.
type Wrapping struct {
	Path     string        // of the request that it answers
	TTL      time.Duration // at most [MaxTTL]
	Accessor string        // of the token that the answer tells of; "" where it tells of none
	Answer   []byte
}

// marshalWrapped gives the record at "auth/wrapped/<hash>":
//
//	version u8 = 1 | accessor u8+n | answer u24+n
func marshalWrapped(accessor string, answer []byte) ([]byte, error) {
	b := cryptobyte.NewBuilder(nil)
	b.AddUint8(wrappedVersion)
	b.AddUint8LengthPrefixed(text(accessor))
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(answer) })
	return b.Bytes()
}

func unmarshalWrapped(record []byte) (accessor string, answer []byte, err error) {
	s := cryptobyte.String(record)
	var version uint8
	var name, body cryptobyte.String
	if !s.ReadUint8(&version) || version != wrappedVersion || !s.ReadUint8LengthPrefixed(&name) ||
		!s.ReadUint24LengthPrefixed(&body) || !s.Empty() {
		return "", nil, fmt.Errorf("%w: a wrapped answer", ErrRecord)
	}
	return string(name), body, nil
}

func wrappedKey(d digest) string { return wrappedPrefix + d.String() }

func (t *Token) wraps() bool { return len(t.Policies) == 1 && t.Policies[0] == wrapPolicy }

// Wrap stores an answer under a new wrapping token, in one commit.
func (s *Store) Wrap(ctx context.Context, w Wrapping) (*Created, error) {
	created, b, err := s.prepare(w)
	if err != nil {
		return nil, err
	}
	if err := s.entries.Commit(ctx, b); errors.Is(err, storage.ErrTooLarge) {
		return nil, fault.Wrap(err, fault.TooLarge, "the answer is too large to be wrapped: storage holds at most %d bytes in one; "+
			"send the request without wrapping", storage.MaxBytes)
	} else if err != nil {
		return nil, err
	}
	return created, nil
}

// prepare makes a wrapping token and the batch that stores it.
func (s *Store) prepare(w Wrapping) (*Created, storage.Batch, error) {
	var b storage.Batch
	ttl, now := min(w.TTL, MaxTTL), s.now()
	t := &Token{
		Type: TypeService, Path: w.Path, Policies: []string{wrapPolicy}, Created: now, TTL: ttl, Expires: now.Add(ttl), ExplicitMax: ttl, Uses: 1,
	}
	name, err := NewTokenText(s.rnd)
	if err != nil {
		return nil, b, err
	}
	if t.Accessor, err = base62(s.rnd, randomChars); err != nil {
		return nil, b, err
	}
	record, err := t.Marshal()
	if err != nil {
		return nil, b, err
	}
	wrapped, err := marshalWrapped(w.Accessor, w.Answer)
	if err != nil {
		return nil, b, fault.Wrap(err, fault.TooLarge, "the answer is too large to be wrapped; send the request without wrapping")
	}
	d := s.digest(name)
	b.If = []storage.Condition{storage.IfAbsent(tokenKey(d))}
	b.Ops = []storage.Op{
		storage.Put(tokenKey(d), record),
		storage.Put(s.accessorKey(t.Accessor), marshalAccessor(d)),
		storage.Put(expiryKey(t.Expires, d), mark),
		storage.Put(leaseKey(t, d), mark),
		storage.Put(wrappedKey(d), wrapped),
	}
	return &Created{Text: name, Token: t}, b, nil
}

// errWrapping is Vault's text.
var errWrapping = fault.New(fault.Invalid, "wrapping token is not valid or does not exist")

// Wrapped tells of a wrapping token without using it. What is none, or none any more, is a [fault.Invalid].
func (s *Store) Wrapped(ctx context.Context, token string) (*Token, error) {
	token, err := s.wrappingID(ctx, token)
	if err != nil {
		return nil, err
	}
	e, err := s.find(ctx, token)
	if errors.Is(err, errDenied) || err == nil && !e.token.wraps() {
		return nil, errWrapping
	}
	if err != nil {
		return nil, err
	}
	return e.token, nil
}

// Unwrapped is what a wrapping token held.
type Unwrapped struct {
	Token    *Token // the wrapping token's record
	Accessor string // see [Wrapping]
	Answer   []byte // to be cleared
}

// Unwrap hands out what a wrapping token holds and ends the token, in one commit. What is none is a [fault.Invalid], and is not used up.
func (s *Store) Unwrap(ctx context.Context, token string) (*Unwrapped, error) {
	return s.unwrap(ctx, token, nil)
}

// Rewrap moves what a wrapping token holds to a new one that lives as long as the old one did at first, in one commit. It also tells
// the accessor: see [Wrapping].
func (s *Store) Rewrap(ctx context.Context, token string) (*Created, string, error) {
	var created *Created
	u, err := s.unwrap(ctx, token, func(u *Unwrapped) (b storage.Batch, err error) {
		created, b, err = s.prepare(Wrapping{Path: u.Token.Path, TTL: u.Token.TTL, Accessor: u.Accessor, Answer: u.Answer})
		return b, err
	})
	if err != nil {
		return nil, "", err
	}
	clear(u.Answer)
	return created, u.Accessor, nil
}

// unwrap ends a wrapping token; what more gives is part of the commit.
func (s *Store) unwrap(ctx context.Context, token string, more func(*Unwrapped) (storage.Batch, error)) (*Unwrapped, error) {
	token, err := s.wrappingID(ctx, token)
	if err != nil {
		return nil, err
	}
	if _, err := s.Wrapped(ctx, token); err != nil {
		return nil, err
	}
	d := s.digest(token)
	l := s.lock(d)
	l.Lock()
	defer l.Unlock()
	e, u, err := s.readWrapped(ctx, d)
	if err != nil {
		return nil, err
	}
	var b storage.Batch
	if more != nil {
		if b, err = more(u); err != nil {
			return nil, err
		}
	}
	b.Ops = append(b.Ops, s.traces(e)...)
	defer s.end(d) // after errors too: whether it was written may be unknown
	if err := s.entries.Commit(ctx, b); err != nil {
		clear(u.Answer)
		return nil, err
	}
	return u, nil
}

// readWrapped reads a wrapping token and what it holds. The caller holds its lock.
func (s *Store) readWrapped(ctx context.Context, d digest) (*entry, *Unwrapped, error) {
	e, err := s.read(ctx, d)
	if err == nil {
		err = s.living(ctx, e)
	}
	var record []byte
	if err == nil {
		record, err = s.entries.Get(ctx, wrappedKey(d))
	}
	switch {
	case errors.Is(err, errDenied), errors.Is(err, storage.ErrNotFound):
		return nil, nil, errWrapping
	case err != nil:
		return nil, nil, err
	}
	accessor, answer, err := unmarshalWrapped(record)
	if err != nil {
		clear(record)
		return nil, nil, fault.Wrap(err, fault.Internal, "the wrapped answer is damaged")
	}
	return e, &Unwrapped{e.token, accessor, answer}, nil
}

// Wraps reports whether who was identified is a wrapping token.
func (i Identity) Wraps() bool { return i.entry != nil && i.entry.token.wraps() }
