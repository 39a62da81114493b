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

// Config names a token and how to use it.
type Config struct {
	Lib string // path of the PKCS#11 library; a name without a slash is searched by the system's loader

	// The token: at least one of these. Label and serial are what a token keeps; a slot's number is
	// moved by some systems at every start, and is checked against the others where they are given.
	Slot        *uint
	TokenLabel  string
	TokenSerial string

	PIN      *secret.Bytes // copied; nil for a token that asks for none, or by its own key pad
	FinalTry bool          // send the PIN even where the token has a single try left

	Sessions int           // at most so many at once, and no more than the token states; 0: DefaultSessions
	Deadline time.Duration // of each call, ladder included; 0: DefaultDeadline
	Log      *slog.Logger  // nil: nothing is logged

	module *ck.Module // a test's library
}

// New checks the configuration and returns the token, which is not touched before its first use. Close it.
func New(cfg Config) (*Token, error) {
	switch {
	case cfg.Lib == "" && cfg.module == nil:
		return nil, fmt.Errorf("%w: the path of the PKCS#11 library is missing", ErrConfig)
	case cfg.Slot == nil && cfg.TokenLabel == "" && cfg.TokenSerial == "":
		return nil, fmt.Errorf("%w: name the token by its label, its serial number or its slot", ErrConfig)
	case cfg.Sessions < 0 || cfg.Sessions > maxSessions:
		return nil, fmt.Errorf("%w: %d sessions; 1 to %d are possible", ErrConfig, cfg.Sessions, maxSessions)
	case cfg.Deadline < 0:
		return nil, fmt.Errorf("%w: a negative deadline", ErrConfig)
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
