package bbolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/sealgate/sealgate/internal/storage"
)

// check is the verification of a file while it is served: see mark.go. It walks the state of the
// moment at which the file was opened. A read transaction keeps the pages of that state from being
// reused until the walk ends, so writers continue.
type check struct {
	file    *os.File
	checker *checker
	tx      *bolt.Tx
	stop    context.CancelFunc
	ended   chan struct{}
}

// Pace of the check: it works for checkWork, then pauses for checkPause, so that it takes a fifth
// of one core and of the disk.
const (
	checkWork  = 5 * time.Millisecond
	checkPause = 20 * time.Millisecond
)

// newCheck pins the state that c has the meta page of. No write may have happened since.
func newCheck(db *bolt.DB, f *os.File, c *checker) (*check, error) {
	tx, err := db.Begin(false)
	if err != nil {
		return nil, err
	}
	if uint64(tx.ID()) != c.meta.txn {
		return nil, errors.Join(fmt.Errorf("bbolt: %s has transaction %d, not %d", f.Name(), tx.ID(), c.meta.txn),
			tx.Rollback())
	}
	return &check{file: f, checker: c, tx: tx, ended: make(chan struct{})}, nil
}

// start begins the walk. It ends early when stop is called.
func (k *check) start(s *Store) {
	ctx, cancel := context.WithCancel(context.Background())
	k.stop = cancel
	go k.run(ctx, s)
}

// run walks the file and reports the outcome to the store.
func (k *check) run(ctx context.Context, s *Store) {
	defer close(k.ended)
	defer k.stop()
	begun := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var pause time.Time // when the next pause is due; the first is due at once
	k.checker.pace = func() error {
		if time.Now().Before(pause) {
			return nil
		}
		timer.Reset(checkPause)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		pause = time.Now().Add(checkWork)
		return nil
	}
	err := k.checker.named(k.file, k.checker.verify())
	err = errors.Join(err, guarded(k.tx.Rollback))
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, storage.ErrUnreadable): // what needs the page fails
		s.unreadable.failed(readingFile, err)
	case err != nil:
		s.refuseAll(err)
	default:
		if err := s.writer.mark.confirm(); err != nil {
			s.log.Warn("the next start verifies the database before it serves", "file", s.path, "error", err)
		}
		s.log.Info("the database is verified", "file", s.path, "took", time.Since(begun).Round(time.Millisecond).String())
	}
}

// cancel stops the walk and waits for its end; nil is none.
func (k *check) cancel() {
	if k == nil {
		return
	}
	k.stop()
	<-k.ended
}

// refuseAll refuses every call from now on, as Open would have: the file is damaged.
func (s *Store) refuseAll(err error) {
	s.log.Error("the database is damaged; all reads and writes are refused until it is restored", "file", s.path,
		"error", err)
	s.damaged.Store(&err)
	if storage.ClassOf(err) == "" {
		err = storage.Classified(storage.Failed, err)
	}
	s.failing.Failed(true, err)
}
