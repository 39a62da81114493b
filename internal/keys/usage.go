package keys

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/storage"
)

// Use is the recorded use of a version.
type Use struct {
	Count uint64
	Last  time.Time
	By    string // the display name of the token that used it last
}

// Usage counts the use of a key's versions in memory. It keeps what is not yet written; see
// [Store.Flush].
type Usage struct {
	mu sync.Mutex
	by map[int]Use

	name    string // of the key
	limited bool   // see [WornAt]
}

// Worn is a version whose count of uses has passed [WornAt] or [WornOut].
type Worn struct {
	Key     string
	Version int
	Count   uint64
}

// Limits of a key whose texts have random nonces of 96 bits: after 2^32 of them the chance that two
// are equal, which would reveal texts and the authentication key, is no longer below 2^-32 (NIST SP
// 800-38D, 8.3). Decryptions count too, so the limits are reached early rather than late.
const (
	WornAt  = 1 << 31
	WornOut = 1 << 32
)

// limited reports whether a version of such a key may encrypt only so often. A derived key has one
// limit for each context.
func (s *Spec) limited() bool {
	switch s.Type {
	case AES128GCM, AES256GCM, ChaCha20Poly1305:
		return !s.Derived
	}
	return false
}

// Worn reports whether a version that was used so often should be rotated.
func (k *Key) Worn(uses uint64) bool { return k.limited() && uses >= WornAt }

func (u *Usage) count(n int, uses uint64, at time.Time, by string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	one := u.by[n]
	u.by[n] = Use{one.Count + uses, at, by}
}

// take returns what was counted and begins anew.
func (u *Usage) take() map[int]Use {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.by) == 0 {
		return nil
	}
	all := u.by
	u.by = map[int]Use{}
	return all
}

func (u *Usage) peek() map[int]Use {
	u.mu.Lock()
	defer u.mu.Unlock()
	return maps.Clone(u.by)
}

// add joins counts: of the later use it has time and name.
func add(into map[int]Use, more map[int]Use) {
	for n, m := range more {
		one := into[n]
		one.Count += m.Count
		if !m.Last.Before(one.Last) {
			one.Last, one.By = m.Last, m.By
		}
		into[n] = one
	}
}

// CountUse notes that a version was used.
func (k *Key) CountUse(n int, uses uint64, by string) {
	if uses > 0 {
		k.use.count(n, uses, k.store.now().UTC(), by)
	}
}

// usage gives the counter of a key, the same for all snapshots of it.
func (s *Store) usage(of id) *Usage {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.using[of]
	if u == nil {
		u = &Usage{by: map[int]Use{}}
		s.using[of] = u
	}
	return u
}

// watch notes whose counter it is.
func (u *Usage) watch(name string, limited bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.name, u.limited = name, limited
}

// wear notes the versions that passed a limit with what was counted.
func (s *Store) wear(of id, stored, counted map[int]Use) {
	u := s.usage(of)
	u.mu.Lock()
	name, limited := u.name, u.limited
	u.mu.Unlock()
	if !limited {
		return
	}
	for n, more := range counted {
		before := stored[n].Count
		now := before + more.Count
		if before < WornAt && now >= WornAt || before < WornOut && now >= WornOut {
			s.mu.Lock()
			s.worn = append(s.worn, Worn{name, n, now})
			s.mu.Unlock()
		}
	}
}

// TakeWorn returns the versions that passed a limit since the last call.
func (s *Store) TakeWorn() []Worn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.worn
	s.worn = nil
	return all
}

func (s *Store) forget(of id) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.using, of)
}

// Uses returns what is known of the use of a key's versions, by number.
func (s *Store) Uses(ctx context.Context, k *Key) (map[int]Use, error) {
	all, err := s.storedUses(ctx, k.id)
	if err != nil {
		return nil, err
	}
	add(all, k.use.peek())
	return all, nil
}

func (s *Store) storedUses(ctx context.Context, of id) (map[int]Use, error) {
	b, err := s.base.Get(ctx, useKey(of))
	if errors.Is(err, storage.ErrNotFound) {
		return map[int]Use{}, nil
	}
	if err != nil {
		return nil, err
	}
	return parseUses(b)
}

func useKey(of id) string { return usePrefix + hex.EncodeToString(of[:]) }

// Flush writes what was counted since the last call, many keys in one commit. What cannot be
// written is counted on.
func (s *Store) Flush(ctx context.Context) error {
	s.mu.RLock()
	all := maps.Clone(s.using)
	s.mu.RUnlock()
	taken := map[id]map[int]Use{}
	for of, u := range all {
		if counted := u.take(); counted != nil {
			taken[of] = counted
		}
		if len(taken) == maxOps {
			if err := s.flush(ctx, taken); err != nil {
				return err
			}
			clear(taken)
		}
	}
	if len(taken) == 0 {
		return nil
	}
	return s.flush(ctx, taken)
}

func (s *Store) flush(ctx context.Context, taken map[id]map[int]Use) error {
	err := s.writeUses(ctx, taken)
	if err == nil {
		return nil
	}
	for of, counted := range taken { // a count too many is better than an unknown use
		u := s.usage(of)
		u.mu.Lock()
		add(u.by, counted)
		u.mu.Unlock()
	}
	return err
}

func (s *Store) writeUses(ctx context.Context, taken map[id]map[int]Use) error {
	var b storage.Batch
	for of, counted := range taken {
		uses, err := s.storedUses(ctx, of)
		if errors.Is(err, ErrRecord) { // counts are no reason to stop; they begin anew
			uses, err = map[int]Use{}, nil
		}
		if err != nil {
			return err
		}
		s.wear(of, uses, counted)
		add(uses, counted)
		b.Ops = append(b.Ops, storage.Put(useKey(of), marshalUses(uses)))
	}
	return s.base.Commit(ctx, b)
}

// The uses of a key's versions are stored at "u/<id>" as
//
//	version u8 = 1 | each: number u32 | count u64 | last i64, ns since 1970 | by u8-length
//
// in the order of numbers.
const usesVersion = 1

const maxBy = 255

func marshalUses(uses map[int]Use) []byte {
	b := cryptobyte.NewBuilder([]byte{usesVersion})
	for _, n := range slices.Sorted(maps.Keys(uses)) {
		u := uses[n]
		b.AddUint32(uint32(n))
		b.AddUint64(u.Count)
		b.AddUint64(uint64(u.Last.UnixNano()))
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(u.By[:min(len(u.By), maxBy)])) })
	}
	return b.BytesOrPanic() // every length fits
}

func parseUses(b []byte) (map[int]Use, error) {
	in := cryptobyte.String(b)
	var version uint8
	if !in.ReadUint8(&version) || version != usesVersion {
		return nil, fmt.Errorf("%w: version %d of the uses of a key is expected", ErrRecord, usesVersion)
	}
	uses := map[int]Use{}
	last := -1
	for !in.Empty() {
		var n uint32
		var count, at uint64
		var by cryptobyte.String
		if !in.ReadUint32(&n) || !in.ReadUint64(&count) || !in.ReadUint64(&at) ||
			!in.ReadUint8LengthPrefixed(&by) || int(n) <= last {
			return nil, fmt.Errorf("%w: the uses of a key", ErrRecord)
		}
		last = int(n)
		uses[last] = Use{count, time.Unix(0, int64(at)).UTC(), string(by)}
	}
	return uses, nil
}
