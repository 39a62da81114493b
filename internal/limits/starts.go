package limits

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How often one client may start a ceremony without a token: so many at once, and one in this time
// afterwards. A custodian needs one or two.
const (
	StartBurst = 10
	startEvery = 30 * time.Second
)

// Starts counts the ceremonies that clients start without a token. The zero value is ready. It is
// safe for concurrent use.
type Starts struct {
	mu      sync.Mutex
	clients *buckets
}

// Take counts one start. It returns 0 if the client may start, else how long it must wait.
func (s *Starts) Take(client string, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients == nil {
		s.clients = newBuckets(maxAddresses)
	}
	one := s.clients.get(client, func() *rate.Limiter { return rate.NewLimiter(rate.Every(startEvery), StartBurst) })
	return overdrawn(one.Limiter, now)
}
