package hsm

import (
	"fmt"

	"github.com/sealgate/sealgate/hsm/internal/worker"
	"github.com/sealgate/sealgate/internal/secret"
)

// pin is a token's PIN, kept where only the library's process reads it, or in this process if the
// library is in it.
type pin struct {
	own  *secret.Bytes
	kept *worker.PIN
}

func keepPIN(cfg Config) (pin, error) {
	if cfg.PIN == nil {
		return pin{}, nil
	}
	if cfg.Isolation == InProcess || cfg.module != nil {
		return pin{own: cfg.PIN.Clone()}, nil
	}
	kept, err := worker.KeepPIN(cfg.PIN)
	if err != nil {
		return pin{}, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return pin{kept: kept}, nil
}

func (p pin) len() int { return max(p.own.Len(), p.kept.Len()) }

// equal compares in constant time. PINs of two isolations count as different.
func (p pin) equal(o pin) bool {
	if (p.kept == nil) != (o.kept == nil) {
		return false
	}
	if p.kept != nil {
		return p.kept.Equal(o.kept)
	}
	return p.own.Equal(o.own)
}

func (p pin) destroy() {
	p.own.Destroy()
	p.kept.Destroy()
}
