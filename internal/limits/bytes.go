package limits

import "sync"

// Bytes bounds the memory that requests in flight take. It is safe for concurrent use; its zero
// value bounds nothing.
type Bytes struct {
	mu   sync.Mutex
	most int64 // 0: no bound
	used int64
}

// Limit sets the bound; 0 lifts it.
func (b *Bytes) Limit(most int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.most = most
}

// Take reserves n bytes, or reports that there is no room. It never waits. An eighth of the room is
// kept for small requests: large ones alone cannot keep a client from logging in.
func (b *Bytes) Take(n int64, small bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	room := b.most
	if !small {
		room -= b.most / 8
	}
	if b.most > 0 && (n > room || b.used > room-n) {
		return false
	}
	b.used += n
	return true
}

// Return ends a reservation.
func (b *Bytes) Return(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used -= n
}

// Used returns what is reserved, and the bound.
func (b *Bytes) Used() (used, most int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used, b.most
}
