package seals

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	wrapping "github.com/hashicorp/go-kms-wrapping/v2"
)

// hanging is a wrapper whose Decrypt waits, while hang is set, until its context ends.
type hanging struct {
	memoryWrapper
	hang bool
}

func (h *hanging) Decrypt(ctx context.Context, b *wrapping.BlobInfo, o ...wrapping.Option) ([]byte, error) {
	if h.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return h.memoryWrapper.Decrypt(ctx, b, o...)
}

// TestUnwrapDoesNotWait: Unwrap returns when the policy is met, whatever the other seals do. The
// call to a hung seal ends by its deadline, and its status then says so.
func TestUnwrapDoesNotWait(t *testing.T) {
	for _, threshold := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			hung := &hanging{}
			s, err := NewSet([]Seal{
				{"hung", "test", hung}, {"a", "test", &memoryWrapper{}}, {"b", "test", &memoryWrapper{}},
			}, Options{Threshold: threshold, Deadline: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			root := newRoot(t)
			r, err := s.Wrap(t.Context(), "cluster", 1, root, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			hung.hang = true
			ctx, cancel := context.WithCancel(t.Context())
			start := time.Now()
			got, err := s.Unwrap(ctx, r, nil)
			if err != nil || !got.Equal(root) || time.Since(start) != 0 {
				t.Fatalf("threshold %d: %v after %s", threshold, err, time.Since(start))
			}
			cancel() // the request is over; the call to the hung seal is not
			time.Sleep(time.Second)
			if st := s.Status()[0]; st.LastProbe != nil {
				t.Errorf("the end of the request ended the call: %+v", st)
			}
			time.Sleep(time.Minute)
			if st := s.Status()[0]; st.Class != Unreachable || st.WouldUnseal {
				t.Errorf("after the deadline of the call: %+v", st)
			}
		})
	}
}

// TestUnwrapEnds: where the policy is not met, Unwrap ends with its context; Close ends the calls
// that an Unwrap left running, and refuses new ones.
func TestUnwrapEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := &hanging{}
		s, err := NewSet([]Seal{{"hung", "test", hung}, {"a", "test", &memoryWrapper{}}}, Options{Deadline: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Wrap(t.Context(), "cluster", 1, newRoot(t), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		hung.hang = true
		needsBoth := *r
		needsBoth.Threshold = 2
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := s.Unwrap(ctx, &needsBoth, nil); ClassOf(err) != Unreachable || time.Since(start) != time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		if _, err := s.Unwrap(t.Context(), r, nil); err != nil {
			t.Fatal(err)
		}
		start = time.Now()
		if err := s.Close(); err != nil || time.Since(start) != 0 {
			t.Errorf("Close: %v after %s", err, time.Since(start))
		}
		if _, err := s.Unwrap(t.Context(), r, nil); !errors.Is(err, errClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// ownDeadline is a provider that is Bounded.
type ownDeadline struct {
	memoryWrapper
	deadlines []bool // whether each Encrypt had a deadline
}

func (*ownDeadline) Timeout() time.Duration { return time.Minute }

func (w *ownDeadline) Encrypt(ctx context.Context, b []byte, o ...wrapping.Option) (*wrapping.BlobInfo, error) {
	_, has := ctx.Deadline()
	w.deadlines = append(w.deadlines, has)
	return w.memoryWrapper.Encrypt(ctx, b, o...)
}

// TestBoundedProviderKeepsItsOwnDeadline: the set adds neither a deadline nor a goroutine.
func TestBoundedProviderKeepsItsOwnDeadline(t *testing.T) {
	w := &ownDeadline{}
	s, err := NewSet([]Seal{{"a", "test", w}}, Options{Deadline: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Wrap(t.Context(), "cluster", 1, newRoot(t), nil, nil); err != nil {
		t.Fatal(err)
	}
	if len(w.deadlines) != 1 || w.deadlines[0] {
		t.Errorf("deadlines of Encrypt: %v", w.deadlines)
	}
}
