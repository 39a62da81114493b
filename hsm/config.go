package hsm

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
	"github.com/sealgate/sealgate/internal/secret"
)

// Defaults of a Config.
const (
	DefaultSessions = 8
	DefaultDeadline = 10 * time.Second
	maxSessions     = 256
)

// Secret is a PIN or key bytes: it refuses to print or marshal, compares in constant time and can
// be destroyed.
type Secret = secret.Bytes

// NewSecret returns a secret of a copy of b, which stays the caller's.
func NewSecret(b []byte) *Secret { return secret.Copy(b) }

// Isolation says where the PKCS#11 library runs.
type Isolation string

// The isolations.
const (
	// Process runs the library in a confined child process, which alone loads it and keeps the
	// login. A crash, a hang or a leak of the library costs the calls inside it, which are retried
	// in a new process.
	Process Isolation = "process"
	// InProcess loads the library into this process.
	InProcess Isolation = "none"
)

// DefaultMemory limits the data of the library's process.
const DefaultMemory = 1 << 30

// Config selects a token and how to use it.
type Config struct {
	// Lib is the path of the PKCS#11 library. The system's loader searches for a name without a
	// slash.
	Lib string

	// The token: at least one of these, and every one that is set must match. A token keeps its
	// label and serial number, while some systems renumber their slots at every start.
	Slot        *uint
	TokenLabel  string
	TokenSerial string

	PIN      *Secret // copied; nil for a token without a PIN, or with a keypad of its own
	FinalTry bool    // send the PIN even if the token has a single try left

	Sessions int           // the most sessions at once, further limited by the token; 0: DefaultSessions
	Deadline time.Duration // of each call, recovery included; 0: DefaultDeadline
	Log      *slog.Logger  // nil: no log

	// Isolation is Process if it is empty. A child process is this executable, started again: it
	// serves the library and exits before main runs, after the initialisation of packages that sort
	// before this one.
	Isolation Isolation
	// NoNetwork takes all sockets but Unix sockets from the child process. Linux only.
	NoNetwork bool
	// Memory limits the child process's data in bytes; 0: DefaultMemory. Linux only.
	Memory uint64
	// Paths, if not nil, are the only folders in which the child process may write, and which it
	// may read beside system folders. Linux only.
	Paths []string

	module *ck.Module // a test's library
}

// New checks the configuration and returns the token. It does not touch the device: the first call
// does. The caller closes the token.
func New(cfg Config) (*Token, error) {
	switch {
	case cfg.Lib == "" && cfg.module == nil:
		return nil, fmt.Errorf("%w: Lib is empty: set it to the path of the PKCS#11 library", ErrConfig)
	case cfg.Slot == nil && cfg.TokenLabel == "" && cfg.TokenSerial == "":
		return nil, fmt.Errorf("%w: no token is selected: set its label, its serial number or its slot", ErrConfig)
	case cfg.Sessions < 0 || cfg.Sessions > maxSessions:
		return nil, fmt.Errorf("%w: Sessions = %d: it must be 0 to %d", ErrConfig, cfg.Sessions, maxSessions)
	case cfg.Isolation != "" && cfg.Isolation != Process && cfg.Isolation != InProcess:
		return nil, fmt.Errorf("%w: Isolation = %q: it must be process or none", ErrConfig, cfg.Isolation)
	case cfg.Isolation == InProcess && (cfg.NoNetwork || cfg.Paths != nil):
		return nil, fmt.Errorf("%w: NoNetwork and Paths need a child process (Isolation = process)", ErrConfig)
	case cfg.Deadline < 0:
		return nil, fmt.Errorf("%w: Deadline = %s: it must not be negative", ErrConfig, cfg.Deadline)
	}
	cfg.Sessions = cmp.Or(cfg.Sessions, DefaultSessions)
	cfg.Deadline = cmp.Or(cfg.Deadline, DefaultDeadline)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Isolation = cmp.Or(cfg.Isolation, Process)
	cfg.Memory = cmp.Or(cfg.Memory, DefaultMemory)
	pin, err := keepPIN(cfg)
	if err != nil {
		return nil, err
	}
	cfg.PIN = nil
	return newToken(cfg, pin), nil
}
