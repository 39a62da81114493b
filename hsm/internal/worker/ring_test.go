//go:build cgo && linux

package worker

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"os/exec"
	"sync"
	"testing"
	"time"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// warm calls the library until the child polls the ring.
func warm(t *testing.T, s ck.Session) *process {
	t.Helper()
	p := s.(*session).p
	if p.polling == nil {
		t.Fatal("the worker has no ring")
	}
	for range 10_000 {
		if _, err := try(s, "d", ""); err != nil {
			t.Fatal(err)
		}
		if p.polling.ring.childPolls().Load() == 1 {
			return p
		}
	}
	t.Fatal("the child never polls")
	return nil
}

// TestRingServesManySessions mixes frames that fit the ring with longer ones, and callers that
// leave.
func TestRingServesManySessions(t *testing.T) {
	lib, first := open(t, config(t))
	warm(t, first)
	var wg sync.WaitGroup
	for i := range 12 {
		s, err := lib.Open(7, false)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for n := range 500 {
				what, want := "e", byte(0)
				name := "NO_SUCH_VARIABLE"
				if (n+i)%3 == 0 {
					name, want = "PATH", 1
				}
				input := append([]byte(what+name), make([]byte, (n%5)*1500)...)
				out, err := s.Crypt(ck.Call{Operation: ck.Encrypt, Mechanism: ck.MechAESGCM, Key: 1, Input: input,
					Size: 16 + (n%4)*3000, IV: make([]byte, 12)})
				if err != nil || len(out) != 1 || out[0] != want {
					t.Errorf("call %d of session %d: %v, %v; want %d", n, i, out, err, want)
					return
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestHangKeepsNoOtherCallWaiting: the goroutine that polls is inside the call that hangs.
func TestHangKeepsNoOtherCallWaiting(t *testing.T) {
	lib, a := open(t, config(t))
	b, err := lib.Open(7, false)
	if err != nil {
		t.Fatal(err)
	}
	warm(t, a)
	left := errors.New("left")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, left)
	defer cancel()
	b.(ck.Leaver).Within(ctx)
	done := make(chan error, 1)
	go func() {
		_, err := try(b, "h", "")
		done <- err
	}()
	for range 200 {
		start := time.Now()
		if _, err := try(a, "d", ""); err != nil || time.Since(start) > time.Minute/2 {
			t.Fatalf("beside a call that hangs: %v after %s", err, time.Since(start))
		}
	}
	if err := <-done; !errors.Is(err, left) {
		t.Errorf("the call that hangs: %v; want the context's cause", err)
	}
	if !b.(ck.Leaver).Left(func() {}) {
		t.Error("the call that was left is not known")
	}
}

// TestHostileRing plays a child that writes into the shared memory what the protocol does not
// allow.
func TestHostileRing(t *testing.T) {
	answer := func(r *ring, length, number uint32, status byte) {
		area := r.response(0)
		binary.LittleEndian.PutUint32(area, length)
		binary.LittleEndian.PutUint32(area[4:], number)
		area[8] = status
		r.state(0).Store(slotDone)
	}
	for name, play := range map[string]func(r *ring){
		"a frame longer than the slot": func(r *ring) { answer(r, ringFrame, 1, statusDone) },
		"a length that wraps around":   func(r *ring) { answer(r, 0xffffffff, 1, statusDone) },
		"a frame shorter than head":    func(r *ring) { answer(r, 1, 1, statusDone) },
		"another line's number":        func(r *ring) { answer(r, 5, 2, statusDone) },
		"an unknown status":            func(r *ring) { answer(r, 5, 1, 9) },
		"no payload":                   func(r *ring) { answer(r, 5, 1, statusDone) },
		"too many slots in use": func(r *ring) {
			r.inUse().Store(1 << 30)
			answer(r, 5, 99, statusDone)
		},
	} {
		t.Run(name, func(t *testing.T) {
			shared, err := newRing()
			if err != nil {
				t.Fatal(err)
			}
			defer shared.sent()
			shared.childPolls().Store(1)
			ours, theirs := net.Pipe()
			cmd := exec.Command("sleep", "60")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			p := newProcess(Config{Deadline: 5 * time.Second, Log: slog.New(slog.DiscardHandler)}, cmd, ours, shared)
			s := &session{p: p, line: p.newSessionLine(), ctx: t.Context()}
			played := make(chan struct{})
			go func() {
				defer close(played)
				for shared.state(0).Load() != slotRequested {
					time.Sleep(time.Millisecond)
				}
				play(shared)
				// A caller that no longer polls learns of the response from the socket, or from the next poll.
				for p.alive() && shared.state(0).Load() == slotDone {
					p.collect()
				}
			}()
			if n, err := s.Mechanism(1); err == nil {
				t.Errorf("the number %d", n)
			}
			p.fail(ck.ErrClosed)
			<-played
			<-p.exited
			<-p.finished
			_ = theirs.Close()
		})
	}
}

func TestRingHasOneSize(t *testing.T) {
	r, err := newRing()
	if err != nil {
		t.Fatal(err)
	}
	defer r.sent()
	for _, size := range []int64{0, ringSize - 1, ringSize + 1} {
		if err := r.file.Truncate(size); err == nil {
			t.Errorf("the child can resize the memory to %d bytes", size)
		}
	}
}
