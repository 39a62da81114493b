// Package audit is the fail-closed log: who asked for what, before it takes effect and after, on devices that cannot be talked around.
//
// It guarantees that [Record.Request] and [Record.Response] return nil only when at least one device has accepted the entry, or there is no
// device; that a device that hangs costs at most its deadline, once, and is then not waited for until it takes entries again; that
// every entry is one line of JSON in the format of Vault and OpenBao; that values are there as keyed hashes alone, under a salt that each
// device has to itself behind the barrier, so that [Trail.Hash] and the log agree; and that tokens, shares, and
// what ceremonies hand out are hashed even where a device was told to log values (log_raw).
//
// "Accepted" means: written to the file, to the socket or to the system's log. It does not mean that the disk was flushed, or that the other end
// of a socket has read it. An entry may be there although the request it tells of was refused: then its write ended after the
// deadline. A request may be there twice where a connection broke within a write.
//
// While the node is sealed there are no salts, and of devices only those that the configuration names: entries are written to these
// with every text left out. What happens meanwhile without such a device is kept in memory, bounded, and written before the node
// becomes active.
//
// Stays compatible: the members of entries, the options of devices, "core/audit" and "audit/<uuid>/salt" behind the barrier.
package audit

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealgate/sealgate/internal/metrics"
	"github.com/sealgate/sealgate/internal/storage"
)

// Errors of writing entries. They are for logs and causes; a client is told that nothing was done.
var (
	// ErrUnwritten is returned when there are devices and none took the entry.
	ErrUnwritten = errors.New("audit: no device took the entry")
	// ErrSealed is returned for the second entry of a request during which the node was sealed, and for changes while it is.
	ErrSealed = errors.New("audit: sealed")
)

// Entries is where the table of devices and their salts lie: the barrier.
type Entries interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Commit(ctx context.Context, b storage.Batch) error
}

// Config is one device.
type Config struct {
	Path        string // "file/"
	Type        string // "file", "socket" or "syslog"
	Description string
	Options     map[string]string
	Local       bool
	Declared    bool // by the configuration, not by a request: requests cannot remove it
}

// Options are what a trail is given from outside. Zero values are the defaults.
type Options struct {
	Declared    []Config // devices of the configuration
	ForbidAPI   bool     // devices come from the configuration alone
	AllowPrefix bool     // the option "prefix" is honoured
	Stdout      io.Writer
	Now         func() time.Time
	Rand        io.Reader
	Log         *slog.Logger
	Deadline    time.Duration // within which a file or the system's log must take an entry: 2 s
	Syslog      func(facility, tag string) (io.WriteCloser, error)
	Metrics     *metrics.Registry // nil: nothing is counted
}

func (o *Options) defaults() {
	o.Stdout = cmp.Or[io.Writer](o.Stdout, os.Stdout)
	o.Deadline = cmp.Or(o.Deadline, defaultDeadline)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Syslog == nil {
		o.Syslog = openSyslog
	}
}

// defaultDeadline is Vault's for sockets.
const defaultDeadline = 2 * time.Second

// Trail is the devices of a node. It is safe for concurrent use.
type Trail struct {
	o   Options
	all [2]meter // of all devices together: requests, responses
	now atomic.Pointer[set]

	mu      sync.Mutex // held by changes
	entries Entries    // nil while sealed
	table   table
	kept    []*kept // what happened without a device while sealed
	lost    int     // what there was no room for among them
}

// set is the devices as of one change; it never changes.
type set struct {
	devices []*attached
	headers []header // of requests, that entries show
	active  bool     // the node is unsealed: there are salts
}

// attached is a device with how entries are written for it.
type attached struct {
	Config
	*formatter
	device *device
	took   [2]*metrics.Timer // by the device for an entry: requests, responses
}

// meter counts entries.
type meter struct {
	took   *metrics.Timer
	failed *metrics.Counter // those that no device took
}

// entryOf is the place of an entry's kind among meters.
func entryOf(kind string) int {
	if kind == kindRequest {
		return 0
	}
	return 1
}

// New starts the devices that the configuration names. Their entries have no texts before [Trail.Activate].
func New(o Options) (*Trail, error) {
	o.defaults()
	t := &Trail{o: o}
	for i, name := range [...]string{"audit.log_request", "audit.log_response"} {
		t.all[i] = meter{o.Metrics.Timer(name), o.Metrics.Counter(name + "_failure")}
	}
	s := &set{}
	for _, c := range o.Declared {
		a, err := t.start(c)
		if err != nil {
			return nil, errors.Join(err, s.close())
		}
		s.devices = append(s.devices, a)
	}
	t.now.Store(s)
	return t, nil
}

// start makes a device without a salt. Its goroutine opens it at once.
func (t *Trail) start(c Config) (*attached, error) {
	st, err := parse(c, t.o.AllowPrefix)
	if err != nil {
		return nil, err
	}
	if st.raw {
		t.o.Log.Warn("this audit device logs values as they are (log_raw): who reads it reads secrets", "device", c.Path)
	}
	sink, deadline := t.sink(c.Type, st)
	a := &attached{Config: c, formatter: &formatter{settings: st}, device: newDevice(c.Path, sink, deadline, t.o.Log)}
	a.took = [2]*metrics.Timer{t.o.Metrics.Timer("audit." + c.Path + ".log_request"), t.o.Metrics.Timer("audit." + c.Path + ".log_response")}
	return a, nil
}

// Begin takes note of a request. auth is nil for one without a token that is known.
func (t *Trail) Begin(r *Request, auth *Auth) *Record {
	return &Record{trail: t, request: r, auth: auth, set: t.now.Load()}
}

// Headers are the request headers that entries show, in lower case.
func (t *Trail) Headers() []string {
	s := t.now.Load()
	if s.headers == nil {
		return nil
	}
	names := make([]string, len(s.headers))
	for i, h := range s.headers {
		names[i] = h.Name
	}
	return names
}

// Enabled reports whether any request is audited now.
func (t *Trail) Enabled() bool {
	s := t.now.Load()
	return len(s.devices) > 0 || !s.active
}

// Reopen makes files be opened anew by their names: what a rotation has moved away is left alone. It does not wait.
func (t *Trail) Reopen() {
	for _, a := range t.now.Load().devices {
		a.device.reopen()
	}
}

// Close ends the devices; what waits to be written gets its deadline.
func (t *Trail) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now.Swap(&set{}).close()
}

func (s *set) close() error {
	errs := make(chan error)
	for _, a := range s.devices {
		go func() { errs <- a.device.close() }()
	}
	var all []error
	for range s.devices {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// List returns the devices by path.
func (t *Trail) List() []Config {
	var out []Config
	for _, a := range t.now.Load().devices {
		c := a.Config
		c.Options = maps.Clone(c.Options)
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Config) int { return cmp.Compare(a.Path, b.Path) })
	return out
}
