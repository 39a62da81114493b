package hsm

import (
	"context"
	"errors"
)

// recoveryLevel is what an attempt renews first. The package doc draws the transitions.
type recoveryLevel uint8

const (
	levelNone      recoveryLevel = iota // nothing
	levelSession                        // opens a new session
	levelLogin                          // finds the token and logs in
	levelRestart                        // finalizes and initialises the library
	levelExhausted                      // no further attempt
)

// maxCrashes is how many ends of the library's process one call survives.
const maxCrashes = 4

// String returns the level's name in the log.
func (r recoveryLevel) String() string {
	return [...]string{"none", "session", "login", "restart", "exhausted"}[min(r, levelExhausted)]
}

// next returns the level that follows an error at this level.
func (r recoveryLevel) next(err error, q quirk) recoveryLevel {
	up := r + 1
	switch kindOf(err) {
	case kindSession:
	case kindDevice:
		if q.restartOnly && r >= levelSession {
			up = max(up, levelRestart)
		}
	case kindLogin, kindMissing:
		up = max(up, levelLogin)
	case kindRestart:
		up = max(up, levelRestart)
	default:
		return levelExhausted
	}
	return min(up, levelExhausted)
}

// do runs f in an exclusive session and escalates while that may help, until the deadline.
func (t *Token) do(ctx context.Context, f func(*call) error) error {
	return t.escalate(ctx, false, f)
}

// alter is do with a session that may change objects.
func (t *Token) alter(ctx context.Context, f func(*call) error) error {
	return t.escalate(ctx, true, f)
}

func (t *Token) escalate(ctx context.Context, write bool, f func(*call) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, t.cfg.Deadline, ErrDeadline)
	defer cancel()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	mod, err := t.module()
	if err != nil {
		return verdict(err)
	}
	seen := mod.Generation() // a later restart serves this call, whichever call caused it
	var at *loginSession
	crashes := 0
	for r := levelNone; ; {
		var err error
		at, err = t.attempt(ctx, task{mod: mod, at: at, fresh: r > levelNone, write: write, f: f}, r, seen)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return t.late(ctx, err)
		}
		var q quirk
		if at != nil {
			q = at.quirk
		}
		up := r.next(err, q)
		if crashes++; up == levelExhausted && errors.Is(err, ErrWorker) && crashes < maxCrashes {
			up = levelRestart // the process may have ended for another call
		}
		if up == levelExhausted {
			return verdict(err)
		}
		t.cfg.Log.Debug("the HSM call failed; retrying at a higher recovery level", "error", err, "level", up.String())
		r = up
	}
}

// late returns the error of a call that a deadline or its caller ended, together with the last
// failure.
func (t *Token) late(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if errors.Is(err, cause) {
		return err
	}
	return errors.Join(cause, err)
}

// attempt renews what the level says and runs the task. It returns the login session that it used.
func (t *Token) attempt(ctx context.Context, k task, r recoveryLevel, seen uint64) (*loginSession, error) {
	least := uint64(0)
	if r == levelRestart {
		generation, err := k.mod.Restart(ctx, seen)
		if err != nil {
			return k.at, t.explain(err)
		}
		least = generation
	}
	bad := k.at
	if r <= levelSession {
		bad = nil
	}
	at, err := t.logIn(ctx, k.mod, bad, least)
	if err != nil {
		return k.at, err
	}
	k.at = at
	return at, t.run(ctx, k)
}
