package clock

import (
	"context"
	"testing"
	"time"
)

func TestSleep(t *testing.T) {
	t.Parallel()
	if !Sleep(t.Context(), time.Millisecond) {
		t.Error("a sleep of one millisecond reports that its context has ended")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if Sleep(ctx, time.Hour) || Sleep(ctx, 0) {
		t.Error("a sleep whose context has ended reports that it lasts")
	}
}

func TestJitterStaysWithinAQuarter(t *testing.T) {
	t.Parallel()
	for range 1000 {
		if d := Jitter(time.Second); d < 750*time.Millisecond || d > 1250*time.Millisecond {
			t.Fatalf("jitter of one second: %v", d)
		}
	}
	if d := Jitter(0); d != 0 {
		t.Errorf("jitter of zero: %v", d)
	}
}
