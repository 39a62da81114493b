package api

import (
	"container/list"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/recovery"
)

// How many refusals there may be at once, and for how long, before they are answered with 429. Nobody guesses a share of 33 bytes;
// what is kept small is the noise, and the holder who mistypes has room.
const (
	addressBurst = 20
	addressEvery = time.Second
	pathBurst    = 60
	pathEvery    = 200 * time.Millisecond
	maxAddresses = 4096 // about 1 MiB; beyond, the address that was quiet for longest is forgotten
)

// Refusals counts the shares that were refused where anybody may give one: for each client's address, and for each path from all
// of them together. It judges nobody: a share is looked at first, and only what was refused is counted, so that no
// flood of wrong shares keeps a right one out. Beyond the limit a refusal is the same in other words, with the status 429.
//
// It is safe for concurrent use. Behind a proxy all clients have one address: then it is the path's limit that counts.
type Refusals struct {
	now func() time.Time
	log *slog.Logger

	mu        sync.Mutex
	paths     map[string]*rate.Limiter // as many as there are routes
	addresses map[string]*list.Element // of *seenAddress
	recent    *list.List               // the address that was seen last is in front
	line      *rate.Limiter            // of the log
	silent    int                      // refusals since the last line
}

type seenAddress struct {
	name   string
	bucket *rate.Limiter
}

// NewRefusals starts to count.
func NewRefusals(now func() time.Time, log *slog.Logger) *Refusals {
	return &Refusals{
		now: now, log: log, paths: map[string]*rate.Limiter{}, addresses: map[string]*list.Element{}, recent: list.New(),
		line: rate.NewLimiter(rate.Every(time.Second), 1),
	}
}

// count takes note of a refusal, and returns what the client is told. Errors that are not the request's fault do not count, nor
// does a right share that came twice.
func (r *Refusals) count(q *request, err error) error {
	var refusal *fault.Error
	if !errors.As(err, &refusal) || refusal.Kind != fault.Invalid || errors.Is(err, recovery.ErrShareRepeated) {
		return err
	}
	from := clientAddress(q.http.RemoteAddr)
	wait, unlogged := r.note(from, q.route.Path)
	if unlogged > 0 {
		r.log.Warn("many shares are refused", "path", q.path, "from", from, "since_last_line", unlogged)
	}
	if wait == 0 {
		return err
	}
	seconds := int(math.Ceil(wait.Seconds()))
	q.out.Header().Set("Retry-After", strconv.Itoa(seconds))
	return fault.Wrap(err, fault.Limited,
		"%s; too many shares were refused here: wait %d s before the next try. A right share is taken at any time", refusal.Message, seconds)
}

// note counts one refusal. wait is how long to, where it was one too many; unlogged is how many were, where it is time to log that.
func (r *Refusals) note(address, path string) (wait time.Duration, unlogged int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if r.paths[path] == nil {
		r.paths[path] = rate.NewLimiter(rate.Every(pathEvery), pathBurst)
	}
	wait = max(overdrawn(r.ofAddress(address), now), overdrawn(r.paths[path], now))
	if wait == 0 {
		return 0, 0
	}
	if r.silent++; r.line.AllowN(now, 1) {
		unlogged, r.silent = r.silent, 0
	}
	return wait, unlogged
}

// overdrawn takes from a bucket, and returns how long it is to the next where it is empty.
func overdrawn(b *rate.Limiter, now time.Time) time.Duration {
	if b.AllowN(now, 1) {
		return 0
	}
	return max(time.Duration((1-b.TokensAt(now))/float64(b.Limit())*float64(time.Second)), time.Nanosecond)
}

// ofAddress finds an address's bucket, or makes one in the place of the one that was not needed for longest.
func (r *Refusals) ofAddress(name string) *rate.Limiter {
	if e := r.addresses[name]; e != nil {
		r.recent.MoveToFront(e)
		return e.Value.(*seenAddress).bucket
	}
	if r.recent.Len() >= maxAddresses {
		oldest := r.recent.Back()
		delete(r.addresses, r.recent.Remove(oldest).(*seenAddress).name)
	}
	s := &seenAddress{name, rate.NewLimiter(rate.Every(addressEvery), addressBurst)}
	r.addresses[name] = r.recent.PushFront(s)
	return s.bucket
}

// clientAddress is what counts as one client: an IPv4 address, the /64 of an IPv6 address, or all of a socket.
func clientAddress(remote string) string {
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
	net64, err := ip.Prefix(64)
	if err != nil {
		return "local"
	}
	return net64.String()
}
