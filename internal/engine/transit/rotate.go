package transit

import (
	"context"
	"errors"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/mount"
)

func (b *backend) rotate(ctx context.Context, c *call) (*mount.Response, error) {
	k, err := b.rotateKey(ctx, c.segs[0], c)
	return b.changed(ctx, k, nil, err, fault.New(fault.Invalid, "key not found"))
}

// rotateKey makes a version before it takes the key's lock: an RSA key takes seconds. The request
// is nil for a rotation that is due.
func (b *backend) rotateKey(ctx context.Context, name string, c *call) (*keys.Key, error) {
	k, err := b.keys.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := mayRotate(k.Name, &k.Settings); err != nil {
		return nil, err
	}
	latest, err := k.Version(ctx, k.Latest)
	if err != nil {
		return nil, err
	}
	v, err := nextVersion(b, ctx, c, k, latest)
	if err != nil {
		return nil, err
	}
	spec, after := k.Spec, k.Latest
	k, err = b.keys.Change(ctx, name, func(_ context.Context, ch *keys.Change) error {
		if ch.Spec != spec || isDevice(v) && ch.Latest != after {
			return fault.New(fault.Invalid, "the key %s was replaced by another while it was rotated: try again", name)
		}
		ch.Add(v)
		return mayRotate(name, &ch.Settings)
	})
	if err == nil {
		b.reschedule(ctx, k)
	}
	return k, err
}

func mayRotate(name string, s *keys.Settings) error {
	switch {
	case s.SoftDeleted:
		return keys.Errors("%s", keys.ErrSoftDeleted)
	case s.Imported && !s.ImportedRotation:
		return keys.Errors("imported key %s does not allow rotation within Vault", name)
	}
	return nil
}

func trim(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	if !c.data.given("min_available_version") {
		return nil, fault.New(fault.Invalid, "missing min_available_version")
	}
	to, err := c.data.number("min_available_version")
	if err != nil {
		return nil, err
	}
	force, err := c.data.flag("force")
	if err != nil {
		return nil, err
	}
	destroy, err := c.data.flag("destroy_in_device")
	if err != nil {
		return nil, err
	}
	var warnings []string
	k, err := b.keys.Change(ctx, c.segs[0], func(ctx context.Context, ch *keys.Change) error {
		if err := ch.Trim(to); err != nil {
			return err
		}
		warnings, err = b.checkTrim(ctx, ch.Key(), to, force)
		if err == nil && destroy {
			var more []string
			more, err = loseTrimmed(ctx, ch, to)
			warnings = append(warnings, more...)
		}
		return err
	})
	if err == nil && destroy {
		if err := sweepDevices(b, ctx); err != nil { // it is tried again
			warnings = append(warnings, "a key could not be destroyed in its device yet: the server's log has the cause")
		}
	}
	return b.changed(ctx, k, warnings, err, fault.New(fault.Invalid, "invalid key name"))
}

func softDelete(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	return b.setSoftDeleted(ctx, c, true, "key was already marked as soft deleted")
}

func softRestore(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	return b.setSoftDeleted(ctx, c, false, "key was not marked as soft deleted")
}

func (b *backend) setSoftDeleted(ctx context.Context, c *call, on bool, already string) (*mount.Response, error) {
	var warnings []string
	k, err := b.keys.Change(ctx, c.segs[0], func(_ context.Context, ch *keys.Change) error {
		if ch.SoftDeleted == on {
			warnings = []string{already}
		}
		ch.SoftDeleted = on
		return nil
	})
	if errors.Is(err, keys.ErrNotFound) {
		return nil, nil
	}
	return b.changed(ctx, k, warnings, err, nil)
}
