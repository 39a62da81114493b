package hsm

import (
	"context"
	"errors"
)

// rung is how much is made anew before an attempt.
type recoveryLevel uint8

const (
	levelNone      recoveryLevel = iota // nothing: what is open
	levelSession                        // the session
	levelLogin                          // the token is looked for, and logged in to
	levelRestart                        // the library is finalized and initialised
	levelExhausted                      // no attempt any more
)

// next is the rung after an error on this one.
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

// do runs f in a session of its own and climbs the ladder while that may help, until the deadline.
func (t *Token) do(ctx context.Context, f func(*call) error) error {
	return t.escalate(ctx, false, f)
}

// alter is do in a session that may change objects.
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
	seen := mod.Generation() // a restart after this moment serves this call, whoever asked for it
	var at *loginSession
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
		if up == levelExhausted {
			return verdict(err)
		}
		t.cfg.Log.Debug("the HSM call failed; trying again", "error", err, "rung", up)
		r = up
	}
}

// late is the error of a call that its deadline, or its caller's, ended; what went wrong before is kept in it.
func (t *Token) late(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if errors.Is(err, cause) {
		return err
	}
	return errors.Join(cause, err)
}

// attempt makes anew what the rung says, and runs the task. It returns the attachment that it used.
func (t *Token) attempt(ctx context.Context, k task, r recoveryLevel, seen uint64) (*loginSession, error) {
	least := uint64(0)
	if r == levelRestart {
		generation, err := k.mod.Restart(ctx, seen)
		if err != nil {
			return k.at, err
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
