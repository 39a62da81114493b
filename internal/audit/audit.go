// Package audit is the fail-closed audit log: it records who requested what, before the request
// takes effect and after.
//
// It guarantees that [Record.Request] and [Record.Response] return nil only if at least one device
// has accepted the entry, or there is no device; that a hung device delays requests by its deadline
// at most, once, and is then not waited for until it accepts entries again; that every entry is one
// line of JSON in the format of Vault and OpenBao; that values appear only as keyed hashes, under a
// salt of each device behind the barrier, so that [Trail.Hash] and the log agree; and that tokens,
// shares, and the results of ceremonies are hashed even on a device that logs values (log_raw).
//
// "Accepted" means written to the file, the socket or syslog. It does not mean that the disk was
// flushed, or that the peer of a socket has read the entry. An entry may exist although its request
// was refused: its write then ended after the deadline. A request may appear twice if a connection
// broke during a write.
//
// While the node is sealed there are no salts, and only the devices of the configuration: entries
// are written to these with all texts withheld. Without such a device, requests are kept in memory,
// up to a bound, and written before the node becomes active.
//
// Stays compatible: the members of entries, the options of devices, "core/audit" and
// "audit/<uuid>/salt" behind the barrier.
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

// Errors of writing entries, for logs and causes; a client only learns that nothing was done.
var (
	// ErrUnwritten is returned if there are devices and none accepted the entry.
	ErrUnwritten = errors.New("audit: no device accepted the entry")
	// ErrSealed is returned for the second entry of a request if the node was sealed meanwhile, and
	// for changes while it is sealed.
	ErrSealed = errors.New("audit: sealed")
)

// Entries is the barrier, which stores the table of devices and their salts.
type Entries interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Commit(ctx context.Context, b storage.Batch) error
}

// Config is the configuration of one device.
type Config struct {
	Path        string // "file/"
	Type        string // "file", "socket" or "syslog"
	Description string
	Options     map[string]string
	Local       bool
	Declared    bool // from the configuration; requests cannot remove it
}

// Options configure a trail. Zero values are the defaults.
type Options struct {
	Declared    []Config // devices from the configuration
	ForbidAPI   bool     // requests cannot enable devices
	Folders     []string // below which requests may create file devices
	AnyFile     bool     // requests may create file devices anywhere
	AllowPrefix bool     // devices may have the option "prefix"
	Stdout      io.Writer
	Now         func() time.Time
	Rand        io.Reader
	Log         *slog.Logger
	Deadline    time.Duration // of a file or syslog to accept an entry; 0 means 2 s
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

// Trail holds the devices of a node. It is safe for concurrent use.
type Trail struct {
	o   Options
	all [2]meter // over all devices: requests, responses
	now atomic.Pointer[set]

	mu      sync.Mutex // held during a change
	entries Entries    // nil while sealed
	table   table
	kept    []*kept // requests received without a device while sealed
	lost    int     // requests that did not fit in kept
}

// set is the devices as of one change; it is immutable.
type set struct {
	devices []*attached
	headers []header // request headers that entries show
	active  bool     // unsealed: there are salts
}

// attached is a device and the format of its entries.
type attached struct {
	Config
	*formatter
	device *device
	took   [2]*metrics.Timer // time to accept an entry: requests, responses
}

// meter counts entries.
type meter struct {
	took   *metrics.Timer
	failed *metrics.Counter // accepted by no device
}

// entryOf returns the index of an entry's kind in the meters.
func entryOf(kind string) int {
	if kind == kindRequest {
		return 0
	}
	return 1
}

// New starts the devices of the configuration. Their entries withhold all texts before
// [Trail.Activate].
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

// start creates a device without a salt. Its goroutine opens it at once.
func (t *Trail) start(c Config) (*attached, error) {
	st, err := parse(c, t.o.AllowPrefix)
	if err != nil {
		return nil, err
	}
	if st.raw {
		t.o.Log.Warn("this audit device logs values in plain text (log_raw): its readers see secrets", "device", c.Path)
	}
	if !c.Declared {
		if st.folder, err = t.confine(st); err != nil { // created before it was confined, or by another configuration
			t.o.Log.Warn("this audit device was created by a request outside audit_folders; declare it in the configuration, "+
				"or disable it", "device", c.Path, "writes_to", st.String())
		}
	}
	sink, deadline := t.sink(c.Type, st)
	a := &attached{Config: c, formatter: &formatter{settings: st}, device: newDevice(c.Path, sink, deadline, t.o.Log)}
	a.took = [2]*metrics.Timer{t.o.Metrics.Timer("audit." + c.Path + ".log_request"),
		t.o.Metrics.Timer("audit." + c.Path + ".log_response")}
	return a, nil
}

// Begin starts the record of a request. auth is nil without a known token.
func (t *Trail) Begin(r *Request, auth *Auth) *Record {
	return &Record{trail: t, request: r, auth: auth, set: t.now.Load()}
}

// Headers returns the request headers that entries show, in lower case.
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

// Reopen makes devices open their files again by name, after a log rotation. It does not wait.
func (t *Trail) Reopen() {
	for _, a := range t.now.Load().devices {
		a.device.reopen()
	}
}

// Close closes the devices, which write their queues within their deadlines.
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

// List returns the devices, sorted by path.
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
