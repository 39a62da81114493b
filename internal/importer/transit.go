package importer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// transitKey is the description of a key.
type transitKey struct {
	Name          string                     `json:"name"`
	Type          string                     `json:"type"`
	Derived       bool                       `json:"derived"`
	KDF           string                     `json:"kdf"`
	Convergent    bool                       `json:"convergent_encryption"`
	ConvergentV   int                        `json:"convergent_encryption_version"`
	Exportable    bool                       `json:"exportable"`
	Backup        bool                       `json:"allow_plaintext_backup"`
	Deletable     bool                       `json:"deletion_allowed"`
	Imported      bool                       `json:"imported_key"`
	Rotation      bool                       `json:"imported_key_allow_rotation"`
	SoftDeleted   bool                       `json:"soft_deleted"`
	AutoRotate    json.Number                `json:"auto_rotate_period"` // seconds
	KeySize       int                        `json:"key_size"`
	Latest        int                        `json:"latest_version"`
	MinAvailable  int                        `json:"min_available_version"`
	MinDecryption int                        `json:"min_decryption_version"`
	MinEncryption int                        `json:"min_encryption_version"`
	Keys          map[string]json.RawMessage `json:"keys"`
}

// transit copies a transit mount: its configuration, then its keys.
func (r *run) transit(ctx context.Context, mount string) error {
	for _, path := range []string{"/config/keys", "/cache-config"} {
		if err := r.copyDocument(ctx, document{kind: "transit configuration", path: mount + path, given: true}); err != nil {
			return err
		}
	}
	names, err := r.from.list(ctx, mount+"/keys")
	if err != nil {
		return r.settle(ctx, Item{Kind: "transit key", Path: mount + "/keys"}, err)
	}
	for _, name := range names {
		if name == "import/" { // the key that wraps imported ones: each server has its own
			continue
		}
		k := &keyCopy{run: r, mount: mount, name: name, item: Item{Kind: "transit key", Path: mount + "/keys/" + name}}
		err := k.copy(ctx)
		if err := r.settle(ctx, k.item, err); err != nil {
			return err
		}
	}
	return nil
}

// keyCopy is the copy of one key with its versions.
type keyCopy struct {
	*run
	mount, name string
	item        Item
	want        transitKey
}

func (k *keyCopy) path(endpoint string) string { return k.mount + "/" + endpoint + "/" + k.name }

func (k *keyCopy) copy(ctx context.Context) error {
	if err := checkName(k.name); err != nil {
		return left("%v", err)
	}
	found, err := k.from.read(ctx, k.item.Path, nil, &k.want)
	if err == nil && !found {
		err = left("the source lists it and does not show it")
	}
	if err != nil {
		return err
	}
	if err := k.cannotCopy(); err != nil {
		return err
	}
	var have transitKey
	exists, err := k.to.read(ctx, k.item.Path, nil, &have)
	if err != nil {
		return err
	}
	k.item.Outcome = Created
	if exists {
		why, err := k.compare(ctx, have)
		if err != nil {
			return err
		}
		if why == "" {
			k.item.Outcome = Same
			return nil
		}
		if err := k.clash("%s", why); err != nil {
			return err
		}
		k.item.Outcome = Updated
	}
	if k.DryRun {
		return nil
	}
	return k.bring(ctx)
}

// cannotCopy returns why a key has to stay at the source; nil if it can be copied.
func (k *keyCopy) cannotCopy() error {
	w := k.want
	switch {
	case w.SoftDeleted:
		return left("the key is soft-deleted: restore it at the source first")
	case !w.Exportable:
		return left("the key is not exportable; at the source, %s with exportable=true and "+
			"allow_plaintext_backup=true makes it so, for good", k.item.Path+"/config")
	case w.Derived && w.KDF != "hkdf_sha256":
		return left("its keys are derived by %.40q, which Sealgate does not have", w.KDF)
	case w.Convergent && w.ConvergentV > 0 && w.ConvergentV != convergentVersion:
		return left("it encrypts convergently in the form %d, which Sealgate does not have", w.ConvergentV)
	}
	return nil
}

func (k *keyCopy) compare(ctx context.Context, have transitKey) (string, error) {
	fields := func(k transitKey) map[string]any {
		return map[string]any{"type": k.Type, "derived": k.Derived, "convergent_encryption": k.Convergent,
			"exportable": k.Exportable, "allow_plaintext_backup": k.Backup, "deletion_allowed": k.Deletable,
			"auto_rotate_period": k.AutoRotate, "latest_version": k.Latest, "soft_deleted": k.SoftDeleted,
			"min_decryption_version": k.MinDecryption, "min_encryption_version": k.MinEncryption}
	}
	if names := differing(fields(k.want), fields(have)); len(names) > 0 {
		return "other values at the destination: " + strings.Join(names, ", "), nil
	}
	same, err := k.sameMaterial(ctx)
	if err == nil && !same {
		return "another key of that name is at the destination", nil
	}
	return "", err
}

// sameMaterial compares the exported versions of both sides. Every key that comes here is
// exportable at both.
func (k *keyCopy) sameMaterial(ctx context.Context) (bool, error) {
	for _, kind := range exportKinds(k.want.Type) {
		a, err := k.export(ctx, k.from, kind)
		if err != nil {
			return false, err
		}
		b, err := k.export(ctx, k.to, kind)
		if err != nil {
			return false, err
		}
		if !equal(a, b) {
			return false, nil
		}
	}
	return true, nil
}

func (k *keyCopy) export(ctx context.Context, of side, kind string) (map[string]string, error) {
	var out struct {
		Keys map[string]string `json:"keys"`
	}
	found, err := of.read(ctx, k.mount+"/export/"+kind+"/"+k.name, nil, &out)
	if err == nil && (!found || len(out.Keys) == 0) {
		err = &Refusal{http.StatusNotFound, []string{"the export of the key is empty"}}
	}
	for n, text := range out.Keys { // texts differ in white space at their end
		out.Keys[n] = strings.TrimSpace(text)
	}
	return out.Keys, err
}

// bring restores a backup of the key, which the source makes where it may, and which is put
// together from its export otherwise.
func (k *keyCopy) bring(ctx context.Context) error {
	backup, err := k.backup(ctx)
	if err != nil {
		return err
	}
	err = k.to.write(ctx, k.path("restore"), map[string]any{"backup": backup, "force": k.item.Outcome == Updated})
	if err != nil {
		return err
	}
	same, err := k.sameMaterial(ctx)
	if err == nil && !same {
		err = &Refusal{http.StatusConflict, []string{"the key at the destination is not that of the source"}}
	}
	return err
}

func (k *keyCopy) backup(ctx context.Context) (string, error) {
	if !k.want.Backup {
		return k.assemble(ctx)
	}
	var out struct {
		Backup string `json:"backup"`
	}
	found, err := k.from.read(ctx, k.path("backup"), nil, &out)
	if err == nil && (!found || out.Backup == "") {
		err = fmt.Errorf("%w", &Refusal{http.StatusNotFound, []string{"the source makes no backup"}})
	}
	return out.Backup, err
}
