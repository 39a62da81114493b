package limits

import (
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Quota is one rate-limit quota, as it is stored and shown.
type Quota struct {
	Version int    `json:"v"`
	Name    string `json:"name"`
	// Path is "" for every path, a mount's path with its slash, an exact path, or a prefix with "*" at
	// its end.
	Path          string  `json:"path"`
	Rate          float64 `json:"rate"`           // requests of one client in an interval
	Interval      int64   `json:"interval"`       // seconds
	BlockInterval int64   `json:"block_interval"` // seconds for which a client that exceeds it gets nothing; 0: none
}

// FormatVersion returns the version of the stored document.
func (q *Quota) FormatVersion() int { return q.Version }

// Settings apply to all quotas.
type Settings struct {
	Version int      `json:"v"`
	Exempt  []string `json:"rate_limit_exempt_paths"`
	Headers bool     `json:"enable_rate_limit_response_headers"`
	Audit   bool     `json:"enable_rate_limit_audit_logging"`
}

// FormatVersion returns the version of the stored document.
func (s *Settings) FormatVersion() int { return s.Version }

// DefaultExempt are the paths that no quota limits unless the settings name others: a cluster in
// trouble must stay observable, and its custodians must be able to unseal it.
func DefaultExempt() []string {
	return []string{
		"sys/generate-recovery-token/attempt", "sys/generate-recovery-token/update",
		"sys/generate-root/attempt", "sys/generate-root/update",
		"sys/health", "sys/seal-status", "sys/unseal",
	}
}

// MaxQuotas bounds the quotas, and the exempt paths, that each request is compared with.
const MaxQuotas = 1000

// Exempts reports whether no quota limits a path.
func Exempts(exempt []string, path string) bool {
	return slices.ContainsFunc(exempt, func(p string) bool { return covers(p, path) > 0 })
}

// Closest returns the quota whose path fits a request's path best; one without a path applies where
// no other does.
func Closest(quotas []Quota, path string) *Quota {
	var best *Quota
	most := -1
	for i := range quotas {
		fit := covers(quotas[i].Path, path)
		if fit == 0 && quotas[i].Path != "" {
			continue
		}
		if fit > most {
			best, most = &quotas[i], fit
		}
	}
	return best
}

// covers returns how well a quota's path fits a request's: 0 is not at all, longer is better, and
// exact is best.
func covers(pattern, path string) int {
	if before, ok := strings.CutSuffix(pattern, "*"); ok && strings.HasPrefix(path, before) {
		return 1 + len(before)
	}
	if pattern != "" && strings.HasSuffix(pattern, "/") && strings.HasPrefix(path, pattern) {
		return 1 + len(pattern)
	}
	if pattern == path {
		return math.MaxInt
	}
	return 0
}

// maxClients bounds the memory that clients can take to about 10 MiB.
const maxClients = 65536

// Quotas counts the requests of clients. The zero value is ready. It is safe for concurrent use.
type Quotas struct {
	mu      sync.Mutex
	of      any // the generation of the quotas that these counts are for
	clients *buckets
}

// Take counts a request of a client against a quota. generation identifies the set of quotas in
// force: a changed set starts at zero. left is how many requests the client has left; wait is not 0
// where this one is refused, and says when the next one passes.
func (q *Quotas) Take(generation any, quota *Quota, client string, now time.Time) (left int, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.of != generation || q.clients == nil {
		q.of, q.clients = generation, newBuckets(maxClients)
	}
	c := q.clients.get(quota.Name+"\x00"+client, func() *rate.Limiter {
		every := rate.Limit(quota.Rate / float64(quota.Interval))
		return rate.NewLimiter(every, max(1, int(math.Ceil(quota.Rate))))
	})
	if c.blocked.After(now) {
		return 0, c.blocked.Sub(now)
	}
	if c.AllowN(now, 1) {
		return int(c.TokensAt(now)), 0
	}
	wait = c.wait(now)
	if block := time.Duration(quota.BlockInterval) * time.Second; block > 0 {
		c.blocked, wait = now.Add(block), block
	}
	return 0, wait
}
