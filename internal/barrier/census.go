package barrier

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/sealgate/sealgate/internal/storage"
)

// The census counts entries and bytes by term, and by the part of the storage that they belong to.
// The barrier that writes keeps it in memory: each commit reports what it replaced
// ([storage.Before]), and is added when it has returned. Reading it costs no request to the
// storage.
//
// When the barrier is sealed in order it stores the census, and the first commit afterwards deletes
// that record again, in the same commit. So a stored census describes exactly what is stored: after
// a crash there is none, and all entries are counted again ([Barrier.CountAll]).
//
// A commit of unknown outcome makes the census inexact until the next count. So do entries that
// were written outside this program: a count finds them, the census does not. [Barrier.Retire]
// therefore counts, and believes no census.
//
// The stored record is an entry with this plaintext:
//
//	version 1 | term u32 | encryptions u64 | length u24
//	{ term u32 | part u8-len | entries u64 | bytes u64 } ...
//
// term and encryptions are those of the active term when it was stored: where the counts differ,
// the record is not the newest. The record itself is not counted.
const (
	censusPath    = "core/key-census" // an entry
	censusVersion = 1
	maxCensus     = 512 << 10 // larger ones are not stored
	maxPart       = 96        // bytes of the name of a part; what is longer is counted with its parent
)

// Tally is a number of entries, and the bytes of their stored values.
type Tally struct{ Entries, Bytes int64 }

func (t *Tally) add(o Tally) { t.Entries, t.Bytes = t.Entries+o.Entries, t.Bytes+o.Bytes }

// TermCensus counts the entries of one term.
type TermCensus struct {
	Term uint32
	Tally
	Parts map[string]Tally // by the first part of the path; two for "logical/", "credential/" and "auth/"
}

// Census counts the entries of each term.
type Census struct {
	Known    bool // entries were counted, or a count was read
	Exact    bool // it is what is stored now
	Counting bool // all entries are being counted
	Terms    []TermCensus
}

// Of returns what is stored under a term.
func (c Census) Of(term uint32) TermCensus {
	for _, t := range c.Terms {
		if t.Term == term {
			return t
		}
	}
	return TermCensus{Term: term}
}

// Below returns what is stored under terms before one.
func (c Census) Below(term uint32) Tally {
	var sum Tally
	for _, t := range c.Terms {
		if t.Term < term {
			sum.add(t.Tally)
		}
	}
	return sum
}

type censusKey struct {
	term uint32
	part string
}

type tallies map[censusKey]Tally

func (t tallies) add(key censusKey, n Tally) {
	sum := t[key]
	sum.add(n)
	if sum == (Tally{}) {
		delete(t, key)
		return
	}
	t[key] = sum
}

// census is the state of a barrier's census. The zero value knows nothing.
type census struct {
	mu      sync.Mutex
	counts  tallies // nil: nothing is known
	exact   bool
	pass    *pass                // a count of all entries in progress; nil: there is none
	spoiled bool                 // a commit since it began has an unknown outcome
	lost    map[uint32]time.Time // when a commit last had an unknown outcome, by the active term

	absent atomic.Bool // no record of the census is stored
}

// pass is a count of all entries in progress.
type pass struct {
	counts tallies // of what was counted, as it is now
	// copied: it counts a copy of one moment, which all changes since then are added to. Otherwise it
	// has counted the entries up to reached, and finds what changes behind that later.
	copied  bool
	reached string
}

// counted reports whether a change of an entry changes the count.
func (p *pass) counted(path string) bool { return p.copied || path <= p.reached }

// partOf returns the part of the storage that a path belongs to.
func partOf(path string) string {
	first, rest, folder := strings.Cut(path, "/")
	if !folder {
		return first
	}
	if first != "logical" && first != "credential" && first != "auth" {
		return first
	}
	second, _, _ := strings.Cut(rest, "/")
	if len(first)+1+len(second) > maxPart {
		return first
	}
	return path[:len(first)+1+len(second)]
}

