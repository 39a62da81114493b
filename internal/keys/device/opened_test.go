package device

import (
	"errors"
	"testing"
	"time"
)

// closing is a key that counts how often it is closed.
type closing struct {
	closed int
	err    error
}

func (c *closing) Close() error { c.closed++; return c.err }

func TestOpenedKeys(t *testing.T) {
	var o Opened[string, *closing]
	for text, want := range map[string]time.Duration{"": 10 * time.Second, "2s": 2 * time.Second} {
		if err := o.Configure(Params{"timeout": text}); err != nil || o.Timeout() != want {
			t.Errorf("timeout %q: %v, %v", text, o.Timeout(), err)
		}
	}
	for _, text := range []string{"0", "-1s", "soon", "10"} {
		if err := o.Configure(Params{"timeout": text}); err == nil {
			t.Errorf("timeout %q is taken", text)
		}
	}
	failure := errors.New("no such key")
	if _, err := o.Key("a", func() (*closing, error) { return nil, failure }); !errors.Is(err, failure) {
		t.Errorf("a key that does not open: %v", err)
	}
	first := &closing{err: failure}
	opened := 0
	for range 2 {
		k, err := o.Key("a", func() (*closing, error) { opened++; return first, nil })
		if err != nil || k != first || opened != 1 {
			t.Fatalf("%v, %v, opened %d times", k, err, opened)
		}
	}
	second := &closing{}
	if k, err := o.Key("b", func() (*closing, error) { return second, nil }); err != nil || k != second {
		t.Fatalf("%v, %v", k, err)
	}
	if err := o.Close(); !errors.Is(err, failure) || first.closed != 1 || second.closed != 1 {
		t.Errorf("closing: %v, %d and %d times", err, first.closed, second.closed)
	}
}
