package storage_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

// TestPace: a disk that takes 200 ms for a sync is reported once, a single stall is not, and the
// end is reported too.
func TestPace(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	p := &storage.Pace{Log: slog.New(slog.NewTextHandler(&log, nil))}
	commits := func(n int, d time.Duration) (slow bool) {
		for range n {
			p.Took(d)
		}
		_, slow = p.Slow()
		return slow
	}
	if commits(100, 3*time.Millisecond) || commits(1, time.Hour) {
		t.Error("a storage with a single stall counts as slow")
	}
	if log.Len() > 0 {
		t.Errorf("the log: %s", &log)
	}
	if !commits(20, 200*time.Millisecond) || !commits(20, 80*time.Millisecond) {
		t.Error("a slow storage does not count as slow")
	}
	if commits(20, 3*time.Millisecond) {
		t.Error("a storage still counts as slow")
	}
	for _, text := range []string{"the storage is slow", "the storage is no longer slow"} {
		if strings.Count(log.String(), text) != 1 {
			t.Errorf("the log does not have %q once: %s", text, &log)
		}
	}
}
