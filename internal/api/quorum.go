package api

import (
	"errors"

	"github.com/sealgate/sealgate/internal/ceremony"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/recovery"
)

// useGrant takes the grant of the route's purpose, where it has one, before the handler acts. The
// request is audited by then. A store without shares has no quorum: the configuration decides.
func (h *Handler) useGrant(q *Request) error {
	p := q.Route.Quorum
	if p == "" {
		return nil
	}
	err := h.Node.Ceremonies().Grants.Use(p, ceremony.Starter{
		Accessor: q.Identity.Accessor, DisplayName: q.Identity.DisplayName, Root: q.Identity.Root,
	})
	if !errors.Is(err, ceremony.ErrNoShares) {
		return err
	}
	if p == recovery.PurposeAuthorizeRestore && !h.ForcedRestore {
		return fault.New(fault.Denied, "permission denied: a restore by force needs a quorum of shares, and nobody holds "+
			"shares of this server: make recovery shares with `sealgate operator rotate-keys -target=recovery -init`, or set "+
			"unsafe_allow_forced_restore = true in the configuration and restart the server")
	}
	return nil // sys/raw is there by raw_storage_endpoint alone
}
