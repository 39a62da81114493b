package secret

import (
	"errors"
	"sync"
)

// Locked keys are in pages that the kernel does not swap, dump or copy into forked processes, apart
// from the heap of Go, which may move and keep copies. The pages are divided into slots:
//
//	guard page | 64 KiB of slots of 64 bytes | guard page
//
// Only the few keys that live as long as the server is unsealed belong there: the limit of locked
// memory (RLIMIT_MEMLOCK) may be as low as 64 KiB.
const (
	slotSize  = 64
	chunkSize = 64 << 10
)

// ErrNotLocked is wrapped by the error of [PrepareLocked] where the kernel refuses to lock memory.
var ErrNotLocked = errors.New("secret: the memory of keys is not locked")

// arena hands out slots. A free slot is the last to be used again.
type arena struct {
	mu       sync.Mutex
	chunks   [][]byte
	free     [][]byte
	unlocked bool  // by configuration
	err      error // of the first chunk that the kernel did not lock
}

var pages arena

// PrepareLocked reserves the first pages, and returns an error that wraps [ErrNotLocked] where they
// cannot be locked; keys are then kept in them all the same. With lock false it does not try. It is
// called once, before the first key exists.
func PrepareLocked(lock bool) error {
	pages.mu.Lock()
	defer pages.mu.Unlock()
	pages.unlocked = !lock
	if len(pages.chunks) == 0 {
		pages.grow()
	}
	return pages.err
}

// grow adds a chunk. The caller holds mu.
func (a *arena) grow() {
	chunk, err := mapChunk(chunkSize, !a.unlocked)
	if err != nil && a.err == nil {
		a.err = errors.Join(ErrNotLocked, err)
	}
	if chunk == nil {
		return
	}
	a.chunks = append(a.chunks, chunk)
	for i := 0; i < len(chunk); i += slotSize {
		a.free = append(a.free, chunk[i:i+slotSize:i+slotSize])
	}
}

// take returns a slot, or nil where there is no memory for one.
func (a *arena) take() []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.free) == 0 {
		a.grow()
	}
	if len(a.free) == 0 {
		return nil
	}
	slot := a.free[0]
	a.free = a.free[1:]
	return slot
}

func (a *arena) give(slot []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free = append(a.free, slot)
}

// Locked returns a secret with a copy of b in locked memory; b stays the caller's, to be cleared.
// More than 64 bytes, and everything where there are no pages for it, is kept as by [Copy]. The
// owner must call Destroy: the garbage collector does not free locked memory.
func Locked(b []byte) *Bytes {
	if len(b) == 0 || len(b) > slotSize {
		return Copy(b)
	}
	slot := pages.take()
	if slot == nil {
		return Copy(b)
	}
	return &Bytes{b: slot[:copy(slot, b)], slot: slot}
}