// uncounted reports whether a key is no entry of the barrier, or the census itself.
func (b *Barrier) uncounted(key string) bool {
	return key == KeyringPath || key == censusPath || strings.HasPrefix(key, handoverPrefix) ||
		b.outside != nil && b.outside(key)
}

// termOf returns the term that a stored value names; ok is false for what is no entry.
func termOf(head []byte) (id uint32, ok bool) {
	if len(head) < entryHeader || head[0] != entryVersion {
		return 0, false
	}
	return binary.BigEndian.Uint32(head[1:]), true
}

// commit commits a batch of entries that are sealed already, and counts it. The caller holds
// writing.
func (b *Barrier) commit(ctx context.Context, batch storage.Batch) error {
	if !b.census.absent.Load() {
		var err error
		if batch, err = b.withoutCensus(ctx, batch); err != nil {
			return err
		}
	}
	var before storage.Before
	batch.Before = &before
	err := b.store.Commit(ctx, batch)
	switch {
	case err == nil && before.Known:
		b.census.absent.Store(true)
		b.census.replaced(b, batch.Ops, before.Old)
	case err == nil:
		b.census.absent.Store(true)
		b.census.doubt(b, nil)
	case !storage.NothingWritten(err):
		b.census.doubt(b, batch.Ops)
	}
	return err
}

// withoutCensus adds the removal of the stored census to the first commit. Where that has no room
// for it, it is a commit of its own: a missing census is never wrong.
func (b *Barrier) withoutCensus(ctx context.Context, batch storage.Batch) (storage.Batch, error) {
	remove := storage.Delete(censusPath)
	added := batch
	added.Ops = append(slices.Clip(batch.Ops), remove)
	if added.Check() == nil {
		return added, nil
	}
	err := b.store.Commit(ctx, storage.Batch{Ops: []storage.Op{remove}, Epoch: batch.Epoch})
	if err == nil {
		b.census.absent.Store(true)
	}
	return batch, err
}

// begin starts the census of an empty storage.
func (c *census) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts, c.exact = tallies{}, true
	c.absent.Store(true)
}

// replaced counts a commit.
func (c *census) replaced(b *Barrier, ops []storage.Op, old []storage.Old) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil && c.pass == nil {
		return
	}
	for i, op := range ops {
		if b.uncounted(op.Key) || overwritten(ops, i) {
			continue
		}
		part := partOf(op.Key)
		if id, ok := termOf(old[i].Head[:]); ok && old[i].Present {
			c.add(op.Key, censusKey{id, part}, Tally{-1, -int64(old[i].Size)})
		}
		if id, ok := termOf(op.Value); ok && !op.Delete {
			c.add(op.Key, censusKey{id, part}, Tally{1, int64(len(op.Value))})
		}
	}
}

// add counts a change of an entry. The caller holds mu.
func (c *census) add(path string, key censusKey, n Tally) {
	if c.counts != nil {
		c.counts.add(key, n)
	}
	if c.pass != nil && c.pass.counted(path) {
		c.pass.counts.add(key, n)
	}
}

// overwritten reports whether a later operation of the batch has the same key.
func overwritten(ops []storage.Op, i int) bool {
	for _, later := range ops[i+1:] {
		if later.Key == ops[i].Key {
			return true
		}
	}
	return false
}

// doubt notes a commit that is not counted: its outcome is unknown, or what it replaced. ops are
// those of an unknown outcome.
func (c *census) doubt(b *Barrier, ops []storage.Op) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.exact, c.spoiled = false, true
	for _, op := range ops {
		if id, ok := termOf(op.Value); ok && !b.uncounted(op.Key) {
			if c.lost == nil {
				c.lost = map[uint32]time.Time{}
			}
			c.lost[id] = b.now()
		}
	}
}

