package hsm

import (
	"context"
	"errors"
)

// rung is how much is made anew before an attempt.
type rung uint8

const (
	rungNone    rung = iota // nothing: what is open
	rungSession             // the session
	rungAttach              // the token is looked for, and logged in to
	rungRestart             // the library is finalized and initialised
	rungTop                 // no attempt any more
)

// next is the rung after an error on this one.
func (r rung) next(err error, q quirk) rung {
	up := r + 1
	switch kindOf(err) {
	case kindSession:
	case kindDevice:
		if q.restartOnly && r >= rungSession {
			up = max(up, rungRestart)
		}
	case kindLogin, kindMissing:
		up = max(up, rungAttach)
	case kindRestart:
		up = max(up, rungRestart)
	default:
		return rungTop
	}
	return min(up, rungTop)
}

// do runs f in a session of its own and climbs the ladder while that may help, until the deadline.
func (t *Token) do(ctx context.Context, f func(*call) error) error {
	return t.climb(ctx, false, f)
}

// alter is do in a session that may change objects.
func (t *Token) alter(ctx context.Context, f func(*call) error) error {
	return t.climb(ctx, true, f)
}

func (t *Token) climb(ctx context.Context, write bool, f func(*call) error) error {
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
	var at *attachment
	for r := rungNone; ; {
		var err error
		at, err = t.attempt(ctx, task{mod: mod, at: at, fresh: r > rungNone, write: write, f: f}, r, seen)
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
		if up == rungTop {
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
func (t *Token) attempt(ctx context.Context, k task, r rung, seen uint64) (*attachment, error) {
	least := uint64(0)
	if r == rungRestart {
		generation, err := k.mod.Restart(ctx, seen)
		if err != nil {
			return k.at, err
		}
		least = generation
	}
	bad := k.at
	if r <= rungSession {
		bad = nil
	}
	at, err := t.attach(ctx, k.mod, bad, least)
	if err != nil {
		return k.at, err
	}
	k.at = at
	return at, t.run(ctx, k)
}
