package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/storage"
)

const (
	keepRevisions = 10000 // in the table of changes, at least
	pruneEvery    = 1000  // batches
	probeAfter    = time.Second
	unknown       = -1
)

// writer is the single goroutine that commits, with its own connection.
type writer struct {
	store *Store
	conn  *pgx.Conn
	self  backend // the server process of conn, or of the connection lost in a transaction
	lost  bool    // that process may still execute a transaction
	doubt *doubt  // of the last group
	later []*request
	pacer storage.Pacer
	count int       // commits since the last pruning
	used  time.Time // last use of the connection
	// revision is that of this node's last commit: while no other node commits, a group is one
	// statement.
	revision int64
}

// backend identifies a server process for ever; process ids alone are reused.
type backend struct {
	pid   int32
	start time.Time
}

// serve executes groups until the queue is closed and empty.
func (w *writer) serve(queue <-chan *request) {
	for {
		first, ok := w.next(queue)
		if !ok {
			return
		}
		if !w.connected() {
			w.later = append([]*request{first}, w.later...)
			w.refuseAll(queue)
			return
		}
		if g := w.gather(first, queue); len(g.requests) > 0 {
			begun := time.Now()
			w.execute(g)
			w.pacer.Wrote(len(g.requests), len(w.later)+len(queue), time.Since(begun))
		}
		if w.lost && !w.connected() {
			w.refuseAll(queue)
			return
		}
	}
}

func (w *writer) next(queue <-chan *request) (*request, bool) {
	if len(w.later) > 0 {
		r := w.later[0]
		w.later = w.later[1:]
		return r, true
	}
	r, ok := <-queue
	return r, ok
}

// gather takes the queued batches, and those that arrive soon, that can share a transaction; the
// rest starts the next one.
func (w *writer) gather(first *request, queue <-chan *request) *group {
	w.doubt = newDoubt()
	g := &group{written: map[string]bool{}}
	put := w.later
	w.later = nil
	take := func(r *request) {
		if g.full() || !g.admits(r.batch) {
			w.later = append(w.later, r)
			return
		}
		r.doubt = w.doubt
		if r.taken.CompareAndSwap(false, true) {
			g.add(r)
		}
	}
	take(first)
	for _, r := range put {
		take(r)
	}
	arrivals := storage.Gather(&w.pacer, queue)
	defer arrivals.End()
	for !g.full() && len(w.later) < groupBatches {
		r, ok := arrivals.Next(len(g.requests) + len(w.later))
		if !ok {
			break
		}
		take(r)
	}
	return g
}

// execute executes a group and answers its members.
func (w *writer) execute(g *group) {
	s := w.store
	failpoint.Point("storage.commit.before")
	o, err := w.transact(g)
	w.used = s.o.Now()
	if err == nil || !rolledBack(err) || errors.Is(storageError("", err), storage.ErrFull) || transient(err) {
		s.note(true, "a commit", err)
	}
	if err == nil {
		failpoint.Point("storage.commit.after")
		s.tail.offer(o.since, o.since+int64(len(g.requests)), g.events(o))
	}
	if err != nil && !rolledBack(err) {
		w.lost = true
		s.doubt.Store(w.doubt)
		w.drop()
		err = fmt.Errorf("%w: the outcome of a commit is unknown: %w", storage.ErrUnavailable, err)
		s.log.Warn("a commit was interrupted", "error", err)
	} else {
		close(w.doubt.over)
		if transient(err) { // such as a server that no longer accepts writes: the next connection finds one that does
			w.drop()
		}
		err = storageError("a commit", err)
	}
	if err == nil {
		g.noteBefore(o)
	}
	for i, r := range g.requests {
		switch key, conflict := o.refused[int32(i+1)]; {
		case err != nil:
			r.done <- err
		case conflict:
			r.done <- fmt.Errorf("%w: %q", storage.ErrConflict, key)
		default:
			r.done <- nil
		}
	}
	if w.conn != nil && w.conn.IsClosed() {
		w.drop()
	}
}

// rolledBack reports whether the server said that the transaction failed. FATAL may also follow the
// commit.
func rolledBack(err error) bool {
	var e *pgconn.PgError
	return storage.NothingWritten(err) || errors.Is(err, storage.ErrCorrupt) || errors.As(err, &e) &&
		e.SeverityUnlocalized == severityError
}

