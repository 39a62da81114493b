package transit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/keys"
)

// Invalidate drops what is cached of an entry that another node has changed.
func (b *backend) Invalidate(key string) {
	if key == settingsKey {
		b.drops.Add(1)
		b.settings.Store(nil)
		return
	}
	b.keys.Invalidate(key)
}

// Maintain ends what a crash has interrupted.
func (b *backend) Maintain(ctx context.Context) error {
	if _, err := b.config(ctx); err != nil { // sets the limit of the cache
		return err
	}
	return errors.Join(b.keys.Sweep(ctx), sweepDevices(b, ctx))
}

// rotations is when keys are due for rotation. Only the node that writes has it, and only its own
// changes can move it.
type rotations struct {
	mu   sync.Mutex
	next map[string]time.Time // nil: not read yet
}

// Tick writes the counts of use, and rotates what is due.
func (b *backend) Tick(ctx context.Context) error {
	return errors.Join(b.keys.Flush(ctx), b.rotateDue(ctx), sweepDue(b, ctx))
}

// Notices implements [mount.Noticer]: versions that have encrypted nearly as much as they may.
func (b *backend) Notices() (all []string) {
	for _, w := range b.keys.TakeWorn() {
		all = append(all, wornText(w.Key, w.Version, w.Count))
	}
	return all
}

func wornText(key string, version int, count uint64) string {
	return fmt.Sprintf("version %d of key %s was used %d times: rotate the key, because a version may "+
		"encrypt at most 2^32 "+
		"texts with random nonces", version, key, count)
}

// reschedule notes when a key is due; an unknown one when the schedule is not there yet.
func (b *backend) reschedule(ctx context.Context, k *keys.Key) {
	b.schedule.mu.Lock()
	defer b.schedule.mu.Unlock()
	if b.schedule.next != nil {
		if err := b.plan(ctx, k); err != nil {
			b.schedule.next = nil // the next tick reads all of it again
		}
	}
}

// unschedule forgets a key.
func (b *backend) unschedule(name string) {
	b.schedule.mu.Lock()
	defer b.schedule.mu.Unlock()
	delete(b.schedule.next, name)
}

// plan enters a key into the schedule; the caller holds its lock.
func (b *backend) plan(ctx context.Context, k *keys.Key) error {
	delete(b.schedule.next, k.Name)
	if k.AutoRotate == 0 || k.SoftDeleted || k.Imported && !k.ImportedRotation {
		return nil
	}
	v, err := k.Version(ctx, k.Latest)
	if err != nil {
		return err
	}
	b.schedule.next[k.Name] = v.Created.Add(k.AutoRotate)
	return nil
}

// readSchedule looks at all keys once.
func (b *backend) readSchedule(ctx context.Context) error {
	b.schedule.mu.Lock()
	defer b.schedule.mu.Unlock()
	if b.schedule.next != nil {
		return nil
	}
	b.schedule.next = map[string]time.Time{}
	names, err := b.keys.List(ctx, "", "", 0)
	var failed error
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			continue
		}
		k, err := b.keys.Get(ctx, name)
		if err == nil {
			err = b.plan(ctx, k)
		}
		if err != nil && !errors.Is(err, keys.ErrNotFound) && !errors.Is(err, keys.ErrRecord) {
			failed = errors.Join(failed, err)
		}
	}
	if err = errors.Join(err, failed); err != nil {
		b.schedule.next = nil
	}
	return err
}

func (b *backend) rotateDue(ctx context.Context) error {
	if err := b.readSchedule(ctx); err != nil {
		return err
	}
	var due []string
	b.schedule.mu.Lock()
	for name, at := range b.schedule.next {
		if !b.now().Before(at) {
			due = append(due, name)
		}
	}
	b.schedule.mu.Unlock()
	var failed error
	for _, name := range due {
		if _, err := b.rotateKey(ctx, name, nil); err != nil && !errors.Is(err, keys.ErrNotFound) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}
