package transit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/failpoint"
	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/keys/device"
	"github.com/sealgate/sealgate/internal/mount"
	"github.com/sealgate/sealgate/internal/storage"
)

// The types of keys in devices: those of Vault and of OpenBao. The algorithm is the device key's.
const (
	typeManaged  = "managed_key"
	typeExternal = "external-key"
)

// deviceFields name a key of a device in a request.
var deviceFields = []string{"external_key_ref", "managed_key_id", "managed_key_name"}

// deviceName returns the key of a device that a request names; ok is false where it names none.
func (c *call) deviceName() (f device.Face, name string, ok bool, err error) {
	for _, field := range []struct {
		name string
		face device.Face
	}{{"managed_key_id", device.Managed}, {"managed_key_name", device.Managed}, {"external_key_ref", device.External}} {
		v, err := c.data.text(field.name)
		switch {
		case err != nil:
			return 0, "", false, err
		case v != "" && ok && f != field.face:
			return 0, "", false, fault.New(fault.Invalid, "give a managed key or an external key, not both")
		case v != "" && !ok:
			f, name, ok = field.face, v, true
		}
	}
	return f, name, ok, nil
}

// createDeviceKey makes a key whose first version is in a device. ok is false for other types.
func createDeviceKey(b *backend, ctx context.Context, c *call, name string) (a *mount.Response, ok bool, err error) {
	kind, err := c.data.text("type")
	if err != nil {
		return nil, false, err
	}
	face, key, given, err := c.deviceName()
	switch {
	case err != nil:
		return nil, true, err
	case kind != typeManaged && kind != typeExternal:
		if given {
			err = fault.New(fault.Invalid, "cannot use external_key_ref on key of type %s", kind)
		}
		return nil, given, err
	case !given && kind == typeExternal:
		return nil, true, fault.New(fault.Invalid, "must provide external_key_ref to create policy of type external-key")
	case !given:
		return nil, true, fault.New(fault.Invalid, "must provide managed_key_name or managed_key_id to create a key of type "+
			"managed_key")
	case (face == device.External) != (kind == typeExternal):
		return nil, true, fault.New(fault.Invalid, "a key of type %s needs the other kind of reference", kind)
	case b.devices == nil:
		return nil, true, fault.New(fault.Invalid, "this server has no devices for keys")
	}
	for _, field := range []string{"derived", "convergent_encryption", "exportable", "allow_plaintext_backup"} {
		if on, err := c.data.flag(field); on || err != nil {
			return nil, true, errors.Join(err, fault.New(fault.Invalid, "%s is not possible for a key in a device", field))
		}
	}
	s := keys.Settings{}
	if err := c.readAutoRotate(&s); err != nil {
		return nil, true, err
	}
	if k, err := b.keys.Get(ctx, name); err == nil { // one that exists is left alone
		a, err = b.describe(ctx, k, nil)
		return a, true, err
	}
	a, err = adopt(b, ctx, name, s, face, key)
	return a, true, err
}

func adopt(
	b *backend, ctx context.Context, name string, s keys.Settings, face device.Face, key string,
) (*mount.Response, error) {
	chosen, err := b.devices.Adopt(ctx, face, key)
	if err != nil {
		return nil, err
	}
	s.Spec = chosen.Spec
	if err := checkDeviceRotation(b, ctx, &s, chosen.Material); err != nil {
		return nil, err
	}
	k, err := b.keys.Create(ctx, name, s, func(context.Context, *keys.Key) (*keys.Version, error) {
		return b.keys.NewVersion(chosen.Provider, chosen.Material), nil
	})
	if err != nil && !errors.Is(err, keys.ErrExists) {
		return nil, err
	}
	b.reschedule(ctx, k)
	return b.describe(ctx, k, nil)
}

