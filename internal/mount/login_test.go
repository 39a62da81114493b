package mount_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
	"github.com/sealgate/sealgate/internal/storage/inmem"
)

func authTable(t *testing.T, base mount.Storage, o mount.Options) *mount.Table {
	t.Helper()
	o.AuthMethods, o.Factories = true, map[string]mount.Factory{"userpass": newShelf}
	table, err := mount.Open(t.Context(), base, o)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func formattedAuth(t *testing.T) *inmem.Store {
	t.Helper()
	ops, err := mount.FormatAuth(nil)
	if err != nil {
		t.Fatal(err)
	}
	base := inmem.New()
	if err := base.Commit(t.Context(), storage.Batch{Ops: ops}); err != nil {
		t.Fatal(err)
	}
	return base
}

// TestTwoTables: auth methods have a table, types and places of their own, and token/ is always
// there.
func TestTwoTables(t *testing.T) {
	t.Parallel()
	base := formattedAuth(t)
	table := authTable(t, base, mount.Options{})
	token, ok := table.Get("token")
	if !ok || !strings.HasPrefix(token.Accessor, "auth_token_") {
		t.Errorf("%+v, %v", token, ok)
	}
	if err := table.Unmount(t.Context(), "token"); !fault.Is(err, fault.Invalid) ||
		!strings.HasPrefix(err.Error(), "token credential backend cannot be disabled") {
		t.Errorf("token/ disabled: %v", err)
	}
	if err := table.Mount(t.Context(), mount.Entry{Path: "x", Type: "kv"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("a secrets engine as auth method: %v", err)
	}
	if err := table.Mount(t.Context(), mount.Entry{Path: "sys", Type: "userpass"}); err != nil {
		t.Errorf("auth/sys/ is a path like any other: %v", err)
	}
	backend, m, rest, err := table.Route("sys/login/alice")
	if err != nil || rest != "login/alice" {
		t.Fatalf("%q, %v", rest, err)
	}
	if _, err := backend.Handle(t.Context(), &mount.Request{Operation: mount.Update, Path: "k"}); err != nil {
		t.Fatal(err)
	}
	if _, err := base.Get(t.Context(), "credential/"+m.UUID+"/k"); err != nil {
		t.Errorf("its entries are not at their place: %v", err)
	}
}

// TestGoneIsRepeatedUntilItSucceeds: Gone is called for an unmounted method, with the
// moment, before anything of the method is removed, again after an error, and by the next process
// after a crash.
func TestGoneIsRepeatedUntilItSucceeds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		base := formattedAuth(t)
		var mu sync.Mutex
		var calls []time.Time
		fail := errors.New("not now")
		gone := func(_ context.Context, path string, at time.Time) error {
			mu.Lock()
			defer mu.Unlock()
			if path != "users/" {
				t.Errorf("called for %q", path)
			}
			calls = append(calls, at)
			return fail
		}
		first := authTable(t, base, mount.Options{Gone: gone})
		if err := first.Mount(t.Context(), mount.Entry{Path: "users", Type: "userpass"}); err != nil {
			t.Fatal(err)
		}
		when := time.Now()
		if err := first.Unmount(t.Context(), "users"); err != nil {
			t.Fatal(err)
		}
		for range 2 { // two processes, one after the other; the first is stopped while it still fails
			ctx, cancel := context.WithCancel(t.Context())
			table := authTable(t, base, mount.Options{Gone: gone})
			done := make(chan struct{})
			go func() {
				defer close(done)
				table.Run(ctx)
			}()
			time.Sleep(45 * time.Second) // of the bubble's clock
			mu.Lock()
			fail = nil
			mu.Unlock()
			cancel()
			<-done
		}
		if len(calls) < 3 { // twice at least by the first, once by the second
			t.Errorf("called %d times", len(calls))
		}
		for _, at := range calls {
			if !at.Equal(when) {
				t.Errorf("called for %v, it was at %v", at, when)
			}
		}
		left, err := base.List(t.Context(), "core/auth-unmounted/", "", 0)
		if err != nil || len(left) != 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	})
}
