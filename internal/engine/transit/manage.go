package transit

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/mount"
)

var createFields = []string{
	"allow_plaintext_backup", "auto_rotate_period", "context", "convergent_encryption", "derived",
	"exportable", "key_size",
	"parameter_set", "type",
}

var configFields = []string{
	"allow_plaintext_backup", "auto_rotate_period", "deletion_allowed", "exportable", "force", "min_decryption_version",
	"min_encryption_version",
}

// readSpec reads type and form of a key that is to be made.
func (c *call) readSpec() (s keys.Spec, err error) {
	s.Type = keys.AES256GCM
	name, err := c.data.text("type")
	if err != nil {
		return s, err
	}
	if name != "" {
		if s.Type, err = keys.ParseType(name); err != nil {
			return s, err
		}
	}
	if s.Derived, err = c.data.flag("derived"); err != nil {
		return s, err
	}
	if s.Convergent, err = c.data.flag("convergent_encryption"); err != nil {
		return s, err
	}
	if s.KeySize, err = c.data.number("key_size"); err != nil {
		return s, err
	}
	if c.data.given("parameter_set") {
		if s.ParameterSet, err = c.data.number("parameter_set"); err != nil {
			return s, err
		}
	} else if s.Type == keys.MLDSA {
		s.ParameterSet = 44 // Vault's default
	}
	return s, nil
}

// readPermissions reads what a key may be used for beside its operations.
func (c *call) readPermissions(s *keys.Settings) (err error) {
	if s.Exportable, err = c.data.flag("exportable"); err != nil {
		return err
	}
	if s.AllowPlaintextBackup, err = c.data.flag("allow_plaintext_backup"); err != nil {
		return err
	}
	return c.readAutoRotate(s)
}

func (c *call) readAutoRotate(s *keys.Settings) error {
	if !c.data.given("auto_rotate_period") {
		return nil
	}
	d, err := c.data.duration("auto_rotate_period")
	if err != nil {
		return err
	}
	if d != 0 && d < time.Hour {
		return fault.New(fault.Invalid, "auto rotate period must be 0 to disable or at least an hour")
	}
	s.AutoRotate = d
	return nil
}

// createKey makes a key. One that exists is left alone.
func createKey(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	name, err := c.name(0)
	if err != nil {
		return nil, err
	}
	if a, ok, err := createDeviceKey(b, ctx, c, name); ok || err != nil {
		return a, err
	}
	spec, err := c.readSpec()
	if err != nil {
		return nil, err
	}
	s := keys.Settings{Spec: spec}
	if err := c.readPermissions(&s); err != nil {
		return nil, err
	}
	k, err := b.keys.Create(ctx, name, s, func(ctx context.Context, _ *keys.Key) (*keys.Version, error) {
		return firstVersion(b, ctx, c, spec)
	})
	if err != nil && !errors.Is(err, keys.ErrExists) {
		return nil, err
	}
	b.reschedule(ctx, k)
	return b.describe(ctx, k, nil)
}

func deleteKey(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	name, err := c.name(0)
	if err != nil {
		return nil, err
	}
	force, err := strconv.ParseBool(c.Query.Get("force"))
	force = force && err == nil
	err = b.keys.Delete(ctx, name, func(ctx context.Context, k *keys.Key) error {
		if !k.DeletionAllowed {
			return fault.New(fault.Invalid, "error deleting policy %s: deletion is not allowed for this key", name)
		}
		_, err := b.checkUse(ctx, k, k.Latest+1, force)
		return err
	})
	if errors.Is(err, keys.ErrNotFound) {
		return nil, fault.New(fault.Invalid, "error deleting policy %s: could not delete key; not found", name)
	}
	if err == nil {
		b.unschedule(name)
	}
	return nil, err
}

// changed answers a change of a key with its description.
func (b *backend) changed(
	ctx context.Context, k *keys.Key, warnings []string, err, absent error,
) (*mount.Response, error) {
	switch {
	case errors.Is(err, keys.ErrNotFound):
		return nil, absent
	case err != nil:
		return nil, err
	}
	b.reschedule(ctx, k)
	a, err := b.describe(ctx, k, nil)
	if err == nil {
		a.Warnings = warnings
	}
	return a, err
}

func configureKey(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	var warnings []string
	force, err := c.data.flag("force")
	if err != nil {
		return nil, err
	}
	k, err := b.keys.Change(ctx, c.segs[0], func(ctx context.Context, ch *keys.Change) error {
		before := ch.MinDecryption
		if err := readConfigOf(b, ctx, c, ch); err != nil || ch.MinDecryption <= before {
			return err
		}
		warnings, err = b.checkUse(ctx, ch.Key(), ch.MinDecryption, force)
		return err
	})
	a, err := b.changed(ctx, k, warnings, err,
		fault.New(fault.Invalid, "no existing key named %s could be found", c.segs[0]))
	if err == nil && b.emptyConfig && warnings == nil {
		return nil, nil
	}
	return a, err
}

// readConfigOf changes the settings of a key, whose versions may be in a device.
func readConfigOf(b *backend, ctx context.Context, c *call, ch *keys.Change) error {
	if err := c.readKeyConfig(&ch.Settings); err != nil {
		return err
	}
	v, err := ch.Key().Version(ctx, ch.Key().Latest)
	switch {
	case err != nil || !isDevice(v):
		return err
	case ch.Exportable || ch.AllowPlaintextBackup:
		return fault.New(fault.Invalid, "a key in a device cannot be exported or backed up")
	case b.devices == nil:
		return nil
	}
	return checkDeviceRotation(b, ctx, &ch.Settings, v.Material)
}

// readKeyConfig changes settings as a request says. What can be exported or backed up once can be
// so forever.
func (c *call) readKeyConfig(s *keys.Settings) error {
	var limits [2]*int
	for i, name := range []string{"min_decryption_version", "min_encryption_version"} {
		if c.data.given(name) {
			n, err := c.data.number(name)
			if err != nil {
				return err
			}
			limits[i] = &n
		}
	}
	if err := s.Configure(limits[0], limits[1]); err != nil {
		return err
	}
	if c.data.given("deletion_allowed") {
		on, err := c.data.flag("deletion_allowed")
		if err != nil {
			return fault.New(fault.Invalid, "Field validation failed: %s", err)
		}
		s.DeletionAllowed = on
	}
	for name, into := range map[string]*bool{"exportable": &s.Exportable,
		"allow_plaintext_backup": &s.AllowPlaintextBackup} {
		on, err := c.data.flag(name)
		if err != nil {
			return err
		}
		*into = *into || on
	}
	return c.readAutoRotate(s)
}
