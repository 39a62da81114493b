package hsm

import (
	"context"
	"fmt"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// Look finds the token and returns what it says of itself without a session and without a log-in, so that the PIN's counter can be seen
// before a PIN is sent.
func (t *Token) Look(ctx context.Context) (Info, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, t.cfg.Deadline, ErrDeadline)
	defer cancel()
	mod, err := t.module()
	if err != nil {
		return Info{}, verdict(err)
	}
	type result struct {
		info Info
		err  error
	}
	answer := make(chan result, 1)
	go func() {
		info, err := t.glance(ctx, mod)
		answer <- result{info, err}
	}()
	select {
	case r := <-answer:
		if r.err != nil {
			return Info{}, verdict(r.err)
		}
		return r.info, nil
	case <-ctx.Done():
		return Info{}, context.Cause(ctx)
	}
}

// glance lists the slots and chooses among them.
func (t *Token) glance(ctx context.Context, mod *ck.Module) (info Info, err error) {
	generation, err := mod.Start(ctx)
	if err != nil {
		return Info{}, err
	}
	if err := mod.Enter(ctx, generation); err != nil {
		return Info{}, err
	}
	defer mod.Exit()
	defer recovered(&err)
	slots, err := mod.Library().Slots()
	if err != nil {
		return Info{}, fmt.Errorf("listing the slots: %w", err)
	}
	slot, err := t.choose(slots)
	if err != nil {
		return Info{}, err
	}
	return infoOf(slot), nil
}
