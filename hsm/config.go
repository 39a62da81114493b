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

// Secret is a PIN or key bytes: it refuses to print or marshal, compares in constant time and can be
// destroyed.
type Secret = secret.Bytes

// NewSecret returns a secret of a copy of b, which stays the caller's.
func NewSecret(b []byte) *Secret { return secret.Copy(b) }

// Config selects a token and how to use it.
type Config struct {
	// Lib is the path of the PKCS#11 library. The system's loader searches for a name without a slash.
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
	case cfg.Deadline < 0:
		return nil, fmt.Errorf("%w: Deadline = %s: it must not be negative", ErrConfig, cfg.Deadline)
	}
	cfg.Sessions = cmp.Or(cfg.Sessions, DefaultSessions)
	cfg.Deadline = cmp.Or(cfg.Deadline, DefaultDeadline)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.PIN != nil {
		cfg.PIN = cfg.PIN.Clone()
	}
	return newToken(cfg), nil
}