// outcome is the result of a transaction.
type outcome struct {
	since   int64            // the revision before it
	refused map[int32]string // batches whose conditions do not hold, with the key
	before  map[string]storage.Old
}

// transact executes the group as one transaction.
//
// It sets the deadline on the connection itself: a context costs a goroutine, which slows a single
// writer.
func (w *writer) transact(g *group) (o outcome, err error) {
	network := w.conn.PgConn().Conn()
	if err := network.SetDeadline(time.Now().Add(w.store.o.CallTimeout)); err != nil {
		return o, err
	}
	defer func() { _ = network.SetDeadline(time.Time{}) }() // fails only on a closed connection
	var batches []int32
	var keys, replaced []string
	var sizes []int32
	var heads [][]byte
	prune := w.count+len(g.requests) >= pruneEvery
	switch err := w.send(g, prune, &o.since, &batches, &keys, &replaced, &sizes, &heads, new(string)); {
	case errors.Is(err, pgx.ErrNoRows) && g.epoch != 0:
		return outcome{}, fmt.Errorf("%w: epoch %d has ended", storage.ErrFenced, g.epoch)
	case err != nil:
		return outcome{}, lostRow(err)
	}
	w.revision = o.since + int64(len(g.requests))
	highest, _ := w.store.Acknowledged()
	w.store.Note(highest, uint64(w.revision))
	if w.count += len(g.requests); prune {
		w.count = 0
	}
	o.refused = map[int32]string{}
	for i, batch := range batches {
		if _, known := o.refused[batch]; !known {
			o.refused[batch] = keys[i]
		}
	}
	if o.before, err = replacedEntries(replaced, sizes, heads); err != nil {
		return o, err
	}
	return o, nil
}

// replacedEntries returns what the transaction replaced.
func replacedEntries(keys []string, sizes []int32, heads [][]byte) (map[string]storage.Old, error) {
	if len(sizes) != len(keys) || len(heads) != len(keys) {
		return nil, fmt.Errorf("%w: PostgreSQL's answer to a commit is malformed", storage.ErrUnavailable)
	}
	out := make(map[string]storage.Old, len(keys))
	for i, key := range keys {
		old := storage.Describe(heads[i])
		old.Size = int(sizes[i])
		out[key] = old
	}
	return out, nil
}

// send sends the group in one message: everything between two Syncs of the protocol is committed as
// a whole. It reads the response to its end, after the commit; pgx.ErrNoRows means that the epoch
// has ended and nothing was written.
func (w *writer) send(g *group, prune bool, into ...any) error {
	ctx, epoch, n := context.Background(), int64(g.epoch), int64(len(g.requests))
	if w.store.pooled {
		return w.sendPooled(ctx, g, prune, into...)
	}
	if !g.mixed && !prune {
		keys, values, batches := g.puts()
		return w.conn.QueryRow(ctx, "puts", epoch, n, nonNil(keys), nonNil(values), nonNil(batches)).Scan(into...)
	}
	arguments := append([]any{epoch, n}, g.mixedArguments()...)
	if w.revision != unknown && !prune {
		err := w.conn.QueryRow(ctx, "direct", append(arguments, w.revision)...).Scan(into...)
		if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
	}
	b := &pgx.Batch{}
	b.Queue("advance", epoch, n)
	b.Queue("mixed", arguments...)
	if prune {
		b.Queue("prune", w.store.window)
	}
	return w.sendBatch(ctx, b, 1, into...)
}

// sendPooled is send without prepared statements, and with the setting that a pooler does not keep.
func (w *writer) sendPooled(ctx context.Context, g *group, prune bool, into ...any) error {
	epoch, n := int64(g.epoch), int64(len(g.requests))
	b := &pgx.Batch{}
	b.Queue(syncCommit)
	if !g.mixed && !prune {
		keys, values, batches := g.puts()
		b.Queue(w.store.sql.puts, epoch, n, nonNil(keys), nonNil(values), nonNil(batches))
		return w.sendBatch(ctx, b, 1, into...)
	}
	b.Queue(w.store.sql.advance, epoch, n)
	b.Queue(w.store.sql.mixed, append([]any{epoch, n}, g.mixedArguments()...)...)
	if prune {
		b.Queue(w.store.sql.prune, w.store.window)
	}
	return w.sendBatch(ctx, b, 2, into...)
}