// checkDeviceRotation refuses automatic rotation of a key that cannot make its next version.
func checkDeviceRotation(b *backend, ctx context.Context, s *keys.Settings, m keys.Material) error {
	if s.AutoRotate == 0 {
		return nil
	}
	ok, err := b.devices.MayGenerate(ctx, m)
	if err == nil && !ok {
		err = fault.New(fault.Invalid, "cannot enable auto-rotation with external keys: it needs allow_generate_key")
	}
	return err
}

// isDevice reports whether a version is in a device.
func isDevice(v *keys.Version) bool {
	return v.Provider != keys.Software && v.Provider != device.Rooted
}

// nextVersion makes or takes the key of the next version. c is nil for a rotation that is due.
func nextVersion(b *backend, ctx context.Context, c *call, k *keys.Key, latest *keys.Version) (*keys.Version, error) {
	var face device.Face
	var name string
	var given bool
	var err error
	if c != nil {
		if face, name, given, err = c.deviceName(); err != nil {
			return nil, err
		}
	}
	switch {
	case !isDevice(latest) && given:
		return nil, fault.New(fault.Invalid, "cannot use external_key_ref on key of type %s", k.Type)
	case latest.Provider == keys.Software:
		return b.keys.Generate(ctx, latest.Provider, k.Spec)
	case b.devices == nil:
		return nil, fault.New(fault.Unavailable, "this server has no devices for keys")
	}
	var chosen device.Chosen
	if latest.Provider == device.Rooted {
		chosen, err = b.devices.Reroot(ctx, latest.Material, k.Spec)
	} else if given {
		chosen, err = b.devices.Adopt(ctx, face, name)
		if err == nil && chosen.Spec != k.Spec {
			err = fault.New(fault.Invalid, "the key %s is of type %s, and this one of type %s: all versions have one type", name,
				chosen.Spec.Type, k.Type)
		}
	} else {
		chosen, err = makeInDevice(b, ctx, k, latest)
	}
	if err != nil {
		return nil, err
	}
	return b.keys.NewVersion(chosen.Provider, chosen.Material), nil
}

// deviceSuffix makes the name of a version's key in its device.
func deviceSuffix(k *keys.Key, n int) string { return fmt.Sprintf(".%s.v%d", k.ShortID(), n) }

// importSuffix is that of an imported key: a rotation never takes over what an import has left.
func importSuffix(k *keys.Key, n int) string { return fmt.Sprintf(".%s.i%d", k.ShortID(), n) }

// ownName reports whether a version's key in its device was made or imported for it.
func ownName(k *keys.Key, n int, name string) bool {
	return strings.HasSuffix(name, deviceSuffix(k, n)) || strings.HasSuffix(name, importSuffix(k, n))
}

// makeInDevice makes the key of the next version. It is announced before: the next attempt takes
// over what a crash left behind.
func makeInDevice(b *backend, ctx context.Context, k *keys.Key, latest *keys.Version) (c device.Chosen, err error) {
	held, err := device.HeldBy(latest.Material.Reference.Expose())
	if err != nil {
		return c, err
	}
	n := k.Latest + 1
	p, err := b.devices.Next(ctx, latest.Material, k.Spec, deviceSuffix(k, n))
	if err != nil {
		if may, known := b.devices.MayGenerate(ctx, latest.Material); known == nil && !may && held.Face == device.External {
			err = fault.New(fault.Invalid, "must provide external_key_ref to rotate policy %s, or set allow_generate_key for "+
				"its key", k.Name)
		}
		return c, err
	}
	if err := b.announce(ctx, k, n, p); err != nil {
		return c, err
	}
	c, err = b.devices.Make(ctx, p)
	failpoint.Point("device.generate.after")
	return c, err
}

// loseTrimmed notes the keys that were made for versions which are trimmed: they are destroyed in
// their device. Keys that were adopted stay there, and are named.
func loseTrimmed(ctx context.Context, ch *keys.Change, to int) (warnings []string, err error) {
	k := ch.Key()
	for n := max(k.MinAvailable, 1); n < to; n++ {
		v, err := k.Version(ctx, n)
		if err != nil {
			return nil, err
		}
		if !isDevice(v) {
			continue
		}
		held, err := device.HeldBy(v.Material.Reference.Expose())
		if err != nil {
			return nil, err
		}
		if !ownName(k, n, held.Name) {
			warnings = append(warnings, fmt.Sprintf("the key of version %d was not made for this key, and stays in its device",
				n))
			continue
		}
		if err := ch.Lose(n, v.Material.Reference.Expose()); err != nil {
			return nil, err
		}
	}
	return warnings, nil
}

