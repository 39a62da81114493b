package transit

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealgate/sealgate/internal/fault"
	"github.com/sealgate/sealgate/internal/keys"
	"github.com/sealgate/sealgate/internal/keys/device"
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

func readKey(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	name, err := c.name(0)
	if err != nil {
		return nil, err
	}
	k, err := b.keys.Get(ctx, name)
	if errors.Is(err, keys.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	keyContext, err := base64.StdEncoding.DecodeString(c.Query.Get("context"))
	if err != nil {
		return nil, fault.New(fault.Invalid, "failed to base64-decode context")
	}
	a, err := b.describe(ctx, k, keyContext)
	if err != nil {
		return nil, err
	}
	return a, b.showWorn(ctx, k, a)
}

// showWorn adds the versions that have encrypted nearly as much as they may.
func (b *backend) showWorn(ctx context.Context, k *keys.Key, a *mount.Response) error {
	uses, err := b.keys.Uses(ctx, k)
	if err != nil && !errors.Is(err, keys.ErrRecord) { // counts are no reason to refuse
		return err
	}
	var worn []int
	for _, n := range slices.Sorted(maps.Keys(uses)) {
		if n >= k.MinAvailable && k.Worn(uses[n].Count) {
			worn = append(worn, n)
			a.Warnings = append(a.Warnings, wornText(k.Name, n, uses[n].Count))
		}
	}
	if worn != nil {
		a.Data.(map[string]any)["worn_versions"] = worn
	}
	return nil
}

// publicVersion is a version of a key with a public part, as it is described.
type publicVersion struct {
	Chain   string `json:"certificate_chain"`
	Created string `json:"creation_time"`
	Name    string `json:"name"`
	Public  string `json:"public_key"`
}

// describe is the answer that shows a key.
func (b *backend) describe(ctx context.Context, k *keys.Key, keyContext []byte) (*mount.Response, error) {
	data := map[string]any{
		"name": k.Name, "type": k.Type.String(), "derived": k.Derived, "exportable": k.Exportable,
		"deletion_allowed": k.DeletionAllowed, "allow_plaintext_backup": k.AllowPlaintextBackup, "imported_key": k.Imported,
		"soft_deleted": k.SoftDeleted, "supports_encryption": k.Type.Encrypts(), "supports_decryption": k.Type.Encrypts(),
		"supports_signing": k.Type.Signs(), "supports_derivation": k.Type.Derives(), "latest_version": k.Latest,
		"min_available_version": k.MinAvailable, "min_decryption_version": k.MinDecryption,
		"min_encryption_version": k.MinEncryption,
		"auto_rotate_period":     int64(k.AutoRotate / time.Second),
	}
	if k.Derived {
		data["kdf"] = "hkdf_sha256"
		data["convergent_encryption"] = k.Convergent
		if k.Convergent {
			data["convergent_encryption_version"] = -1
		}
	}
	if k.KeySize > 0 {
		data["key_size"] = k.KeySize
	}
	if k.ParameterSet > 0 {
		data["parameter_set"] = strconv.Itoa(k.ParameterSet)
	}
	if k.Imported {
		data["imported_key_allow_rotation"] = k.ImportedRotation
	}
	for name, e := range map[string]keys.Event{"backup_info": k.Backup, "restore_info": k.Restored} {
		if e != (keys.Event{}) {
			data[name] = map[string]any{"time": time.Unix(0, e.At).UTC().Format(time.RFC3339Nano), "version": e.Version}
		}
	}
	latest, err := k.Version(ctx, k.Latest)
	if err != nil {
		return nil, err
	}
	if isDevice(latest) {
		if err := describeDevice(data, k, latest); err != nil {
			return nil, err
		}
	}
	if latest.Provider == device.Rooted {
		if err := describeRoot(data, latest); err != nil {
			return nil, err
		}
	}
	if k.Type != keys.HMAC {
		data["keys"], err = describeVersions(ctx, k, keyContext)
	}
	return &mount.Response{Data: data}, err
}

func describeVersions(ctx context.Context, k *keys.Key, keyContext []byte) (map[string]any, error) {
	all := map[string]any{}
	for n := max(k.MinDecryption, k.MinAvailable); n <= k.Latest; n++ {
		v, err := k.Version(ctx, n)
		if err != nil {
			return nil, err
		}
		if all[strconv.Itoa(n)], err = describeVersion(ctx, k, v, keyContext); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func describeVersion(ctx context.Context, k *keys.Key, v *keys.Version, keyContext []byte) (any, error) {
	if ref, ok := externalRef(v); ok {
		return ref, nil
	}
	if k.Type.Symmetric() {
		return v.Created.Unix(), nil
	}
	p := publicVersion{Chain: chainPEM(v.Chain), Created: v.Created.Format(time.RFC3339Nano), Name: publicName(k)}
	var err error
	switch {
	case !k.Derived:
		p.Public, err = publicText(k, v)
	case len(keyContext) > 0:
		signer, failed := k.Signer(ctx, v)
		if failed != nil {
			return nil, failed
		}
		public, failed := signer.Public(ctx, keyContext)
		if failed != nil {
			return nil, failed
		}
		p.Public = base64.StdEncoding.EncodeToString(public.(ed25519.PublicKey))
	}
	return p, err
}

// publicName is how a version's algorithm is called beside its public key.
func publicName(k *keys.Key) string {
	switch k.Type {
	case keys.ECDSAP256:
		return "P-256"
	case keys.ECDSAP384:
		return "P-384"
	case keys.ECDSAP521:
		return "P-521"
	case keys.MLDSA:
		return "ml-dsa-" + strconv.Itoa(k.ParameterSet)
	}
	return k.Type.String()
}

// publicText is a public key as a key's description has it: PEM, or base64 of the bytes for Ed25519
// and ML-DSA.
func publicText(k *keys.Key, v *keys.Version) (string, error) {
	der := v.Material.Public
	switch k.Type {
	case keys.MLDSA:
		return base64.StdEncoding.EncodeToString(der), nil
	case keys.Ed25519:
		public, err := x509.ParsePKIXPublicKey(der)
		e, ok := public.(ed25519.PublicKey)
		if err != nil || !ok {
			return "", fmt.Errorf("%w: the public part of version %d of %s", keys.ErrRecord, v.Number, k.Name)
		}
		return base64.StdEncoding.EncodeToString(e), nil
	}
	return pemText("PUBLIC KEY", der), nil
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func chainPEM(chain [][]byte) string {
	var out strings.Builder
	for _, c := range chain {
		out.WriteString(pemText("CERTIFICATE", c))
	}
	return out.String()
}

func listKeys(b *backend, ctx context.Context, c *call) (*mount.Response, error) {
	folder := ""
	if c.n == 1 {
		folder = c.segs[0] + "/"
	}
	limit := 0
	if text := c.Query.Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil {
			return nil, badField("limit", "int", "ParseInt")
		}
	}
	names, err := b.keys.List(ctx, folder, c.Query.Get("after"), limit)
	if err != nil || len(names) == 0 {
		return nil, err
	}
	return &mount.Response{Data: struct {
		Keys []string `json:"keys"`
	}{names}}, nil
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
