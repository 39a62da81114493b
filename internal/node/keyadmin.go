package node

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/sealgate/sealgate/internal/barrier"
	"github.com/sealgate/sealgate/internal/clock"
	"github.com/sealgate/sealgate/internal/metrics"
	"github.com/sealgate/sealgate/internal/storage"
)

// KeyAdmin shows what is stored under each term of the keyring, and ends the use of old ones.
type KeyAdmin struct{ n *Node }

// KeysOf returns the administration of a node's keyring.
func KeysOf(n *Node) KeyAdmin { return KeyAdmin{n} }

// MaxEncryptions is the number of encryptions by one term that random nonces allow (NIST SP
// 800-38D 8.3).
const MaxEncryptions = 1 << 32

// Term is one term of the keyring.
type Term struct {
	barrier.KeyStatus
	Active bool
	barrier.TermCensus
}

// Keyring is the terms, with what is stored under each.
type Keyring struct {
	Terms    []Term
	Known    bool // the entries were counted
	Exact    bool // the numbers are those of this moment
	Counting bool
}

// worker returns what works on the keyring of the node that writes.
func (k KeyAdmin) worker() (*dataRewrap, error) {
	a, err := k.n.Role()
	if err != nil {
		return nil, err
	}
	if a.rewrap == nil {
		return nil, errBetweenRoles
	}
	return a.rewrap, nil
}

// Keyring returns all terms.
func (k KeyAdmin) Keyring() (Keyring, error) {
	a, err := k.n.Role()
	if err != nil {
		return Keyring{}, err
	}
	return keyringOf(a.barrier), nil
}

func keyringOf(b *barrier.Barrier) Keyring {
	census, active := b.Census(), b.KeyStatus().Term
	out := Keyring{Known: census.Known, Exact: census.Exact, Counting: census.Counting}
	for _, s := range b.Terms(1 << 20) {
		out.Terms = append(out.Terms, Term{KeyStatus: s, Active: s.Term == active, TermCensus: census.Of(s.Term)})
	}
	return out
}

// sample adds the metrics of the keyring.
func (k KeyAdmin) sample(m *metrics.Sample) {
	a := k.n.writer()
	if a == nil || a.rewrap == nil {
		return
	}
	ring := keyringOf(a.barrier)
	m.Gauge("barrier.census_exact", flag(ring.Exact))
	for _, t := range ring.Terms {
		term := strconv.FormatUint(uint64(t.KeyStatus.Term), 10)
		m.Gauge("barrier.term.encryptions", float64(t.Encryptions), "term", term)
		if ring.Known {
			m.Gauge("barrier.term.entries", float64(t.Entries), "term", term)
			m.Gauge("barrier.term.bytes", float64(t.Bytes), "term", term)
		}
	}
	a.rewrap.mu.Lock()
	job := a.rewrap.job
	a.rewrap.mu.Unlock()
	if job != nil {
		m.Gauge("barrier.rewrap.running", flag(job.State == RewrapRunning))
		m.Gauge("barrier.rewrap.entries", float64(job.Entries))
		m.Gauge("barrier.rewrap.failed", flag(job.State == RewrapFailed))
	}
}

func flag(v bool) float64 {
	if v {
		return 1
	}
	return 0
}

const (
	censusEvery = time.Minute
	// censusAfter is when the first count begins. A copy of etcd begins with a request that takes as
	// long as there are many entries, and the commit by which a leader becomes active waits for it.
	censusAfter = 500 * time.Millisecond
	censusWork  = 5 * time.Millisecond  // between two pauses
	censusPause = 15 * time.Millisecond // where writes wait for the work; else it is as long as the work
)

// keepCensus counts all entries where their numbers are not known exactly, until ctx ends.
func (w *dataRewrap) keepCensus(ctx context.Context) {
	for wait := censusAfter; clock.Sleep(ctx, wait); wait = clock.Jitter(censusEvery) {
		if !w.b.Census().Exact {
			w.count(ctx)
		}
	}
}

func (w *dataRewrap) count(ctx context.Context) {
	begun := time.Now()
	err := w.b.CountAll(ctx, w.snapshotter(), w.pacer(ctx))
	switch {
	case ctx.Err() != nil, errors.Is(err, barrier.ErrSealed), errors.Is(err, barrier.ErrCensus):
	case err != nil:
		w.n.log.Warn("the entries could not be counted by term; it is tried again", "error", err)
	default:
		w.n.log.Debug("counted the entries by term", "took", time.Since(begun))
	}
}

func (w *dataRewrap) snapshotter() storage.Snapshotter {
	s, _ := w.n.cfg.Store.(storage.Snapshotter)
	return s
}

// pacer returns a function that leaves most of the time to others.
func (w *dataRewrap) pacer(ctx context.Context) func() error {
	pause := censusWork
	if _, parts := w.n.cfg.Store.(storage.Ranger); parts {
		pause = censusPause
	}
	since := time.Now()
	return func() error {
		if time.Since(since) < censusWork {
			return nil
		}
		if !clock.Sleep(ctx, pause) {
			return ctx.Err()
		}
		since = time.Now()
		return nil
	}
}