// sweepEvery is how often keys that could not be destroyed are tried again.
const sweepEvery = time.Hour

// sweepDue calls [sweepDevices] now and then.
func sweepDue(b *backend, ctx context.Context) error {
	if now := b.now().UnixNano(); now-b.swept.Load() < int64(sweepEvery) {
		return nil
	}
	return sweepDevices(b, ctx)
}

// sweepDevices ends what a crash or a trim has left in devices. A key that cannot be destroyed is
// named in the log and stays noted.
func sweepDevices(b *backend, ctx context.Context) error {
	if b.devices == nil {
		return nil
	}
	b.swept.Store(b.now().UnixNano())
	all, err := b.keys.Notes(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range all {
		fate, err := b.keys.FateOf(ctx, n)
		if err == nil && fate == keys.Orphan {
			var name string
			if name, err = b.devices.Abandon(ctx, n.Text); err != nil {
				err = fmt.Errorf("transit: the key %q in a device belongs to no version of %s, and could not be destroyed: %w",
					name, n.Key, err)
			}
		}
		if err == nil && fate != keys.Awaited {
			err = b.keys.Forget(ctx, n)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// describeDevice adds to a key's description what its latest version in a device is.
func describeDevice(data map[string]any, k *keys.Key, latest *keys.Version) error {
	held, err := device.HeldBy(latest.Material.Reference.Expose())
	if err != nil {
		return err
	}
	data["type"], data["key_algorithm"], data["provider"] = typeManaged, k.Type.String(), latest.Provider
	data["supports_derivation"] = false
	if held.Face == device.External {
		data["type"] = typeExternal
		return nil
	}
	data["managed_key_name"] = held.Entry
	return nil
}

// externalRef returns the reference of a version with an external key, which stands for it in a
// description, as in OpenBao.
func externalRef(v *keys.Version) (string, bool) {
	if !isDevice(v) {
		return "", false
	}
	held, err := device.HeldBy(v.Material.Reference.Expose())
	return held.Entry, err == nil && held.Face == device.External
}

// announce notes a key that is about to be in a device for a version of a key. What another attempt
// has left under another name is destroyed before.
func (b *backend) announce(ctx context.Context, k *keys.Key, n int, p *device.Plan) error {
	old, err := b.keys.Announced(ctx, k, n)
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case err != nil:
		return err
	default:
		held, err := device.HeldBy(old.Text)
		if err != nil {
			return err
		}
		if held.Name == p.Name() && !p.Importing() {
			break
		}
		if _, err := b.devices.Abandon(ctx, old.Text); err != nil {
			return fault.Wrap(err, fault.KindOf(err), "an interrupted request has left the key %q in the device, and it could "+
				"not be destroyed: set allow_destroy_key, or destroy it there; then try again", held.Name)
		}
	}
	note, err := p.Note()
	if err != nil {
		return err
	}
	return b.keys.Announce(ctx, k, n, note)
}

// deviceVersion imports the first version of a key into the device that a request names; ok is
// false where it names none.
func (in incoming) deviceVersion(
	b *backend, ctx context.Context, k *keys.Key, c *call,
) (v *keys.Version, ok bool, err error) {
	face, name, ok, err := c.deviceName()
	switch {
	case err != nil || !ok:
		return nil, false, err
	case b.devices == nil || in.private == nil || k.Derived:
		return nil, true, fault.New(fault.Invalid, "a key is imported into a device with its private part, and without "+
			"derivation")
	}
	defer in.private.Destroy()
	p, err := b.devices.ToImport(ctx, face, name, k.Spec)
	if err != nil {
		return nil, true, err
	}
	v, err = in.intoDevice(b, ctx, k, 1, p)
	return v, true, err
}

// intoDevice imports the key of a version. It is announced before: what a crash leaves in the
// device is destroyed at the next start, or named in the log.
func (in incoming) intoDevice(
	b *backend, ctx context.Context, k *keys.Key, n int, p *device.Plan,
) (*keys.Version, error) {
	if err := b.announce(ctx, k, n, p); err != nil {
		return nil, err
	}
	failpoint.Point("device.import.before")
	chosen, err := b.devices.Import(ctx, p, in.private)
	failpoint.Point("device.import.after")
	if err != nil {
		return nil, err
	}
	v := b.keys.NewVersion(chosen.Provider, chosen.Material)
	v.Number = n // it has the device key of this version alone
	return v, nil
}

// settled ends an import: the entry in whose device the key is notes which key that is.
func settled(b *backend, ctx context.Context, k *keys.Key) (*mount.Response, error) {
	v, err := k.Version(ctx, k.Latest)
	if err == nil && isDevice(v) {
		err = b.devices.Settle(ctx, v.Material)
	}
	if err != nil {
		return &mount.Response{Warnings: []string{"The key is imported, but the configuration of its managed or external " +
			"key could not note it: write that configuration again."}}, nil
	}
	return nil, nil
}

// nextVersion makes the version of a key that is imported: in the device of the latest one, where
// that is in a device.
func (in incoming) nextVersion(b *backend, ctx context.Context, k *keys.Key, number int) (*keys.Version, error) {
	latest, err := k.Version(ctx, k.Latest)
	if err != nil {
		return nil, err
	}
	if !isDevice(latest) {
		return in.version(ctx, b.keys, k.Spec)
	}
	defer in.private.Destroy()
	if b.devices == nil || in.private == nil || number != 0 {
		return nil, fault.New(fault.Invalid, "the next version of a key in a device is imported with its private part")
	}
	n := k.Latest + 1
	p, err := b.devices.NextImported(ctx, latest.Material, k.Spec, importSuffix(k, n))
	if err != nil {
		return nil, err
	}
	return in.intoDevice(b, ctx, k, n, p)
}

// rootedFields make a software key that a key in a device wraps.
var rootedFields = []string{"lease_ttl", "max_uses", "root_key_name", "root_key_ref"}

// firstVersion makes the first version of a key of software, or of one that a request roots in a
// device.
func firstVersion(b *backend, ctx context.Context, c *call, spec keys.Spec) (*keys.Version, error) {
	face := device.Managed
	name, err := c.data.text("root_key_name")
	if err == nil && name == "" {
		face = device.External
		name, err = c.data.text("root_key_ref")
	}
	if err != nil {
		return nil, err
	}
	lease, err := c.data.duration("lease_ttl")
	if err != nil {
		return nil, err
	}
	uses, err := c.data.number("max_uses")
	switch {
	case err != nil:
		return nil, err
	case name == "" && (lease != 0 || uses != 0):
		return nil, fault.New(fault.Invalid, "lease_ttl and max_uses are for rooted keys: give root_key_name or root_key_ref")
	case name == "":
		return b.keys.Generate(ctx, keys.Software, spec)
	case b.devices == nil:
		return nil, fault.New(fault.Invalid, "this server has no devices for keys")
	}
	chosen, err := b.devices.Root(ctx, face, name, spec, lease, uses)
	if err != nil {
		return nil, err
	}
	return b.keys.NewVersion(chosen.Provider, chosen.Material), nil
}

// describeRoot adds to the description of a rooted key what wraps it, and its lease.
func describeRoot(data map[string]any, latest *keys.Version) error {
	r, err := device.RootedBy(latest.Material)
	if err != nil {
		return err
	}
	data["provider"], data["root_key"] = latest.Provider, r.Entry
	data["lease_ttl"], data["max_uses"] = int64(r.Lease/time.Second), r.Uses
	return nil
}
