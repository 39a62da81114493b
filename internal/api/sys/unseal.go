package sys

import (
	"context"
	"errors"

	"github.com/sealgate/sealgate/internal/api"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/recovery"
)

type unsealBody struct {
	Key     string `json:"key"`
	Reset   bool   `json:"reset"`
	Migrate bool   `json:"migrate"`
}

// unseal follows the order of contract 1.3: on an unsealed node the length of a share is not
// checked.
func unseal(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	var b unsealBody
	if err := q.Strict(&b); err != nil {
		return nil, err
	}
	switch {
	case b.Reset:
		if err := h.Node.ResetUnseal(ctx); err != nil {
			return nil, err
		}
	case b.Key == "":
		return nil, fault.New(fault.Invalid, "'key' must be specified in request body as JSON, or 'reset' set to true")
	default:
		if err := giveUnsealShare(ctx, h, b); err != nil {
			return nil, err
		}
	}
	return sealStatus(ctx, h, q)
}

func giveUnsealShare(ctx context.Context, h *api.Handler, b unsealBody) error {
	share, err := recovery.ParseShare(b.Key)
	defer share.Destroy()
	if errors.Is(err, recovery.ErrShareEncoding) {
		return fault.Wrap(err, fault.Invalid, "%v", err)
	}
	s, failed := h.Node.SealStatus(ctx)
	switch {
	case failed != nil:
		return failed
	case !s.Initialized:
		return fault.New(fault.Invalid, "Vault is not initialized")
	case !s.Sealed:
		return nil
	case err != nil:
		return fault.New(fault.Invalid, "invalid key: %v", err)
	}
	return h.Node.Unseal(ctx, share, b.Migrate)
}

func seal(ctx context.Context, h *api.Handler, q *api.Request) (*api.Answer, error) {
	if q.Role == nil { // already sealed; no token was checked
		return api.Done()
	}
	if err := h.Node.Seal(ctx); err != nil {
		return nil, err
	}
	return api.Done()
}
