//go:build !linux && !windows

package worker

import (
	"fmt"
	"os"

	"github.com/sealgate/sealgate/internal/secret"
)

// PIN is a PIN for workers.
type PIN struct{ s *secret.Bytes }

// KeepPIN stores a copy of the PIN.
func KeepPIN(s *secret.Bytes) (*PIN, error) {
	if s.Len() > maxPIN {
		return nil, fmt.Errorf("the PIN has %d bytes; the limit is %d", s.Len(), maxPIN)
	}
	return &PIN{s: s.Clone()}, nil
}

// Len is the PIN's length.
func (p *PIN) Len() int {
	if p == nil {
		return 0
	}
	return p.s.Len()
}

// Equal compares in constant time.
func (p *PIN) Equal(o *PIN) bool {
	if p == nil || o == nil {
		return p.Len() == o.Len()
	}
	return p.s.Equal(o.s)
}

// Destroy wipes the PIN.
func (p *PIN) Destroy() {
	if p != nil {
		p.s.Destroy()
	}
}

// file returns a pipe with the PIN. A pipe holds at least 4096 bytes, so the write does not block.
func (p *PIN) file() (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	_, err = w.Write(p.s.Expose())
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	return r, err
}
