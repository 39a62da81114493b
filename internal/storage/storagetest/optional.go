package storagetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/storage"
)

// patience bounds the suite's waits for events; a healthy backend never uses it up.
const patience = time.Minute

func watch(s *suite) {
	store := s.open()
	w, ok := store.(storage.Watcher)
	if !ok {
		return
	}
	s.commit(store, storage.Put("w/before", nil))
	events, err := w.Watch(s.ctx, "w/")
	if err != nil {
		s.t.Fatal(err)
	}
	s.commit(store, storage.Put("w/a", nil), storage.Put("other", nil), storage.Put("wx", nil))
	s.commit(store, storage.Delete("w/a"))
	s.commit(store, storage.Put("w/b", nil), storage.Delete("w/b"), storage.Put("w/c", nil))
	err = store.Commit(s.ctx, storage.Batch{If: []storage.Condition{storage.IfAbsent("w/c")},
		Ops: []storage.Op{storage.Put("w/no", nil)}})
	s.wantError("the condition", err, storage.ErrConflict)
	s.commit(store, storage.Put("w/end", nil))

	last := map[string]storage.Event{}
	var order []string
	var seen uint64
	timeout := time.After(patience)
	for len(order) == 0 || order[len(order)-1] != "w/end" {
		select {
		case e, ok := <-events:
			if !ok {
				s.t.Fatalf("the channel was closed after %q", order)
			}
			if e.Revision < seen {
				s.t.Errorf("revision %d came after %d", e.Revision, seen)
			}
			seen = e.Revision
			if e.Key == "" {
				continue
			}
			order = append(order, e.Key)
			last[e.Key] = e
		case <-timeout:
			s.t.Fatalf("no more events after %q", order)
		}
	}
	for key, deleted := range map[string]bool{"w/a": true, "w/c": false, "w/end": false} {
		if e, ok := last[key]; !ok || e.Deleted != deleted {
			s.t.Errorf("last event of %q: %+v, %v; want deleted %v", key, e, ok, deleted)
		}
	}
	for _, key := range []string{"w/before", "other", "wx", "w/no"} {
		if e, ok := last[key]; ok {
			s.t.Errorf("unexpected event: %+v", e)
		}
	}
	if e, ok := last["w/b"]; ok && !e.Deleted {
		s.t.Error("a key that was put and deleted ended as put")
	}
	if slices.Index(order, "w/a") > slices.Index(order, "w/c") {
		s.t.Errorf("events out of order: %q", order)
	}
}

// sequence: a watch of the whole store delivers the mark of every revision after the events of its
// commits; so does a watch of a prefix without changes.
func sequence(s *suite) {
	store := s.open()
	sequencer, ok := store.(storage.Sequencer)
	if !ok {
		return
	}
	if first, err := sequencer.Revision(s.ctx); err != nil || first != 0 {
		s.t.Errorf("Revision of an empty store = %d, %v", first, err)
	}
	w := store.(storage.Watcher)
	all, err := w.Watch(s.ctx, "")
	if err != nil {
		s.t.Fatal(err)
	}
	other, err := w.Watch(s.ctx, "other/")
	if err != nil {
		s.t.Fatal(err)
	}
	var last uint64
	for i := range 3 {
		key := fmt.Sprint("q/", i)
		s.commit(store, storage.Put(key, nil), storage.Delete("absent"))
		now, err := sequencer.Revision(s.ctx)
		if err != nil || now <= last {
			s.t.Fatalf("Revision = %d, %v; it was %d before a commit", now, err, last)
		}
		if a, ok := store.(storage.Acknowledger); ok {
			if highest, lost := a.Acknowledged(); lost || highest != now && highest != 0 {
				s.t.Errorf("it has acknowledged commit %d (lost: %v), and the last one has number %d", highest, lost, now)
			}
		}
		if keys := s.until(all, now); !slices.Contains(keys, key) {
			s.t.Errorf("the mark of %d came after the events of %q; want %q", now, keys, key)
		}
		if keys := s.until(other, now); len(keys) != 0 {
			s.t.Errorf("events of another prefix: %q", keys)
		}
		last = now
	}
	s.commit(store, storage.Delete("absent")) // a commit without changes must be marked too
	now, err := sequencer.Revision(s.ctx)
	if err != nil || now < last {
		s.t.Fatalf("Revision = %d, %v; it was %d", now, err, last)
	}
	if now > last {
		s.until(all, now)
	}
}

// until reads events up to the mark of a revision and returns their keys.
func (s *suite) until(events <-chan storage.Event, revision uint64) (keys []string) {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e, ok := <-events:
			switch {
			case !ok:
				s.t.Fatalf("the channel was closed before the mark of %d", revision)
			case e.Key != "":
				keys = append(keys, e.Key)
			case e.Revision >= revision:
				return keys
			}
		case <-timeout:
			s.t.Fatalf("no mark of %d", revision)
		}
	}
}

