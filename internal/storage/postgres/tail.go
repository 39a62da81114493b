package postgres

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealgate/sealgate/internal/storage"
)

const (
	tailPage = 256         // rows of changes read at once
	tailPoll = time.Second // interval of polling without notifications; it also checks the connection
	neverSaw = ^uint64(0)  // the tail has not started
)

// tail follows the table of changes from the first watch on, woken by notifications. The writer
// reports this node's own commits to it. After an outage it resumes where it was, unless the table
// no longer reaches back so far: then it closes all readers' channels.
type tail struct {
	store *Store
	feed  storage.Feed
	begin sync.Once

	mu    sync.Mutex
	seen  uint64        // every event up to it was published
	moved chan struct{} // closed and replaced when seen grows
}

func newTail(s *Store) *tail {
	return &tail{store: s, seen: neverSaw, moved: make(chan struct{})}
}

// run follows until Close.
func (t *tail) run() {
	defer t.feed.Break()
	for attempt := 0; t.store.closing.Err() == nil; attempt++ {
		began := t.store.o.Now()
		err := clean(t.follow())
		if t.store.closing.Err() != nil {
			return
		}
		if t.store.o.Now().Sub(began) > tailPoll {
			attempt = 0
		}
		if attempt == 0 {
			t.store.log.Warn("following the changes was interrupted; reconnecting", "error", err)
		}
		pause(t.store.closing, attempt)
	}
}

// follow connects, listens and reads until an error.
func (t *tail) follow() error {
	s := t.store
	ctx, cancel := context.WithTimeout(s.closing, s.o.CallTimeout)
	defer cancel()
	conn, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer hangUp(conn)
	if _, err := conn.Exec(ctx, `LISTEN `+s.sql.changed); err != nil {
		return err
	}
	if err := t.checkRewound(ctx, conn); err != nil {
		return err
	}
	for {
		if err := t.catchUp(conn); err != nil {
			return err
		}
		if err := t.await(conn); err != nil {
			return err
		}
	}
}

// checkRewound detects that the database lost commits that were already published: it was restored,
// or a replica that lagged behind took over. Readers then start again.
func (t *tail) checkRewound(ctx context.Context, conn *pgx.Conn) error {
	published := t.position()
	var revision int64
	if err := lostRow(conn.QueryRow(ctx, t.store.sql.revision).Scan(&revision)); err != nil {
		return err
	}
	if published == neverSaw || uint64(revision) >= published {
		return nil
	}
	t.store.log.Error("the database has lost commits: it was restored, or a replica that lagged behind took over",
		"had", published, "has", revision)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.feed.Break()
	t.seen = uint64(revision)
	return nil
}

// await returns when there may be new changes. The payload of a notification is the revision.
func (t *tail) await(conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(t.store.closing, t.store.pollEvery())
	defer cancel()
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil {
			if ctx.Err() != nil && t.store.closing.Err() == nil && !conn.IsClosed() {
				return nil
			}
			return err
		}
		if revision, err := strconv.ParseUint(n.Payload, 10, 64); err != nil || revision > t.position() {
			return nil
		}
	}
}

// catchUp publishes the table's new changes.
func (t *tail) catchUp(conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(t.store.closing, t.store.o.CallTimeout)
	defer cancel()
	if t.position() == neverSaw {
		var revision int64
		if err := lostRow(conn.QueryRow(ctx, t.store.sql.revision).Scan(&revision)); err != nil {
			return err
		}
		t.advance(neverSaw, uint64(revision))
		return nil
	}
	for {
		n, err := t.readPage(ctx, conn)
		if err != nil || n < tailPage {
			return err
		}
	}
}

// change is a row: the keys changed by the commits after since, up to revision.
type change struct {
	revision, since int64
	keys            []string
	batches         []int32
	deleted         []bool // empty if all were put
}

func (t *tail) readPage(ctx context.Context, conn *pgx.Conn) (int, error) {
	rows, err := conn.Query(ctx, t.store.sql.changes, int64(t.position()), tailPage)
	if err != nil {
		return 0, err
	}
	page, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c change, err error) {
		return c, row.Scan(&c.revision, &c.since, &c.keys, &c.batches, &c.deleted)
	})
	if err != nil {
		return 0, err
	}
	for _, c := range page {
		events, err := c.events()
		if err != nil {
			return 0, err
		}
		t.advance(uint64(c.since), uint64(c.revision), events...)
	}
	return len(page), nil
}

func (c change) events() ([]storage.Event, error) {
	if len(c.batches) != len(c.keys) || len(c.deleted) != len(c.keys) && len(c.deleted) != 0 {
		return nil, fmt.Errorf("%w: the changes of revision %d are inconsistent", storage.ErrCorrupt, c.revision)
	}
	events := make([]storage.Event, 0, len(c.keys)+1)
	for i, key := range c.keys {
		events = append(events, storage.Event{Key: key, Deleted: len(c.deleted) > 0 && c.deleted[i],
			Revision: uint64(c.since) + uint64(c.batches[i])})
	}
	return append(events, storage.Event{Revision: uint64(c.revision)}), nil
}

func (t *tail) position() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen
}

// advance publishes the events from one revision to another. If the first is not the last published
// one, events were missed: it closes the readers' channels, and new readers start after the gap.
func (t *tail) advance(since, revision uint64, events ...storage.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if revision <= t.seen && t.seen != neverSaw {
		return // the writer was faster
	}
	if since != t.seen {
		t.store.log.Warn("changes were missed; all cached data is read again", "from", t.seen, "to", since)
		t.feed.Break()
	}
	t.publish(revision, events)
}

// publish publishes events. The caller holds the lock.
func (t *tail) publish(revision uint64, events []storage.Event) {
	t.feed.Publish(events...)
	t.seen = revision
	close(t.moved)
	t.moved = make(chan struct{})
}

// offer is advance for this node's own commit, if nothing is missing before it.
func (t *tail) offer(since, revision int64, events []storage.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen == uint64(since) {
		t.publish(uint64(revision), events)
	}
}

// Watch implements storage.Watcher. It returns once the tail has reached the revision of the call,
// so that no older change is sent and no newer one is missed. The channel is closed early if the
// reader falls more than 4,096 events behind.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan storage.Event, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if err := storage.CheckPrefix(prefix); err != nil {
		return nil, err
	}
	from, err := s.Revision(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.follow(ctx); err != nil {
		return nil, err
	}
	limited, cancel := s.limit(ctx)
	defer cancel()
	for {
		s.tail.mu.Lock()
		if seen := s.tail.seen; seen != neverSaw && seen >= from {
			events := s.tail.feed.Subscribe(prefix, ctx, s.closing)
			s.tail.mu.Unlock()
			return events, nil
		}
		moved := s.tail.moved
		s.tail.mu.Unlock()
		select {
		case <-moved:
		case <-limited.Done():
			return nil, s.explain(ctx, "watching", fmt.Errorf("%w: PostgreSQL does not report changes in time",
				storage.ErrUnavailable))
		}
	}
}

// follow starts the tail if it is not running.
func (s *Store) follow(ctx context.Context) error {
	if err := s.enter(ctx); err != nil { // so that Close waits for it
		return err
	}
	defer s.wg.Done()
	s.tail.begin.Do(func() { s.wg.Go(s.tail.run) })
	return nil
}
