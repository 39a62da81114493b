package device

import (
	"context"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/seals"
)

// guard refuses a key of a seal: whoever may decrypt with it in a mount could decrypt the stored
// root key. A seal that cannot say which keys are its own owns all of its type.
func (r *Registry) guard(ctx context.Context, kind, label, identity string) error {
	if r.hub.o.Seals == nil {
		return nil
	}
	for _, s := range r.hub.o.Seals() {
		if s.Type != kind {
			continue
		}
		if o, ok := s.Wrapper.(seals.KeyOwner); ok && !o.OwnsKey(ctx, identity) {
			continue
		}
		r.hub.o.Log.Warn("a key of a seal was refused as a device key", "key", label, "seal", s.Name)
		return fault.New(fault.Invalid, "the key %s is one of a seal of this server, or the seal cannot rule that out now: "+
			"make a key of its own for mounts", label)
	}
	return nil
}