func watchEnds(s *suite) {
	store := s.open()
	w, ok := store.(storage.Watcher)
	if !ok {
		return
	}
	ctx, cancel := context.WithCancel(s.ctx)
	byContext, err := w.Watch(ctx, "")
	if err != nil {
		s.t.Fatal(err)
	}
	byClose, err := w.Watch(s.ctx, "")
	if err != nil {
		s.t.Fatal(err)
	}
	_, err = w.Watch(s.ctx, "no-slash")
	s.wantError("a bad prefix", err, storage.ErrInvalidKey)
	cancel()
	s.drained("after its context", byContext)
	if err := store.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.drained("after Close", byClose)
}

// drained waits for a channel to be closed.
func (s *suite) drained(when string, events <-chan storage.Event) {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case _, ok := <-events:
			if !ok {
				return
			}
		case <-timeout:
			s.t.Fatalf("the channel is still open %s", when)
		}
	}
}

func snapshot(s *suite) {
	store := s.open()
	sn, ok := store.(storage.Snapshotter)
	if !ok {
		return
	}
	keys := append(numbered("s/", 50), "a", "a-b", "a/b", "empty")
	for _, key := range keys[:53] {
		s.commit(store, storage.Put(key, []byte(key)))
	}
	s.commit(store, storage.Put("empty", nil))
	slices.Sort(keys)
	var seen []string
	err := sn.Snapshot(s.ctx, func(key string, value []byte) error {
		if len(seen) == 0 { // a concurrent write is not part of the snapshot, and does not wait for it
			s.commit(store, storage.Put("s/later", nil), storage.Delete("s/0049"), storage.Put("s/0048", []byte("changed")))
		}
		seen = append(seen, key)
		if want := []byte(key); key != "empty" && !bytes.Equal(value, want) || key == "empty" && len(value) != 0 {
			s.t.Errorf("%q holds %q", key, value)
		}
		return nil
	})
	if err != nil || !slices.Equal(seen, keys) {
		s.t.Errorf("Snapshot: %v\n got %q\nwant %q", err, seen, keys)
	}
	stop := errors.New("stop")
	visits := 0
	err = sn.Snapshot(s.ctx, func(string, []byte) error { visits++; return stop })
	if s.wantError("visit's own error", err, stop); visits != 1 {
		s.t.Errorf("visited %d times after an error", visits)
	}
	ctx, cancel := context.WithCancel(s.ctx)
	err = sn.Snapshot(ctx, func(string, []byte) error { cancel(); return nil })
	s.wantError("context ended meanwhile", err, context.Canceled)
}

func ranges(s *suite) {
	store := s.open()
	r, ok := store.(storage.Ranger)
	if !ok {
		return
	}
	keys := append(numbered("s/", 50), "a", "a-b", "a/b", "empty")
	slices.Sort(keys)
	for _, key := range keys {
		s.commit(store, storage.Put(key, []byte(strings.TrimPrefix(key, "empty"))))
	}
	for _, after := range []string{"", "a", "a-", "b", "s/0048", "s/0049", "z"} {
		for _, limit := range []int{1, 7, 100} {
			var seen []string
			err := r.Range(s.ctx, after, limit, func(key string, value []byte) error {
				if seen = append(seen, key); string(value) != strings.TrimPrefix(key, "empty") {
					s.t.Errorf("%q holds %q", key, value)
				}
				return nil
			})
			from := slices.IndexFunc(keys, func(key string) bool { return key > after })
			if from < 0 {
				from = len(keys)
			}
			if want := keys[from:min(from+limit, len(keys))]; err != nil || !slices.Equal(seen, want) {
				s.t.Errorf("Range(%q, %d): %v\n got %q\nwant %q", after, limit, err, seen, want)
			}
		}
	}
	stop := errors.New("stop")
	s.wantError("visit's own error", r.Range(s.ctx, "", 9, func(string, []byte) error { return stop }), stop)
	ctx, cancel := context.WithCancel(s.ctx)
	err := r.Range(ctx, "", 9, func(string, []byte) error { cancel(); return nil })
	s.wantError("context ended meanwhile", err, context.Canceled)
}