// Census returns the census. It is unknown on a barrier that does not write.
func (b *Barrier) Census() Census {
	b.census.mu.Lock()
	defer b.census.mu.Unlock()
	c := &b.census
	out := Census{Known: c.counts != nil, Exact: c.counts != nil && c.exact && c.pass == nil, Counting: c.pass != nil}
	terms := map[uint32]*TermCensus{}
	for key, n := range c.counts {
		t := terms[key.term]
		if t == nil {
			t = &TermCensus{Term: key.term, Parts: map[string]Tally{}}
			terms[key.term] = t
		}
		t.add(n)
		t.Parts[key.part] = n
	}
	for _, id := range slices.Sorted(maps.Keys(terms)) {
		out.Terms = append(out.Terms, *terms[id])
	}
	return out
}

// LoadCensus reads the stored census, before the first commit. Where there is none that is right,
// the census is unknown.
func (b *Barrier) LoadCensus(ctx context.Context) error {
	r := b.ring.Load()
	if r == nil {
		return ErrSealed
	}
	record, err := b.store.Get(ctx, censusPath)
	if errors.Is(err, storage.ErrNotFound) {
		b.census.absent.Store(true)
		return nil
	}
	if err != nil {
		return err
	}
	if id, ok := termOf(record); !ok || id != r.active.id {
		return nil // the program seals it by the active term: another one made it, or it is not the newest
	}
	plain, err := r.open(censusPath, record)
	if err != nil {
		return nil //nolint:nilerr // a census that does not open is none
	}
	counts, term, encryptions, err := unmarshalCensus(plain)
	if err != nil || term != r.active.id || encryptions != r.active.count.bound.Load() {
		return nil //nolint:nilerr // it is not the newest
	}
	b.census.mu.Lock()
	defer b.census.mu.Unlock()
	if !b.census.absent.Load() {
		b.census.counts, b.census.exact = counts, true
	}
	return nil
}

// ErrCensus is returned by CountAll where the storage cannot show all entries as of one moment.
var ErrCensus = errors.New("barrier: the storage cannot show all entries as of one moment")

// CountAll counts all entries, while others read and write; pace is called now and then, and may
// wait. Afterwards the census is exact, unless a commit meanwhile had an unknown outcome.
//
// Where the storage is a [storage.Ranger], it is counted in parts, and writes wait while one is
// read. Otherwise a copy of one moment is counted, and writes wait until the storage has begun it.
func (b *Barrier) CountAll(ctx context.Context, from storage.Snapshotter, pace func() error) error {
	if from == nil {
		return ErrCensus
	}
	c := &b.census
	p := &pass{counts: tallies{}}
	parts, ranges := from.(storage.Ranger)
	b.writing.Lock()
	release := sync.OnceFunc(b.writing.Unlock)
	defer release()
	if b.Sealed() {
		return ErrSealed
	}
	c.mu.Lock()
	if c.pass != nil {
		c.mu.Unlock()
		return errors.New("barrier: the entries are being counted already")
	}
	p.copied = !ranges
	c.pass, c.spoiled = p, false
	c.mu.Unlock()
	var err error
	if ranges {
		release()
		err = b.countParts(ctx, p, parts, pace)
	} else {
		err = b.countCopy(ctx, p, from, pace, release)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pass = nil
	if err == nil {
		c.counts, c.exact = p.counts, !c.spoiled
	}
	return err
}

// countCopy counts a copy of one moment. begun is called once the storage has it.
func (b *Barrier) countCopy(ctx context.Context, p *pass, from storage.Snapshotter, pace func() error,
	begun func()) error {
	counted := tallies{}
	err := from.Snapshot(ctx, func(key string, value []byte) error {
		begun()
		b.countEntry(counted, key, value)
		return pace()
	})
	b.census.merge(p, counted, "")
	return err
}

// countedAtOnce is how many entries are counted while writes wait: milliseconds.
const countedAtOnce = 2048

// countParts counts the entries part by part. No commit is in progress while one is read, so that
// each commit is either before a part or after it.
func (b *Barrier) countParts(ctx context.Context, p *pass, from storage.Ranger, pace func() error) error {
	part := func() (n int, err error) {
		b.writing.Lock()
		defer b.writing.Unlock()
		if b.Sealed() {
			return 0, ErrSealed
		}
		counted, last := tallies{}, p.reached
		err = from.Range(ctx, p.reached, countedAtOnce, func(key string, value []byte) error {
			b.countEntry(counted, key, value)
			n, last = n+1, key
			return nil
		})
		b.census.merge(p, counted, last)
		return n, err
	}
	for {
		n, err := part()
		if err == nil {
			err = pace()
		}
		if err != nil || n < countedAtOnce {
			return err
		}
	}
}

// countEntry adds a stored entry to the counts.
func (b *Barrier) countEntry(counts tallies, key string, value []byte) {
	if id, ok := termOf(value); ok && !b.uncounted(key) {
		counts.add(censusKey{id, strings.Clone(partOf(key))}, Tally{1, int64(len(value))})
	}
}

// merge adds what a pass has counted, up to a path.
func (c *census) merge(p *pass, counted tallies, reached string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, n := range counted {
		p.counts.add(key, n)
	}
	p.reached = reached
}

// storeCensus stores an exact census, as the last commit of a barrier. The caller has closed the
// counters and knows that no other commit is in progress; encryptions is the number that it stored.
func (b *Barrier) storeCensus(ctx context.Context, r *ring, encryptions uint64) error {
	b.census.mu.Lock()
	plain := b.census.counts.marshal(r.active.id, encryptions)
	b.census.mu.Unlock()
	if len(plain) > maxCensus {
		return nil
	}
	return b.store.Commit(ctx, storage.Batch{
		Ops: []storage.Op{storage.Put(censusPath, r.active.seal(censusPath, plain))}, Epoch: b.epoch.Load(),
	})
}

// storable reports whether the census is exact and not stored.
func (c *census) storable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts != nil && c.exact && c.pass == nil && c.absent.Load()
}

