package hsm

import (
	"context"
	"fmt"

	ck "github.com/sealgate/sealgate/hsm/internal/cryptoki"
)

// Inspect finds the token and returns its description without a session or a login, so that the
// PIN's counter can be read before a PIN is sent.
func (t *Token) Inspect(ctx context.Context) (Info, error) {
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
		info, err := t.readInfo(ctx, mod)
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

// readInfo lists the slots and selects the token.
func (t *Token) readInfo(ctx context.Context, mod *ck.Module) (info Info, err error) {
	generation, err := mod.Start(ctx)
	if err != nil {
		return Info{}, t.explain(err)
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