func size(s *suite) {
	store := s.open()
	sizer, ok := store.(storage.Sizer)
	if !ok {
		return
	}
	before, err := sizer.Size(s.ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := range 4 {
		s.commit(store, storage.Put(fmt.Sprint("big", i), bytes.Repeat([]byte{1}, 1<<19)))
	}
	// A server may account for its file a moment later, and first use pages that are free in it.
	timeout, again := time.After(patience), time.NewTicker(10*time.Millisecond)
	defer again.Stop()
	for more := 0; ; {
		after, err := sizer.Size(s.ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		if after >= before+4<<19 {
			return
		}
		select {
		case <-again.C:
			if more++; more < 64 {
				s.commit(store, storage.Put(fmt.Sprint("more", more), bytes.Repeat([]byte{1}, 1<<19)))
			}
		case <-timeout:
			s.t.Fatalf("Size = %d; it was %d before 2 MiB and %d more values of 512 KiB came", after, before, more)
		}
	}
}

// nodes opens two stores on the data as electors, or returns nil if the backend is not shared.
func (s *suite) nodes() (a, b storage.Store, ea, eb storage.Elector) {
	a = s.open()
	ea, ok := a.(storage.Elector)
	if !ok || !s.Shared {
		return nil, nil, nil, nil
	}
	b = s.open()
	return a, b, ea, b.(storage.Elector)
}

func (s *suite) campaign(e storage.Elector, identity string) storage.Leadership {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	leadership, err := e.Campaign(ctx, []byte(identity))
	if err != nil {
		s.t.Fatalf("Campaign of %s: %v", identity, err)
	}
	return leadership
}

func election(s *suite) {
	a, _, ea, eb := s.nodes()
	if ea == nil {
		return
	}
	_, _, err := ea.Leader(s.ctx)
	s.wantError("Leader before any election", err, storage.ErrNotFound)
	first := s.campaign(ea, "node a")
	for _, e := range []storage.Elector{ea, eb} {
		if who, epoch, err := e.Leader(s.ctx); string(who) != "node a" || epoch != first.Epoch() || err != nil || epoch == 0 {
			s.t.Errorf("Leader = %q, %d, %v; want node a, %d", who, epoch, err, first.Epoch())
		}
	}
	if !first.Held() {
		s.t.Error("Held is false for the current leader")
	}
	elected := make(chan storage.Leadership, 1)
	go func() {
		leadership, err := eb.Campaign(s.ctx, []byte("node b"))
		if err != nil {
			s.t.Errorf("Campaign: %v", err)
		}
		elected <- leadership
	}()
	select {
	case <-elected:
		s.t.Fatal("two leaders")
	case <-first.Lost():
		s.t.Fatal("the leadership was lost without a cause")
	case <-time.After(50 * time.Millisecond): // the absence of an event can only be given time
	}
	if err := a.Close(); err != nil { // equivalent to a crash
		s.t.Fatal(err)
	}
	s.lost(first)
	if first.Held() {
		s.t.Error("Held is true after the loss")
	}
	second := <-elected
	if second == nil || second.Epoch() <= first.Epoch() {
		s.t.Fatalf("the second leadership is %v after epoch %d", second, first.Epoch())
	}
	if err := second.Resign(s.ctx); err != nil {
		s.t.Errorf("Resign: %v", err)
	}
	s.lost(second)
	_, _, err = eb.Leader(s.ctx)
	s.wantError("Leader after a resignation", err, storage.ErrNotFound)
}

func (s *suite) lost(leadership storage.Leadership) {
	s.t.Helper()
	select {
	case <-leadership.Lost():
	case <-time.After(patience):
		s.t.Fatal("Lost was not closed")
	}
}

func fencing(s *suite) {
	a, b, ea, eb := s.nodes()
	if ea == nil {
		return
	}
	write := func(store storage.Store, epoch uint64, value string) error {
		return store.Commit(s.ctx, storage.Batch{Epoch: epoch, Ops: []storage.Op{storage.Put("k", []byte(value))}})
	}
	first := s.campaign(ea, "node a")
	if err := write(a, first.Epoch(), "first"); err != nil {
		s.t.Fatalf("the leader's own commit: %v", err)
	}
	if err := first.Resign(s.ctx); err != nil {
		s.t.Fatal(err)
	}
	second := s.campaign(eb, "node b")
	err := write(a, first.Epoch(), "deposed")
	if s.wantError("a deposed leader's commit", err, storage.ErrFenced); !storage.NothingWritten(err) {
		s.t.Error("ErrFenced must mean that nothing was written")
	}
	s.wantError("a future epoch", write(b, second.Epoch()+1, "future"), storage.ErrFenced)
	s.holds(b, "k", []byte("first"))
	if err := write(b, second.Epoch(), "second"); err != nil {
		s.t.Fatalf("the new leader's commit: %v", err)
	}
	s.holds(a, "k", []byte("second"))
}

func campaignEnds(s *suite) {
	_, b, ea, eb := s.nodes()
	if ea == nil {
		return
	}
	first := s.campaign(ea, "node a")
	ctx, cancel := context.WithCancel(s.ctx)
	failed := make(chan error, 2)
	go func() { _, err := eb.Campaign(ctx, []byte("impatient")); failed <- err }()
	cancel()
	s.wantError("Campaign with its context ended", <-failed, context.Canceled)
	go func() { _, err := eb.Campaign(s.ctx, []byte("closing")); failed <- err }()
	if err := b.Close(); err != nil {
		s.t.Fatal(err)
	}
	s.wantError("Campaign while closing", <-failed, storage.ErrClosed)
	select {
	case <-first.Lost():
		s.t.Error("candidates that gave up ended the leadership")
	default:
	}
}
