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
