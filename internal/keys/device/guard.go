package device

import (
	"context"
	"reflect"
	"slices"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/seals"
)

// guard refuses a key of a seal: a client that may decrypt with it in a mount could decrypt the
// stored root key. A seal that cannot say which keys are its own owns all of its type.
func (r *Registry) guard(ctx context.Context, kind, label, identity string) error {
	for _, s := range r.hub.seals() {
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

// guardNew refuses a key that is to be made or imported under the name or id of a seal's key: in
// the device it would be taken for that, or make the selection of that ambiguous.
func (r *Registry) guardNew(ctx context.Context, e *Entry, l *link, ref Ref) error {
	n, ok := l.Connection.(Namer)
	if !ok {
		return nil
	}
	return r.guard(ctx, e.Type, e.Label(), n.Identity(ref))
}

// seals are those whose keys are refused now.
func (h *Hub) seals() []seals.Seal {
	if h.o.Seals == nil {
		return nil
	}
	return h.o.Seals()
}

// sameSeals reports whether a key that was checked against one list needs no check against the
// other. A seal that was added or replaced while serving may own a key that is open.
func sameSeals(a, b []seals.Seal) bool {
	return slices.EqualFunc(a, b, func(a, b seals.Seal) bool {
		return a.Name == b.Name && a.Type == b.Type && reflect.TypeOf(a.Wrapper) == reflect.TypeOf(b.Wrapper) &&
			(a.Wrapper == nil || reflect.TypeOf(a.Wrapper).Comparable() && a.Wrapper == b.Wrapper)
	})
}
