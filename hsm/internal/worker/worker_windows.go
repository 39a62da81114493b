package worker

import (
	"log/slog"
	"time"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
	"github.com/sealgate/sealgate/internal/secret"
)

// Config is the library of a worker, and its limits.
type Config struct {
	Lib      string
	Deadline time.Duration
	Network  bool
	Memory   uint64
	Paths    []string
	PIN      *PIN
	Log      *slog.Logger
}

// New returns a library whose calls return [ck.ErrNoCgo]: this build has no PKCS#11.
func New(Config) ck.Library { return absent{} }

type absent struct{}

func (absent) Initialize() error                   { return ck.ErrNoCgo }
func (absent) Finalize() error                     { return ck.ErrNoCgo }
func (absent) Slots() ([]ck.Slot, error)           { return nil, ck.ErrNoCgo }
func (absent) Open(uint, bool) (ck.Session, error) { return nil, ck.ErrNoCgo }

// PIN is a PIN that no library asks for.
type PIN struct{ n int }

// KeepPIN keeps the PIN's length.
func KeepPIN(s *secret.Bytes) (*PIN, error) { return &PIN{s.Len()}, nil }

// Len is the PIN's length.
func (p *PIN) Len() int {
	if p == nil {
		return 0
	}
	return p.n
}

// Equal reports whether both PINs are missing.
func (p *PIN) Equal(o *PIN) bool { return p == nil && o == nil }

// Destroy does nothing.
func (p *PIN) Destroy() {}
