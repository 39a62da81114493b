package limits

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How many refusals there may be at once, and one in which time afterwards, before they are
// answered with 429. A share of 33 bytes cannot be guessed; the limit keeps the load and the log
// small, and leaves room for typing errors.
const (
	AddressBurst = 20
	addressEvery = time.Second
	PathBurst    = 60
	pathEvery    = 200 * time.Millisecond
	maxAddresses = 4096 // about 1 MiB
)

// Refusals counts the shares that were refused where a share needs no token: for each client's
// address, and for each path from all addresses together. Every share is checked first and only a
// refused one is counted, so no flood of wrong shares keeps a right one out.
//
// It is safe for concurrent use. Behind a proxy all clients share one address: then the limit of
// the path applies.
type Refusals struct {
	now func() time.Time
	log *slog.Logger

	mu        sync.Mutex
	paths     map[string]*rate.Limiter // as many as there are routes
	addresses *buckets
	line      *rate.Limiter // of the log
	unlogged  int           // refusals since the last line
}

// NewRefusals returns a counter of refusals.
func NewRefusals(now func() time.Time, log *slog.Logger) *Refusals {
	return &Refusals{
		now: now, log: log, paths: map[string]*rate.Limiter{}, addresses: newBuckets(maxAddresses),
		line: rate.NewLimiter(rate.Every(time.Second), 1),
	}
}

// Count counts one refusal. It returns 0 while the client may try again at once, else how long it
// must wait.
func (r *Refusals) Count(client, path string) time.Duration {
	wait, unlogged := r.count(client, path)
	if unlogged > 0 {
		r.log.Warn("many shares are refused", "path", path, "from", client, "since_last_line", unlogged)
	}
	return wait
}

// count returns the refusals since the last line of the log, where it is time for the next.
func (r *Refusals) count(client, path string) (wait time.Duration, unlogged int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if r.paths[path] == nil {
		r.paths[path] = rate.NewLimiter(rate.Every(pathEvery), PathBurst)
	}
	one := r.addresses.get(client, func() *rate.Limiter { return rate.NewLimiter(rate.Every(addressEvery), AddressBurst) })
	wait = max(overdrawn(one.Limiter, now), overdrawn(r.paths[path], now))
	if wait == 0 {
		return 0, 0
	}
	if r.unlogged++; r.line.AllowN(now, 1) {
		unlogged, r.unlogged = r.unlogged, 0
	}
	return wait, unlogged
}

// overdrawn takes a token from a bucket, and returns when the next one comes where it is empty.
func overdrawn(l *rate.Limiter, now time.Time) time.Duration {
	if l.AllowN(now, 1) {
		return 0
	}
	return refill(l, now)
}

// Client returns what counts as one client for a remote address: an IPv4 address, the /64 of an
// IPv6 address, or "local" for all clients of a unix socket.
func Client(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return "local"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return "local"
	}
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return ip.String()
	}
	network, err := ip.Prefix(64)
	if err != nil {
		return "local"
	}
	return network.String()
}