// sendBatch sends a batch, and scans the row of the statement after the first ones.
func (w *writer) sendBatch(ctx context.Context, b *pgx.Batch, first int, into ...any) error {
	results := w.conn.SendBatch(ctx, b)
	var err error
	for range first {
		if _, err = results.Exec(); err != nil {
			break
		}
	}
	if err == nil {
		err = results.QueryRow().Scan(into...)
	}
	if ended := results.Close(); err == nil || errors.Is(err, pgx.ErrNoRows) && ended != nil {
		err = ended
	}
	return err
}

// connected opens the connection if there is none, and ensures that the lost one has ended. It
// tries until Close, and then for as long as a call may take; meanwhile callers give up at their
// deadlines and learn the cause.
func (w *writer) connected() bool {
	s := w.store
	w.probe()
	last := s.o.Now().Add(s.o.CallTimeout)
	for attempt := 0; w.conn == nil; attempt++ {
		ctx, cancel := context.WithTimeout(context.Background(), s.o.CallTimeout)
		err := w.connect(ctx)
		cancel()
		if err == nil {
			break
		}
		w.drop()
		err = storageError("connecting for a commit", clean(err))
		s.outage.Store(&err)
		s.note(true, "connecting for a commit", err)
		if s.closing.Err() != nil && s.o.Now().After(last) {
			return false
		}
		if attempt == 0 {
			s.log.Warn("cannot connect for commits; retrying", "error", err)
		}
		if !pause(s.closing, attempt) {
			pause(context.Background(), attempt) // closing: queued commits may still succeed
		}
	}
	s.outage.Store(nil)
	return true
}

// probe drops an idle connection that broke unnoticed, because a commit on it would needlessly have
// an unknown outcome.
func (w *writer) probe() {
	s := w.store
	if w.conn == nil || s.o.Now().Sub(w.used) < probeAfter {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.o.CallTimeout/4)
	defer cancel()
	if err := w.conn.Ping(ctx); err != nil {
		w.drop()
	}
}

// connect opens the connection and prepares it.
func (w *writer) connect(ctx context.Context) error {
	s := w.store
	config := s.conn.Copy()
	config.RuntimeParams["application_name"] = s.sql.writerName
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	w.conn = conn
	var self backend
	err = conn.QueryRow(ctx,
		`SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()`).Scan(&self.pid, &self.start)
	if err != nil {
		return err
	}
	if w.lost {
		if s.pooled {
			err = s.endWriters(ctx, conn)
		} else {
			err = endBackend(ctx, conn, w.self)
		}
		if err != nil {
			return err
		}
		w.lost = false
		close(w.doubt.over)
	}
	w.self, w.revision = self, unknown
	if s.pooled {
		return nil
	}
	for name, text := range map[string]string{"advance": s.sql.advance, "puts": s.sql.puts, "mixed": s.sql.mixed,
		"direct": s.sql.direct, "prune": s.sql.prune} {
		if _, err := conn.Prepare(ctx, name, text); err != nil {
			return err
		}
	}
	return nil
}

// endBackend ensures that a server process has ended, including what it had buffered.
func endBackend(ctx context.Context, conn *pgx.Conn, b backend) error {
	for attempt := 0; ; attempt++ {
		var there int
		err := conn.QueryRow(ctx, `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity`+
			` WHERE pid = $1 AND backend_start = $2`,
			b.pid, b.start).Scan(&there)
		if err != nil || there == 0 {
			return err
		}
		if !pause(ctx, attempt) {
			return ctx.Err()
		}
	}
}

// drop closes the connection, immediately if it is broken.
func (w *writer) drop() {
	if w.conn == nil {
		return
	}
	hangUp(w.conn)
	w.conn = nil
}

// hangUp closes a connection without waiting for an unresponsive server.
func hangUp(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // the server notices the closed connection in any case
}

// refuseAll answers the batches still queued when Close gave up on the database.
func (w *writer) refuseAll(queue <-chan *request) {
	refuse := func(r *request) {
		if r.taken.CompareAndSwap(false, true) {
			r.done <- storage.ErrClosed
		}
	}
	for _, r := range w.later {
		refuse(r)
	}
	for r := range queue {
		refuse(r)
	}
}
