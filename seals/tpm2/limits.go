package tpm2

import (
	"context"
	"fmt"

	"github.com/sealgate/sealgate/seals"
)

var _ seals.Limiter = (*Wrapper)(nil)

// Limits reports how many wrong authorisations the TPM counted, where the seal has a PIN. It sends
// no PIN.
func (w *Wrapper) Limits(ctx context.Context) ([]seals.Limit, error) {
	if w.settings.pin.Len() == 0 {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, w.settings.timeout)
	defer cancel()
	l, err := with(ctx, w, func(s *session) (lockout, error) { return s.lockout() })
	if err != nil {
		return nil, w.failure("describe", err)
	}
	if l.failed == 0 {
		return nil, nil
	}
	return []seals.Limit{{What: "PIN tries",
		Danger: fmt.Sprintf("%d of %d wrong authorisations were counted, by any program of this machine", l.failed, l.most),
		Remedy: fmt.Sprintf("find out which program sends wrong ones; the TPM forgets one in %s", l.recovers)}}, nil
}