func (t tallies) marshal(term uint32, encryptions uint64) []byte {
	keys := slices.SortedFunc(maps.Keys(t), func(a, b censusKey) int {
		if a.term != b.term {
			return int(int64(a.term) - int64(b.term))
		}
		return strings.Compare(a.part, b.part)
	})
	b := cryptobyte.NewBuilder(nil)
	b.AddUint8(censusVersion)
	b.AddUint32(term)
	b.AddUint64(encryptions)
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, key := range keys {
			b.AddUint32(key.term)
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(key.part)) })
			b.AddUint64(uint64(t[key].Entries))
			b.AddUint64(uint64(t[key].Bytes))
		}
	})
	plain, err := b.Bytes()
	if err != nil {
		return make([]byte, maxCensus+1) // beyond what its length can say: it is not stored
	}
	return plain
}

func unmarshalCensus(plain []byte) (t tallies, term uint32, encryptions uint64, err error) {
	var version uint8
	var list cryptobyte.String
	in := cryptobyte.String(plain)
	if !in.ReadUint8(&version) || version != censusVersion || !in.ReadUint32(&term) || !in.ReadUint64(&encryptions) ||
		!in.ReadUint24LengthPrefixed(&list) || !in.Empty() {
		return nil, 0, 0, corrupt(censusPath, "the census is malformed")
	}
	t = tallies{}
	for !list.Empty() {
		var id uint32
		var part cryptobyte.String
		var entries, size uint64
		if !list.ReadUint32(&id) || !list.ReadUint8LengthPrefixed(&part) || len(part) == 0 || !list.ReadUint64(&entries) ||
			!list.ReadUint64(&size) || entries == 0 || entries > maxCount || size > maxCount {
			return nil, 0, 0, corrupt(censusPath, "a number of the census is malformed")
		}
		key := censusKey{id, string(part)}
		if _, again := t[key]; again {
			return nil, 0, 0, corrupt(censusPath, "a part is counted twice")
		}
		t[key] = Tally{int64(entries), int64(size)}
	}
	return t, term, encryptions, nil
}
