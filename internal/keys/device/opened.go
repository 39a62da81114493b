package device

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
)

// standardTimeout bounds a call where the configuration says nothing.
const standardTimeout = 10 * time.Second

// Opened is what the connections of all services have in common: the keys that are open, by what
// selects them, and the timeout. A connection embeds it.
type Opened[R comparable, K io.Closer] struct {
	timeout time.Duration

	mu   sync.Mutex
	keys map[R]K
}

// Configure reads the parameter "timeout".
func (o *Opened[R, K]) Configure(p Params) error {
	o.timeout = standardTimeout
	if v := p["timeout"]; v != "" {
		t, err := time.ParseDuration(v)
		if err != nil || t <= 0 {
			return fault.New(fault.Invalid, "timeout is not a duration above 0, such as 10s")
		}
		o.timeout = t
	}
	return nil
}

// Timeout implements [Connection].
func (o *Opened[R, K]) Timeout() time.Duration { return o.timeout }

// Close implements [Connection]: it closes the keys.
func (o *Opened[R, K]) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var errs []error
	for _, k := range o.keys {
		errs = append(errs, k.Close())
	}
	return errors.Join(errs...)
}

// Key returns the key that r selects. The first call opens it; a failure is not kept.
func (o *Opened[R, K]) Key(r R, open func() (K, error)) (K, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if k, ok := o.keys[r]; ok {
		return k, nil
	}
	k, err := open()
	if err != nil {
		return k, err
	}
	if o.keys == nil {
		o.keys = map[R]K{}
	}
	o.keys[r] = k
	return k, nil
}
