package deferred

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
	"github.com/sealgate/sealgate/internal/storage/storagetest"
	"github.com/sealgate/sealgate/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// later opens a hub once up is set.
func later(hub *inmem.Hub, up *atomic.Bool) Options {
	return Options{Pause: time.Millisecond, Log: slog.New(slog.DiscardHandler),
		Open: func(context.Context) (storage.Store, error) {
			if !up.Load() {
				return nil, fmt.Errorf("%w: connection refused by 192.0.2.1:2379", storage.ErrUnavailable)
			}
			return hub.Open(), nil
		}}
}

// TestConformance runs the suite on stores that were opened in the background.
func TestConformance(t *testing.T) {
	t.Parallel()
	storagetest.Run(t, func(t *testing.T) storagetest.Harness {
		hub := inmem.NewHub()
		return storagetest.Harness{Shared: true, Open: func() (storage.Store, error) {
			var up atomic.Bool
			s, err := Open(context.Background(), later(hub, &up))
			if err != nil {
				return nil, err
			}
			up.Store(true)
			<-s.(*store).opened
			return s, nil
		}}
	})
}

func TestUnavailableAtStart(t *testing.T) {
	t.Parallel()
	var up atomic.Bool
	s, err := Open(t.Context(), later(inmem.NewHub(), &up))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, storage.ErrUnavailable) ||
		err.Error() != "storage: unavailable: connection refused by 192.0.2.1:2379" {
		t.Errorf("Get: %v", err)
	}
	if err := s.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put("k", nil)}}); !errors.Is(err,
		storage.ErrUnavailable) {
		t.Errorf("Commit: %v", err)
	}
	elected := make(chan error, 1)
	go func() {
		_, err := s.(storage.Elector).Campaign(t.Context(), []byte("node"))
		elected <- err
	}()
	up.Store(true)
	testkit.Eventually(t, "the store is open", func() bool {
		return s.Commit(t.Context(), storage.Batch{Ops: []storage.Op{storage.Put("k", nil)}}) == nil
	})
	if err := <-elected; err != nil {
		t.Errorf("Campaign: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("Get after Close: %v", err)
	}
}

// TestWhatWaitingCannotResolve ends the start.
func TestWhatWaitingCannotResolve(t *testing.T) {
	t.Parallel()
	refused := errors.New("the password is wrong")
	_, err := Open(t.Context(), Options{Open: func(context.Context) (storage.Store, error) { return nil, refused }})
	if !errors.Is(err, refused) {
		t.Errorf("Open: %v", err)
	}
}

func TestCloseWhileUnavailable(t *testing.T) {
	t.Parallel()
	var up atomic.Bool
	s, err := Open(t.Context(), later(inmem.NewHub(), &up))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, storage.ErrClosed) {
		t.Errorf("Get after Close: %v", err)
	}
}
