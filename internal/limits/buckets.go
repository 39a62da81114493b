package limits

import (
	"container/list"
	"time"

	"golang.org/x/time/rate"
)

// buckets are token buckets by client, at most as many as their size: a new client takes the place
// of the one that was idle for longest. It is not safe for concurrent use.
type buckets struct {
	size   int
	byKey  map[string]*list.Element // of *bucket
	recent *list.List               // the bucket that was used last is in front
}

type bucket struct {
	*rate.Limiter
	key     string
	blocked time.Time // until then the client gets nothing
}

func newBuckets(size int) *buckets {
	return &buckets{size: size, byKey: map[string]*list.Element{}, recent: list.New()}
}

// get returns the bucket of key; open fills a new one.
func (b *buckets) get(key string, open func() *rate.Limiter) *bucket {
	if e := b.byKey[key]; e != nil {
		b.recent.MoveToFront(e)
		return e.Value.(*bucket)
	}
	if b.recent.Len() >= b.size {
		oldest := b.recent.Remove(b.recent.Back()).(*bucket)
		delete(b.byKey, oldest.key)
	}
	one := &bucket{Limiter: open(), key: key}
	b.byKey[key] = b.recent.PushFront(one)
	return one
}

// wait returns how long it takes until the bucket has a token again; at least a nanosecond.
func (b *bucket) wait(now time.Time) time.Duration { return refill(b.Limiter, now) }

func refill(l *rate.Limiter, now time.Time) time.Duration {
	missing := (1 - l.TokensAt(now)) / float64(l.Limit())
	return max(time.Duration(missing*float64(time.Second)), time.Nanosecond)
}
