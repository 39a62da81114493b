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

// A wrapping token holds one response, which can be unwrapped once. It is a service token with one
// use whose policy allows nothing, so any other use ends it and the intended recipient notices. The
// response is stored beside the token's record and deleted in the same commit: of two concurrent
// unwraps one succeeds, and after a crash token and response are either both there or both gone.

// wrappedPrefix is the key prefix of wrapped responses; the token's hash follows.
const wrappedPrefix = "auth/wrapped/"

const wrappedVersion = 1

// Wrapping is a response to wrap.
type Wrapping struct {
	Path     string        // of the request
	TTL      time.Duration // at most [MaxTTL]
	Accessor string        // of the token in the response; "" if there is none
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

// Wrap stores a response under a new wrapping token, in one commit.
func (s *Store) Wrap(ctx context.Context, w Wrapping) (*Created, error) {
	created, b, err := s.prepare(w)
	if err != nil {
		return nil, err
	}
	if err := s.entries.Commit(ctx, b); errors.Is(err, storage.ErrTooLarge) {
		return nil, fault.Wrap(err, fault.TooLarge, "the response is too large to wrap: an entry holds at most %d bytes; "+
			"send the request without wrapping", storage.MaxBytes)
	} else if err != nil {
		return nil, err
	}
	return created, nil
}

// prepare creates a wrapping token and the batch that stores it.
func (s *Store) prepare(w Wrapping) (*Created, storage.Batch, error) {
	var b storage.Batch
	ttl, now := min(w.TTL, MaxTTL), s.now()
	t := &Token{
		Type: TypeService, Path: w.Path, Policies: []string{wrapPolicy}, Created: now, TTL: ttl, Expires: now.Add(ttl),
		ExplicitMax: ttl, Uses: 1,
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
		return nil, b, fault.Wrap(err, fault.TooLarge, "the response is too large to wrap; send the request without wrapping")
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

// Wrapped returns a wrapping token's record without using the token. An invalid or used one is a
// [fault.Invalid].
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

// Unwrapped is the content of a wrapping token.
type Unwrapped struct {
	Token    *Token // the wrapping token's record
	Accessor string // see [Wrapping]
	Answer   []byte // the caller clears it
}

// Unwrap returns the content of a wrapping token and ends the token, in one commit. Another kind of
// token is a [fault.Invalid] and is not used.
func (s *Store) Unwrap(ctx context.Context, token string) (*Unwrapped, error) {
	return s.unwrap(ctx, token, nil)
}

// Rewrap moves the content of a wrapping token to a new one with the same initial TTL, in one
// commit. It also returns the accessor: see [Wrapping].
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

// unwrap ends a wrapping token; the operations that more returns are part of the commit.
func (s *Store) unwrap(ctx context.Context, token string, more func(*Unwrapped) (storage.Batch, error)) (*Unwrapped,
	error) {
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
	defer s.end(d) // after an error too: the outcome may be unknown
	if err := s.entries.Commit(ctx, b); err != nil {
		clear(u.Answer)
		return nil, err
	}
	return u, nil
}

// readWrapped reads a wrapping token and its content. The caller holds its lock.
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
		return nil, nil, fault.Wrap(err, fault.Internal, "the wrapped response is damaged; send the original request again")
	}
	return e, &Unwrapped{e.token, accessor, answer}, nil
}
