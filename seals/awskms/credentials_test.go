package awskms

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/sealgate/sealgate/seals"
)

// wallet provides credentials and counts requests.
type wallet struct {
	given int
	next  aws.Credentials
	err   error
	slow  time.Duration
}

func (w *wallet) load(ctx context.Context) (aws.Credentials, error) {
	w.given++
	select {
	case <-time.After(w.slow):
		return w.next, w.err
	case <-ctx.Done():
		return aws.Credentials{}, ctx.Err()
	}
}

func TestKeeper(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &wallet{next: aws.Credentials{AccessKeyID: "a", SecretAccessKey: "s"}}
		k := newKeeper(w.load, time.Now)
		want := func(when, id string, given int) {
			t.Helper()
			got, err := k.Retrieve(t.Context())
			if err != nil || got.AccessKeyID != id || w.given != given {
				t.Errorf("%s: %q after %d searches, %v; want %q after %d", when, got.AccessKeyID, w.given, err, id,
					given)
			}
		}
		want("at first", "a", 1)
		w.next.AccessKeyID = "b"
		want("at once", "a", 1)
		time.Sleep(unread + time.Second)
		want("after a minute, since a file may have been replaced", "b", 2)

		w.next = aws.Credentials{AccessKeyID: "c", SecretAccessKey: "s", CanExpire: true,
			Expires: time.Now().Add(time.Hour)}
		k.forget(aws.Credentials{AccessKeyID: "a"})
		want("others were refused", "b", 2)
		k.forget(aws.Credentials{AccessKeyID: "b"})
		want("these were refused", "c", 3)
		time.Sleep(time.Hour - early - time.Second)
		want("not yet early", "c", 3)
		time.Sleep(2 * time.Second)
		w.err = errors.New("STS is unavailable")
		want("early, and there are no others: they are still good", "c", 4)
		w.err, w.next.AccessKeyID, w.next.Expires = nil, "d", time.Now().Add(2*time.Minute)
		want("early, with others", "d", 5)
		time.Sleep(time.Minute - time.Second)
		want("of short ones, half their life", "d", 5)
		time.Sleep(2 * time.Second)
		w.next.Expires = time.Now().Add(time.Hour)
		want("and not longer", "d", 6)
	})
}

func TestKeeperEndsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &wallet{slow: time.Hour}
		k := newKeeper(func(ctx context.Context) (aws.Credentials, error) {
			v, err := w.load(ctx)
			if err != nil {
				err = noCredentials(ctx, err)
			}
			return v, err
		}, time.Now)
		begun := time.Now()
		done := make(chan error)
		for range 3 {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := k.Retrieve(ctx)
				done <- err
			}()
		}
		for range 3 {
			if err := <-done; err == nil {
				t.Error("credentials without a source")
			} else if c := seals.ClassOf(err); c != seals.Unreachable {
				t.Errorf("%s: %v", c, err)
			}
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("it took %s", took)
		}
	})
}
