package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/config"
	"github.com/sealgate/sealgate/internal/logs"
	"github.com/sealgate/sealgate/internal/metrics"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/tracing"
	"github.com/sealgate/sealgate/internal/version"
)

// observability sets up metrics, log levels and traces.
func (p *instance) observability(cfg *config.Config, getenv func(string) string) error {
	tracer, err := tracing.FromEnvironment(getenv, version.Release, p.hub.Logger("tracing"))
	if err != nil {
		return err
	}
	p.shared = api.NewShared(metrics.New(cfg.Telemetry.Prefix, nil), p.hub.Logger("api"))
	p.shared.Prometheus, p.shared.Logs, p.shared.Tracer, p.shared.Sanitized = cfg.Telemetry.Prometheus, p.hub, tracer,
		cfg.Sanitized()
	p.shared.Requests = cfg.LogRequests
	p.shared.Metrics.Sampled(metrics.SampleRuntime)
	p.shared.Metrics.Sampled(sampleDescriptors)
	p.boundRequests()
	return nil
}

// observeSeal counts the calls of seals, in total and by type.
func observeSeal(r *metrics.Registry) func(string, string, time.Duration, error) {
	return func(operation, sealType string, took time.Duration, err error) {
		for _, name := range []string{"seal." + operation, "seal." + sealType + "." + operation} {
			r.Counter(name).Inc()
			r.Timer(name + ".time").Observe(took)
			if err != nil {
				r.Counter(name + ".error").Inc()
			}
		}
	}
}

// timed is a store that measures its calls.
type timed struct {
	storage.Store
	get, list, put, remove *metrics.Timer
	pace                   *storage.Pace
}

// observeStore measures a store's calls under the names of the barrier's operations, which map to
// them one to one.
func observeStore(s storage.Store, r *metrics.Registry, log *slog.Logger) storage.Store {
	if sizer, ok := s.(storage.Sizer); ok {
		r.Help("sealgate.storage.bytes", "Size of the store in bytes.")
		r.Sampled(func(m *metrics.Sample) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if size, err := sizer.Size(ctx); err == nil {
				m.Gauge("sealgate.storage.bytes", float64(size))
			}
		})
	}
	if reporter, ok := s.(storage.Reporter); ok {
		r.Help("sealgate.storage.failing", "1 while calls of the storage fail.")
		r.Sampled(func(m *metrics.Sample) {
			failing := 0.0
			if reporter.Failing() != nil {
				failing = 1
			}
			m.Gauge("sealgate.storage.failing", failing)
		})
	}
	t := &timed{s, r.Timer("barrier.get"), r.Timer("barrier.list"), r.Timer("barrier.put"), r.Timer("barrier.delete"),
		&storage.Pace{Log: log}}
	r.Help("sealgate.storage.slow", "1 while commits take 100 ms or more on average.")
	r.Sampled(func(m *metrics.Sample) {
		value := 0.0
		if _, slow := t.Slow(); slow {
			value = 1
		}
		m.Gauge("sealgate.storage.slow", value)
	})
	switch also := s.(type) {
	case shared:
		return &timedShared{t, also}
	case scrubbed:
		return &timedScrubbed{t, also}
	case local:
		return &timedLocal{t, also}
	}
	return t
}

// local has the optional interfaces of a store of one node, shared those of a store of a cluster.
// The measuring wrapper must not hide them.
type (
	local interface {
		storage.Watcher
		storage.Snapshotter
		storage.Sizer
	}
	scrubbed interface {
		local
		storage.Scrubber
		storage.Ranger
	}
	timedScrubbed struct {
		*timed
		scrubbed
	}
	shared interface {
		local
		storage.Elector
		storage.Sequencer
	}
	timedLocal struct {
		*timed
		local
	}
	timedShared struct {
		*timed
		shared
	}
)

// Compact implements [storage.Compactor].
func (t *timed) Compact(ctx context.Context) (before, after int64, err error) {
	if c, ok := t.Store.(storage.Compactor); ok {
		return c.Compact(ctx)
	}
	return 0, 0, errors.ErrUnsupported
}

// Failing implements [storage.Reporter].
func (t *timed) Failing() *storage.Failure {
	if r, ok := t.Store.(storage.Reporter); ok {
		return r.Failing()
	}
	return nil
}

// Acknowledged implements [storage.Acknowledger].
func (t *timed) Acknowledged() (highest uint64, lost bool) {
	if a, ok := t.Store.(storage.Acknowledger); ok {
		return a.Acknowledged()
	}
	return 0, false
}

func (t *timed) Get(ctx context.Context, key string) ([]byte, error) {
	begun := time.Now()
	defer func() { t.get.Observe(time.Since(begun)) }()
	return t.Store.Get(ctx, key)
}

func (t *timed) List(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	begun := time.Now()
	defer func() { t.list.Observe(time.Since(begun)) }()
	return t.Store.List(ctx, prefix, after, limit)
}

// Commit counts as a put, unless it only deletes.
func (t *timed) Commit(ctx context.Context, b storage.Batch) error {
	begun, kind := time.Now(), t.remove
	for _, op := range b.Ops {
		if !op.Delete {
			kind = t.put
		}
	}
	err := t.Store.Commit(ctx, b)
	took := time.Since(begun)
	kind.Observe(took)
	if err == nil && len(b.Ops) > 0 {
		t.pace.Took(took)
	}
	return err
}

// Slow implements [storage.Paced].
func (t *timed) Slow() (average time.Duration, slow bool) { return t.pace.Slow() }

// openLogFile opens the log file; nil if the configuration has none.
func openLogFile(c config.LogFile) (*logs.File, error) {
	if c.Path == "" {
		return nil, nil
	}
	return logs.OpenFile(logs.FileOptions{Path: c.Path, Bytes: c.Bytes, Every: c.Every, Keep: int(c.Keep)})
}

// newLogs makes the log on w, in the format of the flags or the configuration.
func newLogs(w io.Writer, o *serverFlags, cfg *config.Config) (*logs.Hub, error) {
	level, err := o.level(cfg)
	if err != nil {
		return nil, err
	}
	format := cfg.LogFormat
	if o.logFormat != "" {
		format = o.logFormat
	}
	return logs.New(w, format, level)
}

// level is the log level of the flags or the environment, else that of the configuration.
func (o *serverFlags) level(cfg *config.Config) (slog.Level, error) {
	if o.logLevel == "" {
		return cfg.LogLevel, nil
	}
	level, ok := config.Level(o.logLevel)
	if !ok {
		return 0, errLevel(o.logLevel)
	}
	return level, nil
}

// dumpOnSignal writes the stacks of all goroutines to w when SIGUSR2 comes, until ctx ends.
func dumpOnSignal(ctx context.Context, w io.Writer) {
	usr2 := make(chan os.Signal, 1)
	signal.Notify(usr2, syscall.SIGUSR2)
	defer signal.Stop(usr2)
	for {
		select {
		case <-ctx.Done():
			return
		case <-usr2:
			// Stacks hold addresses and numbers, never the content of buffers.
			for size := 1 << 20; ; size *= 2 {
				buf := make([]byte, size)
				if n := runtime.Stack(buf, true); n < size || size >= 1<<26 {
					_, _ = w.Write(append(buf[:n], '\n')) // nowhere to report an error
					break
				}
			}
		}
	}
}
